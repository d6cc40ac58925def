//! The operations against a model that keeps everything in a map.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use monolite_jobs::ops::{self, Ack, Claimed, End, Now, Want};
use monolite_jobs::{JobId, NewJob, State};
use proptest::prelude::*;
use rusqlite::Connection;

const LEASE_MS: i64 = 1000;
const MAX_CRASHES: u32 = 3;
const KEY_LIMIT: usize = 2;

/// What the model knows of a job.
#[derive(Debug, Clone)]
struct Known {
    state: State,
    priority: i64,
    keyed: bool,
    crashes: u32,
    due_at: i64,
    holder: Option<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Enqueue {
        priority: i64,
        keyed: bool,
        delay_ms: i64,
    },
    Claim {
        worker: usize,
        count: usize,
        suspect: bool,
    },
    End {
        which: usize,
        how: u8,
    },
    /// Tells the end of a run that has ended already.
    Again {
        which: usize,
    },
    Cancel {
        which: usize,
    },
    Retry {
        which: usize,
    },
    Pass {
        ms: i64,
    },
    /// The wall clock is set: nothing but delays may notice.
    Set {
        ms: i64,
    },
    /// Renews the leases of all but one worker, lets theirs pass, recovers.
    Die {
        worker: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (-1..2_i64, any::<bool>(), prop_oneof![3 => Just(0), 1 => 1..500_i64])
            .prop_map(|(priority, keyed, delay_ms)| Step::Enqueue { priority, keyed, delay_ms }),
        4 => (0..3_usize, 1..4_usize, any::<bool>())
            .prop_map(|(worker, count, suspect)| Step::Claim { worker, count, suspect }),
        5 => (any::<usize>(), 0..5_u8).prop_map(|(which, how)| Step::End { which, how }),
        1 => any::<usize>().prop_map(|which| Step::Again { which }),
        1 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        1 => any::<usize>().prop_map(|which| Step::Retry { which }),
        2 => (1..400_i64).prop_map(|ms| Step::Pass { ms }),
        1 => (-5_000_000..5_000_000_i64).prop_map(|ms| Step::Set { ms }),
        1 => (0..3_usize).prop_map(|worker| Step::Die { worker }),
    ]
}

struct World {
    conn: Connection,
    now: Now,
    jobs: BTreeMap<JobId, Known>,
    /// Claimed and not ended, with the worker.
    held: Vec<(usize, Claimed)>,
    /// Acks that were accepted.
    told: Vec<Ack>,
}

