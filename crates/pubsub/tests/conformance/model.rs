//! Random histories against a model in memory.

use std::collections::HashMap;

use monolite_pubsub::{Event, MessageId, NewMessage, Pattern, PubSub, Subscriber};
use proptest::prelude::*;

use crate::{Dir, event, keeping};

const KEEP: u64 = 70;
const CHANNELS: [&str; 3] = ["a", "ab", "b"];
const PATTERNS: [&str; 3] = ["a*", "?", "*"];

#[derive(Debug, Clone)]
enum Step {
    Publish(usize, usize),
    Subscribe { wants: usize, queue: usize },
    Resume { which: usize, wants: usize },
    Take { which: usize, most: usize },
    Drop(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 1..40_usize).prop_map(|(c, n)| Step::Publish(c, n)),
        2 => (0..6_usize, 1..20_usize).prop_map(|(wants, queue)| Step::Subscribe { wants, queue }),
        2 => (any::<usize>(), 0..6_usize).prop_map(|(which, wants)| Step::Resume { which, wants }),
        4 => (any::<usize>(), 1..100_usize).prop_map(|(which, most)| Step::Take { which, most }),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => Just(Step::Restart),
    ]
}

/// A subscriber, and what the model knows of it.
struct Reader {
    subscriber: Subscriber,
    wants: usize,
    /// All up to this was delivered, or announced as lost.
    after: u64,
}

fn wants(which: usize, channel: &str) -> bool {
    match which.checked_sub(3) {
        None => CHANNELS[which] == channel,
        Some(pattern) => Pattern::new(PATTERNS[pattern]).unwrap().matches(channel),
    }
}

async fn subscribe(
    pubsub: &PubSub,
    which: usize,
    queue: usize,
    from: Option<MessageId>,
) -> Subscriber {
    let subscribe = match which.checked_sub(3) {
        None => pubsub.subscribe(CHANNELS[which]),
        Some(pattern) => pubsub.subscribe_pattern(PATTERNS[pattern]),
    };
    let subscribe = subscribe.queue(queue, 1 << 20);
    match from {
        None => subscribe.await.unwrap(),
        Some(from) => subscribe.from(from).await.unwrap(),
    }
}

/// All messages ever, by `seq`.
type Log = Vec<&'static str>;

impl Reader {
    /// What it still has to get, were nothing pruned.
    fn due<'l>(&self, log: &'l Log) -> impl Iterator<Item = u64> + use<'l> {
        let (after, which) = (self.after, self.wants);
        (1_u64..)
            .zip(log)
            .filter(move |(seq, channel)| *seq > after && wants(which, channel))
            .map(|(seq, _)| seq)
    }

    async fn take(&mut self, log: &Log, most: usize) {
        for _ in 0..most {
            let Some(due) = self.due(log).next() else {
                return;
            };
            match event(&mut self.subscriber).await {
                Event::Message(message) => {
                    assert_eq!(message.id.seq, due);
                    assert_eq!(&*message.channel, log[due as usize - 1]);
                    self.after = due;
                    assert!(self.subscriber.position().seq >= due);
                }
                Event::Lagged { after, behind } => {
                    assert!(after.seq >= self.after);
                    assert!(behind > 0);
                }
                Event::Gap { next, .. } => {
                    // Only what the window need not hold may be lost.
                    assert!(next.seq > self.after + 1);
                    assert!(
                        next.seq + KEEP <= log.len() as u64 + 1,
                        "{next:?} {}",
                        log.len()
                    );
                    self.after = next.seq - 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn run(steps: Vec<Step>) {
    let dir = Dir::new();
    let mut pubsub = dir.open(keeping(KEEP));
    let mut log: Log = Vec::new();
    let mut readers: Vec<Reader> = Vec::new();
    let mut epoch = None;
    let pick = |readers: &Vec<Reader>, which: usize| which.checked_rem(readers.len());
    for step in steps {
        match step {
            Step::Publish(channel, count) => {
                let channel = CHANNELS[channel];
                let messages = (0..count).map(|_| NewMessage::new(channel, "x")).collect();
                for id in pubsub.publish_many(messages).await.unwrap() {
                    log.push(channel);
                    assert_eq!(id.seq, log.len() as u64);
                    assert_eq!(*epoch.get_or_insert(id.epoch), id.epoch);
                }
                let bounds = pubsub.bounds().await.unwrap();
                let held = bounds.newest + 1 - bounds.oldest;
                assert!(held >= KEEP.min(bounds.newest));
                assert!(held < KEEP + 64 + 40, "{held}");
            }
            Step::Subscribe { wants, queue } => readers.push(Reader {
                subscriber: subscribe(&pubsub, wants, queue, None).await,
                wants,
                after: log.len() as u64,
            }),
            Step::Resume { which, wants } => {
                let Some(place) = pick(&readers, which) else {
                    continue;
                };
                let id = readers[place].subscriber.position();
                readers.push(Reader {
                    subscriber: subscribe(&pubsub, wants, 10, Some(id)).await,
                    wants,
                    after: id.seq,
                });
            }
            Step::Take { which, most } => {
                if let Some(place) = pick(&readers, which) {
                    readers[place].take(&log, most).await;
                }
            }
            Step::Drop(which) => {
                if let Some(place) = pick(&readers, which) {
                    readers.swap_remove(place);
                }
            }
            Step::Restart => {
                let positions: HashMap<usize, MessageId> = readers
                    .iter()
                    .map(|reader| reader.subscriber.position())
                    .enumerate()
                    .collect();
                pubsub.close().await;
                pubsub = dir.open(keeping(KEEP));
                for (place, reader) in readers.iter_mut().enumerate() {
                    let id = positions[&place];
                    reader.after = id.seq;
                    reader.subscriber = subscribe(&pubsub, reader.wants, 10, Some(id)).await;
                }
            }
        }
    }
    for reader in &mut readers {
        reader.take(&log, usize::MAX).await;
    }
    pubsub.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn every_history_is_that_of_the_model(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
