//! Notices that the file of a database is deleted.
//!
//! The follower asks for the databases whenever files appear or disappear on the volume; nothing is
//! done here while nothing happens.
//!
//! A file may be deleted by accident, or by the app on purpose, as that of a customer who left. It
//! was an accident if it is the app's own database or the only one, if a process still has it open,
//! or if there is an empty file of its name: an app that opens its database for each request leaves
//! one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use monolite_replica::Find;
use tokio::sync::Notify;

use super::context::has_content;
use super::open_files;
use super::record::Record;

/// Of more databases that disappear at once, nobody has deleted each on purpose; up to this number,
/// each is looked for among the files that processes have open.
const JUDGED_MAX: usize = 16;

pub(super) struct DeletionMonitor {
    volume: PathBuf,
    state: PathBuf,
    /// The app's own database, by its path in the volume.
    main: String,
    /// Whether what was deleted by accident is restored.
    heal: bool,
    find: Find,
    seen: Mutex<Seen>,
    /// As many were lost when that was last looked at.
    lost_count: AtomicUsize,
    lost: Notify,
    deleted: Notify,
}

#[derive(Default)]
struct Seen {
    record: Record,
    lost: BTreeSet<String>,
    /// Those for which a log line says that they cannot be restored.
    unrestorable: BTreeSet<String>,
    /// Deleted on purpose; taken by `deleted()`.
    deleted: Vec<PathBuf>,
}

impl DeletionMonitor {
    pub(super) fn new(
        volume: &Path,
        state: &Path,
        main: &str,
        heal: bool,
        find: Find,
        record: Record,
    ) -> Self {
        Self {
            volume: volume.into(),
            state: state.into(),
            main: main.into(),
            heal,
            find,
            seen: Mutex::new(Seen {
                record,
                ..Seen::default()
            }),
            lost_count: AtomicUsize::new(0),
            lost: Notify::new(),
            deleted: Notify::new(),
        }
    }

    /// The databases on the volume; those that were there before and are not any more are judged.
    pub(super) fn find(&self) -> Vec<PathBuf> {
        let found = (self.find)();
        let mut seen = self.seen();
        let mut changed = false;
        for path in &found {
            if has_content(path) == Some(true)
                && let Some(name) = self.name(path)
            {
                changed |= seen.record.came(&name);
                seen.lost.remove(&name);
                seen.unrestorable.remove(&name);
            }
        }
        let gone: Vec<String> = (seen.record.here.iter())
            .filter(|name| !seen.lost.contains(*name))
            .filter(|name| has_content(&self.volume.join(name)) == Some(false))
            .cloned()
            .collect();
        for name in &gone {
            changed |= self.judge(name, gone.len(), &mut seen);
        }
        if changed && let Err(error) = seen.record.save(&self.state) {
            let error = error.to_string();
            tracing::warn!(error, "cannot save the list of databases");
        }
        found
    }

    /// Whether `name` was deleted by accident; answers whether the record was changed.
    fn judge(&self, name: &str, gone: usize, seen: &mut Seen) -> bool {
        let path = self.volume.join(name);
        let by_accident = name == self.main
            || seen.record.here.len() == 1
            || gone > JUDGED_MAX
            || path.exists()
            || open_files::is_open_elsewhere(&path);
        if !by_accident {
            tracing::info!(
                database = name,
                "deleted by the app; its replica stays, and is not restored here automatically"
            );
            seen.record.was_deleted(name);
            seen.deleted.push(path);
            self.deleted.notify_one();
            return true;
        }
        seen.lost.insert(name.into());
        if self.heal {
            tracing::warn!(database = name, "its file was deleted");
            self.lost.notify_one();
        } else {
            tracing::error!(
                database = name,
                "its file was deleted; it is restored when monolite is started again"
            );
        }
        false
    }

    /// These were removed on purpose, even if it did not look so.
    pub(super) fn removed(&self, names: &[String]) -> std::io::Result<()> {
        let mut seen = self.seen();
        for name in names {
            seen.lost.remove(name);
            seen.record.was_deleted(name);
        }
        seen.record.save(&self.state)
    }

    /// Comes when a database is lost that is to be restored.
    pub(super) async fn lost(&self) {
        while self.missing().is_empty() {
            self.lost.notified().await;
        }
    }

    /// What is lost, is to be restored, and does not exist again.
    pub(super) fn missing(&self) -> Vec<String> {
        if !self.heal {
            return Vec::new();
        }
        let mut seen = self.seen();
        self.look_again(&mut seen);
        seen.lost.iter().cloned().collect()
    }