impl World {
    fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        ops::SCHEMA.install(&conn).unwrap();
        Self {
            conn,
            now: Now {
                wall_ms: 1_772_366_400_000,
                steady_ms: 50_000,
                boot: Arc::from("boot"),
            },
            jobs: BTreeMap::new(),
            held: Vec::new(),
            told: Vec::new(),
        }
    }

    fn keyed_pending(&self) -> usize {
        let pending =
            |job: &&Known| job.keyed && matches!(job.state, State::Ready | State::Running);
        self.jobs.values().filter(pending).count()
    }

    /// Somebody with the key has left.
    fn unblock(&mut self) {
        while self.keyed_pending() < KEY_LIMIT {
            let next = self
                .jobs
                .iter_mut()
                .filter(|(_, job)| job.state == State::Blocked)
                .min_by_key(|(id, job)| (job.priority, **id));
            match next {
                Some((_, job)) => job.state = State::Ready,
                None => return,
            }
        }
    }

    fn admit(&mut self, id: JobId) {
        let full = self.jobs[&id].keyed && self.keyed_pending() >= KEY_LIMIT;
        let job = self.jobs.get_mut(&id).unwrap();
        job.state = if full { State::Blocked } else { State::Ready };
    }

    fn promote(&mut self) {
        while ops::stage_due(&self.conn, &self.now).unwrap() {}
        let mut due: Vec<(i64, JobId)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == State::Scheduled && job.due_at <= self.now.steady_ms)
            .map(|(id, job)| (job.due_at, *id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            self.admit(id);
        }
    }

    fn left(&mut self, id: JobId, state: State) {
        let job = self.jobs.get_mut(&id).unwrap();
        job.state = state;
        job.holder = None;
        if job.keyed {
            self.unblock();
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Enqueue {
                priority,
                keyed,
                delay_ms,
            } => {
                let mut job = NewJob::raw("k", "1").priority(priority);
                if keyed {
                    job = job.limit("key", u32::try_from(KEY_LIMIT).unwrap());
                }
                job = job.delay(std::time::Duration::from_millis(delay_ms.unsigned_abs()));
                let id = ops::enqueue(&self.conn, &self.now, &job).unwrap().id;
                let known = Known {
                    state: State::Scheduled,
                    priority,
                    keyed,
                    crashes: 0,
                    due_at: self.now.steady_ms + delay_ms,
                    holder: None,
                };
                assert!(self.jobs.insert(id, known).is_none(), "{id} given twice");
                if delay_ms == 0 {
                    self.admit(id);
                }
            }
            Step::Claim {
                worker,
                count,
                suspect,
            } => self.claim(worker, count, suspect),
            Step::End { which, how } => {
                if !self.held.is_empty() {
                    let (_, job) = self.held.remove(which % self.held.len());
                    self.end(&job, how);
                }
            }
            Step::Again { which } => {
                if !self.told.is_empty() {
                    let ack = &self.told[which % self.told.len()];
                    let state = ops::finish(&self.conn, &self.now, ack, false).unwrap();
                    assert_eq!(state, None, "{ack:?} counted twice");
                }
            }
            Step::Cancel { which } => {
                let Some(id) = self.nth(which) else { return };
                let before = self.jobs[&id].state;
                let after = ops::cancel(&self.conn, &self.now, id);
                match before {
                    State::Running => {
                        // Only asked for: taken back, to keep the model small.
                        assert_eq!(after.unwrap(), State::Running);
                        let sql = "UPDATE _monolite_job SET cancel = NULL WHERE id = ?1";
                        self.conn.execute(sql, [id]).unwrap();
                    }
                    State::Ready | State::Scheduled | State::Blocked => {
                        assert_eq!(after.unwrap(), State::Cancelled);
                        self.left(id, State::Cancelled);
                    }
                    _ => assert!(after.is_err()),
                }
            }
            Step::Retry { which } => {
                let Some(id) = self.nth(which) else { return };
                let before = self.jobs[&id].state;
                let after = ops::retry(&self.conn, &self.now, id);
                if before.is_final() && before != State::Done || before == State::Scheduled {
                    if before != State::Scheduled {
                        self.jobs.get_mut(&id).unwrap().crashes = 0;
                    }
                    self.admit(id);
                    assert_eq!(after.unwrap(), self.jobs[&id].state);
                } else {
                    assert!(after.is_err());
                }
            }
            Step::Pass { ms } => {
                self.now.wall_ms += ms;
                self.now.steady_ms += ms;
                for worker in 0..3 {
                    ops::renew_lease(&self.conn, &self.now, worker, LEASE_MS).unwrap();
                }
                self.promote();
            }
            Step::Set { ms } => {
                self.now.wall_ms += ms;
                self.promote();
            }
            Step::Die { worker } => self.die(worker),
        }
    }

    fn nth(&self, which: usize) -> Option<JobId> {
        let count = self.jobs.len().max(1);
        self.jobs.keys().nth(which % count).copied()
    }

    fn claim(&mut self, worker: usize, count: usize, suspect: bool) {
        let number = i64::try_from(worker).unwrap();
        let holds = self.held.iter().any(|(holder, _)| *holder == worker);
        assert!(ops::take_lease(&self.conn, &self.now, number, "w", LEASE_MS, holds).unwrap());
        let want = Want {
            queue: "default".into(),
            count,
            suspect,
        };
        let (claim, wait) = ops::claim(&self.conn, &self.now, number, &want).unwrap();
        assert_eq!(wait, None);
        let got: Vec<_> = claim.map_or(Vec::new(), |claim| claim.jobs);

        let ready = |suspects: bool| {
            let mut ready: Vec<_> = self
                .jobs
                .iter()
                .filter(|(_, job)| job.state == State::Ready && (job.crashes > 0) == suspects)
                .map(|(id, job)| (job.priority, *id))
                .collect();
            ready.sort_unstable();
            ready.into_iter().map(|(_, id)| id)
        };
        let mut wanted: Vec<JobId> = ready(true).take(usize::from(suspect)).collect();
        wanted.extend(ready(false).take(count - wanted.len()));
        assert_eq!(got.iter().map(|job| job.id).collect::<Vec<_>>(), wanted);
        for job in got {
            let known = self.jobs.get_mut(&job.id).unwrap();
            known.state = State::Running;
            known.holder = Some(worker);
            self.held.push((worker, job));
        }
    }

    fn end(&mut self, job: &Claimed, how: u8) {
        let (end, state) = match how {
            0 => (End::Done(None), State::Done),
            1 => (
                End::Failed {
                    error: "no".into(),
                    retry_in_ms: Some(100),
                },
                State::Scheduled,
            ),
            2 => (
                End::Failed {
                    error: "never".into(),
                    retry_in_ms: None,
                },
                State::Dead,
            ),
            3 => (End::Snoozed { wake_in_ms: 100 }, State::Scheduled),
            _ => (End::HandedBack, State::Ready),
        };
        let ack = Ack {
            id: job.id,
            run: job.run,
            linked: job.linked,
            end,
        };
        let got = ops::finish(&self.conn, &self.now, &ack, false).unwrap();
        assert_eq!(got, Some(state));
        self.jobs.get_mut(&job.id).unwrap().due_at = self.now.steady_ms + 100;
        if state == State::Scheduled {
            // It came to an end with its worker alive.
            self.jobs.get_mut(&job.id).unwrap().crashes = 0;
        }
        if state == State::Ready {
            let known = self.jobs.get_mut(&job.id).unwrap();
            known.state = State::Ready;
            known.holder = None;
        } else {
            self.left(job.id, state);
        }
        self.told.push(ack);
    }

    fn die(&mut self, worker: usize) {
        let ms = LEASE_MS + 1;
        self.now.wall_ms += ms;
        self.now.steady_ms += ms;
        for other in (0..3).filter(|other| *other != worker) {
            let number = i64::try_from(other).unwrap();
            ops::renew_lease(&self.conn, &self.now, number, LEASE_MS).unwrap();
        }
        let back = ops::recover(&self.conn, &self.now, -1, MAX_CRASHES).unwrap();
        let mut lost: Vec<_> = Vec::new();
        self.held.retain(|(holder, job)| {
            let keep = *holder != worker;
            if !keep {
                lost.push(job.clone());
            }
            keep
        });
        let mut ids: Vec<_> = lost.iter().map(|job| job.id).collect();
        ids.sort_unstable();
        let mut got: Vec<_> = back.iter().map(|(id, _)| *id).collect();
        got.sort_unstable();
        assert_eq!(got, ids);
        for (id, state) in back {
            let known = self.jobs.get_mut(&id).unwrap();
            known.crashes += 1;
            known.holder = None;
            let dead = known.crashes >= MAX_CRASHES;
            assert_eq!(state, if dead { State::Dead } else { State::Ready });
            known.state = state;
            if dead {
                self.left(id, State::Dead);
            }
        }
        // What it says now is too late.
        for job in lost {
            let ack = Ack {
                id: job.id,
                run: job.run,
                linked: job.linked,
                end: End::Done(None),
            };
            assert_eq!(
                ops::finish(&self.conn, &self.now, &ack, false).unwrap(),
                None
            );
        }
        self.promote();
    }

    fn check(&self) {
        for (id, known) in &self.jobs {
            let job = ops::job(&self.conn, *id).unwrap().unwrap();
            assert_eq!(job.state, known.state, "job {id}");
            assert_eq!(job.crashes, known.crashes, "job {id}");
        }
        assert!(self.keyed_pending() <= KEY_LIMIT);
        // Every pending job is in the ready table or in one claim under its
        // run, and nothing else is.
        let wrong: i64 = self
            .conn
            .query_row(
                "WITH claimed AS (
                     SELECT p.value ->> 0 AS id, p.value ->> 1 AS run
                     FROM _monolite_job_claim c, json_each(c.jobs) p)
                 SELECT (SELECT count(*) FROM _monolite_job j WHERE j.state = 2 AND 1 <>
                           (SELECT count(*) FROM _monolite_job_ready r WHERE r.id = j.id)
                         + (SELECT count(*) FROM claimed c WHERE c.id = j.id AND c.run = j.run))
                     + (SELECT count(*) FROM _monolite_job_ready r JOIN _monolite_job j
                           ON j.id = r.id WHERE j.state <> 2)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(wrong, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_do_as_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}
