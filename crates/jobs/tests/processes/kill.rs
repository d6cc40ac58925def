//! `kill -9` at any moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monolite_jobs::{JobId, Jobs, State, Unique};

use super::check::{check_invariants, check_the_end, dump};
use super::fixture::{Fixture, Process, SECOND, ms, number, prepare, task, until};
use super::worker::{Config, Task};

const KILLS: usize = 200;
const WORKERS: usize = 3;

/// What was promised to the one who enqueued.
#[derive(Debug, Default)]
struct Promised {
    /// Acknowledged.
    ids: HashSet<JobId>,
    /// To run at least once.
    tasks: HashSet<u64>,
    /// Failed attempts to come, by task.
    fails: HashMap<u64, u32>,
}

/// Enqueues all kinds of jobs until told to end.
async fn enqueue(jobs: Jobs, end: Arc<AtomicBool>) -> Promised {
    let mut promised = Promised::default();
    let mut n = 0;
    let mut next = move || {
        n += 1;
        n
    };
    while !end.load(Ordering::Relaxed) {
        let first = next();
        let mut job = task(first);
        job.ms = fastrand::u64(0..20);
        promised.tasks.insert(first);
        match fastrand::u32(0..10) {
            0 => {
                let second = next();
                promised.tasks.insert(second);
                let chain = prepare(&job).then(prepare(&task(second)));
                promised.ids.insert(jobs.push(chain).await.unwrap().id);
            }
            1 => {
                let numbers: Vec<u64> = (0..4).map(|_| next()).collect();
                let of_batch = numbers.iter().map(|n| prepare(&task(*n))).collect();
                let batch = jobs.push_batch(of_batch, Some(prepare(&job))).await;
                let ids = batch.unwrap().jobs;
                promised.ids.extend(ids);
                promised.tasks.extend(numbers);
            }
            2 => {
                let limited = prepare(&job).limit("narrow", 2);
                promised.ids.insert(jobs.push(limited).await.unwrap().id);
            }
            3 => {
                let unique = prepare(&job).unique(Unique::key("one"));
                let enqueued = jobs.push(unique).await.unwrap();
                promised.ids.insert(enqueued.id);
                if !enqueued.added {
                    promised.tasks.remove(&first);
                }
            }
            4 => {
                let delayed = prepare(&job).delay(ms(fastrand::u64(0..500)));
                promised.ids.insert(jobs.push(delayed).await.unwrap().id);
            }
            5 => {
                job.fails = 2;
                job.retry_ms = 100;
                promised.fails.insert(first, 2);
                promised.ids.insert(jobs.enqueue(job).await.unwrap());
            }
            6 => {
                let child = next();
                job.spawns = Some(child);
                promised.tasks.insert(child);
                promised.ids.insert(jobs.enqueue(job).await.unwrap());
            }
            7 => {
                // So many short ones that they are claimed in large numbers.
                promised.tasks.remove(&first);
                let numbers: Vec<u64> = (0..20).map(|_| next()).collect();
                let many = numbers.iter().map(|n| prepare(&task(*n))).collect();
                let many = jobs.push_many(many).await.unwrap();
                promised
                    .ids
                    .extend(many.into_iter().map(|enqueued| enqueued.id));
                promised.tasks.extend(numbers);
            }
            _ => {
                promised.ids.insert(jobs.enqueue(job).await.unwrap());
            }
        }
        tokio::time::sleep(ms(fastrand::u64(0..30))).await;
    }
    promised
}