    /// How many are lost and do not exist again, whether they are to be restored or not. Does not
    /// wait for a search of the volume that goes on.
    pub(super) fn lost_count(&self) -> usize {
        if let Ok(mut seen) = self.seen.try_lock() {
            self.look_again(&mut seen);
        }
        self.lost_count.load(Ordering::Relaxed)
    }

    /// What exists again is not lost any more.
    fn look_again(&self, seen: &mut Seen) {
        seen.lost
            .retain(|name| has_content(&self.volume.join(name)) == Some(false));
        self.lost_count.store(seen.lost.len(), Ordering::Relaxed);
    }

    /// Whether this is the first time that this one cannot be restored.
    pub(super) fn is_news(&self, name: &str) -> bool {
        self.seen().unrestorable.insert(name.into())
    }

    /// Waits for databases that were deleted on purpose.
    pub(super) async fn deleted(&self) -> Vec<PathBuf> {
        loop {
            let deleted = std::mem::take(&mut self.seen().deleted);
            if !deleted.is_empty() {
                return deleted;
            }
            self.deleted.notified().await;
        }
    }

    fn name(&self, path: &Path) -> Option<String> {
        Some(path.strip_prefix(&self.volume).ok()?.to_str()?.to_owned())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Volume {
        dir: tempfile::TempDir,
        monitor: DeletionMonitor,
    }

    impl Volume {
        fn new(heal: bool, names: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().to_owned();
            for name in names {
                std::fs::write(data.join(name), "x").unwrap();
            }
            let find: Find = Arc::new(move || {
                let all = std::fs::read_dir(&data).unwrap().flatten();
                all.map(|entry| entry.path())
                    .filter(|path| path.is_file())
                    .collect()
            });
            let (volume, state) = (dir.path(), dir.path().join(".state"));
            let record = Record::default();
            let monitor = DeletionMonitor::new(volume, &state, "app.db", heal, find, record);
            monitor.find();
            Self { dir, monitor }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn remove(&self, name: &str) {
            std::fs::remove_file(self.path(name)).unwrap();
            self.monitor.find();
        }

        fn record(&self) -> Record {
            Record::load(&self.path(".state")).unwrap()
        }
    }

    #[tokio::test]
    async fn the_apps_own_is_lost_until_it_is_back() {
        let volume = Volume::new(true, &["app.db", "other.db"]);
        assert!(volume.monitor.missing().is_empty());
        volume.remove("app.db");
        volume.monitor.lost().await;
        assert_eq!(volume.monitor.missing(), ["app.db"]);
        std::fs::write(volume.path("app.db"), "").unwrap();
        volume.monitor.find();
        assert_eq!(
            volume.monitor.missing(),
            ["app.db"],
            "an empty file is none"
        );
        std::fs::write(volume.path("app.db"), "x").unwrap();
        assert!(volume.monitor.missing().is_empty());
        assert!(volume.record().here.contains("app.db"));
    }

    #[tokio::test]
    async fn what_the_app_deletes_is_not_lost() {
        let volume = Volume::new(true, &["app.db", "one.db", "two.db"]);
        volume.remove("one.db");
        assert!(volume.monitor.missing().is_empty());
        assert_eq!(volume.monitor.deleted().await, [volume.path("one.db")]);
        assert!(volume.record().deleted.contains("one.db"));
        // Created again, it counts again; and emptied, it is lost.
        std::fs::write(volume.path("one.db"), "x").unwrap();
        volume.monitor.find();
        assert!(volume.record().deleted.is_empty());
        std::fs::write(volume.path("one.db"), "").unwrap();
        volume.monitor.find();
        assert_eq!(volume.monitor.missing(), ["one.db"]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_a_process_has_open_is_lost() {
        let volume = Volume::new(true, &["app.db", "one.db"]);
        let open = std::fs::File::open(volume.path("one.db")).unwrap();
        let mut holder = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stderr(open)
            .spawn()
            .unwrap();
        volume.remove("one.db");
        assert_eq!(volume.monitor.missing(), ["one.db"]);
        holder.kill().unwrap();
        holder.wait().unwrap();
    }

    #[tokio::test]
    async fn nothing_is_restored_where_that_is_turned_off() {
        let volume = Volume::new(false, &["app.db"]);
        volume.remove("app.db");
        assert!(volume.monitor.missing().is_empty());
        assert_eq!(volume.monitor.lost_count(), 1);
        assert!(
            volume.record().here.contains("app.db"),
            "the next start restores it"
        );
        std::fs::write(volume.path("app.db"), "x").unwrap();
        assert_eq!(volume.monitor.lost_count(), 0);
    }
}
