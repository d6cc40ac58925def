//! More than one process: a Procfile, workers that die, hang and resist, and the end of them all.

use std::path::Path;
use std::time::{Duration, Instant};

use monolite_testkit::{Browser, Outcome, Process, Signal, disk_dir, free_port, wait_until};

/// A web of a few lines: answers, and takes half a second for `/slow`.
const WEB: &str = r#"
import http.server, os, signal, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die": os._exit(7)
        if self.path == "/slow":
            print("slow: begins", flush=True)
            time.sleep(1)
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/slow": print("slow: answered", flush=True)
    def log_message(self, *args): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
def stop(*_):
    print("asked to stop", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// A volume that is also the app's directory, with a Procfile: the web, and `workers`.
fn app(workers: &str) -> tempfile::TempDir {
    let dir = disk_dir();
    std::fs::write(dir.path().join("web.py"), WEB).expect("written");
    let procfile = format!("web: exec python3 web.py\n{workers}\n");
    std::fs::write(dir.path().join("Procfile"), procfile).expect("written");
    dir
}

fn run(dir: &Path, port: u16, options: &[&str]) -> Process {
    let binary = env!("CARGO_BIN_EXE_monolite");
    let port = port.to_string();
    let fixed = ["run", "--bind=127.0.0.1", "--port", &port, "--data", "."];
    let arguments = fixed.iter().chain(options);
    Process::start(binary, arguments, |command| {
        command
            .current_dir(dir)
            .env("MONOLITE_ALLOW", "persistent")
            .env_remove("DATABASE_URL");
    })
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

fn health(port: u16) -> serde_json::Value {
    let page = Browser::new(port).get("/_monolite/health").expect("a page");
    serde_json::from_str(&page.body).expect("JSON")
}

fn kill(pid: &str) {
    let pid = pid.parse().expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("killed");
}

#[test]
fn a_procfile_runs_release_first_then_all_with_prefix_and_own_environment() {
    let workers = "release: echo released for $MONOLITE_PROCESS\n\
                   mailer: echo ready as $MONOLITE_PROCESS q=$QUEUE port=${PORT:+own}; exec sleep 1000";
    let (dir, port) = (app(workers), free_port());
    let toml = "[processes.mailer]\nenv = { QUEUE = 'mail' }\n\
                [processes]\nclock = ['sh', '-c', 'printf half; sleep 0.2; echo \" line\"; exec sleep 1000']\n";
    let toml = toml.split_once("[processes]").expect("two tables");
    std::fs::write(
        dir.path().join("monolite.toml"),
        format!("[processes]{}{}", toml.1, toml.0),
    )
    .expect("written");
    let run = run(dir.path(), port, &[]);
    run.line("release | released for release");
    run.line("mailer | ready as mailer q=mail port=own");
    run.line("clock  | half line");
    run.line("app healthy");
    let output = run.output();
    let at = |text: &str| output.find(text).expect(text);
    assert!(at("released for") < at("ready as"), "{output}");
    wait_until("all run", || {
        let parts = health(port)["parts"]["processes"].clone();
        parts["facts"]["mailer"]["state"] == "running"
            && parts["facts"]["clock"]["state"] == "running"
    });
    assert_eq!(health(port)["parts"]["processes"]["status"], "ok");
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("web    | asked to stop"), "{output}");
}

#[test]
fn a_worker_that_is_killed_is_started_again_and_the_web_goes_on() {
    let worker = "worker: (setsid sleep 1000 >/dev/null 2>&1 & echo stray $!); exec sleep 1000";
    let (dir, port) = (app(worker), free_port());
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    let web = Browser::new(port).get("/").expect("an answer").body;
    let started = run.line("process=\"worker\" pid=");
    let stray = run
        .line("| stray ")
        .rsplit(' ')
        .next()
        .expect("pid")
        .to_owned();
    kill(field(&started, "pid"));
    let died = run.line("has died; the web goes on");
    assert!(died.contains("was killed by signal 9"), "{died}");
    run.nth_line("process=\"worker\" pid=", 2);
    // What it left behind would work next to its successor.
    assert!(!alive(&stray));
    let again = Browser::new(port).get("/").expect("an answer").body;
    assert_eq!(web, again, "the same process");
    assert_eq!(
        health(port)["parts"]["processes"]["facts"]["worker"]["restarts"],
        1
    );
}

#[test]
fn the_death_of_the_web_leaves_the_workers_alone() {
    // Both have a process that left its group.
    let worker = "worker: (setsid sleep 1000 >/dev/null 2>&1 & echo stray $!); exec sleep 1000";
    let (dir, port) = (app(worker), free_port());
    let web = "web: (setsid sleep 1000 >/dev/null 2>&1 & echo of the web $!); exec python3 web.py";
    let procfile = format!("{web}\n{worker}\n");
    std::fs::write(dir.path().join("Procfile"), procfile).expect("written");
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    let last = |line: &str| line.rsplit(' ').next().expect("pid").to_owned();
    let of_worker = last(&run.line("| stray "));
    let of_web = last(&run.line("| of the web "));
    let worker = field(&run.line("process=\"worker\" pid="), "pid").to_owned();
    let web = field(&run.line("app started"), "pid").to_owned();
    kill(&web);
    run.nth_line("app healthy", 2);
    assert!(alive(&worker) && alive(&of_worker));
    assert!(!alive(&of_web), "it stood in the way of the next one");
    run.signal(Signal::TERM);
    let (_, output) = run.end();
    assert!(!alive(&worker) && !alive(&of_worker), "{output}");
}

#[test]
fn a_worker_that_never_starts_is_in_a_loop_and_named() {
    let (dir, port) = (
        app("broken: no-such-program-7\nfine: exec sleep 1000"),
        free_port(),
    );
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    run.line("broken | ");
    let line = run.line("dies again and again");
    assert!(
        line.contains("process=\"broken\"") && line.contains("code 127"),
        "{line}"
    );
    let page = health(port);
    assert_eq!(page["status"], "degraded", "{page}");
    let reason = page["parts"]["processes"]["reason"]
        .as_str()
        .expect("a reason");
    assert!(
        reason.starts_with("broken is in a restart loop: exited with code 127, "),
        "{reason}"
    );
    assert!(!reason.contains("fine"), "{reason}");
    let answer = Browser::new(port).get("/").expect("an answer");
    assert_eq!(answer.status, 200);
    // A worker that waits for its next start does not hold up the end.
    let began = Instant::now();
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(began.elapsed() < Duration::from_secs(8), "{output}");
}

#[test]
fn a_restart_policy_is_kept() {
    let (dir, port) = (app(""), free_port());
    let toml = "[processes]\n\
        [processes.once]\ncommand = 'echo once'\nrestart = 'never'\n\
        [processes.seed]\ncommand = 'echo seeded'\nrestart = 'on-failure'\n\
        [processes.flaky]\ncommand = 'test -e tried && exec sleep 1000; touch tried; exit 3'\nrestart = 'on-failure'\n\
        [processes.failed]\ncommand = 'exit 4'\nrestart = 'never'\n";
    std::fs::write(dir.path().join("monolite.toml"), toml).expect("written");
    // The file has no web, so the Procfile is read, too.
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    wait_until("each has come to its end", || {
        let facts = health(port)["parts"]["processes"]["facts"].clone();
        let state = |name: &str| facts[name]["state"].as_str().map(str::to_owned);
        let ended = |name: &str| state(name).as_deref() == Some("ended");
        ended("once")
            && ended("seed")
            && ended("failed")
            && state("flaky").as_deref() == Some("running")
            && facts["flaky"]["restarts"] == 1
    });
    let reasons = health(port)["reasons"].to_string();
    assert!(
        reasons.contains("failed has failed: exited with code 4"),
        "{reasons}"
    );
    assert!(
        !reasons.contains("seed") && !reasons.contains("once"),
        "{reasons}"
    );
    let output = run.output();
    assert_eq!(output.matches("| once").count(), 1, "{output}");
    assert_eq!(output.matches("| seeded").count(), 1, "{output}");
}

#[test]
fn requests_finish_before_the_workers_are_asked_to_stop() {
    let worker = "worker: trap 'echo worker asked; exit 0' TERM; while :; do sleep 0.05; done";
    let (dir, port) = (app(worker), free_port());
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    let slow = std::thread::spawn(move || Browser::new(port).get("/slow"));
    run.line("slow: begins");
    run.signal(Signal::TERM);
    let answer = slow.join().expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    let at = |text: &str| output.find(text).expect(text);
    assert!(at("slow: answered") < at("worker asked"), "{output}");
}

#[test]
fn a_worker_that_ignores_the_signal_is_killed_after_its_own_stop_timeout() {
    let stubborn = "trap '' TERM; while :; do sleep 0.05; done";
    let (dir, port) = (app(""), free_port());
    let toml =
        format!("[processes.stubborn]\ncommand = \"\"\"{stubborn}\"\"\"\nstop_timeout = '700ms'\n");
    std::fs::write(dir.path().join("monolite.toml"), toml).expect("written");
    let run = run(dir.path(), port, &["--stop-timeout", "10m"]);
    run.line("app healthy");
    let pid = field(&run.line("process=\"stubborn\" pid="), "pid").to_owned();
    run.signal(Signal::TERM);
    let line = run.line("did not stop in time, killing it");
    assert!(line.contains("process=\"stubborn\" after_ms=700"), "{line}");
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!alive(&pid));
}

