//! Publishing, channels and patterns.

use monolite_pubsub::{Error, NewMessage, PubSubOptions};

use crate::{LONG, event, message, nothing_before_the_end, open, texts};

#[tokio::test]
async fn a_message_reaches_every_subscriber_of_its_channel_and_no_other() {
    let (_dir, pubsub) = open();
    let mut a = pubsub.subscribe("a").await.unwrap();
    let mut again = pubsub.subscribe("a").await.unwrap();
    let mut b = pubsub.subscribe("b").await.unwrap();
    let id = pubsub.publish("a", "1").await.unwrap();
    for subscriber in [&mut a, &mut again] {
        let message = message(subscriber).await;
        assert_eq!(message.id, id);
        assert_eq!(&*message.channel, "a");
        assert_eq!(message.payload, b"1");
        assert!(message.published_at.as_millisecond() > 1_700_000_000_000);
    }
    nothing_before_the_end(&pubsub, &mut b, "b").await;
}

#[tokio::test]
async fn patterns_and_channels_together_bring_each_message_once() {
    let (_dir, pubsub) = open();
    let mut subscriber = pubsub
        .subscribe("room:1")
        .channel("news")
        .pattern("room:*")
        .pattern("room:[0-9]")
        .await
        .unwrap();
    for channel in ["room:1", "other", "news", "room:lobby"] {
        pubsub.publish(channel, channel).await.unwrap();
    }
    let got = texts(&mut subscriber, 3).await;
    assert_eq!(got, ["room:1", "news", "room:lobby"]);
    nothing_before_the_end(&pubsub, &mut subscriber, "news").await;
}

#[tokio::test]
async fn many_callers_messages_come_in_one_order_everywhere() {
    let (_dir, pubsub) = open();
    let mut one = pubsub.subscribe("a").await.unwrap();
    let mut two = pubsub.subscribe_pattern("*").await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let pubsub = pubsub.clone();
        callers.spawn(async move {
            for n in 0..50 {
                pubsub.publish("a", format!("{caller} {n}")).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let got = texts(&mut one, 400).await;
    assert_eq!(got, texts(&mut two, 400).await);
    for caller in 0..8 {
        let own: Vec<_> = got
            .iter()
            .filter_map(|text| text.strip_prefix(&format!("{caller} ")))
            .map(|n| n.parse::<u64>().unwrap())
            .collect();
        assert_eq!(own, (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn many_in_one_call_are_published_together_or_not_at_all() {
    let (_dir, pubsub) = open();
    let mut subscriber = pubsub.subscribe("a").await.unwrap();
    let messages = (0..100).map(|n| NewMessage::json("a", &n).unwrap());
    let ids = pubsub.publish_many(messages.collect()).await.unwrap();
    assert_eq!(ids.len(), 100);
    for (n, id) in ids.into_iter().enumerate() {
        let message = message(&mut subscriber).await;
        assert_eq!((message.id, message.json::<usize>().unwrap()), (id, n));
    }
    let broken = vec![NewMessage::new("a", "x"), NewMessage::new("", "y")];
    let answer = pubsub.publish_many(broken).await;
    assert!(matches!(answer, Err(Error::Name { .. })), "{answer:?}");
    nothing_before_the_end(&pubsub, &mut subscriber, "a").await;
}

#[tokio::test]
async fn names_and_payloads_are_bounded() {
    let dir = crate::Dir::new();
    let pubsub = dir.open(PubSubOptions::new().max_payload_bytes(10));
    let long = "x".repeat(256);
    for name in ["", "_monolite:presence:a", long.as_str()] {
        let answer = pubsub.publish(name, "x").await;
        assert!(matches!(answer, Err(Error::Name { .. })), "{answer:?}");
        assert!(pubsub.subscribe(name).await.is_err());
        assert!(pubsub.subscribe_pattern(name).await.is_err());
    }
    let answer = pubsub.publish("a", vec![0; 11]).await;
    assert!(matches!(
        answer,
        Err(Error::TooLarge {
            bytes: 11,
            max: 10,
            ..
        })
    ));
    pubsub.publish("a", vec![0; 10]).await.unwrap();
    assert_eq!(pubsub.bounds().await.unwrap().newest, 1);
}

#[tokio::test]
async fn a_subscriber_that_is_dropped_is_forgotten() {
    let (_dir, pubsub) = open();
    let first = pubsub.subscribe("a").await.unwrap();
    let mut second = pubsub.subscribe("a").pattern("b*").await.unwrap();
    assert_eq!(pubsub.subscribers(), 2);
    drop(first);
    nothing_before_the_end(&pubsub, &mut second, "a").await;
    drop(second);
    assert_eq!(pubsub.subscribers(), 0);
    // The tailer rests now, and begins anew.
    pubsub.publish("a", "to nobody").await.unwrap();
    let mut third = pubsub.subscribe("a").await.unwrap();
    nothing_before_the_end(&pubsub, &mut third, "a").await;
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (_dir, pubsub) = open();
    let mut subscriber = pubsub.subscribe("a").await.unwrap();
    let mut got = Vec::new();
    for n in 0..200_u64 {
        pubsub.publish("a", n.to_string()).await.unwrap();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            event = subscriber.next() => got.push(event.unwrap()),
        }
    }
    while got.len() < 200 {
        got.push(event(&mut subscriber).await);
    }
    nothing_before_the_end(&pubsub, &mut subscriber, "a").await;
}

#[tokio::test]
async fn a_closed_handle_says_so_to_all() {
    let (_dir, pubsub) = open();
    let mut subscriber = pubsub.subscribe("a").await.unwrap();
    let waiting = tokio::spawn(async move { subscriber.next().await });
    tokio::task::yield_now().await;
    pubsub.clone().close().await;
    let answer = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    assert!(matches!(answer, Err(Error::Closed)), "{answer:?}");
    assert!(matches!(pubsub.publish("a", "x").await, Err(Error::Closed)));
    assert!(matches!(pubsub.subscribe("a").await, Err(Error::Closed)));
}

#[test]
fn blocking_callers_need_no_runtime() {
    let (_dir, pubsub) = open();
    let mut subscriber = pubsub.subscribe("a").blocking().unwrap();
    let none = subscriber.next_blocking(std::time::Duration::from_millis(20));
    assert!(none.unwrap().is_none());
    pubsub.publish_blocking("a", "x").unwrap();
    assert!(subscriber.next_blocking(LONG).unwrap().is_some());
    pubsub.close_blocking();
    assert!(matches!(subscriber.next_blocking(LONG), Err(Error::Closed)));
}
