//! The processes of a guarded command, as `/proc` shows them: what the command has left running,
//! and how that is ended.

mod descendants;
mod writers;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use self::descendants::Descendants;
use self::writers::Writers;
use crate::host::Survivors;

/// The environment variable that is set to the volume for a guarded command. A `monolite migrate`
/// under it would wait for itself.
pub const GUARDED: &str = "MONOLITE_GUARDED";

/// How long a process that is left may take to end by itself, and again after SIGTERM, and after
/// SIGKILL.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

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

/// Ends what a guarded command has left running on the volume, whose guard has
/// died; says what that was, if it did not end by itself, and which of the
/// databases it had open for writing.
#[must_use]
pub fn end_survivors(volume: &Path, databases: &[PathBuf]) -> Survivors {
    let mut written = Writers::of(databases);
    let ended = end(|| {
        let left = guarded(volume);
        left.iter().for_each(|pid| written.see(&of(*pid)));
        left
    });
    let written = written.seen();
    Survivors { ended, written }
}

/// The processes that were told that they are guarded on the volume; this one
/// and those above it left out. Of this user, or of any if it is root, and of this
/// container: in another one a volume of the same name is another volume.
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
    let is_own = own == 0 || of(pid).metadata().is_ok_and(|of| of.uid() == own);
    let mounts = |of: &Path| std::fs::read_link(of.join("ns/mnt")).ok();
    is_own && mounts(&of(pid)) == mounts(Path::new("/proc/self"))
}

/// The volume on which it is guarded.
fn told(pid: Pid) -> Option<PathBuf> {
    let environment = std::fs::read(of(pid).join("environ")).ok()?;
    let path = Path::new(OsStr::from_bytes(guarded_on(&environment)?));
    Some(path.canonicalize().unwrap_or_else(|_| path.into()))
}

/// The value of [`GUARDED`] in an environment.
fn guarded_on(environment: &[u8]) -> Option<&[u8]> {
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        variable
            .strip_prefix(GUARDED.as_bytes())?
            .strip_prefix(b"=")
    })
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
            if since.elapsed() >= END_TIME_MAX {
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
            std::thread::sleep(LOOK_PAUSE);
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
pub fn command_name<S: AsRef<OsStr>>(command: &[S]) -> String {
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

/// As [`command_name`], of a line for a shell.
#[must_use]
pub fn shell_command_name(line: &OsStr) -> String {
    let line = line.to_string_lossy();
    let words: Vec<&str> = line.split_whitespace().collect();
    match command_name(&words) {
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
            assert_eq!(command_name(command), name);
        }
        for (line, name) in [
            ("bin/rails db:migrate && bin/x", "bin/rails db:migrate"),
            ("PASSWORD=hunter2 bin/rails db:migrate", "/bin/sh"),
            ("PASSWORD=\"a hunter2\" x", "/bin/sh"),
            ("exec 'x y'", "exec"),
        ] {
            assert_eq!(shell_command_name(OsStr::new(line)), name);
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
    fn what_survivors_had_open_for_writing_is_told() {
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
        let mut written = Writers::of(&all);
        let ended = end(|| {
            let left = guarded(dir.path());
            left.iter().for_each(|pid| written.see(&of(*pid)));
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
        assert_eq!(end_survivors(dir.path(), &[]), Survivors::default());
        ours.wait().unwrap();
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
}
