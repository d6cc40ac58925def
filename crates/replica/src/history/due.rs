//! Which files are to be merged now.

use std::cmp::Reverse;

use super::plan::is_whole;
use super::retention::{Policy, millis};
use crate::storage::{FileInfo, SNAPSHOT_LEVEL};

/// Files to be merged into one of a higher level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The level of the outcome.
    pub level: u8,
    /// What is merged, oldest first, each leading on from the one before. At
    /// least two.
    pub files: Vec<FileInfo>,
}

/// A file and the time of the state it leads to, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// The file.
    pub file: FileInfo,
    /// When its last state was there: the timestamp in its header.
    pub time_ms: i64,
}

impl Policy {
    /// What is to be merged at `now_ms` into files of `level`, which is 1 or 2.
    ///
    /// Time is divided into spans, of [`short`](Self::short) or
    /// [`long`](Self::long), aligned so that hours are hours. Once a span is
    /// over, all files of lower levels whose states are in it are merged into
    /// one. A file that is alone in its span stays what it is; one of a higher
    /// level takes it in later.
    #[must_use]
    pub fn due(&self, files: &[Timed], level: u8, now_ms: i64) -> Vec<Merge> {
        let span = self.span_ms(level);
        let mut groups: Vec<Group> = Vec::new();
        let listed: Vec<&FileInfo> = files.iter().map(|timed| &timed.file).collect();
        for timed in candidates(&listed, level).into_iter().map(|at| &files[at]) {
            let of_span = timed.time_ms.div_euclid(span);
            match groups.last_mut() {
                Some(group) if group.takes(&timed.file, of_span, self) => {
                    group.files.push(timed.file.clone());
                    group.bytes += timed.file.size;
                }
                _ => groups.push(Group {
                    span: of_span,
                    bytes: timed.file.size,
                    files: vec![timed.file.clone()],
                }),
            }
        }
        let current = now_ms.div_euclid(span);
        let last = groups.len().saturating_sub(1);
        groups
            .into_iter()
            .enumerate()
            // Nothing can join a group that another follows. The last one waits
            // for its span to be over, or for itself to be full.
            .filter(|(at, group)| *at < last || group.span < current || group.is_full(self))
            .filter(|(_, group)| group.files.len() > 1)
            .map(|(_, Group { files, .. })| Merge { level, files })
            .collect()
    }

    /// Which span of time a state belongs to, when files of `level` are made.
    pub(super) fn span_ms(&self, level: u8) -> i64 {
        let span = if level <= 1 { self.short } else { self.long };
        millis(span).max(1)
    }
}

struct Group {
    span: i64,
    bytes: u64,
    files: Vec<FileInfo>,
}

impl Group {
    fn takes(&self, file: &FileInfo, span: i64, policy: &Policy) -> bool {
        let leads_on = (self.files.last()).is_some_and(|last| file.min <= last.max.next());
        leads_on
            && span == self.span
            && self.files.len() < policy.merge_files
            && self.bytes.saturating_add(file.size) <= policy.merge_bytes
    }

    fn is_full(&self, policy: &Policy) -> bool {
        self.files.len() >= policy.merge_files
    }
}

/// The files below `level` that no other file of `level` or below has inside
/// it, in order: their indexes in `files`.
pub(super) fn candidates(files: &[&FileInfo], level: u8) -> Vec<usize> {
    // Changes before the oldest whole database lead nowhere.
    let whole = files.iter().filter(|file| is_whole(file));
    let Some(oldest) = whole.map(|file| file.max).min() else {
        return Vec::new();
    };
    let mut sorted: Vec<(usize, &FileInfo)> = files
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, file)| file.level < SNAPSHOT_LEVEL && file.max > oldest)
        .collect();
    sorted.sort_unstable_by_key(|(_, file)| (file.min, Reverse((file.max, file.level))));
    let mut reached = None;
    let mut found = Vec::new();
    for (at, file) in sorted {
        if reached < Some(file.max) {
            reached = Some(file.max);
            if file.level < level {
                found.push(at);
            }
        }
    }
    found
}
