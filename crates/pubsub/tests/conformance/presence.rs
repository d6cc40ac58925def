//! Who is present.

use std::time::Duration;

use monolite_pubsub::{Error, PresenceEvent, PresenceWatch, PubSub, PubSubOptions};
use serde_json::json;

use crate::{Dir, LONG, open};

async fn next(watch: &mut PresenceWatch) -> PresenceEvent {
    tokio::time::timeout(LONG, watch.next())
        .await
        .expect("an event")
        .unwrap()
}

async fn keys(pubsub: &PubSub) -> Vec<String> {
    let members = pubsub.members("room").await.unwrap();
    members.into_iter().map(|member| member.name).collect()
}

#[tokio::test]
async fn members_come_change_and_go_and_those_who_watch_are_told() {
    let (_dir, pubsub) = open();
    let ann = pubsub
        .join("room", "ann", json!({"color": "red"}))
        .await
        .unwrap();
    let mut watch = pubsub.watch_members("room").unwrap();
    let PresenceEvent::Members(members) = next(&mut watch).await else {
        panic!("no members first");
    };
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].name, "ann");
    assert_eq!(members[0].metas, [json!({"color": "red"})]);

    let mut bob = pubsub.join("room", "bob", ()).await.unwrap();
    let join = PresenceEvent::Join {
        member: "bob".into(),
        meta: json!(null),
    };
    assert_eq!(next(&mut watch).await, join);
    assert_eq!(keys(&pubsub).await, ["ann", "bob"]);
    bob.update(json!("typing")).await.unwrap();
    let update = PresenceEvent::Update {
        member: "bob".into(),
        meta: json!("typing"),
    };
    assert_eq!(next(&mut watch).await, update);
    bob.leave().await.unwrap();
    assert_eq!(keys(&pubsub).await, ["ann"]);
    let left = |member: &str| PresenceEvent::Leave {
        member: member.into(),
    };
    assert_eq!(next(&mut watch).await, left("bob"));
    drop(ann);
    assert_eq!(next(&mut watch).await, left("ann"));
    assert!(keys(&pubsub).await.is_empty());
    // What is told of members is no message of anybody's pattern.
    let mut all = pubsub.subscribe_pattern("*").from_oldest().await.unwrap();
    crate::nothing_before_the_end(&pubsub, &mut all, "x").await;
}

#[tokio::test]
async fn a_member_in_two_places_leaves_with_the_last() {
    let (dir, pubsub) = open();
    let other = dir.open(PubSubOptions::new());
    let mut watch = other.watch_members("room").unwrap();
    next(&mut watch).await;
    let tab = pubsub.join("room", "ann", 1).await.unwrap();
    let phone = other.join("room", "ann", 2).await.unwrap();
    let again = pubsub.join("room", "ann", 3).await.unwrap();
    assert!(matches!(next(&mut watch).await, PresenceEvent::Join { .. }));
    let members = pubsub.members("room").await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].metas.len(), 3);
    tab.leave().await.unwrap();
    phone.leave().await.unwrap();
    assert_eq!(keys(&other).await, ["ann"]);
    again.leave().await.unwrap();
    let event = next(&mut watch).await;
    assert!(matches!(event, PresenceEvent::Leave { .. }), "{event:?}");
    assert!(keys(&other).await.is_empty());
}

#[tokio::test]
async fn a_present_member_stays_beyond_its_lease_and_closing_takes_it_out() {
    let dir = Dir::new();
    let options = || PubSubOptions::new().presence_lease(Duration::from_millis(200));
    let pubsub = dir.open(options());
    let other = dir.open(options());
    let mut watch = other.watch_members("room").unwrap();
    next(&mut watch).await;
    let _ann = pubsub.join("room", "ann", ()).await.unwrap();
    next(&mut watch).await;
    // Three leases: it is renewed, or a Leave would come.
    let early = tokio::time::timeout(Duration::from_millis(600), watch.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(keys(&other).await, ["ann"]);
    pubsub.close().await;
    assert!(keys(&other).await.is_empty());
    let event = next(&mut watch).await;
    assert!(matches!(event, PresenceEvent::Leave { .. }), "{event:?}");
}

#[tokio::test]
async fn many_join_and_leave_at_once() {
    let (_dir, pubsub) = open();
    let mut joins = tokio::task::JoinSet::new();
    for n in 0..50 {
        let pubsub = pubsub.clone();
        joins.spawn(async move {
            pubsub
                .join("room", format!("m{}", n % 25), n)
                .await
                .unwrap()
        });
    }
    let guards = joins.join_all().await;
    assert_eq!(keys(&pubsub).await.len(), 25);
    let mut watch = pubsub.watch_members("room").unwrap();
    next(&mut watch).await;
    drop(guards);
    for _ in 0..25 {
        let event = next(&mut watch).await;
        assert!(matches!(event, PresenceEvent::Leave { .. }), "{event:?}");
    }
    assert!(keys(&pubsub).await.is_empty());
}

#[tokio::test]
async fn what_is_said_of_a_member_is_bounded() {
    let (_dir, pubsub) = open();
    let answer = pubsub.join("room", "ann", "x".repeat(20_000)).await;
    assert!(matches!(answer, Err(Error::TooLarge { .. })));
    assert!(pubsub.join("", "ann", ()).await.is_err());
    assert!(pubsub.join("room", "", ()).await.is_err());
    assert!(keys(&pubsub).await.is_empty());
}
