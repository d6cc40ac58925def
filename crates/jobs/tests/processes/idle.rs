//! What a worker costs that has nothing to do, and how soon it starts.

use rustix::process::Signal;

use super::check::check_the_end;
use super::fixture::{Fixture, Process, SECOND, ms, task};
use super::worker::{Config, Task};

const WATCHED_MS: u64 = 4000;

/// After a commit the store looks for one that was not yet visible, at
/// doubling pauses; and a thread of the runtime may be late to go to sleep.
const WAKE_UPS_MAX: u64 = 12;

/// How often its threads have gone to sleep, and its calls of read and write.
fn activity(process: &Process) -> (u64, u64) {
    let root = format!("/proc/{}", process.id());
    let field = |path: &str, name: &str| -> u64 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    let tasks = std::fs::read_dir(format!("{root}/task")).unwrap();
    let switches = tasks.map(|task| {
        let status = task.unwrap().path().join("status");
        field(status.to_str().unwrap(), "voluntary_ctxt_switches:")
    });
    let io = format!("{root}/io");
    let calls = field(&io, "syscr:") + field(&io, "syscw:");
    (switches.sum(), calls)
}

fn check_idle(what: &str, processes: &[Process]) {
    std::thread::sleep(ms(1500));
    let before: Vec<_> = processes.iter().map(activity).collect();
    std::thread::sleep(ms(WATCHED_MS));
    for (process, before) in processes.iter().zip(before) {
        let after = activity(process);
        let (switches, calls) = (after.0 - before.0, after.1 - before.1);
        assert!(
            switches <= WAKE_UPS_MAX && calls <= WAKE_UPS_MAX,
            "{what}: {switches} wake-ups and {calls} reads and writes in {WATCHED_MS} ms",
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_workers_ask_nothing_and_start_at_once() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    // A lease so short that any upkeep for it would be seen.
    let config = |name: &str| Config {
        lease_ms: 300,
        ..fixture.config(name)
    };
    let workers = ["a", "b"].map(|name| fixture.worker(&config(name)));
    check_idle("after their start", &workers);

    let mut waits = Vec::new();
    for n in 1..=50 {
        let before = super::worker::steady_us();
        jobs.enqueue(task(n)).await.unwrap();
        let start = fixture.wait_start(n, 10 * SECOND);
        waits.push(start.us.saturating_sub(before));
    }
    waits.sort_unstable();
    // Generous: it is the absence of a poll that is to be seen.
    assert!(waits[25] < 50_000, "µs from enqueue to start: {waits:?}");
    check_idle("after work", &workers);

    // Jobs that wait for what does not come are no work.
    jobs.pause("default").await.unwrap();
    jobs.enqueue(task(100)).await.unwrap();
    check_idle("with a paused queue", &workers);
    jobs.resume("default").await.unwrap();
    fixture.wait_start(100, 10 * SECOND);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    check_the_end(&fixture.conn());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_rate_is_no_work() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    jobs.rate_limit("default", Some((1, 60 * SECOND)))
        .await
        .unwrap();
    let worker = fixture.worker(&fixture.config("a"));
    for n in 1..=3 {
        jobs.enqueue(task(n)).await.unwrap();
    }
    fixture.wait_start(1, 10 * SECOND);
    let workers = [worker];
    check_idle("with jobs that a rate holds back", &workers);
    assert_eq!(fixture.logged("start").len(), 1);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
}

/// Suspects run one at a time: the next one waits, and is not asked for again
/// and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_that_waits_for_another_is_no_work() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let config = |name: &str| Config {
        lease_ms: 1000,
        ..fixture.config(name)
    };
    let first = fixture.worker(&config("first"));
    let mut ids = Vec::new();
    for n in 1..=3 {
        let job = Task {
            ms: 60_000,
            ..task(n)
        };
        ids.push(jobs.enqueue(job).await.unwrap());
        fixture.wait_start(n, 10 * SECOND);
    }
    first.kill();
    // A lease that is long, so that its renewals are few.
    let second = fixture.worker(&Config {
        lease_ms: 60_000,
        deadline_ms: 0,
        ..fixture.config("second")
    });
    let started = || fixture.logged("start").len();
    super::fixture::until("a suspect runs", 10 * SECOND, || started() == 4);
    let workers = [second];
    check_idle("with a suspect at work", &workers);
    assert_eq!(started(), 4);
    workers[0].signal(Signal::TERM);
    for mut worker in workers {
        assert!(worker.ended(10 * SECOND).success());
    }
}
