//! Lease, epoch and transaction numbers, as a specification: every state that two
//! machines and one bucket can reach, enumerated.
//!
//! The protocol, without anything else:
//! - the lease is one object; whoever finds it ended or given back takes it with the next
//!   epoch; it may end at any moment, and be renewed as long as nobody else took it;
//! - a file's name is its transaction; files are created, and never overwritten;
//! - the right to write is asked for before a request; the request may arrive at any time
//!   after, also when the lease is somebody else's by then, and its answer may be lost;
//! - a new holder makes its database the replica's newest state. If the last holder has
//!   not given the lease back, it stores a file before it serves (the fence); that this
//!   is due stays written in the lease, whoever has it by then, until one gives it back
//!   who has stored all;
//! - requests are confirmed under the lease only; a process may be killed at any moment,
//!   and what its database holds stays.
//!
//! What must hold in every state:
//! - each file follows from the one before it, whoever wrote the two;
//! - what a holder has confirmed it never finds to be in no replica while it keeps the
//!   lease.
//!
//! Without the fence the second one does not hold, which is shown, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, VecDeque};

/// How far it is looked.
#[derive(Clone, Copy)]
struct Bounds {
    /// Transactions.
    files: usize,
    /// Epochs of the lease.
    epochs: u8,
    /// Requests that may be under way at once.
    under_way: usize,
}

const FEW: Bounds = Bounds {
    files: 4,
    epochs: 3,
    under_way: 2,
};
/// Some minutes, optimized.
const MANY: Bounds = Bounds {
    files: 5,
    epochs: 4,
    under_way: 3,
};
const MACHINES: usize = 2;

type Machine = usize;

/// A file: who wrote it, and who wrote the one that it follows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
struct File {
    writer: Machine,
    after: Machine,
}

/// A request to create a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
struct Request {
    txid: usize,
    file: File,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Stopped, killed, or waiting for the lease.
    Out,
    /// It has the lease, and has looked at nothing.
    Taken,
    /// Its database is the replica's newest state, as it was when it looked.
    Fresh,
    /// Its first file is under way.
    Fencing,
    /// Requests pass.
    Serving,
    /// Requests pass, and a file is under way.
    Sending,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct One {
    phase: Phase,
    /// The state its database follows from: a transaction, and who wrote it.
    tip: (usize, Machine),
    /// It has confirmed what is in no file that it knows of; in which epoch.
    unstored: Option<u8>,
    /// What it sent under the next name, and cannot know to be stored or not.
    sent: Option<Request>,
    epoch: u8,
    needs_fence: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    epoch: u8,
    holder: Option<Machine>,
    lasts: bool,
    given_back: bool,
    /// Whose requests may be under way: they did not give the lease back, and since then
    /// nobody did who had stored all.
    open: [bool; MACHINES],
    files: Vec<File>,
    under_way: Vec<Request>,
    all: [One; MACHINES],
}

impl State {
    fn first() -> Self {
        let one = One {
            phase: Phase::Out,
            tip: (1, 0),
            unstored: None,
            sent: None,
            epoch: 0,
            needs_fence: false,
        };
        Self {
            epoch: 0,
            holder: None,
            lasts: false,
            given_back: true,
            open: [false; MACHINES],
            // A snapshot that both volumes were made from.
            files: vec![File {
                writer: 0,
                after: 0,
            }],
            under_way: Vec::new(),
            all: [one.clone(), one],
        }
    }

    fn newest(&self) -> (usize, Machine) {
        (self.files.len(), self.files.last().unwrap().writer)
    }

    fn may_write(&self, m: Machine) -> bool {
        self.holder == Some(m) && self.lasts && self.all[m].epoch == self.epoch && !self.given_back
    }

    fn send(&mut self, m: Machine, phase: Phase) {
        let (txid, writer) = self.all[m].tip;
        let request = Request {
            txid: txid + 1,
            file: File {
                writer: m,
                after: writer,
            },
        };
        self.under_way.push(request);
        self.under_way.sort();
        self.all[m].sent = Some(request);
        self.all[m].phase = phase;
    }

