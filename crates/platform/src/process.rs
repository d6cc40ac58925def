//! Other processes, as `/proc` shows them.
//!
//! Invariant: nothing is opened but files of `/proc` itself, so that no lock on a
//! file of somebody's is lost by a look at who has it open ([`OpenFile::reopen`] is
//! the exception, and says for which files). What the system does
//! not show is an error, `None` or [`Access::Unknown`], and never reads as "no".
//!
//! `/proc` shows the processes of this container, and the open files, the
//! environment and the namespaces only of this user's, unless this one is root.
//! Elsewhere than on Linux there is none, and everything here fails with
//! [`io::ErrorKind::NotFound`].

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use rustix::process::Pid;

/// Tells one start of the machine from another; `None` where the system does
/// not say.
#[must_use]
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

/// Whether this process ignores the signal of this number, as `nohup` makes its program
/// ignore SIGHUP. A signal that is handled is not ignored. Where the system does not
/// say, it is not.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1)
        .ok()
        .and_then(|bit| 1u64.checked_shl(bit));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

fn directory(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// The id of its parent; `None` of the first process, and of one whose parent
    /// is outside of this container.
    pub parent: Option<Pid>,
    /// Its process group.
    pub group: Option<Pid>,
    /// The group in the foreground of its terminal, which the terminal sends
    /// signals to; `None` without a terminal.
    pub foreground_group: Option<Pid>,
    /// It has ended, and nobody has waited for it yet.
    pub is_zombie: bool,
    /// When it started, in clock ticks since the start of the machine. With its
    /// id and [`boot_id`] this names one process, as the id alone does not.
    pub start_ticks: u64,
}

impl Process {
    /// The process of this id, if there is one.
    #[must_use]
    pub fn of(pid: Pid) -> Option<Self> {
        let stat = std::fs::read(directory(pid).join("stat")).ok()?;
        Self::parse(pid, &stat)
    }

    /// `ID (NAME) STATE PARENT GROUP SESSION TERMINAL FOREGROUND …`
    fn parse(pid: Pid, stat: &[u8]) -> Option<Self> {
        // The name may hold anything, closing brackets too: the last one ends it.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let id = |at: usize| {
            let id = fields.get(at)?.parse().ok().filter(|id| *id > 0)?;
            Pid::from_raw(id)
        };
        Some(Self {
            pid,
            parent: id(1),
            group: id(2),
            foreground_group: id(5),
            is_zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// All processes, those that have ended and were not waited for included.
///
/// # Errors
/// There is no `/proc`.
pub fn all() -> io::Result<Vec<Process>> {
    // One that ends meanwhile is none.
    Ok(ids()?.into_iter().filter_map(Process::of).collect())
}

fn ids() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        pids.extend(pid.and_then(Pid::from_raw));
    }
    Ok(pids)
}

/// The processes below `root` in the tree that `all` is, `root` left out. One
/// that `enter` refuses is left out with all that is below it. An orphan is below
/// whoever inherited it (`set_child_subreaper`), and not below who started it.
pub fn descendants(all: &[Process], root: Pid, enter: impl Fn(&Process) -> bool) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    // A table that was read while ids were given out again may have a loop.
    let mut seen = HashSet::from([root]);
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|child| child.parent == Some(parent)) {
            if seen.insert(child.pid) && enter(child) {
                found.push(child.pid);
                parents.push(child.pid);
            }
        }
    }
    found
}

/// The processes above `pid`, its parent first; without it.
#[must_use]
pub fn ancestors(all: &[Process], pid: Pid) -> Vec<Pid> {
    let parent = |pid| all.iter().find(|of| of.pid == pid)?.parent;
    let mut found = Vec::new();
    let mut next = parent(pid);
    while let Some(above) = next
        && above != pid
        && !found.contains(&above)
    {
        found.push(above);
        next = parent(above);
    }
    found
}

/// A process as people read it: `` `sleep` (pid 12) ``. The name is the program's
/// own and is escaped; it is empty if the process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named(pub Pid);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::fs::read(directory(self.0).join("comm")).unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        let (name, pid) = (name.trim_end().escape_debug(), self.0.as_raw_nonzero());
        write!(f, "`{name}` (pid {pid})")
    }
}

/// The words a process was started with, as it shows them: a program may write
/// others there. Empty of kernel threads. They may hold secrets.
///
/// # Errors
/// There is no such process, or it may not be read.
pub fn command_line(pid: Pid) -> io::Result<Vec<OsString>> {
    let bytes = std::fs::read(directory(pid).join("cmdline"))?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let words = words.split(|byte| *byte == 0);
    Ok(words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect())
}

