//! What a lock promises across processes. This program starts itself again as
//! the other process; see the test `child`.
#![allow(
    clippy::unwrap_used,
    reason = "Clippy's own exception for tests leaves out their helpers"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use monolite_volume::{Level, Lock, LockError, Purpose, Volume, holder, inspect};

fn purpose(command: &str) -> Purpose {
    Purpose::new(command).port(Some(8080))
}

/// Runs only when named by a parent test: holds the lock until it is killed.
#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let dir = std::env::var("LOCK_DIR").unwrap();
    let _lock = Lock::acquire(Path::new(&dir), &purpose("monolite run")).unwrap();
    // A child of its own outlives it, and must not have inherited the lock.
    let mut grandchild = Command::new("sleep").arg("3").spawn().unwrap();
    println!("\nlocked");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    grandchild.wait().unwrap();
}

struct Other {
    child: Child,
}

impl Other {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env("LOCK_DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let locked = stdout
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "locked");
        assert!(locked, "the other process did not get the lock");
        Self { child }
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_loser_learns_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let other = Other::start(dir.path());
    let seen = holder(dir.path()).unwrap().unwrap();
    assert_eq!(seen.pid, other.child.id());
    assert_eq!(seen.command, "monolite run");

    let error = Lock::acquire(dir.path(), &purpose("monolite restore")).unwrap_err();
    assert!(matches!(&error, LockError::Held { holder, .. } if **holder == seen));
    let wanted = format!("in use by `monolite run` (pid {}, port 8080)", seen.pid);
    assert!(error.to_string().contains(&wanted), "{error}");

    let findings = inspect(&Volume::new(dir.path()));
    let finding = findings.last().unwrap();
    assert_eq!((finding.name, finding.level), ("in-use", Level::Fail));
    assert!(finding.what.contains(&wanted), "{finding:?}");
}

#[test]
fn kill_nine_releases_it() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let mut other = Other::start(dir.path());
        assert!(holder(dir.path()).unwrap().is_some());
        other.kill();
        // At once, while the file still names the dead.
        assert_eq!(holder(dir.path()).unwrap(), None);
        let _lock = Lock::acquire(dir.path(), &purpose("monolite run")).unwrap();
        let seen = holder(dir.path()).unwrap().unwrap();
        assert_eq!(seen.pid, std::process::id());
    }
}
