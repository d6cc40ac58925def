//! The right to write, which somebody else keeps: asked for at both ends of a request.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use monolite_gate::{Config, Established, Precondition};

use crate::support::*;

#[derive(Default)]
struct Right {
    holds: AtomicBool,
    can_be_had: AtomicBool,
    asked: AtomicUsize,
}

struct Asked(Arc<Right>);

impl Precondition for Asked {
    fn holds(&self) -> bool {
        self.0.holds.load(Ordering::SeqCst)
    }

    fn establish(&self) -> Established<'_> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let had = self.0.can_be_had.load(Ordering::SeqCst);
        self.0.holds.fetch_or(had, Ordering::SeqCst);
        Box::pin(async move { had })
    }
}

#[tokio::test]
async fn a_request_waits_for_the_right_and_passes_once_it_is_had() {
    let (gate, address) = gate(Config::default()).await;
    let right = Arc::new(Right::default());
    gate.set_precondition(Arc::new(Asked(right.clone())));
    gate.open(app(|request| async move { request.answer("served").await }).await);
    let waiting = [ask(address, get("/")), ask(address, post("/", "x"))];
    until("both wait", || gate.stats().held_now == 2).await;
    assert_eq!(gate.stats().in_flight, 0);
    right.can_be_had.store(true, Ordering::SeqCst);
    for waited in waiting {
        let response = waited.await.unwrap();
        assert!(response.ends_with("served"), "{response}");
    }
    // While it holds, nobody is asked for it.
    let asked = right.asked.load(Ordering::SeqCst);
    assert!(raw(address, get("/")).await.ends_with("served"));
    assert_eq!(right.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn what_may_have_written_is_not_confirmed_once_the_right_is_lost() {
    for lanes in [None, NonZeroUsize::new(1)] {
        let mut config = Config::default();
        config.write_concurrency = lanes.map(Into::into);
        let (gate, address) = gate(config).await;
        let right = Arc::new(Right::default());
        right.holds.store(true, Ordering::SeqCst);
        gate.set_precondition(Arc::new(Asked(right.clone())));
        let lost = right.clone();
        let app = app(move |request| {
            let lost = lost.clone();
            async move {
                // The process is paused here, and another machine takes over.
                lost.holds.store(false, Ordering::SeqCst);
                request.answer("stored").await;
            }
        });
        gate.open(app.await);
        let response = raw(address, post("/", "x")).await;
        assert_eq!(status(&response), "502", "{response}");
        assert!(
            response.contains("may be lost") && !response.contains("stored"),
            "{response}"
        );
        // A read is what it was.
        right.holds.store(true, Ordering::SeqCst);
        let response = raw(address, get("/")).await;
        assert_eq!(status(&response), "200", "{response}");
    }
}
