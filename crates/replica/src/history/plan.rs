//! Which files lead to a state of the database.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use monolite_ltx::Txid;

use crate::storage::FileInfo;

/// Which state of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// The newest.
    #[default]
    Latest,
    /// Exactly this one.
    Txid(Txid),
    /// The newest that is not younger, in milliseconds since 1970.
    Time(i64),
}

/// The files that lead to a state, oldest first. The first is a whole database,
/// or leads on from the state that is there already; each next one begins no
/// later than right after the one before, and ends later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The files, oldest first. Empty if the state is there already.
    pub files: Vec<FileInfo>,
    /// The state they lead to.
    pub txid: Txid,
}

impl Plan {
    /// What has to be downloaded, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Why no files lead to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not one file.
    #[error(
        "it holds no file: nothing was replicated there yet, or its name or the database's is another"
    )]
    Empty,
    /// Changes, and no whole database before them.
    #[error(
        "it holds no whole database to begin with: its oldest file begins at transaction {oldest}, and those before it are gone"
    )]
    NoSnapshot {
        /// Where the oldest file begins.
        oldest: Txid,
    },
    /// Files are missing in the middle.
    #[error(
        "the files with the transactions after {after} and before {next} are missing; the state at \
         {after} can be restored, {} cannot", newer(*.lost)
    )]
    Gap {
        /// The last state that can be had.
        after: Txid,
        /// Where the files go on.
        next: Txid,
        /// How many newer states are in files that lead nowhere.
        lost: usize,
    },
    /// The state is inside a file, or was never there.
    #[error("the state at transaction {txid} cannot be had{}", nearest(*.before, *.after))]
    Unavailable {
        /// The state asked for.
        txid: Txid,
        /// The nearest before it that can be had.
        before: Option<Txid>,
        /// The nearest after it that can be had.
        after: Option<Txid>,
    },
    /// What is there already is newer than all of the replica.
    #[error("the state there already, {from}, is not in it: its newest is {newest}")]
    Ahead {
        /// The state that is there.
        from: Txid,
        /// The newest of the replica.
        newest: Txid,
    },
}

fn newer(lost: usize) -> String {
    match lost {
        1 => "the newer one".into(),
        lost => format!("the {lost} newer ones"),
    }
}

fn nearest(before: Option<Txid>, after: Option<Txid>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("; the nearest are those at {before} and {after}"),
        (Some(one), None) | (None, Some(one)) => format!("; the nearest is the one at {one}"),
        (None, None) => String::new(),
    }
}

/// Finds the fewest files that lead to `target` (the newest state if there is
/// none), from the state `from` if that is there already.
///
/// The rule is Litestream's: the newest whole database that is not beyond the
/// target, then again and again, of all files of all levels that begin no later
/// than right after what is reached, the one that ends last. Whenever some files
/// lead there, these do.
///
/// # Errors
/// No files lead there.
pub fn plan(
    files: &[FileInfo],
    from: Option<Txid>,
    target: Option<Txid>,
) -> Result<Plan, PlanError> {
    let Some(newest) = files.iter().map(|file| file.max).max() else {
        return Err(PlanError::Empty);
    };
    if let Some(from) = from
        && from > newest
    {
        return Err(PlanError::Ahead { from, newest });
    }
    let start = from.unwrap_or_default();
    let wanted = |file: &&FileInfo| target.is_none_or(|target| file.max <= target);
    let usable: Vec<&FileInfo> = files.iter().filter(wanted).collect();
    // Whoever has a state should not be sent a whole database again, if the
    // changes since are there.
    let changes = || usable.iter().copied().filter(|file| !is_whole(file));
    let mut plan = match from {
        Some(_) => greedy(changes().collect(), start),
        None => greedy(usable.clone(), start),
    };
    let goal = target.unwrap_or(newest);
    if plan.txid < goal && from.is_some() {
        plan = greedy(usable, start);
    }
    if plan.txid == goal && goal > Txid(0) {
        return Ok(plan);
    }
    Err(why_not(files, plan.txid, from, target))
}

/// A file that begins with the first transaction holds every page.
pub(super) fn is_whole(file: &FileInfo) -> bool {
    file.min == Txid::FIRST
}

fn greedy(mut files: Vec<&FileInfo>, start: Txid) -> Plan {
    files.sort_unstable_by_key(|file| file.min);
    let mut rest = files.into_iter().peekable();
    let mut plan = Plan {
        files: Vec::new(),
        txid: start,
    };
    let mut best: Option<&FileInfo> = None;
    loop {
        while let Some(file) = rest.next_if(|file| file.min <= plan.txid.next()) {
            // Of two that end alike, the smaller one.
            let rank = |file: &FileInfo| (file.max, Reverse(file.size), file.level);
            if best.is_none_or(|best| rank(best) < rank(file)) {
                best = Some(file);
            }
        }
        match best.take() {
            Some(file) if file.max > plan.txid => {
                plan.files.push(file.clone());
                plan.txid = file.max;
            }
            _ => return plan,
        }
    }
}

fn why_not(
    files: &[FileInfo],
    reached: Txid,
    from: Option<Txid>,
    target: Option<Txid>,
) -> PlanError {
    let oldest = files.iter().map(|file| file.min).min().unwrap_or_default();
    if from.is_none() && oldest > Txid::FIRST {
        return PlanError::NoSnapshot { oldest };
    }
    if let Some(txid) = target {
        let states = states(files);
        let at = states.partition_point(|state| *state < txid);
        return PlanError::Unavailable {
            txid,
            before: at.checked_sub(1).and_then(|at| states.get(at).copied()),
            after: states.get(at).copied(),
        };
    }
    let beyond = || files.iter().filter(|file| file.max > reached);
    let next = beyond().map(|file| file.min).min();
    let lost: BTreeSet<Txid> = beyond().map(|file| file.max).collect();
    PlanError::Gap {
        after: reached,
        next: next.unwrap_or(reached),
        lost: lost.len(),
    }
}

/// All states that can be had, in order: those for which [`plan`] finds files.
pub(crate) fn states(files: &[FileInfo]) -> Vec<Txid> {
    let mut files: Vec<&FileInfo> = files.iter().collect();
    files.sort_unstable_by_key(|file| file.max);
    let mut states: Vec<Txid> = Vec::new();
    for file in files {
        let last = states.last().copied();
        let leads_on = last.is_some_and(|state| file.min <= state.next());
        if last != Some(file.max) && (is_whole(file) || leads_on) {
            states.push(file.max);
        }
    }
    states
}
