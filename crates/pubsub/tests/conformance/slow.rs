//! Subscribers that do not keep up.

use monolite_pubsub::Event;

use crate::{Dir, event, keeping, nothing_before_the_end, open, publish_numbers, texts};

#[tokio::test]
async fn a_slow_subscriber_is_told_once_and_loses_nothing_the_window_holds() {
    let (_dir, pubsub) = open();
    let mut slow = pubsub.subscribe("a").queue(10, 1 << 20).await.unwrap();
    let mut quick = pubsub.subscribe("a").await.unwrap();
    // Live, so that its queue is what messages go to.
    nothing_before_the_end(&pubsub, &mut slow, "a").await;
    texts(&mut quick, 1).await;
    for _ in 0..4 {
        publish_numbers(&pubsub, "a", 0..500).await;
        // The tailer has handed out all of them.
        texts(&mut quick, 500).await;
        let mut lagged = Vec::new();
        let mut got = Vec::new();
        while got.len() < 500 {
            match event(&mut slow).await {
                Event::Message(message) => got.push(message.text().unwrap().to_owned()),
                Event::Lagged { after, behind } => lagged.push((after, behind, got.len())),
                other => panic!("{other:?}"),
            }
        }
        let wanted: Vec<_> = (0..500).map(|n| n.to_string()).collect();
        assert_eq!(got, wanted);
        let [(_, behind, at)] = lagged[..] else {
            panic!("{lagged:?}");
        };
        assert!(at <= 10, "{at} messages waited, of 10 that may");
        assert_eq!(behind, 500 - at as u64);
        nothing_before_the_end(&pubsub, &mut slow, "a").await;
        texts(&mut quick, 1).await;
    }
}

#[tokio::test]
async fn the_bytes_that_wait_are_bounded_too() {
    let (_dir, pubsub) = open();
    let mut slow = pubsub.subscribe("a").queue(1000, 10_000).await.unwrap();
    let mut quick = pubsub.subscribe("a").await.unwrap();
    nothing_before_the_end(&pubsub, &mut slow, "a").await;
    texts(&mut quick, 1).await;
    for _ in 0..5 {
        pubsub.publish("a", vec![b'x'; 4000]).await.unwrap();
    }
    texts(&mut quick, 5).await;
    texts(&mut slow, 2).await;
    let Event::Lagged { behind, .. } = event(&mut slow).await else {
        panic!("more than 10,000 bytes waited");
    };
    assert_eq!(behind, 3);
    texts(&mut slow, 3).await;
    // One that is larger than the queue still comes.
    nothing_before_the_end(&pubsub, &mut slow, "a").await;
    texts(&mut quick, 1).await;
    pubsub.publish("a", vec![b'x'; 40_000]).await.unwrap();
    texts(&mut slow, 1).await;
}

#[tokio::test]
async fn who_is_slower_than_the_window_is_told_what_is_lost() {
    let dir = Dir::new();
    let pubsub = dir.open(keeping(100));
    let mut slow = pubsub.subscribe("a").queue(10, 1 << 20).await.unwrap();
    let mut quick = pubsub.subscribe("a").await.unwrap();
    nothing_before_the_end(&pubsub, &mut slow, "a").await;
    texts(&mut quick, 1).await;
    for n in 0..1000 {
        pubsub.publish("a", n.to_string()).await.unwrap();
        texts(&mut quick, 1).await;
    }
    let first = texts(&mut slow, 10).await;
    assert_eq!(first, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    let Event::Lagged { after, behind } = event(&mut slow).await else {
        panic!("no notice");
    };
    assert_eq!(behind, 990);
    let Event::Gap {
        after: gap_after,
        next,
        missed,
    } = event(&mut slow).await
    else {
        panic!("no gap");
    };
    assert_eq!(gap_after, after);
    assert_eq!(missed, Some(next.seq - after.seq - 1));
    let left = 1000 - 10 - missed.unwrap();
    assert!((100..100 + 64).contains(&left), "{left} left");
    let wanted: Vec<_> = (1000 - left..1000).map(|n| n.to_string()).collect();
    assert_eq!(texts(&mut slow, left as usize).await, wanted);
    nothing_before_the_end(&pubsub, &mut slow, "a").await;
}
