//! Other processes, as `/proc` shows them: what a migration has left running,
//! and how that is ended.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};

use crate::GUARDED;

/// How long what is left may go on by itself, and how long once it was asked to
/// end.
const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// A process.
struct Seen {
    pid: Pid,
    parent: i32,
}

/// All that live: dead ones not yet reaped left out. None where the system does
/// not tell.
fn all() -> Vec<Seen> {
    let Ok(listing) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = listing
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter_map(seen).collect()
}

fn seen(pid: Pid) -> Option<Seen> {
    let stat = std::fs::read_to_string(of(pid).join("stat")).ok()?;
    // The name in brackets may hold anything; the state follows its end.
    let mut rest = stat.rsplit(')').next()?.split_whitespace();
    let is_dead = matches!(rest.next()?, "Z" | "X");
    let parent = rest.next()?.parse().ok()?;
    (!is_dead).then_some(Seen { pid, parent })
}

fn of(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

/// The processes that this one has started, and theirs, and theirs.
///
/// Orphans among them come to this process, which inherits them from
/// [`Descendants::inherit`] on; whoever was there by then is none of them.
#[derive(Debug)]
pub struct Descendants {
    before: HashSet<Pid>,
}

impl Descendants {
    /// From now on.
    ///
    /// # Errors
    /// This process may not inherit orphans.
    pub fn inherit() -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let before = below(&all(), &HashSet::new()).into_iter().collect();
        Ok(Self { before })
    }

    /// Those that live.
    #[must_use]
    pub fn left(&self) -> Vec<Pid> {
        below(&all(), &self.before)
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

/// Below this process, without `before` and what is below those.
fn below(all: &[Seen], before: &HashSet<Pid>) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![rustix::process::getpid()];
    while let Some(parent) = parents.pop() {
        let parent = parent.as_raw_nonzero().get();
        for child in all.iter().filter(|seen| seen.parent == parent) {
            if !before.contains(&child.pid) {
                found.push(child.pid);
                parents.push(child.pid);
            }
        }
    }
    found
}

/// Ends what a guarded command has left running on the volume, whose guard has
/// died; says what that was, if it did not end by itself.
#[must_use]
pub fn end_guarded(volume: &Path) -> Vec<String> {
    end(|| guarded(volume))
}

/// The processes that were told that they are guarded on the volume; this one
/// and those above it left out. Of this user, and of this container: in another
/// one a volume of the same name is another volume.
fn guarded(volume: &Path) -> Vec<Pid> {
    let volume = volume.canonicalize().unwrap_or_else(|_| volume.into());
    let all = all();
    let own = rustix::process::getpid();
    let mut above = HashSet::from([own.as_raw_nonzero().get()]);
    let mut next = own;
    while let Some(seen) = all.iter().find(|seen| seen.pid == next) {
        above.insert(seen.parent);
        match Pid::from_raw(seen.parent) {
            Some(parent) if parent != next => next = parent,
            _ => break,
        }
    }
    let pids = all.iter().map(|seen| seen.pid);
    pids.filter(|pid| !above.contains(&pid.as_raw_nonzero().get()))
        .filter(|pid| is_of_ours(*pid))
        .filter(|pid| told(*pid).is_some_and(|of| of == volume))
        .collect()
}

fn is_of_ours(pid: Pid) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid().as_raw();
    let is_own = of(pid).metadata().is_ok_and(|of| of.uid() == own);
    let mounts = |of: &Path| std::fs::read_link(of.join("ns/mnt")).ok();
    is_own && mounts(&of(pid)) == mounts(Path::new("/proc/self"))
}

/// The volume on which it is guarded.
fn told(pid: Pid) -> Option<PathBuf> {
    let environment = std::fs::read(of(pid).join("environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| {
        variable
            .strip_prefix(GUARDED.as_bytes())?
            .strip_prefix(b"=")
    })?;
    let path = Path::new(OsStr::from_bytes(value));
    Some(path.canonicalize().unwrap_or_else(|_| path.into()))
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
            // Also those that come meanwhile.
            for pid in now.into_iter().filter(|pid| asked.insert(*pid)) {
                let Some(signal) = signal else { continue };
                let name = Named(pid).to_string();
                if kill_process(pid, signal).is_ok() && !ended.contains(&name) {
                    ended.push(name);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
    // A disk or a network mount hangs: whoever judges sees what it has open.
    ended
}

struct Named(Pid);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::fs::read_to_string(of(self.0).join("comm")).unwrap_or_default();
        let name = name.trim().escape_debug();
        write!(f, "`{name}` (pid {})", self.0.as_raw_nonzero())
    }
}

/// What a command is called where others read it: its program and the first
/// plain word after it. The rest may hold secrets.
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
    let words: Vec<&str> = line.split_whitespace().collect();
    match called(&words) {
        name if name == "a command" => "/bin/sh".into(),
        name => name,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        assert!(end_guarded(dir.path()).is_empty());
        ours.wait().unwrap();
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
}
