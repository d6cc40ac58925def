//! What every engine keeps to, seen through the handle alone. To run it on
//! another engine, make `open` open that.

mod channels;
mod model;
mod presence;
mod resume;
mod slow;

use std::sync::Arc;
use std::time::Duration;

use monolite_pubsub::{Event, Message, MessageId, PubSub, PubSubOptions, Subscriber, Window};

/// Liveness only: how long anything may take.
const LONG: Duration = Duration::from_secs(20);

struct Dir {
    dir: tempfile::TempDir,
}

impl Dir {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self, options: PubSubOptions) -> PubSub {
        PubSub::open(self.dir.path().join("pubsub.sqlite3"), options).unwrap()
    }
}

fn open() -> (Dir, PubSub) {
    let dir = Dir::new();
    let pubsub = dir.open(PubSubOptions::new());
    (dir, pubsub)
}

fn keeping(messages: u64) -> PubSubOptions {
    PubSubOptions::new().window(Window::new().messages(messages))
}

async fn event(subscriber: &mut Subscriber) -> Event {
    tokio::time::timeout(LONG, subscriber.next())
        .await
        .expect("an event")
        .unwrap()
}

async fn message(subscriber: &mut Subscriber) -> Arc<Message> {
    match event(subscriber).await {
        Event::Message(message) => message,
        other => panic!("no message: {other:?}"),
    }
}

async fn texts(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(message(subscriber).await.text().unwrap().to_owned());
    }
    texts
}

/// True if nothing waits behind what was published last.
async fn nothing_before_the_end(pubsub: &PubSub, subscriber: &mut Subscriber, channel: &str) {
    pubsub.publish(channel, "the end").await.unwrap();
    assert_eq!(message(subscriber).await.text(), Some("the end"));
}

async fn publish_numbers(
    pubsub: &PubSub,
    channel: &str,
    numbers: std::ops::Range<u64>,
) -> MessageId {
    let mut last = None;
    for number in numbers {
        last = Some(pubsub.publish(channel, number.to_string()).await.unwrap());
    }
    last.unwrap()
}