/// The environment a process was started with. A program that gives itself
/// another name may have written that over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment(Vec<u8>);

impl Environment {
    /// That of `pid`.
    ///
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn of(pid: Pid) -> io::Result<Self> {
        std::fs::read(directory(pid).join("environ")).map(Self)
    }

    /// The value of a variable, if it has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.0.split(|byte| *byte == 0);
        let value = variables
            .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(OsStr::from_bytes(value))
    }

    /// Whether there is any variable in it: without one it may have been written
    /// over.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.0.contains(&b'=')
    }
}

/// Whether a process is of the same user, or this one is root, and sees the same
/// filesystems: in another container a path of the same name is another file.
#[must_use]
pub fn is_of_this_user_and_container(pid: Pid) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let uid = || directory(pid).metadata().map(|of| of.uid());
    let mounts = |of: &Path| std::fs::read_link(of.join("ns/mnt")).ok();
    (own == 0 || uid().is_ok_and(|uid| uid == own))
        && mounts(&directory(pid))
            .is_some_and(|mounts_of| Some(mounts_of) == mounts(Path::new("/proc/self")))
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    /// Its filesystem.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

impl Inode {
    /// Of the file that has this name now; links are followed, and it is not
    /// opened. `None` if there is none, or it cannot be looked at.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|of| Self::from(&of))
    }
}

impl From<&std::fs::Metadata> for Inode {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
        }
    }
}

/// How a file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading alone.
    Read,
    /// For writing alone.
    Write,
    /// For both, as SQLite opens its files.
    ReadWrite,
    /// The system does not say: the process has ended or closed it meanwhile.
    Unknown,
}

impl Access {
    /// Whether it may be written through: [`Access::Unknown`] counts as yes. This
    /// is the default, as it is right wherever a writer is what has to be feared.
    ///
    /// Who asks for the opposite reason, to excuse a change by the process that
    /// made it, must not take "unknown" for a yes, and asks
    /// [`Access::is_known_to_write`].
    #[must_use]
    pub fn may_write(self) -> bool {
        self != Self::Read
    }

    /// Whether it is sure that it may be written through.
    #[must_use]
    pub fn is_known_to_write(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// A file that a process has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    /// The process.
    pub pid: Pid,
    /// The descriptor.
    fd: OsString,
    /// What the system calls it: its path in the process's own view, with
    /// ` (deleted)` after the path of a file that has no name any more, or
    /// something like `socket:[7]`.
    target: PathBuf,
}

impl OpenFile {
    /// Its path, as the process sees it, if it is a file that still has a name.
    /// Containers see different paths: compare [`OpenFile::inode`] where the file
    /// is there to be asked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Whether it is a deleted file whose path was `path`, which is absolute and
    /// without links.
    #[must_use]
    pub fn was_deleted_from(&self, path: &Path) -> bool {
        let target = self.target.as_os_str().as_bytes();
        target.strip_suffix(b" (deleted)") == Some(path.as_os_str().as_bytes())
    }

    /// The path that the file had, if it is a file without a name: deleted, or
    /// replaced by another one. In the view of its process, as [`OpenFile::path`].
    #[must_use]
    pub fn deleted_path(&self) -> Option<&Path> {
        let target = self.target.as_os_str().as_bytes();
        let path = target.strip_suffix(b" (deleted)")?;
        path.starts_with(b"/")
            .then(|| Path::new(OsStr::from_bytes(path)))
    }

    /// Opens the same file once more, for reading, whatever has become of its
    /// name. Never for a file that SQLite in this process may have open and locks
    /// (a database, a `-shm`): closing it would drop those locks. A `-wal` has none.
    ///
    /// # Errors
    /// It is closed by now, or this user may not read it.
    pub fn reopen(&self) -> io::Result<std::fs::File> {
        std::fs::File::open(directory(self.pid).join("fd").join(&self.fd))
    }

    /// The process that has it open.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Which file it is. `None` if it is closed by now. A network filesystem that
    /// does not answer is not waited for.
    #[must_use]
    pub fn inode(&self) -> Option<Inode> {
        inode(&directory(self.pid).join("fd").join(&self.fd))
    }

