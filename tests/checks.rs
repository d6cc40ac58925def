//! `monolite check`, and what a wrong word gets.

use std::process::{Command, Output};

use monolite_testkit::disk_dir;

fn monolite(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_monolite"))
        .args(arguments)
        // A file of the checkout must not matter.
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_directory_on_a_disk_is_fit() {
    let dir = disk_dir();
    let data = dir.path().to_str().expect("a plain path");
    // Unless the checkout itself is in a container's own layer.
    let output = monolite(&["check", "--allow", "persistent", "--data", data]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).ends_with("\nfit for production\n"));
    assert!(
        !text(&output.stdout).contains('\x1b'),
        "no colours in a pipe"
    );
}

#[test]
fn memory_is_not_fit_and_json_says_why() {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let data = dir.path().to_str().expect("a plain path");
    let output = monolite(&["check", "--json", "--data", data]);
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["fit"], false);
    let failed: Vec<_> = report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["level"] == "fail")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["name"], "persistent");
    assert!(failed[0]["what"].as_str().expect("text").contains("tmpfs"));
    assert!(!failed[0]["remedy"].as_str().expect("text").is_empty());

    let output = monolite(&["check", "--data", data, "--allow", "persistent"]);
    assert_eq!(output.status.code(), Some(0), "accepted by name");
}

#[test]
fn run_refuses_memory_with_the_mend_and_exit_3() {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let data = dir.path().to_str().expect("a plain path");
    let output = monolite(&["run", "--data", data, "--port", "0", "--", "true"]);
    assert_eq!(output.status.code(), Some(3));
    let error = text(&output.stderr);
    assert!(error.contains("FAIL  persistent"), "{error}");
    assert!(error.contains("--allow persistent"), "{error}");
}

#[test]
fn wrong_words_are_named_with_exit_2() {
    let dir = disk_dir();
    let config = dir.path().join("monolite.toml");
    std::fs::write(&config, "prot = 80\n").expect("written");
    let config = config.to_str().expect("a plain path");
    for (arguments, expected) in [
        (vec!["run", "--prot", "1"], "--port"),
        (vec!["rnu"], "'rnu'"),
        (vec!["run"], "no command"),
        (vec!["run", "--port", "x", "--", "true"], "--port"),
        (
            vec!["run", "--write-concurrency", "0", "--", "true"],
            "--write-concurrency",
        ),
        (
            vec!["run", "--health-path", "up", "--", "true"],
            "must begin with /",
        ),
        (
            vec!["run", "--start-timeout", "soon", "--", "true"],
            "--start-timeout",
        ),
        (
            vec!["run", "--config", config, "--", "true"],
            "did you mean `port`?",
        ),
        (vec!["check", "--config", config], "did you mean `port`?"),
        (
            vec!["check", "--allow", "persistant"],
            "did you mean `persistent`?",
        ),
        (
            vec!["run", "--allow", "zzz", "--", "true"],
            "the checks are: directory",
        ),
        (
            vec!["run", "--database", "../x", "--", "true"],
            "plain file name",
        ),
        (
            vec!["run", "--port", "81", "--app-port", "81", "--", "true"],
            "--app-port",
        ),
    ] {
        let output = monolite(&arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