/// Patient with jobs: here they are not to blame.
fn patient(fixture: &Fixture, name: &str) -> Config {
    Config {
        lease_ms: 400,
        max_crashes: u32::MAX,
        deadline_ms: 2000,
        ..fixture.config(name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_nothing() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let conn = fixture.conn();
    let end = Arc::new(AtomicBool::new(false));
    let enqueuing = tokio::spawn(enqueue(jobs, Arc::clone(&end)));
    let mut names = 0..;
    let mut start = || Process::start(&patient(&fixture, &format!("w{}", names.next().unwrap())));
    let mut workers: Vec<Process> = (0..WORKERS).map(|_| start()).collect();
    for kill in 0..KILLS {
        // Some of them die while they start.
        std::thread::sleep(ms(fastrand::u64(0..250)));
        let victim = fastrand::usize(0..WORKERS);
        std::mem::replace(&mut workers[victim], start()).kill();
        if kill % 10 == 0 {
            check_invariants(&conn);
        }
    }
    end.store(true, Ordering::Relaxed);
    let mut promised = enqueuing.await.unwrap();
    fixture.drained(60 * SECOND);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    // The last killed ones may have held nothing that was waited for.
    let sweeper = fixture.worker(&patient(&fixture, "sweeper"));
    until("all workers are gone", 10 * SECOND, || {
        number(
            &conn,
            "SELECT count(*) FROM _monolite_job_worker WHERE name <> 'sweeper'",
        ) == 0
    });
    sweeper.terminate(10 * SECOND);

    check_the_end(&conn);
    let mut statement = conn
        .prepare("SELECT id, state, run - excused, crashes, payload ->> 'n' FROM _monolite_job")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let row: (JobId, i64, u32, u32, i64) = (
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        );
        Ok(row)
    });
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    let known: HashSet<JobId> = rows.iter().map(|row| row.0).collect();
    let log = fixture.log();
    // A worker that enqueues and is killed after the answer counts as well.
    for line in log.iter().filter(|line| line.what == "pushed") {
        promised
            .ids
            .insert(JobId::from(line.number(1).cast_signed()));
    }
    let lost: Vec<_> = promised.ids.difference(&known).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let mut starts: HashMap<JobId, u32> = HashMap::new();
    let mut ended: HashSet<JobId> = HashSet::new();
    let mut ran: HashSet<u64> = HashSet::new();
    for line in &log {
        if line.what == "start" {
            *starts
                .entry(JobId::from(line.number(1).cast_signed()))
                .or_default() += 1;
            ran.insert(line.number(0));
        } else if line.what == "end" {
            ended.insert(JobId::from(line.number(1).cast_signed()));
        }
    }
    let never: Vec<_> = promised.tasks.difference(&ran).collect();
    assert!(never.is_empty(), "never ran: {never:?}");
    let mut crashes_in_all = 0;
    for (id, state, attempts, crashes, n) in rows {
        assert_eq!(state, 5, "job {id}: {}", dump(&conn));
        assert!(ended.contains(&id), "job {id} is done without having run");
        let fails = promised.fails.get(&(n as u64)).copied().unwrap_or(0);
        // A crash may have taken the fixture of a failure, for both count.
        assert!(attempts > crashes, "job {id}: {attempts} {crashes}");
        assert!(
            attempts <= crashes + fails + 1,
            "job {id}: {attempts} {crashes}"
        );
        assert!(attempts > fails, "job {id}: {attempts} attempts");
        assert!(
            starts[&id] <= attempts + 1,
            "job {id} ran more often than it says"
        );
        crashes_in_all += crashes;
    }
    assert!(crashes_in_all > 0, "nobody was killed at work");
    // Each chain and each batch went on exactly once.
    let twice = "SELECT count(*) FROM (SELECT 1 FROM _monolite_job j
        WHERE NOT EXISTS (SELECT 1 FROM _monolite_job p
            WHERE p.payload ->> 'spawns' = j.payload ->> 'n')
        GROUP BY payload ->> 'n' HAVING count(*) > 1)";
    assert_eq!(number(&conn, twice), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_worker_is_dead_and_its_neighbours_are_not() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let poison = Task {
        kills: u32::MAX,
        ms: 10,
        ..task(1)
    };
    let config = |round| Config {
        lease_ms: 400,
        max_crashes: 3,
        ..fixture.config(&format!("w{round}"))
    };
    let beside = Task { ms: 300, ..task(2) };
    let mut neighbours = Vec::new();
    for _ in 0..7 {
        neighbours.push(jobs.enqueue(beside.clone()).await.unwrap());
    }
    let id = jobs.enqueue(poison).await.unwrap();
    // One more than it may kill: the last one finds it dead and lives.
    for round in 1..=3 {
        Process::start(&config(round)).ended(20 * SECOND);
        for _ in 0..7 {
            neighbours.push(jobs.enqueue(beside.clone()).await.unwrap());
        }
        if round < 3 {
            let job = jobs.get(id).await.unwrap().unwrap();
            assert!(!job.state.is_final(), "after {round}: {job:?}");
        }
    }
    let last = fixture.worker(&config(4));
    let job = jobs.wait(id, 20 * SECOND).await.unwrap();
    assert_eq!((job.state, job.crashes, job.attempts), (State::Dead, 3, 3));
    assert_eq!(fixture.starts(1).len(), 3);
    assert!(job.error.unwrap().contains("died"));
    for id in neighbours {
        let job = jobs.wait(id, 20 * SECOND).await.unwrap();
        assert_eq!(job.state, State::Done, "{job:?}");
    }
    last.terminate(10 * SECOND);
    check_the_end(&fixture.conn());
}

/// One attempt is what was allowed; but it must have been made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_one_attempt_has_it_though_its_worker_was_killed_before() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let config = |name: &str| Config {
        queues: vec![("default".into(), 1)],
        lease_ms: 400,
        ..fixture.config(name)
    };
    // Short ones first: then more is claimed than runs at once.
    let mut many: Vec<_> = (0..200).map(|n| prepare(&task(n))).collect();
    many.push(prepare(&Task {
        kills: 1,
        ..task(1000)
    }));
    many.extend((0..200).map(|n| prepare(&task(2000 + n)).max_attempts(1)));
    let ids = jobs.push_many(many).await.unwrap();
    Process::start(&config("killed")).ended(20 * SECOND);
    let next = fixture.worker(&config("next"));
    let mut never = Vec::new();
    for (place_of, enqueued) in ids.iter().enumerate() {
        let job = jobs
            .wait(enqueued.id, Duration::from_secs(20))
            .await
            .unwrap();
        if job.state != State::Done {
            never.push((place_of, job.state, job.attempts, job.crashes));
        }
    }
    next.terminate(10 * SECOND);
    assert!(never.is_empty(), "given up without having run: {never:?}");
}