#[test]
fn asked_again_all_are_killed_at_once() {
    let stubborn = "worker: trap '' TERM; while :; do sleep 0.05; done";
    let (dir, port) = (app(stubborn), free_port());
    let run = run(dir.path(), port, &["--stop-timeout", "10m"]);
    run.line("app healthy");
    let pid = field(&run.line("process=\"worker\" pid="), "pid").to_owned();
    run.signal(Signal::TERM);
    run.line("web    | asked to stop");
    // One within half a second counts as the first, sent twice.
    std::thread::sleep(Duration::from_millis(600));
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("asked again: killing the app"), "{output}");
    assert!(!alive(&pid));
}

#[test]
fn if_monolite_is_killed_nothing_is_left_of_twenty_processes() {
    // Each with a child in its group, and one that left it.
    let line = |n| {
        format!(
            "w{n}: (setsid sleep 1000 >/dev/null 2>&1 & echo pid $!); sleep 1000 & echo pid $!; exec sleep 1000\n"
        )
    };
    let workers: String = (1..20).map(line).collect();
    let (dir, port) = (app(&workers), free_port());
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    run.nth_line("| pid ", 2 * 19);
    run.nth_line("started process=\"w", 19);
    let output = run.output();
    let mut pids: Vec<String> = output
        .lines()
        .filter(|line| line.contains("| pid "))
        .map(|line| line.rsplit(' ').next().expect("a pid").to_owned())
        .collect();
    let leaders = output.lines().filter(|line| line.contains(" pid="));
    pids.extend(leaders.map(|line| field(line, "pid").to_owned()));
    assert_eq!(pids.len(), 3 * 19 + 1, "{output}");
    assert!(pids.iter().all(|pid| alive(pid)), "{output}");
    run.signal(Signal::KILL);
    wait_until("all are gone", || !pids.iter().any(|pid| alive(pid)));
    // The same again, stopped as it should be.
    let again = self::run(dir.path(), port, &[]);
    again.line("app healthy");
    again.nth_line("started process=\"w", 19);
    again.signal(Signal::TERM);
    let (status, output) = again.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn a_restart_restarts_the_workers_too() {
    let worker =
        "worker: trap 'echo worker asked; exit 0' TERM; echo begins; while :; do sleep 0.05; done";
    let (dir, port) = (app(worker), free_port());
    let run = run(dir.path(), port, &[]);
    run.line("app healthy");
    run.line("worker | begins");
    run.signal(Signal::USR2);
    run.nth_line("app healthy", 2);
    run.nth_line("worker | begins", 2);
    let output = run.output();
    assert_eq!(output.matches("worker asked").count(), 1, "{output}");
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn a_web_that_is_given_up_stops_the_workers() {
    let worker = "worker: trap 'echo worker asked; exit 0' TERM; while :; do sleep 0.05; done";
    let (dir, port) = (app(worker), free_port());
    let procfile = format!("web: exit 9\n{worker}\n");
    std::fs::write(dir.path().join("Procfile"), procfile).expect("written");
    let run = run(dir.path(), port, &[]);
    let pid = field(&run.line("process=\"worker\" pid="), "pid").to_owned();
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(9), "{output}");
    assert!(output.contains("worker asked"), "{output}");
    assert!(!alive(&pid));
}

#[test]
fn what_no_run_can_have_is_refused_with_the_line() {
    let dir = disk_dir();
    let refused = |procfile: &str, words: &[&str]| {
        std::fs::write(dir.path().join("Procfile"), procfile).expect("written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_monolite"));
        command.args(["run", "--data", "."]).current_dir(dir.path());
        Outcome::of(&mut command).is_refused(2, words);
    };
    refused("web x", &["Procfile, line 1: expected `NAME: COMMAND`"]);
    refused(
        "web: x\nwork er: y",
        &["Procfile, line 2: the name of a process"],
    );
    refused(
        "web: x\nweb: y",
        &["Procfile, line 2: `web` is there twice"],
    );
    refused("worker: x", &["has no line `web: COMMAND`"]);
    refused("", &["has no line `web: COMMAND`"]);
}
