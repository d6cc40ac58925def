//! The life of `monolite run`: start, hold, crash, restart, stop.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, wait_until};

/// An app in a few lines of Python, steered by its query. It is the smallest
/// real server at hand: a process of its own, with a port and signals.
const APP: &str = r#"
import http.server, os, signal, socketserver, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/die": os._exit(7)
        if self.path == "/slow": time.sleep(0.5)
        body = f"{os.getpid()} {os.environ.get('DATABASE_URL')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
def stop(*_):
    print("app: asked to stop", flush=True)
    time.sleep(float(os.environ.get("STOP_AFTER", "0")))
    os._exit(int(os.environ.get("EXIT_WITH", "0")))
if os.environ.get("STUBBORN"): signal.signal(signal.SIGTERM, signal.SIG_IGN)
else: signal.signal(signal.SIGTERM, stop)
print("app: begins", flush=True)
time.sleep(float(os.environ.get("START_AFTER", "0")))
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn monolite(
    data: &Path,
    port: u16,
    options: &[&str],
    env: &[(&str, &str)],
    app: &[&str],
) -> Process {
    let binary = env!("CARGO_BIN_EXE_monolite");
    Process::serve(binary, data, port, options, app, |command| {
        command.envs(env.iter().copied());
    })
}

fn python(data: &Path, port: u16, options: &[&str], env: &[(&str, &str)]) -> Process {
    monolite(data, port, options, env, &["python3", "-c", APP])
}

/// The value behind `name=` in a log line.
fn field<'l>(line: &'l str, name: &str) -> &'l str {
    let (_, rest) = line.split_once(&format!("{name}=")).expect(name);
    rest.split_whitespace().next().expect(name)
}

fn alive(pid: &str) -> bool {
    // A zombie is dead, though it has a directory.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn requests_wait_for_a_slow_start_and_the_app_finds_its_database() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("START_AFTER", "0.7")]);
    run.line("app: begins");
    let answer = Browser::new(port).get("/").expect("held, then answered");
    assert_eq!(answer.status, 200);
    let expected = format!("sqlite:///{}/app.sqlite3", dir.path().display());
    assert!(answer.body.ends_with(&expected), "{}", answer.body);
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("app: asked to stop"), "{output}");
}

#[test]
fn an_app_that_dies_is_started_again_while_requests_wait() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[]);
    run.line("app healthy");
    let browser = Browser::new(port);
    let first = browser.get("/").expect("an answer").body;
    // A GET that kills the app is sent once more, and kills its successor too.
    let killed = browser.get("/die").expect("an answer");
    assert_eq!(killed.status, 502, "{}", killed.body);
    let second = browser.get("/").expect("held, then answered");
    assert_eq!(second.status, 200);
    assert_ne!(first, second.body);
}

#[test]
fn a_crash_loop_ends_with_the_last_lines_and_the_apps_code() {
    let (dir, port) = (disk_dir(), free_port());
    let app = ["sh", "-c", "echo the reason is here >&2; exit 9"];
    let (status, output) = monolite(dir.path(), port, &[], &[], &app).end();
    assert_eq!(status.code(), Some(9), "{output}");
    assert!(
        output.contains("the end of the app's output ---\nthe reason is here"),
        "{output}"
    );
    assert!(
        output.contains("exited with code 9, 5 times in a row"),
        "{output}"
    );
}

#[test]
fn a_restart_loses_no_request() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("START_AFTER", "0.3")]);
    run.line("app healthy");
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                let browser = Browser::new(port);
                while !done.load(Ordering::Relaxed) {
                    let answer = browser.get("/").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.body);
                }
            })
        })
        .collect();
    let mut apps = BTreeSet::new();
    let mut meet = || {
        let answer = Browser::new(port).get("/").expect("an answer");
        apps.insert(answer.body);
    };
    for n in 2..=3 {
        meet();
        run.signal(Signal::USR2);
        run.nth_line("app healthy", n);
    }
    meet();
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert_eq!(apps.len(), 3, "{apps:?}");
}

#[test]
fn stopping_answers_what_is_in_hand_and_exits_with_the_apps_code() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("EXIT_WITH", "7")]);
    run.line("app healthy");
    let slow = thread::spawn(move || Browser::new(port).get("/slow"));
    let health = Browser::new(port);
    wait_until("the slow request is inside", || {
        health
            .get("/_monolite/health")
            .is_ok_and(|h| h.body.contains("\"in_flight\":1"))
    });
    run.signal(Signal::INT);
    assert_eq!(
        slow.join().expect("no panic").expect("an answer").status,
        200
    );
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(7), "{output}");
}

