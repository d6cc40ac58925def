//! A heartbeat over an engine that commits when it is told to.

use std::future::Future;
use std::task::{Context, Waker};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::*;
use crate::handle::engine::Commits;
use crate::outbox::RowKey;
use crate::{Ask, Bounds, Member, MessageId, NewMessage, Page};

const LEASE: LeaseId = LeaseId(7);
/// Beats are a third of this apart: none comes by itself within `LONG`.
const LEASE_TIME: Duration = Duration::from_secs(120);
const LONG: Duration = Duration::from_secs(20);

/// Answers leaves and beats only as far as the test allows it.
#[derive(Debug)]
struct Gated {
    leaves: Mutex<Vec<Vec<i64>>>,
    /// One for each leave that may be committed.
    allowed: Semaphore,
    failing_leaves: Mutex<u32>,
    failing_beats: Mutex<u32>,
    beaten: Notify,
}

impl Gated {
    fn heartbeat(allowed: usize) -> (Arc<Self>, Arc<Heartbeat>) {
        Self::heartbeat_for(LEASE_TIME, allowed)
    }

    fn heartbeat_for(lease_time: Duration, allowed: usize) -> (Arc<Self>, Arc<Heartbeat>) {
        let engine = Arc::new(Self {
            leaves: Mutex::default(),
            allowed: Semaphore::new(allowed),
            failing_leaves: Mutex::default(),
            failing_beats: Mutex::default(),
            beaten: Notify::new(),
        });
        let heartbeat = Heartbeat::new(Arc::clone(&engine) as Arc<dyn Engine>, lease_time);
        (engine, Arc::new(heartbeat))
    }

    fn committed(&self) -> Vec<Vec<i64>> {
        self.leaves.lock().unwrap().clone()
    }

    async fn commits_are(&self, count: usize) {
        let all = async {
            while self.committed().len() < count {
                tokio::task::yield_now().await;
            }
        };
        let all = tokio::time::timeout(LONG, all).await;
        all.expect("the task takes them out");
    }
}

/// Counts down; an error until it has.
fn fails(left: &Mutex<u32>) -> Result<()> {
    let mut left = left.lock().unwrap();
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err(Error::Sqlite {
        what: "write",
        source: rusqlite::Error::InvalidQuery,
    })
}

fn no<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(async { Err(Error::NoOutbox) })
}

impl Engine for Gated {
    fn lease(&self) -> Answer<'_, LeaseId> {
        Box::pin(async { Ok(LEASE) })
    }
    fn beat(&self, _: LeaseId) -> Answer<'_, ()> {
        Box::pin(async {
            fails(&self.failing_beats)?;
            self.beaten.notify_one();
            Ok(())
        })
    }
    fn leave(&self, lease: LeaseId, slots: Vec<i64>) -> Answer<'_, ()> {
        assert_eq!(lease, LEASE);
        Box::pin(async move {
            self.allowed.acquire().await.unwrap().forget();
            fails(&self.failing_leaves)?;
            self.leaves.lock().unwrap().push(slots);
            Ok(())
        })
    }
    fn next_expiry_ms(&self) -> Answer<'_, Option<i64>> {
        Box::pin(async { Ok(None) })
    }
    fn release(&self, _: LeaseId) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn close_blocking(&self) {}

    fn publish(&self, _: NewMessage) -> Answer<'_, MessageId> {
        no()
    }
    fn publish_blocking(&self, _: NewMessage) -> Result<MessageId> {
        Err(Error::NoOutbox)
    }
    fn publish_many(&self, _: Vec<NewMessage>) -> Answer<'_, Vec<MessageId>> {
        no()
    }
    fn bounds(&self) -> Answer<'_, Bounds> {
        no()
    }
    fn tail(&self, _: Ask) -> Answer<'_, Page> {
        no()
    }
    fn page(&self, _: Ask) -> Answer<'_, Page> {
        no()
    }
    fn commits(&self) -> Result<Box<dyn Commits>> {
        Err(Error::NoOutbox)
    }
    fn take_in(&self, _: Arc<Mutex<Connection>>) -> Answer<'_, Vec<RowKey>> {
        no()
    }
    fn reap(&self) -> Answer<'_, ()> {
        no()
    }
    fn join(&self, _: LeaseId, _: Vec<Slot>) -> Answer<'_, ()> {
        no()
    }
    fn update(&self, _: LeaseId, _: Slot) -> Answer<'_, ()> {
        no()
    }
    fn members(&self, _: String) -> Answer<'_, Vec<Member>> {
        no()
    }
    fn roster(&self, _: String) -> Answer<'_, (Bounds, Vec<Member>)> {
        no()
    }
}

/// One poll: it must wait.
fn waits<F: Future>(future: std::pin::Pin<&mut F>) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.poll(&mut context).is_pending());
}

