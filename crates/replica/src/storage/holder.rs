//! What the lease's file says.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who wants to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The volume's own id, the same after a restart.
    pub node: String,
    /// The machine's name.
    pub host: String,
    /// The process, for people.
    pub pid: Option<u32>,
}

/// Who has a lease, or had it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// How often the lease changed hands.
    pub epoch: u64,
    /// The volume's id.
    pub node: String,
    /// The machine's name.
    pub host: String,
    /// The process.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When it took the lease, by its clock, in milliseconds since 1970.
    pub taken_ms: i64,
    /// When it renewed it last, by its clock.
    pub renewed_ms: i64,
    /// How long the lease lasts after a renewal, in milliseconds.
    pub ttl_ms: u64,
    /// Whether it was given back.
    #[serde(default)]
    pub released: bool,
    /// Volumes whose requests may still be under way, because they did not give the
    /// lease back after all was stored. Whoever stores all and gives it back empties
    /// this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) open: Vec<String>,
    /// Tells one taking from another.
    #[serde(default)]
    pub(super) token: String,
}

/// Volumes that are remembered by name whose requests may be under way.
const OPEN_MAX: usize = 16;

/// The volume of a node, which has another name after each boot.
fn volume(node: &str) -> &str {
    node.split('-').next().unwrap_or(node)
}

/// Characters of another's name that are shown.
const SHOWN: usize = 100;

impl Holder {
    pub(super) fn new(epoch: u64, node: &Node, now_ms: i64, ttl: Duration, token: &str) -> Self {
        Self {
            epoch,
            node: node.node.clone(),
            host: node.host.clone(),
            pid: node.pid,
            taken_ms: now_ms,
            renewed_ms: now_ms,
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            released: false,
            open: Vec::new(),
            token: token.into(),
        }
    }

    /// Reads a lease. Fields that a later version adds are passed over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        // Cannot fail: strings and numbers.
        serde_json::to_vec_pretty(self).unwrap_or_default().into()
    }

    /// How long the lease lasts after a renewal.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// The volumes whose requests may be under way once somebody takes the lease from
    /// this holder.
    pub(super) fn open_after(&self) -> Vec<String> {
        let mut open = self.open.clone();
        let own = volume(&self.node);
        if !self.released && !open.iter().any(|it| it == own) {
            open.push(own.to_owned());
        }
        if open.len() > OPEN_MAX {
            // Somebody's, then: nobody is called so.
            open = vec![String::new()];
        }
        open
    }

    /// Whether a request of another volume may still be under way.
    pub(super) fn needs_fence(&self) -> bool {
        let own = volume(&self.node);
        self.open.iter().any(|it| it != own)
    }

    /// Until when it wrote, for people: `until 2026-11-30T12:00:00Z`.
    pub(super) fn last_seen(&self) -> String {
        match Timestamp::from_millisecond(self.renewed_ms) {
            Ok(renewed) if self.released => format!("until about {renewed:.0}"),
            Ok(renewed) => format!("which renewed its lease last at {renewed:.0}"),
            Err(_) => "at a time that is not known".into(),
        }
    }

    /// Whether this is an earlier life of `node`. A copy of the volume on
    /// another machine is not.
    pub(super) fn is(&self, node: &Node) -> bool {
        self.node == node.node && self.host == node.host
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} on {}", shown(&self.node), shown(&self.host))?;
        if let Some(pid) = self.pid {
            write!(f, " (process {pid})")?;
        }
        match Timestamp::from_millisecond(self.taken_ms) {
            Ok(taken) => write!(f, " since {taken:.0}"),
            Err(_) => Ok(()),
        }
    }
}

fn shown(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(SHOWN).collect()
}