#[test]
fn a_second_signal_hurries() {
    let (dir, port) = (disk_dir(), free_port());
    let options = ["--stop-timeout", "10m", "--drain-timeout", "10m"];
    let run = python(dir.path(), port, &options, &[("STUBBORN", "1")]);
    let app = field(&run.line("app started"), "pid").to_owned();
    run.line("app healthy");
    run.signal(Signal::TERM);
    run.line("stopping");
    wait_until("the port is closed", || {
        Browser::new(port).get("/").is_err()
    });
    // One within half a second counts as the first, told twice.
    thread::sleep(Duration::from_millis(600));
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!alive(&app));
}

#[test]
fn if_monolite_is_killed_the_app_dies_with_its_children() {
    let (dir, port) = (disk_dir(), free_port());
    let app = [
        "sh",
        "-c",
        "sleep 1000 & echo child $!; exec python3 -c \"$APP\"",
    ];
    let run = monolite(
        dir.path(),
        port,
        &[],
        &[("APP", APP), ("STUBBORN", "1")],
        &app,
    );
    let leader = field(&run.line("app started"), "pid").to_owned();
    let child = run
        .line("child ")
        .rsplit(' ')
        .next()
        .expect("a pid")
        .to_owned();
    run.line("app healthy");
    assert!(alive(&leader) && alive(&child));
    run.signal(Signal::KILL);
    wait_until("the app is gone", || !alive(&leader) && !alive(&child));
    let again = python(dir.path(), port, &[], &[]);
    again.line("app healthy");
}

#[test]
fn what_a_shell_leaves_behind_is_stopped_and_orphans_are_reaped() {
    let (dir, port) = (disk_dir(), free_port());
    // The shell does not pass the signal on; its children are our affair.
    let app = ["sh", "-c", "(sleep 0.01 &); python3 -c \"$APP\"; true"];
    let run = monolite(dir.path(), port, &[], &[("APP", APP)], &app);
    run.line("app healthy");
    let answer = Browser::new(port).get("/").expect("an answer").body;
    let server = answer.split(' ').next().expect("a pid").to_owned();
    let zombies = || {
        let output = std::process::Command::new("ps")
            .args(["--ppid", &run.pid().to_string(), "-o", "stat="])
            .output()
            .expect("ps");
        String::from_utf8_lossy(&output.stdout).contains('Z')
    };
    wait_until("no zombies", || !zombies());
    run.signal(Signal::TERM);
    let (_, output) = run.end();
    assert!(output.contains("app: asked to stop"), "{output}");
    assert!(!alive(&server));
}

#[test]
fn what_leaves_the_process_group_is_stopped_too() {
    let (dir, port) = (disk_dir(), free_port());
    let app = [
        "sh",
        "-c",
        "(setsid sleep 987 >/dev/null 2>&1 & echo stray $!); exec python3 -c \"$APP\"",
    ];
    let run = monolite(dir.path(), port, &[], &[("APP", APP)], &app);
    let stray = run
        .line("stray ")
        .rsplit(' ')
        .next()
        .expect("a pid")
        .to_owned();
    run.line("app healthy");
    assert!(alive(&stray));
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!alive(&stray));
}

#[test]
fn a_watchdog_that_is_killed_is_replaced() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[]);
    let app = field(&run.line("app started"), "pid").to_owned();
    run.line("app healthy");
    let children = format!("/proc/{0}/task/{0}/children", run.pid());
    let children = std::fs::read_to_string(children).expect("the kernel tells");
    let watchdog = children
        .split_whitespace()
        .find(|pid| *pid != app)
        .expect("a watchdog");
    let killed = std::process::Command::new("kill")
        .args(["-9", watchdog])
        .status();
    assert!(killed.expect("kill").success());
    run.line("another was started");
    run.signal(Signal::KILL);
    wait_until("the app is gone", || !alive(&app));
}

#[test]
fn a_stop_while_the_app_is_restarted_is_a_stop() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("STOP_AFTER", "1")]);
    run.line("app healthy");
    run.signal(Signal::USR2);
    run.line("app: asked to stop");
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(output.matches("app: begins").count(), 1, "{output}");
    assert!(
        !output.contains("killing"),
        "it is the first request: {output}"
    );
}

