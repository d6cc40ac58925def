//! What is merged, and when.

use std::time::Duration;

use super::*;
use crate::history::{Policy, Timed};

/// Files of level 0 that hold a transaction each, at these seconds.
fn at_seconds(seconds: &[i64]) -> Vec<Timed> {
    let changes = (2..).zip(seconds).map(|(txid, second)| Timed {
        file: file(0, txid, txid),
        time_ms: second * 1_000,
    });
    let whole = Timed {
        file: file(9, 1, 1),
        time_ms: 0,
    };
    changes.chain([whole]).collect()
}

fn due(policy: &Policy, files: &[Timed], level: u8, second: i64) -> Vec<(u64, u64)> {
    let merges = policy.due(files, level, second * 1_000);
    let range = |merge: &crate::history::Merge| {
        assert_eq!(merge.level, level);
        (merge.files[0].min.0, merge.files.last().unwrap().max.0)
    };
    merges.iter().map(range).collect()
}

#[test]
fn a_span_is_merged_when_it_is_over() {
    let policy = Policy::default();
    let files = at_seconds(&[10, 20, 299, 300, 310, 650, 950, 960]);
    let first = at_seconds(&[10, 20, 299]);
    assert_eq!(due(&policy, &first, 1, 299), []);
    assert_eq!(due(&policy, &first, 1, 300), [(2, 4)]);
    // 7 is alone in its five minutes; 8 and 9 wait for theirs to be over.
    assert_eq!(due(&policy, &files, 1, 1_199), [(2, 4), (5, 6)]);
    assert_eq!(due(&policy, &files, 1, 1_200), [(2, 4), (5, 6), (8, 9)]);
    assert_eq!(due(&policy, &files, 2, 3_599), []);
    assert_eq!(due(&policy, &files, 2, 3_600), [(2, 9)]);
}

#[test]
fn what_is_merged_is_not_merged_again() {
    let policy = Policy::default();
    let mut files = at_seconds(&[10, 20, 299, 300, 310, 650]);
    for (min, max, second) in [(2, 4, 299), (5, 6, 310)] {
        files.push(Timed {
            file: file(1, min, max),
            time_ms: second * 1_000,
        });
    }
    assert_eq!(due(&policy, &files, 1, 10_000), []);
    let merges = policy.due(&files, 2, 3_600_000);
    let merged: Vec<_> = merges[0]
        .files
        .iter()
        .map(|f| (f.level, f.min.0, f.max.0))
        .collect();
    assert_eq!(
        (merges.len(), merged),
        (1, vec![(1, 2, 4), (1, 5, 6), (0, 7, 7)])
    );
    files.push(Timed {
        file: file(3, 2, 7),
        time_ms: 650_000,
    });
    assert_eq!(due(&policy, &files, 1, 10_000), []);
    assert_eq!(due(&policy, &files, 2, 10_000), []);
}

#[test]
fn a_merge_has_bounds() {
    let policy = Policy {
        merge_files: 4,
        ..Policy::default()
    };
    let files = at_seconds(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // What is full need not wait.
    assert_eq!(due(&policy, &files, 1, 9), [(2, 5), (6, 9)]);
    let policy = Policy {
        merge_bytes: 2_999,
        ..Policy::default()
    };
    assert_eq!(
        due(&policy, &files, 1, 300),
        [(2, 3), (4, 5), (6, 7), (8, 9)]
    );
}

#[test]
fn nothing_is_merged_over_a_gap_or_without_a_whole_database() {
    let policy = Policy::default();
    let mut files = at_seconds(&[1, 2, 3, 4, 5, 6]);
    files.remove(2);
    assert_eq!(due(&policy, &files, 1, 300), [(2, 3), (5, 7)]);
    files.pop();
    assert_eq!(due(&policy, &files, 1, 300), []);
    // What is before the oldest whole database leads nowhere.
    files.push(Timed {
        file: file(9, 1, 5),
        time_ms: 0,
    });
    assert_eq!(due(&policy, &files, 1, 300), [(6, 7)]);
}

#[test]
fn spans_of_no_length_do_no_harm() {
    let policy = Policy {
        short: Duration::ZERO,
        long: Duration::MAX,
        ..Policy::default()
    };
    let files = at_seconds(&[1, 1, 3]);
    assert_eq!(due(&policy, &files, 1, 300), [(2, 3)]);
    assert_eq!(due(&policy, &files, 2, 300), []);
}
