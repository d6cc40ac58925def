//! The bundled demo, seen through a real browser.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use monolite_testkit::{Process, Signal, disk_dir, free_port, provided};

use crate::devtools::{Chromium, Tab};

/// "At once", for a person; a machine that compiles beside us is allowed for.
const SOON: Duration = Duration::from_secs(5);

/// Says something through the form of the page.
fn say(tab: &mut Tab, text: &str) {
    tab.eval("document.getElementById('name').value = ''");
    tab.type_into("name", "Ada");
    tab.type_into("body", text);
    tab.eval("document.querySelector('#say button').click()");
}

fn shows(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#list .comment')].filter(it => it.innerText.includes('{text}')).length == 1"
    )
}

fn process(tab: &mut Tab) -> String {
    let shown = tab.eval("document.querySelector('[data-fact=process]').innerText");
    shown.as_str().expect("a process id").to_owned()
}

/// Says something in the way of the second post: with a program that has never
/// heard of the blog.
fn say_in_sql(database: &Path, post: &str, text: &str) {
    let script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db: db.execute(\
        'INSERT INTO comment (post_id, name, body) VALUES (?, ?, ?)', (sys.argv[2], 'the shell', sys.argv[3]))";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(database)
        .args([post, text])
        .status();
    assert!(python.expect("python3 is installed").success());
}

#[test]
fn a_comment_appears_in_the_other_tab_also_after_a_restart() {
    let program = provided("MONOLITE_TEST_CHROMIUM");
    let (temporary, port) = (disk_dir(), free_port());
    let arguments = ["demo", "--port", &port.to_string()];
    let run = Process::start(env!("CARGO_BIN_EXE_monolite"), arguments, |command| {
        // Should this test fail, nothing is left behind either.
        command.env("TMPDIR", temporary.path());
    });
    let line = run.line("Its data: ");
    let (_, data) = line.split_once("Its data: ").expect("a path");
    run.line("app healthy");

    let mut chromium = Chromium::start(&program);
    let mut home = chromium.tab(&format!("http://127.0.0.1:{port}/"));
    let link = "document.querySelector('main a[href^=\"/posts/\"]').href.split('#')[0]";
    let url = home.eval(link);
    let url = url.as_str().expect("a post on the first page");
    let mut writer = chromium.tab(url);
    let mut reader = chromium.tab(url);
    for tab in [&mut writer, &mut reader] {
        tab.wait_for("document.getElementById('status').dataset.state == 'live'");
        // Gone if the page is ever loaded anew.
        tab.eval("window.neverReloaded = true");
    }

    say(&mut writer, "Can you read this?");
    let said = Instant::now();
    reader.wait_for(&shows("Can you read this?"));
    let took = said.elapsed();
    assert!(took < SOON, "seen after {took:?}");
    writer.wait_for(&shows("Can you read this?"));

    // A background job has told the author: the writer hears how soon, and
    // everybody that it was done.
    writer.wait_for("document.getElementById('note').innerText.startsWith('The author was told ')");
    for tab in [&mut home, &mut reader] {
        tab.wait_for(
            "document.querySelector('[data-fact=told]').innerText.startsWith('1, last in ')",
        );
    }

    // Said by a program beside the app.
    let post = reader.eval("document.body.dataset.post");
    let database = Path::new(data).join("app.sqlite3");
    say_in_sql(
        &database,
        post.as_str().expect("a number"),
        "Hello from outside.",
    );
    for tab in [&mut writer, &mut reader] {
        tab.wait_for(&shows("Hello from outside."));
    }

    // The cached front page knows of it, and of what the recurring job counts.
    let mut front = chromium.tab(&format!("http://127.0.0.1:{port}/"));
    let label = "document.querySelector('main [data-count]').innerText";
    assert_eq!(front.eval(label), "3 comments");
    let from = front.eval("document.getElementById('from').innerText");
    assert!(from.as_str().is_some_and(|it| it.contains(", ")), "{from}");
    front.wait_for("document.getElementById('discussed').innerText.includes('by a recurring job')");

    // The other way round, and while there is no app: the gate holds it.
    let old = process(&mut writer);
    run.signal(Signal::USR2);
    run.line("restarting the app; requests wait");
    say(&mut reader, "Said while it restarts.");
    run.nth_line("app healthy", 2);
    let healthy = Instant::now();
    writer.wait_for(&shows("Said while it restarts."));
    let took = healthy.elapsed();
    assert!(took < SOON, "seen {took:?} after the restart");

    // The streams have found the new process by themselves.
    for tab in [&mut writer, &mut reader] {
        tab.wait_for(&format!(
            "document.querySelector('[data-fact=process]').innerText != '{old}'"
        ));
    }
    say(&mut writer, "And afterwards.");
    reader.wait_for(&shows("And afterwards."));

    for tab in [&mut writer, &mut reader] {
        assert_eq!(tab.eval("window.neverReloaded"), true);
    }
    for tab in [&mut home, &mut front, &mut writer, &mut reader] {
        let complaints = tab.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    // Ctrl-C, with both streams still open.
    assert!(database.exists());
    run.signal(Signal::INT);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!Path::new(data).exists(), "{data} was left behind");
}
