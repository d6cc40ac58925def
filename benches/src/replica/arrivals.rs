//! When which state of the app's database was in the bucket.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use monolite_ltx::Decoder;
use monolite_testkit::s3::S3Options;

use super::data;
use super::site::{NAME, SNAPSHOTS, Site};
use crate::clock::monotonic_ns;

/// Between its time being taken and an object being listed.
const INSERTED: Duration = Duration::from_millis(1);
const LOOKS: usize = 5;

/// A file of the replica that holds the page with the stamp.
struct Arrival {
    key: String,
    at_ns: u64,
    stamp: u64,
}

/// Notes each file of changes as it comes. The server asks for the time when
/// all bytes of an object are there; that asking is what tells us.
pub(super) struct Arrivals {
    stored: Receiver<u64>,
    /// The page that has the stamp.
    page: u32,
    seen: HashSet<String>,
    arrivals: Vec<Arrival>,
}

/// The options of a server that tells, and what it tells.
pub(super) fn telling() -> (S3Options, Receiver<u64>) {
    let (sender, stored) = channel();
    let clock = move || {
        let _ = sender.send(monotonic_ns());
        SystemTime::now()
    };
    let options = S3Options {
        clock: Arc::new(clock),
        ..S3Options::default()
    };
    (options, stored)
}

impl Arrivals {
    pub(super) fn new(stored: Receiver<u64>, page: u32) -> Self {
        Self {
            stored,
            page,
            seen: HashSet::new(),
            arrivals: Vec::new(),
        }
    }

    /// Notes what comes until then.
    pub(super) fn gather(&mut self, site: &Site, until: Instant) -> anyhow::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(mut at_ns) = self.stored.recv_timeout(left) else {
                return Ok(());
            };
            while let Ok(later) = self.stored.try_recv() {
                at_ns = later;
            }
            for _ in 0..LOOKS {
                if self.note(site, at_ns)? {
                    break;
                }
                // Or it was another object, as a lease.
                std::thread::sleep(INSERTED);
            }
        }
    }

    /// Notes files that are new: is there one?
    fn note(&mut self, site: &Site, at_ns: u64) -> anyhow::Result<bool> {
        let mut any = false;
        for level in [0, SNAPSHOTS] {
            for key in site.files(NAME, level) {
                if self.seen.contains(&key) {
                    continue;
                }
                any = true;
                let body = site.server().object(&key).unwrap_or_default();
                if let Some(stamp) = stamp(&body, self.page)? {
                    let key = key.clone();
                    self.arrivals.push(Arrival { key, at_ns, stamp });
                }
                self.seen.insert(key);
            }
        }
        Ok(any)
    }

    /// The newest stamp that is there.
    pub(super) fn newest(&self) -> u64 {
        self.arrivals.iter().map(|one| one.stamp).max().unwrap_or(0)
    }

    /// Stamps, rising, and since when one could be restored: not before all
    /// files before it were there as well.
    pub(super) fn restorable(mut self) -> Vec<(u64, u64)> {
        // By what they lead on from: a snapshot's name begins with its first.
        self.arrivals.sort_by(|a, b| a.key.cmp(&b.key));
        self.arrivals.sort_by_key(|one| one.stamp);
        let mut all_ns = 0;
        let rising = self.arrivals.iter().map(|one| {
            all_ns = all_ns.max(one.at_ns);
            (one.stamp, all_ns)
        });
        rising.collect()
    }
}

/// The stamp in an LTX file, if it has that page.
fn stamp(body: &[u8], wanted: u32) -> anyhow::Result<Option<u64>> {
    let mut decoder = Decoder::new(body)?;
    let mut page = Vec::new();
    while let Some(number) = decoder.next_page(&mut page)? {
        if number == wanted {
            return Ok(data::stamp_on(&page));
        }
    }
    Ok(None)
}
