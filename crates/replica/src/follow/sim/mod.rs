//! A deterministic simulation: two or three volumes, one replica, a network and a
//! provider that fail, processes that are paused, killed and moved, and clocks that
//! are set, all of it by one seed and in time that only the simulation moves.
//!
//! What must hold, whatever happens:
//! 1. A commit that was confirmed and stored is in the replica's newest state.
//! 2. A confirmed commit is in that state, or was reported to be in no replica and kept,
//!    or was on a volume that was lost before it was stored.
//! 3. A lease's epoch has one holder, and once a new holder has stored a file, no earlier
//!    one stores a later transaction.
//! 4. No request is confirmed while another machine has the lease.
//! 5. When the faults end, every volume serves again, or says why not.
//!
//! `MONOLITE_SIM_SEEDS=N` runs N seeds (`cargo xtask test soak`: a million),
//! `MONOLITE_SIM_SEED=S` the one that failed, which is printed.

mod machine;
mod model;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::machine::{Machine, newest};
use self::model::Ledger;
use crate::storage::sim::{Faults, World};

/// Seeds that are tried where nobody asks for more.
const SEEDS: u64 = 1_000;
/// Longest a volume may take to serve again after the faults have ended.
const SERVES_AGAIN: Duration = Duration::from_secs(300);

/// Longest a clean stop may take; then it is killed, as a platform does.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// What became of one seed.
#[derive(Debug, Default, Clone, PartialEq)]
struct Outcome {
    broken: Vec<String>,
    confirmed: usize,
    stored: usize,
    reported: usize,
    lost: usize,
    objects: usize,
    events: Vec<String>,
}

async fn life_of(seed: u64) -> Outcome {
    fastrand::seed(seed);
    let world = World::new(seed);
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let names = ["a", "b", "c"];
    let count = 2 + usize::from(world.below(3) == 0);
    let machines: Vec<_> = names[..count]
        .iter()
        .map(|name| Machine::new(name, &world, &ledger))
        .collect();
    let rate = |most: u64| u32::try_from(world.below(most + 1)).unwrap_or(0);
    let faults = match rate(3) {
        0 => Faults::default(),
        _ => Faults {
            lost: rate(60),
            unanswered: rate(60),
            late: rate(40),
            pause: rate(15),
            slow: rate(100),
        },
    };
    machines[0].start();
    sleep(Duration::from_secs(3)).await;
    world.set_faults(faults);
    for _ in 0..8 + world.below(8) {
        sleep(Duration::from_millis(500 + world.below(40_000))).await;
        let machine = &machines[world.below(count as u64) as usize];
        match world.below(14) {
            0..=5 => machine.start(),
            6 | 7 => machine.kill().await,
            8 => machine.reboot().await,
            9 => machine.lose_volume().await,
            10 => {
                // Without a provider's clock, those of the machines have to agree.
                let most = if world.has_clock() { 3_600_000 } else { 500 };
                machine.step_clock(world.below(2 * most) as i64 - most as i64);
            }
            _ => machine.stop(STOP_TIME_MAX).await,
        }
    }
    world.set_faults(Faults::default());
    for machine in &machines {
        machine.stop(STOP_TIME_MAX).await;
    }
    // Every request that is under way arrives, and every lease ends.
    sleep(Duration::from_secs(200)).await;
    for machine in &machines {
        let before = machine.served();
        machine.start();
        let reported = || ledger.lock().expect("no panic").reported.len();
        let known = reported();
        let served = timeout(SERVES_AGAIN, async {
            while machine.served() == before && reported() == known {
                sleep(Duration::from_millis(200)).await;
            }
        });
        if served.await.is_err() {
            world.broken("a volume does not serve again, and nothing is reported".into());
        }
        sleep(Duration::from_secs(5)).await;
        machine.stop(STOP_TIME_MAX).await;
    }
    judge(&world, &ledger, &machines[0]).await
}

async fn judge(world: &World, ledger: &Mutex<Ledger>, machine: &Machine) -> Outcome {
    let restored = newest(&machine.destination().replica("app")).await;
    let mut broken = world.all_broken();
    let last = match restored {
        Ok(found) => found.map_or(0, |(_, database)| database.last()),
        Err(error) => {
            broken.push(format!("the replica cannot be restored: {error}"));
            0
        }
    };
    let ledger = ledger.lock().expect("no panic");
    let in_newest: BTreeSet<_> = ledger
        .confirmed
        .keys()
        .filter(|c| ledger.holds(last, **c))
        .collect();
    for commit in ledger.stored.keys().filter(|commit| **commit > 0) {
        if !in_newest.contains(commit) {
            broken.push(format!(
                "commit {commit} was stored, and is not in the newest state, {last}"
            ));
        }
    }
    for commit in ledger.confirmed.keys() {
        let is_in = |all: &[u64]| all.iter().any(|last| ledger.holds(*last, *commit));
        if !in_newest.contains(commit) && !is_in(&ledger.reported) && !is_in(&ledger.lost) {
            broken.push(format!("commit {commit} was confirmed, and is nowhere"));
        }
    }
    Outcome {
        broken,
        confirmed: ledger.confirmed.len(),
        stored: ledger.stored.len(),
        reported: ledger.reported.len(),
        lost: ledger.lost.len(),
        objects: world.keys().len(),
        events: world.events(),
    }
}

fn simulate(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(life_of(seed));
    runtime.shutdown_timeout(Duration::ZERO);
    outcome
}

fn holds_for(seed: u64) {
    let outcome = simulate(seed);
    assert!(outcome.broken.is_empty(), "seed {seed}: {outcome:#?}");
}

#[test]
fn whatever_happens_nothing_confirmed_vanishes_unsaid() {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = variable("MONOLITE_SIM_SEED") {
        let outcome = simulate(seed);
        assert!(outcome.broken.is_empty(), "seed {seed}: {outcome:#?}");
        return;
    }
    let seeds = variable("MONOLITE_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let total: Mutex<Outcome> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome = simulate(seed);
                    let mut total = total.lock().expect("no panic");
                    total.confirmed += outcome.confirmed;
                    total.stored += outcome.stored;
                    total.reported += outcome.reported;
                    total.lost += outcome.lost;
                    let broken = outcome.broken.into_iter();
                    total
                        .broken
                        .extend(broken.map(|what| format!("seed {seed}: {what}")));
                }
            });
        }
    });
    let total = total.into_inner().expect("no panic");
    let shown = &total.broken[..total.broken.len().min(20)];
    assert!(
        total.broken.is_empty(),
        "{} broken: {shown:#?}",
        total.broken.len()
    );
    // It is a simulation of something.
    assert!(
        total.stored as u64 > 5 * seeds && total.reported > 0 && total.lost > 0,
        "{total:?}"
    );
    eprintln!("{seeds} seeds: {total:?}");
}

#[test]
fn a_seed_is_one_history() {
    for seed in 0..20 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

/// Seeds that once showed a fault, each with what it was.
#[test]
fn faults_that_were_found_stay_fixed() {
    // The state of a volume with commits that were never stored had the checksum of an
    // earlier state, as an exclusive or of CRCs may: the commits were replaced unsaid.
    for seed in [1385, 2452, 2717, 2736] {
        holds_for(seed);
    }
}
