//! When states were, by the headers of their files.

use monolite_ltx::Txid;

use super::due::{Timed, candidates};
use super::retention::Policy;
use crate::storage::{FileInfo, Replica, StorageError};

/// Finds out the times of what is to be merged into `level`, as far as they are
/// not known, by reading the headers of few files: where two states are of one
/// span, those between are, too, and get the time of the later.
pub(super) async fn learn(
    replica: &Replica,
    policy: &Policy,
    timed: &mut [(Timed, bool)],
    level: u8,
) -> Result<Vec<(FileInfo, i64)>, StorageError> {
    let files: Vec<&FileInfo> = timed.iter().map(|(timed, _)| &timed.file).collect();
    let order = candidates(&files, level);
    let unknown =
        |timed: &[(Timed, bool)], at: usize| order.get(at).is_some_and(|at| !timed[*at].1);
    let mut learned = Vec::new();
    let mut at = 0;
    while at < order.len() {
        if !unknown(timed, at) {
            at += 1;
            continue;
        }
        let mut end = at;
        while unknown(timed, end) {
            end += 1;
        }
        // What is known before and after counts as well.
        let mut ranges = vec![(at.saturating_sub(1), end.min(order.len() - 1))];
        while let Some((first, last)) = ranges.pop() {
            for end in [first, last] {
                if unknown(timed, end) {
                    let file = timed[order[end]].0.file.clone();
                    let time_ms = replica.header(&file).await?.timestamp_ms;
                    timed[order[end]].0.time_ms = time_ms;
                    timed[order[end]].1 = true;
                    learned.push((file, time_ms));
                }
            }
            let span = |at: usize| {
                let time_ms = timed[order[at]].0.time_ms;
                time_ms.div_euclid(policy.span_ms(level))
            };
            if span(first) == span(last) {
                let time_ms = timed[order[last]].0.time_ms;
                for between in first + 1..last {
                    if unknown(timed, between) {
                        let (timed, known) = &mut timed[order[between]];
                        (timed.time_ms, *known) = (time_ms, true);
                        learned.push((timed.file.clone(), time_ms));
                    }
                }
            } else if last - first > 1 {
                let middle = first + (last - first) / 2;
                ranges.extend([(first, middle), (middle, last)]);
            }
        }
        at = end;
    }
    Ok(learned)
}

/// When the state `txid` was: by the file of the lowest level that leads right
/// to it, for a snapshot may have been made later. One whose header is damaged is
/// passed over if another leads there.
pub(crate) async fn time_of(
    replica: &Replica,
    files: &[FileInfo],
    txid: Txid,
) -> Result<Option<i64>, StorageError> {
    let mut leads: Vec<&FileInfo> = files.iter().filter(|file| file.max == txid).collect();
    leads.sort_unstable_by_key(|file| file.level);
    let mut damaged = None;
    for file in leads {
        match replica.header(file).await {
            Ok(header) => return Ok(Some(header.timestamp_ms)),
            Err(error) if error.is_damage() => damaged = damaged.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match damaged {
        Some(error) => Err(error),
        None => Ok(None),
    }
}
