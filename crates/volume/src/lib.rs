//! A volume: what lies where in it ([`layout`]), which databases it has
//! ([`discover`], by the one [`walk`]), and whether it is fit to hold them.
//!
//! [`inspect`] looks at a [`Volume`] and answers with one [`Finding`] per check:
//! what was found, why it matters, and the remedy. [`Lock`] keeps a second
//! `monolite` away, and is released by the kernel however its process ends.
//!
//! ```
//! use monolite_volume::{Level, Lock, Purpose, Volume, inspect};
//!
//! # let dir = tempfile::tempdir()?;
//! let volume = Volume::new(dir.path());
//! for finding in inspect(&volume) {
//!     if finding.level == Level::Fail {
//!         // Shown by the caller: this crate never prints.
//!         let _ = (finding.name, finding.what, finding.why, finding.remedy);
//!     }
//! }
//! let purpose = Purpose::new("monolite run").port(Some(8080));
//! let _lock = Lock::acquire(&volume.dir, &purpose)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariant: no file that is called like a database or like one of SQLite's next to
//! it is ever opened, since closing a descriptor of it drops the POSIX locks that
//! SQLite in this process holds on it. What is known of them comes from names,
//! `stat` and `access`. Only [`discover::by_content`] and [`discover::check_named`]
//! read the first bytes of other files; [`walk`] says when that is safe.

pub mod discover;
pub mod layout;
pub mod walk;

mod container;
mod directory;
mod filesystem;
mod finding;
mod found;
mod in_use;
mod local;
mod lock;
mod owner;
mod persistent;
mod space;
mod text;
mod volume;
mod writable;

pub use crate::container::container_marker;
pub use crate::finding::{Finding, Level};
pub use crate::lock::{Lock, LockError, holder};
pub use crate::volume::Volume;
pub use monolite_platform::lock::{Holder, Purpose};

/// Makes every check, in this order: `directory`, `persistent`, `local`,
/// `writable`, `free-space`, `found`, `owner`, `in-use`; one finding each.
///
/// A check that cannot be made because an earlier one failed is left out:
/// after a failed `directory` nothing follows, and a directory that cannot be
/// listed has no `found` and no `owner`. A directory that is yet to be created is judged by
/// its parent.
///
/// Blocking: it writes, syncs and removes one small file. Call it before
/// [`Lock::acquire`]: a lock held by this process counts as in use, too.
pub fn inspect(volume: &Volume) -> Vec<Finding> {
    let (finding, target) = directory::inspect(&volume.dir);
    let mut findings = vec![finding];
    let Some(target) = target else {
        return findings;
    };
    let mount = monolite_platform::mountinfo::of(&target.existing);
    findings.push(persistent::inspect(volume, &target, mount.as_ref()));
    findings.push(local::inspect(&target, mount.as_ref()));

    // What lies in the parent of a directory yet to be created is not ours.
    let found = match target.is_missing() {
        true => Ok(discover::Found::default()),
        false => discover::by_name(&target.dir),
    };
    findings.push(writable::inspect(&target, &found));
    let databases = found.as_ref().map_or(&[][..], |found| &found.databases);
    findings.push(space::inspect(volume, &target, databases));
    if let Ok(found) = &found {
        findings.push(found::inspect(&target.dir, found));
        findings.push(owner::inspect(&target.dir, databases));
    }
    findings.push(in_use::inspect(&target));
    findings
}

/// The names of the findings, in the order [`inspect`] gives them.
pub const CHECKS: [&str; 8] = [
    "directory",
    "persistent",
    "local",
    "writable",
    "free-space",
    "found",
    "owner",
    "in-use",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|f| f.name).collect()
    }

    fn level(findings: &[Finding], name: &str) -> Level {
        findings.iter().find(|f| f.name == name).unwrap().level
    }

    #[test]
    fn every_check_answers_once_and_a_pass_needs_no_remedy() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.sqlite3"), b"x").unwrap();
        let findings = inspect(&Volume::new(dir.path()));
        assert_eq!(names(&findings), CHECKS);
        for finding in &findings {
            let is_pass = finding.level == Level::Pass;
            assert_eq!(finding.remedy.is_empty(), is_pass, "{finding:?}");
            assert!(!finding.what.is_empty() && !finding.why.is_empty());
        }
        for name in ["directory", "writable", "owner", "in-use"] {
            assert_eq!(level(&findings, name), Level::Pass, "{findings:?}");
        }
    }

    #[test]
    fn nothing_is_left_behind_and_nothing_created() {
        let dir = tempfile::tempdir().unwrap();
        inspect(&Volume::new(dir.path()));
        inspect(&Volume::new(dir.path().join("new")));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_yet_to_be_created_is_judged_by_its_parent_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other.db"), b"x").unwrap();
        let findings = inspect(&Volume::new(dir.path().join("new")));
        assert_eq!(names(&findings), CHECKS);
        let owner = findings.iter().find(|f| f.name == "owner").unwrap();
        assert!(owner.what.contains("no database"), "{owner:?}");
    }

    #[test]
    fn a_missing_volume_gives_one_finding() {
        let dir = tempfile::tempdir().unwrap();
        let findings = inspect(&Volume::new(dir.path().join("not/there")));
        assert_eq!(names(&findings), ["directory"]);
        assert_eq!(findings[0].level, Level::Fail);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_not_persistent() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let findings = inspect(&Volume::new(dir.path()));
        assert_eq!(level(&findings, "persistent"), Level::Fail);
        assert_eq!(level(&findings, "local"), Level::Pass);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn proc_is_fit_for_nothing() {
        let findings = inspect(&Volume::new("/proc/sys"));
        assert_eq!(level(&findings, "persistent"), Level::Fail);
        assert_eq!(level(&findings, "writable"), Level::Fail);
    }

    #[test]
    fn a_held_lock_shows() {
        let dir = tempfile::tempdir().unwrap();
        let purpose = Purpose::new("monolite run").port(Some(8080));
        let lock = Lock::acquire(dir.path(), &purpose).unwrap();
        let findings = inspect(&Volume::new(dir.path()));
        let finding = findings.last().unwrap();
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.what.contains("`monolite run`"), "{finding:?}");
        assert!(finding.what.contains("port 8080"), "{finding:?}");
        drop(lock);
        let findings = inspect(&Volume::new(dir.path()));
        assert_eq!(findings.last().unwrap().level, Level::Pass);
    }
}
