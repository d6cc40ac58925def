//! Redis: `PUBLISH` on one connection, `SUBSCRIBE` on another.

use std::time::Duration;

use anyhow::Context;

use crate::contest::histogram::Histogram;
use crate::peers::redis::Redis;
use crate::peers::redis::resp::Reply;
use crate::pubsub::steady::{self, Arrivals};

const CHANNEL: &[u8] = b"bench";

/// From before `PUBLISH` to the message in the subscriber's hands.
pub(crate) fn waits(redis: &Redis, time: Duration) -> anyhow::Result<Histogram> {
    let mut subscriber = redis.connect()?;
    subscriber.done(&[b"SUBSCRIBE", CHANNEL])?;
    let mut publisher = redis.connect()?;
    std::thread::scope(|scope| {
        let arrivals = scope.spawn(move || {
            let mut arrivals = Arrivals::default();
            loop {
                let reply = subscriber.receive()?;
                let Reply::List(message) = &reply else {
                    anyhow::bail!("a subscriber was told {reply:?}");
                };
                let [_, _, Reply::Value(Some(text))] = message.as_slice() else {
                    anyhow::bail!("a subscriber was told {message:?}");
                };
                if !arrivals.take(std::str::from_utf8(text)?)? {
                    return Ok(arrivals);
                }
            }
        });
        steady::publish(time, |text| {
            publisher.done(&[b"PUBLISH", CHANNEL, text.as_bytes()])
        })?;
        let arrivals = arrivals.join().ok().context("the subscriber panicked")?;
        arrivals?.waits(time)
    })
}
