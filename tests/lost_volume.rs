//! The database is deleted under the running app, and is back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, provided, wait_until};
use rusqlite::Connection;

use crate::devtools::Chromium;

/// "A second or two", on a machine that compiles beside us.
const SOON: Duration = Duration::from_secs(5);

struct Demo {
    run: Process,
    port: u16,
    data: PathBuf,
    _dir: tempfile::TempDir,
}

fn demo() -> Demo {
    let (dir, port) = (disk_dir(), free_port());
    let data = dir.path().join("blog");
    let arguments = ["demo", "--port", &port.to_string(), "--data"].map(str::to_owned);
    let run = Process::start(env!("CARGO_BIN_EXE_monolite"), arguments, |command| {
        command.arg(&data).env("MONOLITE_ALLOW", "persistent");
    });
    run.line("app healthy");
    let whole = dir.path().join("blog-replica/app.sqlite3/ltx/9");
    wait_until("it is replicated", || {
        std::fs::read_dir(&whole).is_ok_and(|files| files.count() > 0)
    });
    Demo {
        run,
        port,
        data,
        _dir: dir,
    }
}

fn bodies(database: &Path) -> BTreeSet<String> {
    let conn = Connection::open(database).expect("the database");
    let mut all = conn.prepare("SELECT body FROM comment").expect("comments");
    let rows = all.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

#[test]
fn every_comment_that_was_taken_is_there_after_three_losses_under_load() {
    let demo = demo();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (done, port) = (Arc::clone(&done), demo.port);
            thread::spawn(move || {
                let browser = Browser::new(port);
                let (mut taken, mut said) = (Vec::new(), 0);
                while !done.load(Ordering::Relaxed) {
                    said += 1;
                    let body = format!("{writer} says {said}");
                    let form = [("name", "Ada"), ("body", &*body)];
                    let answer = browser.post("/posts/3/comments", &form);
                    // While the file has no name, the crate answers with an error.
                    if answer.expect("an answer").status == 303 {
                        taken.push(body);
                    }
                }
                taken
            })
        })
        .collect();

    let browser = Browser::new(demo.port);
    let database = demo.data.join("app.sqlite3");
    for n in 1..=3 {
        let before = bodies(&database).len();
        wait_until("some more is said", || {
            bodies(&database).len() > before + 20
        });
        let lost = Instant::now();
        let answer = browser.post("/lose", &[]).expect("an answer");
        assert_eq!(answer.location.as_deref(), Some("/lost"), "{}", answer.body);
        wait_until("it is back", || {
            let answer = browser.get("/lost").expect("an answer");
            answer.location.as_deref() == Some("/#volume")
        });
        let took = lost.elapsed();
        assert!(took < SOON, "back after {took:?}");
        let page = browser.get("/").expect("the page").body;
        assert!(page.contains("Nothing was lost."), "{page}");
        assert_eq!(demo.run.output().matches("INFO restored").count(), n);
    }
    done.store(true, Ordering::Relaxed);
    let taken: Vec<_> = writers
        .into_iter()
        .flat_map(|writer| writer.join().expect("all were taken"))
        .collect();
    let there = bodies(&database);
    let lost: Vec<_> = taken.iter().filter(|body| !there.contains(*body)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} lost: {lost:?}",
        lost.len(),
        taken.len()
    );

    demo.run.signal(Signal::TERM);
    let (status, output) = demo.run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    let conn = Connection::open(&database).expect("the database");
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("an answer");
    assert_eq!(check, "ok");
}

#[test]
fn the_button_tells_what_happened_in_every_open_page() {
    let program = provided("MONOLITE_TEST_CHROMIUM");
    let demo = demo();
    let mut chromium = Chromium::start(&program);
    let mut presser = chromium.tab(&format!("http://127.0.0.1:{}/", demo.port));
    let mut other = chromium.tab(&format!("http://127.0.0.1:{}/posts/5", demo.port));
    for tab in [&mut presser, &mut other] {
        tab.wait_for("document.getElementById('status').dataset.state == 'live'");
        assert_eq!(tab.eval("document.getElementById('story').innerText"), "");
        tab.eval("window.neverReloaded = true");
    }
    other.type_into("name", "Ada");
    other.type_into("body", "Said just before.");
    other.eval("document.querySelector('#say button').click()");
    other.wait_for("document.getElementById('list').innerText.includes('Said just before.')");
    presser.eval("document.querySelector('#lose button').click()");
    presser.wait_for("document.getElementById('story').innerText.includes('Requests waited')");
    let story = presser.eval("document.getElementById('story').innerText");
    let story = story.as_str().expect("text");
    for text in [
        "Back in ",
        "Nothing was lost.",
        "app.sqlite3, app.sqlite3-wal, app.sqlite3-shm",
        "5 posts, 3 comments",
        ".ltx",
        "This page waited ",
    ] {
        assert!(story.contains(text), "no {text:?} in {story}");
    }
    other.wait_for("document.getElementById('story').innerText.includes('Nothing was lost.')");
    for tab in [&mut presser, &mut other] {
        tab.wait_for("document.getElementById('status').dataset.state == 'live'");
        assert_eq!(tab.eval("window.neverReloaded"), true);
        let complaints = tab.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[test]
fn a_database_that_was_swapped_for_another_is_left_alone() {
    let demo = demo();
    let database = demo.data.join("app.sqlite3");
    // Gone for a moment, as with two renames.
    let aside = demo.data.join("aside.txt");
    std::fs::rename(&database, &aside).expect("renamed");
    std::fs::rename(&aside, &database).expect("renamed back");
    let browser = Browser::new(demo.port);
    assert_eq!(browser.get("/").expect("an answer").status, 200);
    // Made anew by somebody, the moment it was gone.
    std::fs::remove_file(&database).expect("removed");
    std::fs::write(&database, "somebody's").expect("written");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(demo.data.join(format!("app.sqlite3{suffix}")));
    }
    demo.run.signal(Signal::TERM);
    let (_, output) = demo.run.end();
    assert!(!output.contains("INFO restored"), "{output}");
    assert_eq!(std::fs::read(&database).expect("there"), b"somebody's");
}
