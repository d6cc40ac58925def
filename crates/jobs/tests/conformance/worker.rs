//! Starting, sharing and stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite_jobs::{Event, JobId, NewJob, State};
use tokio::sync::Semaphore;

use crate::{Fixture, note};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn no_more_run_at_once_than_a_queue_has_places() {
    let fixture = Fixture::new().await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    for queue in ["a", "b"] {
        for _ in 0..20 {
            fixture.push(NewJob::raw("wait", "1").queue(queue)).await;
        }
    }
    let (counted, highest, held) = (running.clone(), most.clone(), gate.clone());
    let worker = fixture.jobs.worker().queue("a", 3).queue("b", 4);
    let worker = worker.handler("wait", move |_| {
        let (counted, highest, held) = (counted.clone(), highest.clone(), held.clone());
        async move {
            let now = counted.fetch_add(1, Ordering::SeqCst) + 1;
            highest.fetch_max(now, Ordering::SeqCst);
            held.acquire().await?.forget();
            counted.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let worker = worker.start().await.unwrap();
    while running.load(Ordering::SeqCst) < 7 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gate.add_permits(40);
    for id in (1..=40).map(JobId::from) {
        fixture.jobs.wait(id, LONG).await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 7);
    worker.shutdown(LONG).await;
}

#[tokio::test]
async fn a_shutdown_lets_jobs_finish_and_hands_the_rest_back() {
    let fixture = Fixture::new().await;
    let finishes = fixture.push(NewJob::raw("finishes", "1")).await;
    let hangs = fixture
        .push(NewJob::raw("hangs", "1").max_attempts(1))
        .await;
    let unstarted = fixture.push(note("unstarted")).await;
    let started = Arc::new(Semaphore::new(0));
    let stopping = Arc::new(Semaphore::new(0));
    let events = crate::Log::default();
    let (log, first, stop) = (events.clone(), started.clone(), stopping.clone());
    let second = started.clone();
    let worker = fixture.jobs.worker().queue("default", 2);
    let worker = worker
        .observe(move |event| {
            if let Event::Stopped { interrupted, .. } = event {
                log.push(&format!("{interrupted} interrupted"));
            }
        })
        .handler("finishes", move |_| {
            let (started, stop) = (first.clone(), stop.clone());
            async move {
                started.add_permits(1);
                stop.acquire().await?.forget();
                Ok(())
            }
        })
        .handler("hangs", move |_| {
            let started = second.clone();
            async move {
                started.add_permits(1);
                std::future::pending::<()>().await;
                Ok(())
            }
        });
    let worker = worker.start().await.unwrap();
    started.acquire_many(2).await.unwrap().forget();
    // First told to stop: the fixture that gets free is not for another job.
    let mut shutdown = Box::pin(worker.shutdown(Duration::from_millis(300)));
    tokio::select! {
        () = &mut shutdown => panic!("it did not wait"),
        () = tokio::time::sleep(Duration::from_millis(100)) => stopping.add_permits(1),
    }
    shutdown.await;
    assert_eq!(fixture.state(finishes).await, State::Done);
    assert_eq!(fixture.state(hangs).await, State::Ready);
    assert_eq!(fixture.state(unstarted).await, State::Ready);
    assert_eq!(events.take(), ["1 interrupted"]);
    // It had one attempt, and still has.
    assert_eq!(fixture.jobs.get(hangs).await.unwrap().unwrap().attempts, 0);
}

#[tokio::test]
async fn a_dropped_worker_hands_everything_back() {
    let fixture = Fixture::new().await;
    let id = fixture.push(NewJob::raw("hangs", "1")).await;
    let (started_tx, mut started) = tokio::sync::mpsc::unbounded_channel();
    let worker = fixture.jobs.worker().handler("hangs", move |_| {
        let started = started_tx.clone();
        async move {
            started.send(())?;
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    let worker = worker.start().await.unwrap();
    started.recv().await.unwrap();
    drop(worker);
    while fixture.state(id).await != State::Ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn workers_share_a_queue_and_run_each_job_once() {
    let fixture = Fixture::new().await;
    let many = (0..500).map(|n| note(&n.to_string())).collect();
    fixture.jobs.push_many(many).await.unwrap();
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(fixture.worker().queue("default", 5).start().await.unwrap());
    }
    for id in (1..=500).map(JobId::from) {
        fixture.jobs.wait(id, LONG).await.unwrap();
    }
    for worker in workers {
        worker.shutdown(LONG).await;
    }
    let mut ran: Vec<i32> = fixture
        .log
        .take()
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_event_is_told_in_order() {
    let fixture = Fixture::new().await;
    fixture.push(note("a").max_attempts(1)).await;
    let log = crate::Log::default();
    let told = log.clone();
    let worker = fixture.worker().observe(move |event| {
        told.push(
            match event {
                Event::Claimed { count, .. } => format!("claimed {count}"),
                Event::Started { job, .. } => format!("started {} {}", job.id, job.attempt),
                Event::Ended { job, state, .. } => format!("ended {} {state}", job.id),
                Event::Stopped { .. } => "stopped".into(),
                other => format!("{other:?}"),
            }
            .as_str(),
        );
    });
    worker.run_due().await.unwrap();
    assert_eq!(
        log.take(),
        ["claimed 1", "started 1 1", "ended 1 done", "stopped"]
    );
}

#[tokio::test]
async fn a_queue_named_twice_is_refused() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker().queue("a", 1).queue("a", 2);
    assert!(worker.start().await.is_err());
}
