//! Going on where one left off.

use monolite_pubsub::{Event, MessageId, PubSubOptions};

use crate::{Dir, event, keeping, nothing_before_the_end, open, publish_numbers, texts};

#[tokio::test]
async fn a_resume_brings_all_that_came_since_then_what_comes() {
    let (_dir, pubsub) = open();
    let mut first = pubsub.subscribe("a").await.unwrap();
    let last = publish_numbers(&pubsub, "a", 0..5).await;
    texts(&mut first, 5).await;
    assert_eq!(first.position(), last);
    drop(first);
    publish_numbers(&pubsub, "b", 0..5).await;
    publish_numbers(&pubsub, "a", 5..2000).await;
    // By the index, by a pattern, and by more channels than are looked up.
    let mut many = pubsub.subscribe("a").from(last);
    for n in 0..20 {
        many = many.channel(&format!("other {n}"));
    }
    for subscribe in [
        pubsub.subscribe("a").from(last),
        pubsub.subscribe_pattern("a*").from(last),
        many,
    ] {
        let mut subscriber = subscribe.await.unwrap();
        let got = texts(&mut subscriber, 1995).await;
        let wanted: Vec<_> = (5..2000).map(|n| n.to_string()).collect();
        assert_eq!(got, wanted);
    }
}

#[tokio::test]
async fn two_channels_are_resumed_in_the_order_of_commits() {
    let (_dir, pubsub) = open();
    let start = pubsub.publish("a", "start").await.unwrap();
    for n in 0..1500 {
        let channel = if n % 3 == 0 { "a" } else { "b" };
        pubsub.publish(channel, n.to_string()).await.unwrap();
    }
    let mut both = pubsub
        .subscribe("a")
        .channel("b")
        .from(start)
        .await
        .unwrap();
    let wanted: Vec<_> = (0..1500).map(|n| n.to_string()).collect();
    assert_eq!(texts(&mut both, 1500).await, wanted);
}

#[tokio::test]
async fn resuming_while_others_publish_leaves_no_gap_and_doubles_nothing() {
    let (_dir, pubsub) = open();
    let start = pubsub.publish("a", "start").await.unwrap();
    let publisher = tokio::spawn({
        let pubsub = pubsub.clone();
        async move { publish_numbers(&pubsub, "a", 0..3000).await }
    });
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let pubsub = pubsub.clone();
        readers.spawn(async move {
            let mut subscriber = pubsub.subscribe("a").from(start).await.unwrap();
            texts(&mut subscriber, 3000).await
        });
        tokio::task::yield_now().await;
    }
    publisher.await.unwrap();
    let wanted: Vec<_> = (0..3000).map(|n| n.to_string()).collect();
    for got in readers.join_all().await {
        assert_eq!(got, wanted);
    }
}

#[tokio::test]
async fn what_was_pruned_is_announced_as_a_gap() {
    let dir = Dir::new();
    let pubsub = dir.open(keeping(100));
    let early = pubsub.publish("a", "early").await.unwrap();
    publish_numbers(&pubsub, "a", 0..1000).await;
    let bounds = pubsub.bounds().await.unwrap();
    assert!(bounds.newest - bounds.oldest < 100 + 64, "{bounds:?}");
    let mut subscriber = pubsub.subscribe("a").from(early).await.unwrap();
    let Event::Gap {
        after,
        next,
        missed,
    } = event(&mut subscriber).await
    else {
        panic!("no gap");
    };
    assert_eq!(after, early);
    assert_eq!(next.seq, bounds.oldest);
    assert_eq!(missed, Some(bounds.oldest - 2));
    // Message n has seq n + 2.
    let wanted: Vec<_> = (bounds.oldest - 2..1000).map(|n| n.to_string()).collect();
    assert_eq!(texts(&mut subscriber, wanted.len()).await, wanted);

    let mut oldest = pubsub.subscribe("a").from_oldest().await.unwrap();
    assert_eq!(texts(&mut oldest, wanted.len()).await, wanted);
}

#[tokio::test]
async fn an_id_of_another_file_or_of_the_future_is_a_gap() {
    let (_dir, pubsub) = open();
    let id = publish_numbers(&pubsub, "a", 0..3).await;
    let foreign = MessageId {
        epoch: id.epoch ^ 1,
        seq: 2,
    };
    let future = MessageId { seq: 100, ..id };
    for strange in [foreign, future] {
        let mut subscriber = pubsub.subscribe("a").from(strange).await.unwrap();
        let Event::Gap { after, missed, .. } = event(&mut subscriber).await else {
            panic!("no gap");
        };
        assert_eq!((after, missed), (strange, None));
        assert_eq!(texts(&mut subscriber, 3).await, ["0", "1", "2"]);
    }
}

#[tokio::test]
async fn a_restart_leaves_no_gap() {
    let dir = Dir::new();
    let pubsub = dir.open(PubSubOptions::new());
    let last = publish_numbers(&pubsub, "a", 0..3).await;
    publish_numbers(&pubsub, "a", 3..5).await;
    pubsub.close().await;
    let pubsub = dir.open(PubSubOptions::new());
    let token: MessageId = last.to_string().parse().unwrap();
    let mut subscriber = pubsub.subscribe("a").from(token).await.unwrap();
    assert_eq!(texts(&mut subscriber, 2).await, ["3", "4"]);
    nothing_before_the_end(&pubsub, &mut subscriber, "a").await;
}

#[tokio::test]
async fn the_position_of_a_quiet_channel_goes_on_with_the_file() {
    let dir = Dir::new();
    let pubsub = dir.open(keeping(100));
    let mut quiet = pubsub.subscribe("quiet").await.unwrap();
    pubsub.publish("quiet", "hello").await.unwrap();
    texts(&mut quiet, 1).await;
    let mut loud = pubsub.subscribe("loud").await.unwrap();
    let last = publish_numbers(&pubsub, "loud", 0..500).await;
    texts(&mut loud, 500).await;
    // All was handed out, so that the quiet one may say so.
    assert!(quiet.position().seq >= last.seq, "{:?}", quiet.position());
    let mut again = pubsub
        .subscribe("quiet")
        .from(quiet.position())
        .await
        .unwrap();
    nothing_before_the_end(&pubsub, &mut again, "quiet").await;
}
