//! What this process has started, and what that has.

use std::collections::HashSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process};

use super::{Seen, all, end, guarded_on, of};

/// Time between two looks for new processes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The processes that this one has started, and theirs, and theirs.
///
/// Orphans among them come to this process, which inherits them from
/// [`Descendants::inherit`] on; whoever was there by then is none of them. The
/// first process of a container inherits others' orphans, too: those are not
/// guarded, and were never seen below what was started here.
#[derive(Debug)]
pub struct Descendants {
    before: HashSet<Pid>,
    seen: Arc<Mutex<HashSet<Pid>>>,
    /// Looks who comes, until it is dropped.
    _looking: Option<Sender<()>>,
}

impl Descendants {
    /// From now on.
    ///
    /// # Errors
    /// This process may not inherit orphans.
    pub fn inherit() -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let before = below(&all(), |_| true).into_iter().collect();
        let seen = Arc::default();
        let (looking, stopped) = channel::<()>();
        let looks = Self {
            before,
            seen,
            _looking: None,
        };
        let looker = Self {
            before: looks.before.clone(),
            seen: Arc::clone(&looks.seen),
            _looking: None,
        };
        // Without it, who has emptied its environment is not known as an orphan.
        let _ = std::thread::Builder::new()
            .name("guard-look".into())
            .spawn(move || {
                while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let _ = looker.left();
                }
            });
        Ok(Self {
            _looking: Some(looking),
            ..looks
        })
    }

    /// Those that live.
    #[must_use]
    pub fn left(&self) -> Vec<Pid> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = |pid| {
            !self.before.contains(&pid) && (seen.contains(&pid) || !is_known_as_unguarded(pid))
        };
        let all = all();
        let left = below(&all, is_ours);
        // A number that is free again is somebody else's.
        seen.retain(|pid| all.iter().any(|of| of.pid == *pid));
        seen.extend(&left);
        left
    }

    /// Sends a signal to all of them but those that `spares` tells of.
    pub fn signal(&self, signal: Signal, spares: impl Fn(Pid) -> bool) {
        for pid in self.left().into_iter().filter(|pid| !spares(*pid)) {
            // Ended by itself meanwhile.
            let _ = kill_process(pid, signal);
        }
    }

    /// Has them end, once the first of them has, which was waited for; says
    /// who did not by themselves. This process must have no other children
    /// that anybody waits for.
    #[must_use]
    pub fn end(&self) -> Vec<String> {
        end(|| {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            self.left()
        })
    }
}

/// Below this process, without those of its children that are not ours, and what
/// is below those.
fn below(all: &[Seen], is_ours: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let mut found = Vec::new();
    let mut parents = vec![own];
    while let Some(parent) = parents.pop() {
        let is_own = parent == own;
        let parent = parent.as_raw_nonzero().get();
        for child in all.iter().filter(|seen| seen.parent == parent) {
            if !is_own || is_ours(child.pid) {
                found.push(child.pid);
                parents.push(child.pid);
            }
        }
    }
    found
}

/// Whether it shows its environment, and is not told that it is guarded. A
/// program that gives itself another name may have written it over its
/// environment; another user's cannot be read.
fn is_known_as_unguarded(pid: Pid) -> bool {
    let Ok(environment) = std::fs::read(of(pid).join("environ")) else {
        return false;
    };
    environment.contains(&b'=') && guarded_on(&environment).is_none()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::super::{LOOK_PAUSE, seen};
    use super::*;
    use crate::GUARDED;

    /// In a process of its own, which inherits orphans.
    #[test]
    #[ignore = "the other half of the test below"]
    fn inherits() {
        let dir = tempfile::tempdir().unwrap();
        let pid_in = |name: &str| {
            let path = dir.path().join(name);
            let pid = loop {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                match text.strip_suffix('\n') {
                    Some(pid) => break pid.parse().unwrap(),
                    None => std::thread::sleep(LOOK_PAUSE),
                }
            };
            Pid::from_raw(pid).unwrap()
        };
        let starts = |script: &str, of: Option<&Path>| {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", script]).current_dir(dir.path());
            command.env_remove(GUARDED).stdin(Stdio::piped());
            of.map(|of| command.env(GUARDED, of));
            command.spawn().unwrap()
        };
        // It was there before, and its child is an orphan later.
        let mut before = starts(
            "read x; sleep 60 > out 2>&1 & echo $! > others; read x",
            None,
        );
        let descendants = Descendants::inherit().unwrap();
        let tell = before.stdin.as_mut().unwrap();
        std::io::Write::write_all(tell, b"\n").unwrap();
        let others = pid_in("others");
        let mut command = starts(
            "sleep 60 > out 2>&1 & echo $! > guarded; env -i sleep 60 > out 2>&1 & echo $! > emptied; read x",
            Some(dir.path()),
        );
        let (guarded, emptied) = (pid_in("guarded"), pid_in("emptied"));
        // Seen while its parent was there, who has no environment.
        while !descendants.left().contains(&emptied) {
            std::thread::sleep(LOOK_PAUSE);
        }
        for child in [&mut before, &mut command] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        let left: HashSet<Pid> = descendants.left().into_iter().collect();
        let is_adopted =
            |pid| seen(pid).unwrap().parent == i32::try_from(std::process::id()).unwrap();
        assert!([others, guarded, emptied].into_iter().all(is_adopted));
        assert_eq!(left, HashSet::from([guarded, emptied]));
        for pid in [others, guarded, emptied] {
            kill_process(pid, Signal::KILL).unwrap();
        }
        assert!(descendants.end().is_empty());
    }

    #[test]
    fn others_orphans_are_left_alone() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "processes::descendants::tests::inherits",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}
