//! Processes that a migration has left running: who they are, and how they are ended.

mod descendants;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_migrate::guard::Survived;
use monolite_platform::process::{self, Environment, Named, Pid};
use rustix::process::{Signal, kill_process};

pub use self::descendants::Descendants;
use crate::GUARDED;
use crate::guarded::Written;

/// How long what is left may run on by itself, and again after each signal.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked who is left.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Ends what a guarded command has left running on the volume after its guard died. Answers with the
/// processes that did not end by themselves, and the databases that any of them had open for writing.
#[must_use]
pub fn end_guarded(volume: &Path, databases: &[PathBuf]) -> Survived {
    let mut written = Written::of(databases);
    let ended = end(|| {
        let left = guarded(volume);
        left.iter().for_each(|pid| written.see(&directory(*pid)));
        left
    });
    let written = written.seen();
    Survived { ended, written }
}

/// The processes in whose environment it stands that they are guarded on the volume, without this one
/// and its ancestors. Those of this user, or of any user if it is root, and of this container: in
/// another one a volume of the same path is another volume.
fn guarded(volume: &Path) -> Vec<Pid> {
    let volume = volume.canonicalize().unwrap_or_else(|_| volume.into());
    let all = process::all().unwrap_or_default();
    let own = rustix::process::getpid();
    let ancestors = process::ancestors(&all, own);
    let pids = all.iter().filter(|one| !one.is_zombie).map(|one| one.pid);
    pids.filter(|pid| *pid != own && !ancestors.contains(pid))
        .filter(|pid| process::is_of_this_user_and_container(*pid))
        .filter(|pid| guarded_volume(*pid).is_some_and(|of| of == volume))
        .collect()
}

/// The volume on which a process is guarded.
fn guarded_volume(pid: Pid) -> Option<PathBuf> {
    let environment = Environment::of(pid).ok()?;
    let path = Path::new(environment.get(GUARDED)?);
    Some(path.canonicalize().unwrap_or_else(|_| path.into()))
}

fn directory(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

/// First they may end by themselves; then they are asked to, then killed.
fn end(mut left: impl FnMut() -> Vec<Pid>) -> Vec<String> {
    let mut ended = Vec::new();
    for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let since = Instant::now();
        let mut asked = HashSet::new();
        loop {
            let now = left();
            if now.is_empty() {
                return ended;
            }
            if since.elapsed() >= GRACE {
                break;
            }
            // Also those that were started meanwhile.
            for pid in now.into_iter().filter(|pid| asked.insert(*pid)) {
                let Some(signal) = signal else { continue };
                let name = Named(pid).to_string();
                if kill_process(pid, signal).is_ok() && !ended.contains(&name) {
                    ended.push(name);
                }
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
    // A disk or a network mount hangs: the guard sees what they have open.
    ended
}

/// A command's name for lock files and messages: its program and the first plain word after it. The
/// rest may hold secrets.
#[must_use]
pub fn called<S: AsRef<OsStr>>(command: &[S]) -> String {
    let is_plain = |word: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:/+-".contains(c);
        !word.is_empty() && !word.starts_with('-') && word.chars().all(plain)
    };
    let words = command.iter().map(|word| word.as_ref().to_string_lossy());
    let words: Vec<String> = words.take(2).map(|word| word.into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [program, word] if is_plain(word) && is_plain(program) => format!("{program} {word}"),
        [program, ..] if is_plain(program) => (*program).into(),
        _ => "a command".into(),
    }
}

/// As [`called`], of a line for a shell.
#[must_use]
pub fn called_by_shell(line: &OsStr) -> String {
    let line = line.to_string_lossy();
    // What a shell would not accept has no words.
    let words = shlex::split(&line).unwrap_or_default();
    match called(&words) {
        name if name == "a command" => "/bin/sh".into(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn names_hold_no_secrets() {
        for (command, name) in [
            (
                &["bin/rails", "db:migrate", "--x"][..],
                "bin/rails db:migrate",
            ),
            (&["python", "manage.py", "migrate"], "python manage.py"),
            (&["env", "PASSWORD=hunter2", "true"], "env"),
            (&["mysql", "-phunter2"], "mysql"),
            (&["sh", "-c", "PASSWORD=hunter2 x"], "sh"),
            (&["php", "a b"], "php"),
            (&[], "a command"),
        ] {
            assert_eq!(called(command), name);
        }
        for (line, name) in [
            ("bin/rails db:migrate && bin/x", "bin/rails db:migrate"),
            ("PASSWORD=hunter2 bin/rails db:migrate", "/bin/sh"),
            ("PASSWORD=\"a hunter2\" x", "/bin/sh"),
            ("exec 'x y'", "exec"),
        ] {
            assert_eq!(called_by_shell(OsStr::new(line)), name);
        }
    }

    /// A command that was guarded on `volume`, and runs `script` until it is
    /// told to go on.
    fn survivor(volume: &Path, script: &str) -> std::process::Child {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env(GUARDED, volume)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        child
    }

    #[test]
    fn what_survivors_had_open_for_writing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let all = ["idle.db", "read.db", "file.db", "log.db"].map(path);
        for name in ["idle.db", "read.db", "file.db", "log.db", "log.db-wal"] {
            std::fs::write(path(name), "x").unwrap();
        }
        let script = format!(
            "cd '{}'; exec 3<read.db 4>>file.db 5>>log.db-wal; echo; read line",
            dir.path().display()
        );
        let mut writer = survivor(dir.path(), &script);
        let mut idle = survivor(dir.path(), "echo; read line");
        let mut looks = 0;
        let mut written = Written::of(&all);
        let ended = end(|| {
            let left = guarded(dir.path());
            left.iter().for_each(|pid| written.see(&directory(*pid)));
            looks += 1;
            match looks {
                1 => assert_eq!(left.len(), 2),
                // Unasked, once they were seen.
                2 => {
                    for child in [&mut writer, &mut idle] {
                        kill_process(Pid::from_child(child), Signal::KILL).unwrap();
                        child.wait().unwrap();
                    }
                }
                _ => {}
            }
            left
        });
        assert!(ended.is_empty(), "{ended:?}");
        assert_eq!(written.seen(), [path("file.db"), path("log.db")]);
    }

    #[test]
    fn who_is_guarded_on_a_volume_is_found_and_ended() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sleep = |volume: &Path| {
            // A shell that asks first, so that it is another program by then.
            let mut command = Command::new("sh");
            command
                .args(["-c", "echo; exec sleep 1000"])
                .env(GUARDED, volume)
                .stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let out = child.stdout.take().unwrap();
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
            child
        };
        let (mut ours, mut theirs) = (sleep(dir.path()), sleep(other.path()));
        let found = guarded(dir.path());
        assert_eq!(found, [Pid::from_child(&ours)]);
        // As if it had been waited for in vain.
        kill_process(found[0], Signal::KILL).unwrap();
        assert_eq!(end_guarded(dir.path(), &[]), Survived::default());
        ours.wait().unwrap();
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
}
