//! Starts processes and reaps them, orphans of theirs included.
//!
//! As PID 1 of a container, and as subreaper elsewhere, this process inherits the orphans of its
//! children and must wait for them. It waits for *any* child, in one place, so nothing else in this
//! process may wait for one: [`std::process::Child::wait`] would find it gone.

use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use monolite_platform::process::{self, Pid};
use rustix::process::WaitOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::Exit;

#[derive(Default)]
pub(crate) struct Children {
    awaited: Mutex<HashMap<Pid, oneshot::Sender<Exit>>>,
    /// Children that this process had before it became `monolite` (`sh -c 'x & exec monolite'`).
    before: Vec<Pid>,
}

/// A process that was started; its end can be waited for.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    exit: oneshot::Receiver<Exit>,
    exited: Option<Exit>,
}

impl Process {
    /// Waits for its end; afterwards always answers at once.
    pub(crate) async fn exited(&mut self) -> Exit {
        if let Some(exit) = self.exited {
            return exit;
        }
        // The reaper lives as long as the run.
        let exit = (&mut self.exit).await.unwrap_or(Exit::Signal(9));
        self.exited = Some(exit);
        exit
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        if self.exited.is_none() {
            self.exited = self.exit.try_recv().ok();
        }
        self.exited.is_some()
    }
}

impl Children {
    /// Reaps children from now on.
    pub(crate) fn reap() -> io::Result<Arc<Self>> {
        // Orphans come to us also when we are not PID 1.
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let children = Arc::new(Self {
            before: all_children(),
            ..Self::default()
        });
        let mut changed = signal(SignalKind::child())?;
        let reaper = Arc::clone(&children);
        tokio::spawn(async move {
            while changed.recv().await.is_some() {
                reaper.reap_all();
            }
        });
        Ok(children)
    }

    /// Orphans that this process has inherited: what an app has left behind outside its process
    /// group.
    pub(crate) fn strays(&self) -> Vec<Pid> {
        let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = all_children();
        all.retain(|pid| !awaited.contains_key(pid) && !self.before.contains(pid));
        all
    }

    fn reap_all(&self) {
        // Locked while waiting: a child that ends at once is registered first.
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(exit) = Exit::from_wait(status)
                && let Some(waiting) = awaited.remove(&pid)
            {
                let _ = waiting.send(exit);
            }
        }
    }

    /// Starts a process, calling `started` with its handle to take its pipes.
    pub(crate) fn spawn(
        &self,
        command: &mut Command,
        started: impl FnOnce(&mut std::process::Child),
    ) -> io::Result<Process> {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command.spawn()?;
        let (sender, exit) = oneshot::channel();
        let pid = Pid::from_child(&child);
        awaited.insert(pid, sender);
        drop(awaited);
        started(&mut child);
        Ok(Process {
            pid,
            exit,
            exited: None,
        })
    }
}

/// The living children of this process. None where the system does not say.
fn all_children() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    // Far fewer files than a look at all processes.
    let lists = threads.flatten().filter_map(|thread| {
        let list = thread.path().join("children");
        std::fs::read_to_string(list).ok()
    });
    let lists: Vec<String> = lists.collect();
    lists
        .iter()
        .flat_map(|list| list.split_whitespace())
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .filter(|pid| process::Process::of(*pid).is_some_and(|one| !one.is_zombie))
        .collect()
}
