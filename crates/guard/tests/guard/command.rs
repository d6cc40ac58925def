//! Commands whose end is not known.

use std::process::Command;

use monolite_guard::run_command;

/// In a process of its own that ignores SIGCHLD.
#[test]
#[ignore = "the other half of the test below"]
fn without_a_status() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let command = ["/bin/sh", "-c", "exit 0"].map(Into::into);
    let finished = runtime.block_on(run_command(&command, &[])).unwrap();
    assert!(!finished.succeeded);
    assert_eq!(finished.status.code(), 1);
    let shown = finished.status.shown();
    assert!(shown.contains("SIGCHLD"), "{shown}");
    assert!(runtime.block_on(run_command(&[], &[])).is_err());
}

#[test]
fn a_command_that_has_run_counts_as_failed_if_nobody_knows_how_it_ended() {
    let script = "import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["command::without_a_status", "--exact", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// In a process of its own that is asked to end.
#[test]
#[ignore = "the other half of the test below"]
fn with_a_deaf_command() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let script = "trap '' TERM INT HUP; kill -TERM $PPID; while :; do sleep 1; done";
    let command = ["/bin/sh", "-c", script].map(Into::into);
    let guarded = [(monolite_guard::GUARDED, "/a volume".into())];
    let finished = runtime.block_on(run_command(&command, &guarded));
    let finished = finished.unwrap();
    assert!(!finished.succeeded);
    assert_eq!(finished.status.code(), 128 + 9);
}

#[test]
fn a_command_that_ignores_signals_is_killed() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["command::with_a_deaf_command", "--exact", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