    /// What the machine learns of the file that it sent.
    fn answered(&mut self, m: Machine, is_stored: bool) {
        let sent = self.all[m].sent.take().unwrap();
        let one = &mut self.all[m];
        if is_stored {
            one.tip = (sent.txid, m);
            one.unstored = None;
            one.phase = Phase::Serving;
        } else {
            // Another file has the name: it is looked again.
            one.phase = Phase::Taken;
        }
    }

    /// Everything that may happen next, by name; an error where something is broken.
    fn next(&self, bounds: Bounds, with_fence: bool) -> Vec<(String, Result<State, String>)> {
        let mut all = Vec::new();
        let mut then = |name: String, change: &mut dyn FnMut(&mut State) -> Result<(), String>| {
            let mut next = self.clone();
            let done = change(&mut next).map(|()| next);
            all.push((name, done));
        };
        if self.lasts {
            then("the lease ends".into(), &mut |s| {
                s.lasts = false;
                Ok(())
            });
        }
        // A request arrives, and nobody gets the answer; or its sender does.
        for (n, request) in self.under_way.iter().enumerate() {
            for is_heard in [false, true] {
                let m = request.file.writer;
                let waits = matches!(self.all[m].phase, Phase::Fencing | Phase::Sending)
                    && self.all[m].sent == Some(*request);
                if is_heard && !waits {
                    continue;
                }
                then(
                    format!("{request:?} arrives, heard: {is_heard}"),
                    &mut |s| {
                        s.under_way.remove(n);
                        let is_free = s.files.len() + 1 == request.txid;
                        if is_free {
                            let before = s.files.last().unwrap().writer;
                            if before != request.file.after {
                                return Err(format!("{request:?} follows a file of {before}"));
                            }
                            s.files.push(request.file);
                        }
                        let is_mine = s.files.get(request.txid - 1) == Some(&request.file);
                        if is_heard {
                            s.answered(m, is_mine);
                        }
                        Ok(())
                    },
                );
            }
        }
        for m in 0..MACHINES {
            let one = &self.all[m];
            let is_free = self.given_back || !self.lasts || self.holder.is_none();
            let is_own = self.holder == Some(m);
            if one.phase == Phase::Out && (is_free || is_own) && self.epoch < bounds.epochs {
                then(format!("{m} takes the lease"), &mut |s| {
                    if let Some(before) = s.holder.filter(|_| !s.given_back) {
                        s.open[before] = true;
                    }
                    let needs_fence = (0..MACHINES).any(|other| other != m && s.open[other]);
                    s.epoch += 1;
                    (s.holder, s.lasts, s.given_back) = (Some(m), true, false);
                    let one = &mut s.all[m];
                    (one.phase, one.epoch) = (Phase::Taken, s.epoch);
                    one.needs_fence = needs_fence;
                    one.sent = None;
                    Ok(())
                });
            }
            if self.holder == Some(m)
                && !self.lasts
                && one.epoch == self.epoch
                && one.phase != Phase::Out
            {
                then(format!("{m} renews the lease"), &mut |s| {
                    s.lasts = true;
                    Ok(())
                });
            }
            if one.phase != Phase::Out {
                then(format!("{m} is killed"), &mut |s| {
                    s.all[m].phase = Phase::Out;
                    Ok(())
                });
                if self.holder != Some(m) || self.epoch != one.epoch {
                    then(format!("{m} finds the lease lost"), &mut |s| {
                        s.all[m].phase = Phase::Out;
                        Ok(())
                    });
                }
            }
            let has_lease = self.holder == Some(m) && self.epoch == one.epoch;
            if one.phase == Phase::Taken && has_lease {
                then(format!("{m} brings its database up to date"), &mut |s| {
                    let newest = s.newest();
                    let one = &mut s.all[m];
                    if one.tip != newest {
                        // Its own file, whose answer was lost, holds all that it has.
                        let is_own = newest.1 == m && newest.0 == one.tip.0 + 1;
                        if let Some(epoch) = one.unstored.filter(|_| !is_own)
                            && epoch == one.epoch
                        {
                            return Err(format!(
                                "{m} confirmed under epoch {epoch} what is in no replica"
                            ));
                        }
                        // Else what is not stored is kept, and reported.
                        one.unstored = None;
                        one.tip = newest;
                    }
                    one.phase = Phase::Fresh;
                    Ok(())
                });
            }
            let has_way = self.under_way.len() < bounds.under_way && one.tip.0 < bounds.files;
            if one.phase == Phase::Fresh {
                let needs = with_fence && one.needs_fence;
                if !needs {
                    then(format!("{m} serves"), &mut |s| {
                        s.all[m].phase = Phase::Serving;
                        Ok(())
                    });
                } else if self.may_write(m) && has_way {
                    then(format!("{m} sends the fence"), &mut |s| {
                        s.send(m, Phase::Fencing);
                        Ok(())
                    });
                }
            }
            if matches!(one.phase, Phase::Serving | Phase::Sending)
                && one.unstored.is_none()
                && self.may_write(m)
            {
                then(format!("{m} confirms a commit"), &mut |s| {
                    s.all[m].unstored = Some(s.epoch);
                    Ok(())
                });
            }
            if one.phase == Phase::Serving && one.unstored.is_some() && self.may_write(m) && has_way
            {
                then(format!("{m} sends"), &mut |s| {
                    s.send(m, Phase::Sending);
                    Ok(())
                });
            }
            // The answer is lost: the same file is sent again under the same name.
            if matches!(one.phase, Phase::Fencing | Phase::Sending) && self.may_write(m) && has_way
            {
                then(format!("{m} sends again"), &mut |s| {
                    let phase = s.all[m].phase;
                    s.send(m, phase);
                    Ok(())
                });
            }
            if one.phase == Phase::Serving && one.unstored.is_none() && self.may_write(m) {
                then(format!("{m} gives the lease back"), &mut |s| {
                    (s.given_back, s.open) = (true, [false; MACHINES]);
                    s.all[m].phase = Phase::Out;
                    Ok(())
                });
            }
            if one.phase != Phase::Out && self.may_write(m) {
                then(format!("{m} gives up, and the lease back"), &mut |s| {
                    s.given_back = true;
                    s.open[m] = true;
                    s.all[m].phase = Phase::Out;
                    Ok(())
                });
            }
        }
        all
    }
}

/// The number of states, or the shortest way to one that is broken.
fn explore(bounds: Bounds, with_fence: bool) -> Result<usize, Vec<String>> {
    let first = State::first();
    let mut known: HashMap<State, (Option<State>, String)> = HashMap::new();
    known.insert(first.clone(), (None, "the beginning".into()));
    let mut next = VecDeque::from([first]);
    while let Some(state) = next.pop_front() {
        for (name, reached) in state.next(bounds, with_fence) {
            match reached {
                Ok(reached) if known.contains_key(&reached) => {}
                Ok(reached) => {
                    known.insert(reached.clone(), (Some(state.clone()), name));
                    next.push_back(reached);
                }
                Err(broken) => {
                    let mut way = vec![broken, name];
                    let mut at = Some(state);
                    while let Some(state) = at {
                        let (before, name) = known[&state].clone();
                        way.push(name);
                        at = before;
                    }
                    way.reverse();
                    return Err(way);
                }
            }
        }
    }
    Ok(known.len())
}

#[test]
fn in_every_state_files_follow_each_other_and_nothing_confirmed_is_dropped() {
    match explore(FEW, true) {
        Ok(states) => assert!(states > 10_000, "{states} states"),
        Err(way) => panic!("{way:#?}"),
    }
}

#[test]
fn without_the_fence_a_late_request_takes_the_name_of_a_confirmed_commit() {
    let way = explore(FEW, false).expect_err("it is needed");
    assert!(
        way.last().unwrap().contains("what is in no replica"),
        "{way:#?}"
    );
}

#[test]
#[ignore = "minutes: cargo xtask test soak"]
fn a_soak_of_all_states_within_wider_bounds() {
    match explore(MANY, true) {
        Ok(states) => eprintln!("{states} states"),
        Err(way) => panic!("{way:#?}"),
    }
}
