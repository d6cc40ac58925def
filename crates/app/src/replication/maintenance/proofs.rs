//! Which state of each replica was verified last, and when: kept on the volume, so that a process
//! that is restarted each day continues where the one before it was.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use monolite_ltx::Txid;
use monolite_platform::durable;
use monolite_volume::layout::replica::VERIFIED;

/// What is known of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    /// When it was verified, or seen first, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// The state; 0 if none was yet.
    pub(super) txid: Txid,
    /// The last verification found that it cannot be restored.
    pub(super) is_failed: bool,
}

/// In a line of the file, where the state is otherwise.
const FAILED: &str = "failed";

/// Written with each verification; losing it costs one verification too many.
#[derive(Debug)]
pub(super) struct Proofs {
    path: PathBuf,
    proofs: HashMap<String, Proof>,
}

impl Proofs {
    pub(super) fn load(state: &Path) -> Self {
        let path = state.join(VERIFIED);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let proofs = text.lines().filter_map(parse).collect();
        Self { path, proofs }
    }

    /// Whether the state of `replica` is to be verified now. One that was never seen is due `every_ms`
    /// later.
    pub(super) fn is_due(&mut self, replica: &str, txid: Txid, now_ms: i64, every_ms: i64) -> bool {
        let unknown = !self.proofs.contains_key(replica);
        if unknown {
            self.note(replica, Txid(0), now_ms);
        }
        let Some(proof) = self.proofs.get(replica) else {
            return false;
        };
        // A clock that was set back is no reason to wait for years.
        let age_ms = now_ms - proof.at_ms;
        proof.txid != txid && !(0..every_ms).contains(&age_ms)
    }

    /// The state was verified, or is not to be.
    pub(super) fn note(&mut self, replica: &str, txid: Txid, at_ms: i64) {
        self.insert(replica, at_ms, txid, false);
    }

    /// The verification failed. It is due again after the next interval, also if nothing changes.
    pub(super) fn note_failed(&mut self, replica: &str, at_ms: i64) {
        self.insert(replica, at_ms, Txid(0), true);
    }

    /// Those whose last verification failed.
    pub(super) fn failed(&self) -> HashSet<String> {
        let failed = self.proofs.iter().filter(|(_, proof)| proof.is_failed);
        failed.map(|(replica, _)| replica.clone()).collect()
    }

    /// When the verification of this replica failed, if the last one did.
    pub(super) fn failed_at(&self, replica: &str) -> Option<i64> {
        let proof = self.proofs.get(replica).filter(|proof| proof.is_failed);
        proof.map(|proof| proof.at_ms)
    }

    fn insert(&mut self, replica: &str, at_ms: i64, txid: Txid, is_failed: bool) {
        let proof = Proof {
            at_ms,
            txid,
            is_failed,
        };
        self.proofs.insert(replica.into(), proof);
        let _ = self.save();
    }

    fn save(&self) -> io::Result<()> {
        let line = |(replica, proof): (&String, &Proof)| {
            let state = match proof.is_failed {
                true => FAILED.to_owned(),
                false => proof.txid.to_string(),
            };
            format!("{}\t{state}\t{replica}\n", proof.at_ms)
        };
        let text: String = self.proofs.iter().map(line).collect();
        durable::write(&self.path, text.as_bytes())
    }
}

fn parse(line: &str) -> Option<(String, Proof)> {
    let mut parts = line.splitn(3, '\t');
    let at_ms = parts.next()?.parse().ok()?;
    let state = parts.next()?;
    let is_failed = state == FAILED;
    let txid = match is_failed {
        true => Txid(0),
        false => state.parse().ok()?,
    };
    let proof = Proof {
        at_ms,
        txid,
        is_failed,
    };
    Some((parts.next()?.to_owned(), proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_is_what_changed_and_was_not_verified_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let mut proofs = Proofs::load(dir.path());
        let due =
            |proofs: &mut Proofs, txid, now| proofs.is_due("s3://b/app.db", Txid(txid), now, 1000);
        assert!(!due(&mut proofs, 5, 10_000), "seen for the first time");
        assert!(!due(&mut proofs, 6, 10_999));
        assert!(due(&mut proofs, 6, 11_000));
        proofs.note("s3://b/app.db", Txid(6), 11_000);
        let mut proofs = Proofs::load(dir.path());
        assert!(!due(&mut proofs, 7, 11_500));
        assert!(!due(&mut proofs, 6, 99_000), "nothing has changed");
        assert!(due(&mut proofs, 7, 99_000));
        assert!(due(&mut proofs, 7, 500), "the clock was set back");
    }
    #[test]
    fn a_failure_is_known_after_a_restart_and_until_a_verification_passes() {
        let dir = tempfile::tempdir().unwrap();
        let (replica, due_ms) = ("s3://b/app.db", 1000);
        let mut proofs = Proofs::load(dir.path());
        proofs.note_failed(replica, 10_000);
        let mut proofs = Proofs::load(dir.path());
        assert_eq!(proofs.failed(), [replica.to_owned()].into());
        assert!(!proofs.is_due(replica, Txid(5), 10_999, due_ms));
        assert!(proofs.is_due(replica, Txid(5), 11_000, due_ms));
        proofs.note(replica, Txid(5), 11_000);
        assert!(Proofs::load(dir.path()).failed().is_empty());
    }
}