    /// How it was opened.
    #[must_use]
    pub fn access(&self) -> Access {
        let info = std::fs::read_to_string(directory(self.pid).join("fdinfo").join(&self.fd));
        info.map_or(Access::Unknown, |info| access(&info))
    }
}

#[cfg(target_os = "linux")]
fn inode(fd: &Path) -> Option<Inode> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let stat = statx(CWD, fd, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some(Inode {
        device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
        number: stat.stx_ino,
    })
}

#[cfg(not(target_os = "linux"))]
fn inode(fd: &Path) -> Option<Inode> {
    Inode::of(fd)
}

/// `flags: 0100002`, in octal; the last two bits are the access.
fn access(info: &str) -> Access {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    match flags.map(|flags| flags & 0o3) {
        Some(0) => Access::Read,
        Some(1) => Access::Write,
        Some(2) => Access::ReadWrite,
        _ => Access::Unknown,
    }
}

/// What a process has open.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn open_files(pid: Pid) -> io::Result<Vec<OpenFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory(pid).join("fd"))? {
        let entry = entry?;
        // Closed meanwhile, as the one that lists them here.
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        let fd = entry.file_name();
        files.push(OpenFile { pid, fd, target });
    }
    Ok(files)
}

/// The programs and libraries that a process runs code of, each once; those whose files
/// were replaced meanwhile are left out.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn programs(pid: Pid) -> io::Result<Vec<PathBuf>> {
    let maps = std::fs::read(directory(pid).join("maps"))?;
    let mut found = Vec::new();
    for line in maps.split(|byte| *byte == b'\n') {
        // `55d0-55d1 r-xp 00000000 08:01 1234   /usr/bin/app`
        let is_code = line.splitn(3, |byte| *byte == b' ').nth(1);
        let is_code = is_code.is_some_and(|rights| rights.get(2) == Some(&b'x'));
        let path = line.iter().position(|byte| *byte == b'/');
        if let (true, Some(path)) = (is_code, path.and_then(|at| line.get(at..)))
            && !path.ends_with(b" (deleted)")
        {
            found.push(PathBuf::from(OsStr::from_bytes(path)));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The files that other processes than this one have open, as far as they show
/// them, for which `wanted` is true. It is called with each of very many: let it
/// look at [`OpenFile::path`] before it asks for more.
///
/// # Errors
/// There is no `/proc`.
pub fn open_elsewhere(mut wanted: impl FnMut(&OpenFile) -> bool) -> io::Result<Vec<OpenFile>> {
    let own = rustix::process::getpid();
    let mut found = Vec::new();
    for pid in ids()?.into_iter().filter(|pid| *pid != own) {
        // Ended meanwhile, or another user's.
        let files = open_files(pid).unwrap_or_default();
        found.extend(files.into_iter().filter(&mut wanted));
    }
    Ok(found)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs::File;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that waits, and ends with the test.
    struct Waits(Child);

    impl Waits {
        fn with(stderr: File) -> Self {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stderr(stderr);
            Self(command.spawn().unwrap())
        }

        fn pid(&self) -> Pid {
            Pid::from_child(&self.0)
        }
    }

    impl Drop for Waits {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn pid(n: i32) -> Pid {
        Pid::from_raw(n).unwrap()
    }

    fn process(n: i32, parent: i32) -> Process {
        let stat = format!("{n} (x) S {parent} 1 1 0 -1 {} 7", "0 ".repeat(13));
        Process::parse(pid(n), stat.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_with_brackets_does_not_hide_the_fields() {
        let stat = b"7 (a) b) Z 3 2 1 34816 9 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 5";
        let parsed = Process::parse(pid(7), stat).unwrap();
        assert_eq!((parsed.parent, parsed.group), (Some(pid(3)), Some(pid(2))));
        assert_eq!(parsed.foreground_group, Some(pid(9)));
        assert_eq!((parsed.is_zombie, parsed.start_ticks), (true, 4711));
        for broken in [&b""[..], b"7 (a", b"7 (a)", b"7 (a) S 1 2"] {
            assert_eq!(Process::parse(pid(7), broken), None);
        }
    }

    #[test]
    fn this_process_is_among_all_with_its_child() {
        let dir = tempfile::tempdir().unwrap();
        let child = Waits::with(File::create(dir.path().join("x")).unwrap());
        let all = all().unwrap();
        let own = rustix::process::getpid();
        let seen = all.iter().find(|of| of.pid == child.pid()).unwrap();
        assert_eq!(seen.parent, Some(own));
        let start = Process::of(own).unwrap().start_ticks;
        assert!(start > 0 && seen.start_ticks >= start);
        assert!(descendants(&all, own, |_| true).contains(&child.pid()));
        assert_eq!(ancestors(&all, child.pid())[0], own);
        assert!(is_of_this_user_and_container(child.pid()));
        assert!(boot_id().is_some_and(|id| id.len() > 30));
    }

    #[test]
    fn the_tree_is_walked_down_and_up() {
        let all = [(2, 1), (3, 2), (4, 2), (5, 4), (6, 1)].map(|(n, parent)| process(n, parent));
        let mut below = descendants(&all, pid(2), |_| true);
        below.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        assert_eq!(below, [3, 4, 5].map(pid));
        let without_4 = descendants(&all, pid(2), |of| of.pid != pid(4));
        assert_eq!(without_4, [pid(3)]);
        assert_eq!(ancestors(&all, pid(5)), [4, 2, 1].map(pid));
        // As it may be read while ids are given out again.
        let ring = [(2, 3), (3, 2)].map(|(n, parent)| process(n, parent));
        assert_eq!(descendants(&ring, pid(2), |_| true), [pid(3)]);
        assert_eq!(ancestors(&ring, pid(2)), [pid(3)]);
    }

    #[test]
    fn words_and_environment_are_those_it_was_started_with() {
        let mut child = Command::new("sh")
            .args(["-c", "echo; read x", "", "a b"])
            .env("MONOLITE_TEST", "x=y")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut { out }, &mut line).unwrap();
        let pid = Pid::from_child(&child);
        let words = command_line(pid).unwrap();
        assert_eq!(words, ["sh", "-c", "echo; read x", "", "a b"]);
        let environment = Environment::of(pid).unwrap();
        assert_eq!(environment.get("MONOLITE_TEST"), Some(OsStr::new("x=y")));
        assert_eq!(environment.get("MONOLITE"), None);
        assert!(environment.is_readable());
        let name = Named(pid).to_string();
        assert_eq!(name, format!("`sh` (pid {})", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Environment::of(pid).is_err() && open_files(pid).is_err());
    }

    #[test]
    fn who_has_a_file_open_is_known_by_its_inode_and_how() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        std::fs::write(&path, "x").unwrap();
        let inode = Inode::of(&path).unwrap();
        // A child just started may not yet have closed what it inherited.
        let wanted = |file: &OpenFile| file.fd == "2" && file.inode() == Some(inode);
        let holders = || open_elsewhere(wanted).unwrap();
        assert_eq!(holders(), []);
        let read = || File::options().read(true).clone();
        for (options, access) in [
            (read(), Access::Read),
            (read().append(true).clone(), Access::ReadWrite),
            (File::options().append(true).clone(), Access::Write),
        ] {
            let other = Waits::with(options.open(&path).unwrap());
            let held = holders();
            assert_eq!((held.len(), held[0].pid), (1, other.pid()));
            assert_eq!((held[0].access(), held[0].path()), (access, &*path));
            assert_eq!(access.may_write(), access != Access::Read);
            let gone = held[0].clone();
            drop(other);
            assert_eq!((gone.access(), gone.inode()), (Access::Unknown, None));
        }
        assert!(Access::Unknown.may_write() && !Access::Unknown.is_known_to_write());
        assert_eq!(holders(), []);
    }

    #[test]
    fn a_deleted_file_is_known_by_the_name_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("app.db");
        let other = Waits::with(File::create(&path).unwrap());
        let has_it = || {
            let files = open_files(other.pid()).unwrap();
            files.iter().any(|file| file.was_deleted_from(&path))
        };
        assert!(!has_it());
        std::fs::write(&path, "content").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(has_it());
        let files = open_files(other.pid()).unwrap();
        let deleted = |file: &&OpenFile| file.deleted_path() == Some(&*path);
        let mut again = files.iter().find(deleted).unwrap().reopen().unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut again, &mut text).unwrap();
        assert_eq!(text, "content");
    }

    #[test]
    fn a_process_runs_its_program_and_the_libraries_of_it() {
        let found = programs(rustix::process::getpid()).unwrap();
        let own = std::env::current_exe().unwrap();
        assert!(found.contains(&own.canonicalize().unwrap()), "{found:?}");
        assert!(found.iter().all(|path| path.is_absolute()));
    }

    #[test]
    fn access_is_read_from_the_last_two_bits() {
        for (info, wanted) in [
            ("pos:\t0\nflags:\t0100000\nmnt_id:\t7", Access::Read),
            ("flags:\t0102001", Access::Write),
            ("flags:\t02", Access::ReadWrite),
            ("flags:\t03", Access::Unknown),
            ("flags:\tx", Access::Unknown),
            ("", Access::Unknown),
        ] {
            assert_eq!(access(info), wanted, "{info}");
        }
    }
}
