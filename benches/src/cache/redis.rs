//! Redis as a cache: `SET` and `GET` of random keys.

use std::time::Duration;

use crate::cache::load::{CALLERS, Load, key};
use crate::peers::redis::crowd::Crowd;
use crate::peers::redis::resp::{Reply, encode};
use crate::peers::redis::{Redis, tool};
use crate::random::Random;
use crate::rounds::rate;

/// Values stored or found per second: as our client does it, with keys at
/// random, or as Redis's own tool does it, with one key, whichever is faster.
pub(crate) fn best(redis: &Redis, verb: &str, load: Load, time: Duration) -> anyhow::Result<f64> {
    let ours = match verb {
        "get" => get(redis, load, time)?,
        _ => set(redis, load, time)?,
    };
    redis.clear()?;
    let tools = tool::rate(redis, verb, load.callers, load.value_bytes, time)?;
    Ok(ours.max(tools))
}

fn set(redis: &Redis, load: Load, time: Duration) -> anyhow::Result<f64> {
    redis.clear()?;
    let value = load.value();
    let mut random = Random::new(1);
    let mut next_key = || key(random.below(load.keys()));
    if load.callers == 1 {
        let mut connection = redis.connect()?;
        let mut store = || {
            let key = next_key();
            connection.done(&[b"SET", key.as_bytes(), &value]).unwrap();
        };
        rate(time / 10, 1, &mut store);
        return Ok(rate(time, 1, store));
    }
    Crowd::open(redis.port(), load.callers)?.rate(time, |_, _, out| {
        encode(&[b"SET", next_key().as_bytes(), &value], out);
        Ok(())
    })
}

/// All that are asked for are there.
fn get(redis: &Redis, load: Load, time: Duration) -> anyhow::Result<f64> {
    fill(redis, load)?;
    let mut random = Random::new(2);
    let mut next_key = || key(random.below(load.keys()));
    if load.callers == 1 {
        let mut connection = redis.connect()?;
        let mut find = || {
            let key = next_key();
            check(&connection.call(&[b"GET", key.as_bytes()]).unwrap(), load).unwrap();
        };
        rate(time / 10, 1, &mut find);
        return Ok(rate(time, 1, find));
    }
    Crowd::open(redis.port(), load.callers)?.rate(time, |_, reply, out| {
        if let Some(reply) = reply {
            check(reply, load)?;
        }
        encode(&[b"GET", next_key().as_bytes()], out);
        Ok(())
    })
}

fn fill(redis: &Redis, load: Load) -> anyhow::Result<()> {
    redis.clear()?;
    let (mut connection, value) = (redis.connect()?, load.value());
    for number in 0..load.keys() {
        connection.done(&[b"SET", key(number).as_bytes(), &value])?;
    }
    Ok(())
}

fn check(reply: &Reply<'_>, load: Load) -> anyhow::Result<()> {
    match reply {
        Reply::Value(Some(value)) if value.len() == load.value_bytes => Ok(()),
        other => anyhow::bail!("GET found {other:?}"),
    }
}

/// One and many.
pub(crate) const COUNTS: [usize; 2] = [1, CALLERS];