#[test]
fn nobody_reading_the_log_is_no_reason_to_stop() {
    let (dir, port) = (disk_dir(), free_port());
    // The reader takes one line and goes.
    let script = "exec 2> >(head -n1 >/dev/null); exec \"$0\" \"$@\"";
    let arguments = [
        "-c",
        script,
        env!("CARGO_BIN_EXE_monolite"),
        "run",
        "--bind",
        "127.0.0.1",
    ];
    let run = Process::start("bash", arguments, |command| {
        command
            .args(["--port", &port.to_string()])
            // A connection the browser has just left may be waited for.
            .args(["--drain-timeout", "5s", "--data"])
            .arg(dir.path());
        command
            .args(["--", "python3", "-c", APP])
            .env("MONOLITE_ALLOW", "persistent");
    });
    run.line("app: begins");
    let browser = Browser::new(port);
    for _ in 0..2 {
        assert_eq!(browser.get("/").expect("an answer").status, 200);
        run.signal(Signal::USR2);
    }
    run.nth_line("app: begins", 2);
    assert_eq!(browser.get("/").expect("an answer").status, 200);
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn the_migrate_command_runs_first_and_its_failure_stops_the_run() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(
        dir.path(),
        port,
        &["--migrate", "echo into $DATABASE_URL"],
        &[],
    );
    run.line("into sqlite:///");
    run.line("app healthy");
    drop(run);

    let (dir, port) = (disk_dir(), free_port());
    let options = ["--migrate", "echo broken migration; exit 4"];
    let (status, output) = python(dir.path(), port, &options, &[]).end();
    assert_eq!(status.code(), Some(4), "{output}");
    assert!(
        output.contains("broken migration") && !output.contains("app: begins"),
        "{output}"
    );
    assert!(
        output.contains("`echo broken migration; exit 4` exited with code 4"),
        "{output}"
    );
}

#[test]
fn an_app_that_never_gets_healthy_is_stopped_with_exit_1() {
    let (dir, port) = (disk_dir(), free_port());
    let options = ["--health-path", "/up", "--start-timeout", "700ms"];
    let app = ["sh", "-c", "echo waiting for godot; exec sleep 1000"];
    let run = monolite(dir.path(), port, &options, &[], &app);
    let app = field(&run.line("app started"), "pid").to_owned();
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("nothing listens on port"), "{output}");
    assert!(
        output.contains("/up") && output.contains("--health-path"),
        "{output}"
    );
    assert!(output.contains("output ---\nwaiting for godot"), "{output}");
    assert!(!alive(&app));
}

#[test]
fn what_cannot_be_started_is_named() {
    let (dir, port) = (disk_dir(), free_port());
    let (status, output) = monolite(dir.path(), port, &[], &[], &["no-such-program"]).end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains("`no-such-program`: no such command in PATH"),
        "{output}"
    );

    let plain = dir.path().join("plain.txt");
    std::fs::write(&plain, "x").expect("written");
    let plain = plain.to_str().expect("a plain path");
    let (status, output) = monolite(dir.path(), port, &[], &[], &[plain]).end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("chmod +x"), "{output}");
}

#[test]
fn a_port_in_use_and_a_volume_in_use_are_named() {
    let (dir, port) = (disk_dir(), free_port());
    let first = python(dir.path(), port, &[], &[]);
    first.line("app healthy");

    let other = disk_dir();
    let (status, output) = python(other.path(), port, &[], &[]).end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains(&format!("port {port} is in use")),
        "{output}"
    );

    let (status, output) = python(dir.path(), free_port(), &[], &[]).end();
    assert_eq!(status.code(), Some(3), "{output}");
    assert!(output.contains(&format!("pid {}", first.pid())), "{output}");
    assert!(output.contains(&format!("port {port}")), "{output}");

    assert_eq!(
        Browser::new(port).get("/").expect("undisturbed").status,
        200
    );
    drop(first);
    let next = python(dir.path(), port, &[], &[]);
    next.line("app healthy");
}

#[test]
fn waiting_is_bounded_and_says_when_to_come_again() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(
        dir.path(),
        port,
        &["--hold-timeout", "300ms"],
        &[("START_AFTER", "600")],
    );
    run.line("app: begins");
    let answer = Browser::new(port).get("/").expect("an answer");
    assert_eq!(answer.status, 503);
    assert!(answer.retry_after.is_some());
    // Held ones do not hold up the end either.
    run.signal(Signal::TERM);
    let (status, _) = run.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn json_logs_are_json_and_the_apps_output_is_untouched() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &["--log", "json"], &[]);
    run.line("app healthy");
    thread::sleep(Duration::from_millis(1));
    run.signal(Signal::TERM);
    let (_, output) = run.end();
    let (mut ours, mut apps) = (0, 0);
    for line in output.lines() {
        if line.starts_with('{') {
            let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(
                entry["message"].is_string() && entry["level"].is_string(),
                "{line}"
            );
            ours += 1;
        } else {
            assert!(
                ["app: begins", "app: asked to stop"].contains(&line),
                "{line}"
            );
            apps += 1;
        }
    }
    assert!(ours >= 4 && apps == 2, "{output}");
}