#[tokio::test]
async fn a_leave_dropped_while_another_takes_the_lease_is_not_lost() {
    let (engine, heartbeat) = Gated::heartbeat(1);
    heartbeat.lease().await.unwrap();
    heartbeat.held().leaving.extend([1, 2]);
    let taken = heartbeat.lease.lock().await;
    let mut leave = Box::pin(heartbeat.remove_leaving());
    waits(leave.as_mut());
    drop(leave);
    drop(taken);
    heartbeat.remove_leaving().await.unwrap();
    assert_eq!(engine.committed(), [[1, 2]]);
}

#[tokio::test]
async fn a_leave_dropped_or_failed_in_the_write_is_not_lost() {
    let (engine, heartbeat) = Gated::heartbeat(0);
    heartbeat.lease().await.unwrap();
    heartbeat.held().leaving.push(1);
    let mut leave = Box::pin(heartbeat.remove_leaving());
    waits(leave.as_mut());
    heartbeat.held().leaving.push(2);
    drop(leave);
    engine.allowed.add_permits(2);
    *engine.failing_leaves.lock().unwrap() = 1;
    heartbeat.remove_leaving().await.unwrap_err();
    heartbeat.remove_leaving().await.unwrap();
    let mut committed = engine.committed();
    committed.iter_mut().for_each(|slots| slots.sort_unstable());
    assert_eq!(committed, [[1, 2]]);
    assert!(heartbeat.held().leaving.is_empty());
}

#[tokio::test]
async fn a_leave_that_another_writes_is_answered_once_that_is_committed() {
    let (engine, heartbeat) = Gated::heartbeat(0);
    heartbeat.lease().await.unwrap();
    heartbeat.held().leaving.push(1);
    let mut first = Box::pin(heartbeat.remove_leaving());
    waits(first.as_mut());
    let mut second = Box::pin(heartbeat.remove_leaving());
    waits(second.as_mut());
    // The first is dropped: the second writes it.
    drop(first);
    engine.allowed.add_permits(1);
    second.await.unwrap();
    assert_eq!(engine.committed(), [[1]]);
}

#[tokio::test]
async fn a_leave_put_back_is_done_by_the_task() {
    let (engine, heartbeat) = Gated::heartbeat(0);
    heartbeat.lease().await.unwrap();
    heartbeat.held().slots.insert(9, slot(9));
    heartbeat.held().leaving.push(1);
    let mut leave = Box::pin(heartbeat.remove_leaving());
    waits(leave.as_mut());
    let task = tokio::spawn(Heartbeat::run(Arc::clone(&heartbeat)));
    drop(leave);
    engine.allowed.add_permits(1);
    engine.commits_are(1).await;
    // Idle until the next beat: it is told of what a caller puts back.
    heartbeat.held().leaving.push(2);
    let mut leave = Box::pin(heartbeat.remove_leaving());
    waits(leave.as_mut());
    drop(leave);
    engine.allowed.add_permits(1);
    engine.commits_are(2).await;
    assert_eq!(engine.committed(), [[1], [2]]);
    task.abort();
}

#[tokio::test]
async fn a_leave_that_is_polled_no_more_keeps_nobody_from_being_present() {
    let (engine, heartbeat) = Gated::heartbeat_for(Duration::from_millis(300), 0);
    heartbeat.lease().await.unwrap();
    heartbeat.held().slots.insert(9, slot(9));
    heartbeat.held().leaving.push(1);
    let mut leave = Box::pin(heartbeat.remove_leaving());
    waits(leave.as_mut());
    let task = tokio::spawn(Heartbeat::run(Arc::clone(&heartbeat)));
    for _ in 0..3 {
        tokio::time::timeout(LONG, engine.beaten.notified())
            .await
            .expect("beats go on");
    }
    // So can others join.
    let lease = tokio::time::timeout(LONG, heartbeat.lease()).await;
    assert_eq!(lease.expect("the lease is free").unwrap(), LEASE);
    task.abort();
    drop(leave);
    assert_eq!(heartbeat.held().leaving, [1]);
}

#[tokio::test]
async fn a_beat_that_failed_is_tried_again_soon() {
    let (engine, heartbeat) = Gated::heartbeat(0);
    heartbeat.held().slots.insert(1, slot(1));
    *engine.failing_beats.lock().unwrap() = 2;
    let task = tokio::spawn(Heartbeat::run(Arc::clone(&heartbeat)));
    tokio::time::timeout(LONG, engine.beaten.notified())
        .await
        .expect("a beat long before a third of the lease is over");
    task.abort();
}

fn slot(number: i64) -> Slot {
    Slot {
        number,
        channel: "room".into(),
        member: "ann".into(),
        meta: ().into(),
    }
}
