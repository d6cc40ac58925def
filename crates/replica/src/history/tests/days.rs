//! Days of a replica, simulated: what is promised stays, what is not goes.

use proptest::prelude::*;

use super::world::{DAY, HOUR, Habits, World};
use super::*;

fn habits() -> impl Strategy<Value = Habits> {
    let chances = (0_u32..10, 0_u32..15, 0_u32..40, 0_u32..4);
    (3_i64..8, 60_i64..600, chances, any::<bool>()).prop_map(
        |(days, pause_s, (still, outages, broken, jumps), second)| Habits {
            days,
            pause_s,
            still,
            outages,
            broken,
            jumps,
            second,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn whatever_happens_what_is_promised_stays(seed: u64, habits in habits()) {
        World::new(seed, habits).live();
    }
}

#[test]
fn the_number_of_files_stays_bounded() {
    let calm = Habits {
        days: 9,
        pause_s: 60,
        still: 0,
        outages: 0,
        broken: 0,
        jumps: 0,
        second: false,
    };
    let mut world = World::new(7, calm);
    world.live();
    // A change each 30 s: those of 75 minutes and of the span not over yet; of
    // level 1 two hours and a bit, of level 2 two days, snapshots of five days.
    let bound = 2 * 85 + 12 * 2 + 5 + 50 + 7;
    assert!(world.most_files <= bound, "{} of {bound}", world.most_files);
    let of = |level| {
        world
            .files()
            .iter()
            .filter(|file| file.level == level)
            .count()
    };
    assert!(
        of(0) > 100 && of(1) > 11 && of(2) > 23 && of(9) > 4,
        "nothing was kept"
    );

    // Once nothing changes, what is left is what leads to the snapshots' states
    // and the newest.
    world.now_ms += 30 * DAY;
    world.upkeep(None);
    world.now_ms += 2 * HOUR;
    world.upkeep(None);
    world.check_promises();
    let newest_snapshot = Txid(*world.snapshots.last().unwrap());
    assert!(world.files().iter().all(|file| file.max >= newest_snapshot));
    assert!(world.files().len() < 30, "{:?}", world.files());
}
