//! What waits: until the app is there, within bounds, and at the end.

use std::time::Duration;

use monolite_gate::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

#[tokio::test]
async fn requests_wait_until_the_gate_opens() {
    let (gate, address) = gate(Config::default()).await;
    let asked: Vec<_> = (0..20)
        .map(|i| ask(address, get(&format!("/{i}"))))
        .collect();
    until("all held", || gate.stats().held_now == 20).await;
    let app = app(|request| async move {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        request.answer(&path).await;
    })
    .await;
    gate.open(app);
    for (i, asked) in asked.into_iter().enumerate() {
        let response = asked.await.unwrap();
        assert!(response.ends_with(&format!("\r\n\r\n/{i}")), "{response}");
    }
    assert_eq!(gate.stats().held_now, 0);
}

#[tokio::test]
async fn waiting_is_bounded_in_number_bytes_and_time() {
    let config = Config::new()
        .hold_requests(2)
        .hold_bytes(40_000)
        .hold_time(Duration::from_millis(400));
    let (gate, address) = gate(config).await;
    let waiting = [ask(address, get("/")), ask(address, get("/"))];
    until("two held", || gate.stats().held_now == 2).await;
    let third = raw(address, get("/")).await;
    assert_eq!(status(&third), "503");
    assert!(third.contains("retry-after: 5"), "{third}");
    for waited in waiting {
        let response = waited.await.unwrap();
        assert_eq!(status(&response), "503");
        assert!(response.contains("not ready yet"), "{response}");
    }
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\nConnection: close\r\n\r\n",
        "x".repeat(45_000)
    );
    let large = raw(address, large).await;
    assert!(large.contains("too many requests"), "{large}");
    assert_eq!(gate.stats().held_now, 0);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_no_more() {
    let (gate, address) = gate(Config::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(get("/").as_bytes()).await.unwrap();
    until("held", || gate.stats().held_now == 1).await;
    drop(stream);
    until("released", || gate.stats().held_now == 0).await;
}

#[tokio::test]
async fn an_app_that_does_not_listen_yet_is_waited_for() {
    let (gate, address) = gate(Config::default()).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = gone.local_addr().unwrap();
    drop(gone);
    gate.open(refused);
    let write = ask(address, post("/", "hello"));
    until("held", || gate.stats().held_now == 1).await;
    gate.open(
        app(|request| async move {
            let body = String::from_utf8(request.body.clone()).unwrap();
            request.answer(&body).await;
        })
        .await,
    );
    assert!(write.await.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn an_app_that_does_not_answer_is_504() {
    let app = app(|mut request| async move {
        let mut rest = Vec::new();
        let _ = request.stream.read_to_end(&mut rest).await;
    })
    .await;
    let config = Config::new().response_time(Duration::from_millis(100));
    let (gate, address) = gate(config).await;
    gate.open(app);
    assert_eq!(status(&raw(address, get("/")).await), "504");
    let activity = gate.activity().unwrap();
    assert_eq!((activity.progress, activity.late), (0, 1));
}

#[tokio::test]
async fn signs_of_life_are_counted_for_the_instance_that_requests_pass_to() {
    let app = app(|request| async move { request.answer("here").await }).await;
    let (gate, address) = gate(Config::default()).await;
    assert_eq!(gate.activity(), None);
    gate.open(app);
    assert_eq!(gate.activity().unwrap().progress, 0);
    assert_eq!(status(&raw(address, get("/")).await), "200");
    let activity = gate.activity().unwrap();
    assert!(activity.progress > 0 && activity.late == 0, "{activity:?}");
    // The gate's own pages are no sign of the app's life.
    raw(address, get("/_monolite/health")).await;
    assert_eq!(gate.activity(), Some(activity));
    gate.hold();
    assert_eq!(gate.activity(), None);
    gate.open(app);
    assert_eq!(gate.activity().unwrap().progress, 0);
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_closes_the_port() {
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    let released = release.clone();
    let app = app(move |request| {
        let mut released = released.subscribe();
        async move {
            released.recv().await.unwrap();
            request.answer("done").await;
        }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    let idle = TcpStream::connect(address).await.unwrap();
    let asked = ask(address, get("/"));
    until("inside", || gate.stats().in_flight == 1).await;
    gate.stop_accepting();
    tokio::time::timeout(NEVER, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the port is open");
    assert!(!gate.closed(Duration::from_millis(20)).await);
    release.send(()).unwrap();
    assert!(asked.await.unwrap().ends_with("done"));
    assert!(gate.closed(NEVER).await);
    drop(idle);
}
