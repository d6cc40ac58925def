//! Redis as a queue: `LPUSH` enqueues, `BLMOVE` into a list of claims claims,
//! `LREM` from that list acknowledges.

use std::time::Duration;

use anyhow::Context;

use crate::jobs::work::Mail;
use crate::peers::redis::crowd::Crowd;
use crate::peers::redis::resp::{Reply, encode};
use crate::peers::redis::{Redis, tool};
use crate::rounds::rate;

const QUEUE: &[u8] = b"queue";
const CLAIMS: &[u8] = b"claims";
/// Workers, where there are several.
pub(crate) const WORKERS: usize = 8;
/// More than are ever done in a second.
const MOST_PER_SECOND: f64 = 150_000.0;

/// Jobs enqueued per second, each by a command of its own: as our client does
/// it or as Redis's own tool does it, whichever is faster.
pub(crate) fn enqueue(redis: &Redis, clients: usize, time: Duration) -> anyhow::Result<f64> {
    let ours = by_client(redis, clients, time)?;
    redis.clear()?;
    let size = serde_json::to_vec(&Mail::new(10_000))?.len();
    let tools = tool::rate(redis, "lpush", clients, size, time)?;
    Ok(ours.max(tools))
}

fn by_client(redis: &Redis, clients: usize, time: Duration) -> anyhow::Result<f64> {
    redis.clear()?;
    let mut number = 0;
    let mut next = || {
        number += 1;
        serde_json::to_vec(&Mail::new(number)).unwrap()
    };
    if clients == 1 {
        let mut connection = redis.connect()?;
        let mut push = || connection.done(&[b"LPUSH", QUEUE, &next()]).unwrap();
        rate(time / 10, 1, &mut push);
        return Ok(rate(time, 1, push));
    }
    Crowd::open(redis.port(), clients)?.rate(time, |_, _, out| {
        encode(&[b"LPUSH", QUEUE, &next()], out);
        Ok(())
    })
}

/// Jobs claimed and acknowledged per second.
pub(crate) fn claim(redis: &Redis, workers: usize, time: Duration) -> anyhow::Result<f64> {
    redis.clear()?;
    fill(redis, (time.as_secs_f64() * 1.2 * MOST_PER_SECOND) as u64)?;
    const CLAIM: [&[u8]; 6] = [b"BLMOVE", QUEUE, CLAIMS, b"RIGHT", b"LEFT", b"5"];
    if workers == 1 {
        let mut connection = redis.connect()?;
        let mut work = || {
            let job = value(&connection.call(&CLAIM).unwrap()).unwrap().to_vec();
            connection.done(&[b"LREM", CLAIMS, b"1", &job]).unwrap();
        };
        rate(time / 10, 1, &mut work);
        return Ok(rate(time, 1, work));
    }
    let mut crowd = Crowd::open(redis.port(), workers)?;
    let replies = crowd.rate(time, |_, reply, out| {
        match reply {
            // Claimed: no-op, and acknowledge.
            Some(reply @ Reply::Value(_)) => {
                encode(&[b"LREM", CLAIMS, b"1", value(reply)?], out);
            }
            Some(Reply::Number(1)) | None => encode(&CLAIM, out),
            Some(other) => anyhow::bail!("a claim was lost: {other:?}"),
        }
        Ok(())
    })?;
    Ok(replies / 2.0)
}

fn value<'a>(reply: &Reply<'a>) -> anyhow::Result<&'a [u8]> {
    match reply {
        Reply::Value(value) => value.context("the queue ran empty"),
        other => anyhow::bail!("BLMOVE gave {other:?}"),
    }
}

fn fill(redis: &Redis, jobs: u64) -> anyhow::Result<()> {
    let mut connection = redis.connect()?;
    let numbers: Vec<u64> = (0..jobs).collect();
    for chunk in numbers.chunks(500) {
        let payloads: Vec<Vec<u8>> = chunk
            .iter()
            .map(|number| serde_json::to_vec(&Mail::new(*number)))
            .collect::<Result<_, _>>()?;
        let mut words = vec![&b"LPUSH"[..], QUEUE];
        words.extend(payloads.iter().map(Vec::as_slice));
        connection.done(&words)?;
    }
    Ok(())
}
