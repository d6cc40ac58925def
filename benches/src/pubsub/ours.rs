//! Our side of the pub/sub bench, one function a case. Each opens its file in
//! the directory it is given.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_pubsub::{Event, PubSub, PubSubOptions};

use crate::contest::histogram::Histogram;
use crate::process::{Running, own, ready_and_wait};
use crate::pubsub::steady::{self, Arrivals};
use crate::turns::Ours;

/// From before `publish` to the message in a subscriber's hands in another
/// process.
pub(crate) const ACROSS: Ours<Histogram> = Some(across);
/// Deliveries per second to 100 subscribers, one publisher that waits for
/// each commit.
pub(crate) const TO_100: Ours<f64> = Some(|dir, time| fan_out(dir, 1, time));
/// The same with 64 publishers.
pub(crate) const TO_100_BY_64: Ours<f64> = Some(|dir, time| fan_out(dir, 64, time));

const CHANNEL: &str = "bench";
const SUBSCRIBERS: u64 = 100;

fn open(dir: &Path) -> anyhow::Result<PubSub> {
    let path = dir.join("pubsub.sqlite3");
    Ok(PubSub::open(path, PubSubOptions::default())?)
}

#[derive(clap::Args)]
pub(crate) struct PublisherArguments {
    #[arg(long)]
    time_ms: u64,
    dir: PathBuf,
}

/// The other process.
pub(crate) fn publish(arguments: &PublisherArguments) -> anyhow::Result<()> {
    let pubsub = open(&arguments.dir)?;
    ready_and_wait()?;
    let time = Duration::from_millis(arguments.time_ms);
    steady::publish(time, |text| {
        pubsub.publish_blocking(CHANNEL, text)?;
        Ok(())
    })?;
    pubsub.close_blocking();
    Ok(())
}

fn across(dir: &Path, time: Duration) -> anyhow::Result<Histogram> {
    let pubsub = open(dir)?;
    let mut subscriber = pubsub.subscribe(CHANNEL).blocking()?;
    let mut command = own()?;
    command.args(["publisher", "--time-ms", &time.as_millis().to_string()]);
    let mut publisher = Running::start_talking(command.arg(dir))?;
    publisher.wait_ready()?;
    publisher.go()?;
    let mut arrivals = Arrivals::default();
    loop {
        let event = subscriber.next_blocking(Duration::from_secs(10))?;
        let Some(Event::Message(message)) = event else {
            anyhow::bail!("instead of a message came {event:?}");
        };
        if !arrivals.take(str::from_utf8(&message.payload)?)? {
            break;
        }
    }
    publisher.output()?;
    drop(subscriber);
    pubsub.close_blocking();
    arrivals.waits(time)
}

fn fan_out(dir: &Path, publishers: u64, time: Duration) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let pubsub = open(dir)?;
    let payload = vec![b'x'; 100];
    let rate = runtime.block_on(async {
        let mut receiving = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let mut subscriber = pubsub.subscribe(CHANNEL).await?;
            receiving.push(tokio::spawn(async move {
                let mut received = 0_u64;
                loop {
                    match subscriber.next().await? {
                        Event::Message(message) if message.payload.is_empty() => break,
                        Event::Message(_) => received += 1,
                        // Reads on from the file: nothing is lost by it.
                        Event::Lagged { .. } => {}
                        other => anyhow::bail!("instead of a message came {other:?}"),
                    }
                }
                anyhow::Ok(received)
            }));
        }
        let started = Instant::now();
        let publishing: Vec<_> = (0..publishers)
            .map(|_| {
                let (pubsub, payload) = (pubsub.clone(), payload.clone());
                tokio::spawn(async move {
                    let mut published = 0_u64;
                    while started.elapsed() < time {
                        pubsub.publish(CHANNEL, payload.clone()).await?;
                        published += 1;
                    }
                    anyhow::Ok(published)
                })
            })
            .collect();
        let mut published = 0;
        for task in publishing {
            published += task.await??;
        }
        pubsub.publish(CHANNEL, Vec::new()).await?;
        for task in receiving {
            let received = task.await??;
            anyhow::ensure!(received == published, "{received} of {published} arrived");
        }
        Ok((published * SUBSCRIBERS) as f64 / started.elapsed().as_secs_f64())
    })?;
    runtime.block_on(pubsub.close());
    Ok(rate)
}
