//! Which files make a state.

use proptest::prelude::*;

use super::*;
use crate::history::plan::states;
use crate::history::{Plan, PlanError, plan};

fn ranges(plan: &Plan) -> Vec<(u8, u64, u64)> {
    let range = |file: &FileInfo| (file.level, file.min.0, file.max.0);
    plan.files.iter().map(range).collect()
}

fn day() -> Vec<FileInfo> {
    vec![
        file(9, 1, 1),
        file(2, 2, 40),
        file(9, 1, 30),
        file(1, 41, 50),
        file(1, 51, 60),
        file(0, 49, 49),
        file(0, 50, 50),
        file(0, 58, 58),
        file(0, 59, 59),
        file(0, 60, 60),
        file(0, 61, 61),
        file(0, 62, 62),
    ]
}

#[test]
fn the_newest_state_takes_the_newest_snapshot_and_the_longest_files() {
    let plan = plan(&day(), None, None).unwrap();
    assert_eq!(plan.txid, Txid(62));
    let expected = [
        (9, 1, 30),
        (2, 2, 40),
        (1, 41, 50),
        (1, 51, 60),
        (0, 61, 61),
        (0, 62, 62),
    ];
    assert_eq!(ranges(&plan), expected);
    assert_eq!(plan.bytes(), 6_000);
}

#[test]
fn an_older_state_takes_nothing_beyond_it() {
    let plan = |txid| plan(&day(), None, Some(Txid(txid)));
    assert_eq!(ranges(&plan(40).unwrap()), [(9, 1, 30), (2, 2, 40)]);
    assert_eq!(ranges(&plan(30).unwrap()), [(9, 1, 30)]);
    assert_eq!(ranges(&plan(1).unwrap()), [(9, 1, 1)]);
    // Only the end of the level 1 file can be had: 51 to 57 are inside it.
    let expected = PlanError::Unavailable {
        txid: Txid(59),
        before: Some(Txid(50)),
        after: Some(Txid(60)),
    };
    assert_eq!(plan(59).unwrap_err(), expected);
    assert_eq!(
        expected.to_string(),
        "the state at transaction 000000000000003b cannot be had; the nearest are those at \
         0000000000000032 and 000000000000003c"
    );
    assert_eq!(
        plan(99).unwrap_err(),
        PlanError::Unavailable {
            txid: Txid(99),
            before: Some(Txid(62)),
            after: None
        }
    );
}

#[test]
fn who_has_a_state_gets_changes_and_a_whole_database_only_if_it_must_be() {
    let from = |from, files: &[FileInfo]| plan(files, Some(Txid(from)), None);
    assert_eq!(
        ranges(&from(60, &day()).unwrap()),
        [(0, 61, 61), (0, 62, 62)]
    );
    assert_eq!(ranges(&from(62, &day()).unwrap()), []);
    let with_new_snapshot: Vec<_> = day().into_iter().chain([file(9, 1, 62)]).collect();
    assert_eq!(
        ranges(&from(61, &with_new_snapshot).unwrap()),
        [(0, 62, 62)]
    );
    let without_changes = [file(9, 1, 62)];
    assert_eq!(ranges(&from(7, &without_changes).unwrap()), [(9, 1, 62)]);
    let (from_txid, newest) = (Txid(63), Txid(62));
    let ahead = PlanError::Ahead {
        from: from_txid,
        newest,
    };
    assert_eq!(from(63, &day()).unwrap_err(), ahead);
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(plan(&[], None, None).unwrap_err(), PlanError::Empty);
    assert_eq!(
        plan(&[file(0, 5, 5), file(0, 6, 6)], None, None).unwrap_err(),
        PlanError::NoSnapshot { oldest: Txid(5) }
    );
    let files = [file(9, 1, 3), file(0, 4, 4), file(0, 6, 6), file(0, 7, 7)];
    let gap = PlanError::Gap {
        after: Txid(4),
        next: Txid(6),
        lost: 2,
    };
    assert_eq!(plan(&files, None, None).unwrap_err(), gap);
    assert_eq!(plan(&files, None, Some(Txid(4))).unwrap().txid, Txid(4));
}

/// All states that some files, one after the other, lead to: by trying all.
fn brute_force(files: &[FileInfo]) -> Vec<u64> {
    let mut states: Vec<u64> = Vec::new();
    loop {
        let found = files.iter().find(|file| {
            let leads_on = |state: &u64| file.min.0 <= state + 1 && *state < file.max.0;
            !states.contains(&file.max.0) && (file.min.0 == 1 || states.iter().any(leads_on))
        });
        match found {
            Some(file) => states.push(file.max.0),
            None => break,
        }
    }
    states.sort_unstable();
    states
}

proptest! {
    #[test]
    fn a_plan_is_found_whenever_there_is_one(
        ranges in prop::collection::vec((0_u8..4, 1_u64..12, 0_u64..6), 0..14),
        from in prop::option::of(0_u64..12),
    ) {
        let files: Vec<FileInfo> = ranges
            .iter()
            .map(|(level, min, more)| match level {
                3 => file(9, 1, min + more),
                level => file(*level, *min, min + more),
            })
            .collect();
        let all = brute_force(&files);
        let found: Vec<u64> = states(&files).iter().map(|txid| txid.0).collect();
        prop_assert_eq!(&found, &all);
        for txid in 1..18 {
            let plan = plan(&files, None, Some(Txid(txid)));
            prop_assert_eq!(plan.is_ok(), all.contains(&txid), "{} of {:?}", txid, files);
            check(plan, None, txid)?;
        }
        // Who has a state already: as if a whole database led to it.
        let Some(from) = from else { return Ok(()) };
        let mut with: Vec<FileInfo> = files.clone();
        with.push(file(9, 1, from.max(1)));
        let reachable = brute_force(&with);
        for txid in from.max(1)..18 {
            let plan = plan(&files, Some(Txid(from)), Some(Txid(txid)));
            let newest = files.iter().map(|file| file.max.0).max().unwrap_or(0);
            let expected = from <= newest
                && (if from == 0 { &all } else { &reachable }).contains(&txid)
                && newest > 0;
            prop_assert_eq!(plan.is_ok(), expected, "{}..{} of {:?}: {:?}", from, txid, files, plan);
            check(plan, Some(from), txid)?;
        }
    }
}

fn check(plan: Result<Plan, PlanError>, from: Option<u64>, to: u64) -> Result<(), TestCaseError> {
    let Ok(plan) = plan else { return Ok(()) };
    prop_assert_eq!(plan.txid, Txid(to));
    let mut at = from.unwrap_or(0);
    for file in &plan.files {
        prop_assert!(file.min.0 <= at + 1 && at < file.max.0);
        at = file.max.0;
    }
    prop_assert_eq!(at, to);
    Ok(())
}
