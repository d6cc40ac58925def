//! A disk that is full: a file system of a few megabytes, in a mount namespace
//! of its own.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;

use monolite_jobs::{Error, JobId};
use rustix::process::Signal;

use super::check::check_the_end;
use super::fixture::{Fixture, SECOND, ms, number, prepare, task, until};
use super::worker::{Config, Task};

#[test]
fn a_full_disk_is_said_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=6m none \"$PLACE\" \
        && exec \"$SELF\" disk::full_disk --exact --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .env("SELF", std::env::current_exe().unwrap())
        .env("PLACE", dir.path())
        .output()
        .expect("unshare, of util-linux, is needed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "failed (user and mount namespaces are needed here):\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other half of a_full_disk_is_said_and_survived"]
async fn full_disk() {
    let dir = PathBuf::from(std::env::var_os("PLACE").unwrap());
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let fixture = Fixture::apart(dir);
    let (store, jobs) = fixture.opened().await;
    let config = |name: &str| Config {
        lease_ms: 1000,
        max_crashes: 1000,
        deadline_ms: 500,
        ..fixture.config(name)
    };
    // Nobody takes from it what it cannot tell at once.
    let stays = fixture.worker(&Config {
        lease_ms: 60_000,
        queues: vec![("default".into(), 8), ("kept".into(), 8)],
        ..config("stays")
    });
    let mut leaves = fixture.worker(&config("leaves"));

    let mut promised: HashSet<JobId> = HashSet::new();
    let mut n = 0;
    // Some that end while the disk is full, and cannot be told done.
    let full_now = fixture.log_file("full-now");
    // Each has some: `stays` takes eight of the default queue at most.
    let leaves_has_one = || {
        fixture
            .logged("start")
            .iter()
            .any(|line| line.who == "leaves")
    };
    while n < 4 || !leaves_has_one() {
        n += 1;
        assert!(n <= 4 + 8 + 1, "nothing was taken by `leaves`");
        let job = Task {
            until: Some(full_now.clone()),
            ..task(n)
        };
        let queue = if n <= 4 { "kept" } else { "default" };
        let enqueued = jobs.push(prepare(&job).queue(queue)).await;
        promised.insert(enqueued.unwrap().id);
        fixture.wait_start(n, 10 * SECOND);
    }
    let error = loop {
        n += 1;
        assert!(n < 5000, "6 MB were never full");
        let large = serde_json::json!({ "n": n, "ballast": "x".repeat(4000) });
        let job = monolite_jobs::NewJob::new("task", &large).unwrap();
        match jobs.push(job.queue("nobody")).await {
            Ok(enqueued) => promised.insert(enqueued.id),
            Err(error) => break error,
        };
    };
    let full =
        |error: &Error| matches!(error, Error::Store(monolite_store::Error::DiskFull { .. }));
    assert!(full(&error), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");
    let before = number(&fixture.conn(), "SELECT count(*) FROM _monolite_job");
    for _ in 0..10 {
        let large = serde_json::json!({ "n": 0, "ballast": "x".repeat(100_000) });
        let job = monolite_jobs::NewJob::new("task", &large).unwrap();
        assert!(jobs.push(job.queue("nobody")).await.is_err(), "still full");
    }
    // What is left in the file's last pages is used up as well.
    let _ = std::fs::write(fixture.dir().join("more"), vec![1; 4 << 20]);
    std::fs::write(&full_now, "").unwrap();
    until("the workers meet it", 20 * SECOND, || {
        let troubled = fixture.logged("troubled");
        ["stays", "leaves"]
            .iter()
            .all(|name| troubled.iter().any(|line| &line.who == name))
    });
    // One of them is ended meanwhile: it cannot tell, but it does end.
    leaves.signal(Signal::TERM);
    assert!(leaves.ended(20 * SECOND).success());
    std::thread::sleep(ms(1500));

    std::fs::remove_file(fixture.dir().join("more")).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    let conn = fixture.conn();
    let open = "SELECT count(*) FROM _monolite_job WHERE queue <> 'nobody' AND state <> 5";
    until("the other one goes on by itself", 30 * SECOND, || {
        number(&conn, open) == 0
    });
    let kept = "SELECT count(*) FROM _monolite_job WHERE queue = 'kept' AND run = 1";
    assert_eq!(
        number(&conn, kept),
        4,
        "what had ended was told late, not run again"
    );
    n += 1;
    promised.insert(jobs.push(prepare(&task(n))).await.unwrap().id);
    fixture.wait_start(n, 10 * SECOND);
    assert!(number(&conn, "SELECT count(*) FROM _monolite_job") > before);
    let rest = fixture.worker(&Config {
        queues: vec![("nobody".into(), 8)],
        ..config("rest")
    });
    fixture.drained(60 * SECOND);
    let started: HashSet<JobId> = fixture
        .logged("start")
        .iter()
        .map(|line| JobId::from(line.number(1).cast_signed()))
        .collect();
    let never: Vec<_> = promised.difference(&started).collect();
    assert!(never.is_empty(), "never ran: {never:?}");
    until("the dead are taken out", 10 * SECOND, || {
        number(
            &conn,
            "SELECT count(*) FROM _monolite_job_worker WHERE name = 'leaves'",
        ) == 0
    });
    stays.terminate(20 * SECOND);
    rest.terminate(20 * SECOND);
    check_the_end(&conn);
    store.close().await;
}
