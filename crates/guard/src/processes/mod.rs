//! The processes of a guarded command, as `/proc` shows them: what the command has left running,
//! and how that is ended.

mod descendants;
mod end;
mod writers;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use monolite_platform::process::{self, Environment, is_of_this_user_and_container};
use rustix::process::{Pid, getpid};

pub use self::descendants::Descendants;
pub use self::end::GUARDED;
use self::end::{all, end};
use self::writers::Writers;

/// What an interrupted migration had left running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survivors {
    /// Processes that did not end by themselves, in words.
    pub ended: Vec<String>,
    /// Databases that one of them had open for writing, or whose log it had, and may have written
    /// to until it was gone.
    pub written: Vec<PathBuf>,
}

/// Ends what a guarded command has left running on the volume, whose guard has
/// died; says what that was, if it did not end by itself, and which of the
/// databases it had open for writing.
#[must_use]
pub fn end_survivors(volume: &Path, databases: &[PathBuf]) -> Survivors {
    let mut written = Writers::of(databases);
    let ended = end(|| {
        let left = guarded(volume);
        left.iter().for_each(|pid| written.see(*pid));
        left
    });
    let written = written.seen();
    Survivors { ended, written }
}

/// The processes that are guarded on the volume, by their environment; this one and those above it
/// left out. Of this user, or of any if it is root, and of this container.
fn guarded(volume: &Path) -> Vec<Pid> {
    let volume = volume.canonicalize().unwrap_or_else(|_| volume.into());
    let (all, own) = (all(), getpid());
    let above = process::ancestors(&all, own);
    let pids = all.iter().map(|process| process.pid);
    pids.filter(|pid| *pid != own && !above.contains(pid))
        .filter(|pid| is_of_this_user_and_container(*pid))
        .filter(|pid| guarded_on(*pid).is_some_and(|of| of == volume))
        .collect()
}

/// Whether a process is part of a guarded migration of the volume, by its environment.
pub(crate) fn is_guarded_on(volume: &Path, pid: Pid) -> bool {
    guarded_on(pid).is_some_and(|of| of == volume)
}

/// The volume on which a process is guarded.
fn guarded_on(pid: Pid) -> Option<PathBuf> {
    let environment = Environment::of(pid).ok()?;
    let path = Path::new(environment.get(GUARDED)?);
    Some(path.canonicalize().unwrap_or_else(|_| path.into()))
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

    use rustix::process::{Signal, kill_process};

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
            left.iter().for_each(|pid| written.see(*pid));
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
