//! At most so many state-changing requests in the app.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite_gate::Config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn the_lane_lets_one_write_in_at_a_time_in_order_and_reads_pass_by() {
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (order_tx, mut order) = tokio::sync::mpsc::unbounded_channel();
    let (go, _) = tokio::sync::broadcast::channel::<()>(16);
    let gone = go.clone();
    let (counted, peak) = (Arc::clone(&inside), Arc::clone(&most));
    let app = app(move |request| {
        let (inside, most, order) = (Arc::clone(&counted), Arc::clone(&peak), order_tx.clone());
        let mut go = gone.subscribe();
        async move {
            if request.head.starts_with("GET") {
                return request.answer("read").await;
            }
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            order
                .send(String::from_utf8(request.body.clone()).unwrap())
                .unwrap();
            go.recv().await.unwrap();
            inside.fetch_sub(1, Ordering::SeqCst);
            request.answer("written").await;
        }
    })
    .await;
    let config = Config::new().write_concurrency(1);
    let (gate, address) = gate(config).await;
    gate.open(app);
    let mut writes = Vec::new();
    for i in 0..5 {
        writes.push(ask(address, post("/", &i.to_string())));
        until("in or in line", || {
            gate.stats().requests == i + 1 && gate.stats().held_now == i as usize
        })
        .await;
    }
    assert!(
        raw(address, get("/")).await.ends_with("read"),
        "a read waited"
    );
    // A client that sends its body slowly does not keep the lane.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        .await
        .unwrap();
    for i in 0..5 {
        assert_eq!(order.recv().await.unwrap(), i.to_string());
        go.send(()).unwrap();
    }
    for write in writes {
        assert!(write.await.unwrap().ends_with("written"));
    }
    // One whose client leaves keeps its permit until the app is done with it.
    slow.write_all(b"llo").await.unwrap();
    assert_eq!(order.recv().await.unwrap(), "hello");
    drop(slow);
    let next = ask(address, post("/", "next"));
    until("in line", || gate.stats().held_now == 1).await;
    assert!(
        order.try_recv().is_err(),
        "entered while the abandoned one is inside"
    );
    go.send(()).unwrap();
    assert_eq!(order.recv().await.unwrap(), "next");
    go.send(()).unwrap();
    assert!(next.await.unwrap().ends_with("written"));
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_late_write_keeps_its_permit() {
    let inside = Arc::new(AtomicUsize::new(0));
    let (go, _) = tokio::sync::broadcast::channel::<()>(4);
    let (count, gone) = (Arc::clone(&inside), go.clone());
    let app = app(move |request| {
        let (inside, mut go) = (Arc::clone(&count), gone.subscribe());
        async move {
            inside.fetch_add(1, Ordering::SeqCst);
            let _ = go.recv().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            request.answer("ok").await;
        }
    })
    .await;
    let config = Config::new()
        .response_time(Duration::from_millis(100))
        .write_concurrency(1);
    let (gate, address) = gate(config).await;
    gate.open(app);
    assert_eq!(status(&raw(address, post("/", "x")).await), "504");
    let _next = ask(address, post("/", "x"));
    until("the next one waits", || gate.stats().held_now == 1).await;
    assert_eq!(inside.load(Ordering::SeqCst), 1, "both are in the app");
    go.send(()).unwrap();
    until("it enters", || gate.stats().held_now == 0).await;
}
