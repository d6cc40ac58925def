//! What the processes of the app have open of SQLite's files, as `/proc` shows it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_platform::process::{self, Access, OpenFile, Pid};
use monolite_volume::layout::{self, Role};
use monolite_volume::walk;

/// How long the answer counts that a file is no database: it may become one.
const NO_DATABASE_TIME: Duration = Duration::from_secs(10);
/// Files outside of the volume whose first bytes are remembered, at most; then all are read again.
const REMEMBERED_MAX: usize = 10_000;
/// Names that are called like a database.
const EXTENSIONS: [&str; 4] = ["sqlite3", "sqlite", "db", "db3"];

/// Which of a database's files it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The database itself.
    Main,
    /// The `-wal`.
    Log,
    /// The `-shm`.
    Index,
}

/// A database on the volume of which a process has a file open that does not have its name any more.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) database: PathBuf,
    pub(super) part: Part,
    pub(super) file: OpenFile,
}

/// What all processes of the app have open.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Databases on the volume, with whether their log is open.
    pub(super) databases: BTreeMap<PathBuf, bool>,
    pub(super) unnamed: Vec<Unnamed>,
    /// The processes that have one of the databases open.
    pub(super) pids: HashSet<Pid>,
    /// Databases elsewhere, and a process that has each.
    pub(super) elsewhere: BTreeMap<PathBuf, Pid>,
}

/// Looks at the app's processes again and again.
pub(super) struct Scanner {
    volume: PathBuf,
    /// Files elsewhere whose first bytes were read: whether they are databases, and when.
    known: HashMap<PathBuf, (bool, Instant)>,
}

impl Scanner {
    /// `volume` is a path without links.
    pub(super) fn new(volume: &Path) -> Self {
        Self {
            volume: volume.into(),
            known: HashMap::new(),
        }
    }

    /// What the processes below this one have open. Nothing where there is no `/proc`.
    pub(super) fn scan(&mut self) -> Scanned {
        let own = rustix::process::getpid();
        let all = process::all().unwrap_or_default();
        let mut scanned = Scanned::default();
        for pid in process::descendants(&all, own, |of| !of.is_zombie) {
            // Ended meanwhile, or of another user.
            let files = process::open_files(pid).unwrap_or_default();
            self.add(pid, files, &mut scanned);
        }
        scanned
    }

    fn add(&mut self, pid: Pid, files: Vec<OpenFile>, scanned: &mut Scanned) {
        let mut databases: BTreeMap<PathBuf, Vec<(Part, bool, OpenFile)>> = BTreeMap::new();
        for file in files {
            let deleted = file.deleted_path().map(Path::to_owned);
            let is_named = deleted.is_none();
            let path = deleted.unwrap_or_else(|| file.path().to_owned());
            if !path.is_absolute() || is_of_the_system(&path) {
                continue;
            }
            if let Some((database, part)) = part_of(&path) {
                let of = databases.entry(database).or_default();
                of.push((part, is_named, file));
            }
        }
        // Which databases the process has open as SQLite does: with a log or an index.
        let logged: HashSet<PathBuf> = databases
            .iter()
            .filter(|(_, files)| files.iter().any(|(part, ..)| *part != Part::Main))
            .map(|(path, _)| path.clone())
            .collect();
        for (database, files) in databases {
            match database.strip_prefix(&self.volume) {
                // What is rebuilt when lost is replaced by its component on purpose.
                Ok(name) if layout::role(name) == Role::Data => {
                    let is_logged = logged.contains(&database);
                    if is_logged || is_called_so(&database) {
                        scanned.pids.insert(pid);
                        on_volume(&database, files, is_logged, scanned);
                    }
                }
                Ok(_) => {}
                Err(_) if self.is_elsewhere(&database, &files, &logged) => {
                    scanned.elsewhere.entry(database).or_insert(pid);
                }
                Err(_) => {}
            }
        }
    }

    /// Whether a process has this as a database, outside of the volume. One that is read only, as one
    /// that comes with a library, loses nothing.
    fn is_elsewhere(
        &mut self,
        path: &Path,
        files: &[(Part, bool, OpenFile)],
        logged: &HashSet<PathBuf>,
    ) -> bool {
        let is_written = files.iter().any(|(part, is_named, file)| {
            *part == Part::Main && *is_named && file.access() == Access::ReadWrite
        });
        is_written && (logged.contains(path) || self.begins_as_database(path))
    }

    fn begins_as_database(&mut self, path: &Path) -> bool {
        match self.known.get(path) {
            Some((true, _)) => return true,
            Some((false, since)) if since.elapsed() < NO_DATABASE_TIME => return false,
            _ => {}
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        let is_database = is_regular(path) && walk::is_database(path);
        self.known
            .insert(path.into(), (is_database, Instant::now()));
        is_database
    }
}

fn on_volume(
    database: &Path,
    files: Vec<(Part, bool, OpenFile)>,
    is_logged: bool,
    scanned: &mut Scanned,
) {
    let main = |named: bool| {
        let mut all = files.iter();
        all.any(|(part, is_named, _)| *part == Part::Main && *is_named == named)
    };
    let (has_main, had_main) = (main(true), main(false));
    if has_main {
        let log = scanned.databases.entry(database.into()).or_default();
        *log |= is_logged;
    }
    // A process has the log of a database open, and not the database: that was renamed.
    let is_renamed = is_logged && !has_main && !had_main;
    for (part, is_named, file) in files {
        if !is_named || (is_renamed && part == Part::Log) {
            let database = database.into();
            let part = if is_named { Part::Main } else { part };
            scanned.unnamed.push(Unnamed {
                database,
                part,
                file,
            });
        }
    }
}

/// `/data/app.db-wal` → `/data/app.db` and that it is the log.
fn part_of(path: &Path) -> Option<(PathBuf, Part)> {
    let name = path.file_name()?;
    let base = layout::database_of(name);
    let suffix = name.as_encoded_bytes().get(base.len()..)?;
    let part = match suffix {
        b"" => Part::Main,
        b"-wal" => Part::Log,
        b"-shm" => Part::Index,
        // A journal is deleted with each transaction.
        _ => return None,
    };
    Some((path.with_file_name(base), part))
}

fn is_called_so(path: &Path) -> bool {
    let is_known = |extension: &OsStr| {
        let mut known = EXTENSIONS.iter();
        known.any(|known| extension.eq_ignore_ascii_case(known))
    };
    path.extension().is_some_and(is_known)
}

/// Devices, pipes and what the kernel shows as files.
fn is_of_the_system(path: &Path) -> bool {
    ["/dev", "/proc", "/sys"]
        .iter()
        .any(|of| path.starts_with(of) && !path.starts_with("/dev/shm"))
        || path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:")
}

fn is_regular(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|of| of.is_file() && !of.file_type().is_fifo())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// `python3` with a database open in WAL mode, until it is dropped.
    struct App(Child);

    impl App {
        fn open(database: &Path) -> Self {
            let code = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],isolation_level=None); \
                c.execute('pragma journal_mode=wal'); c.execute('create table if not exists t(x)'); \
                c.execute('insert into t values(1)'); print('ready',flush=True); sys.stdin.read()";
            let mut child = Command::new("python3")
                .args(["-c", code])
                .arg(database)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let out = std::io::BufReader::new(child.stdout.take().unwrap());
            std::io::BufRead::read_line(&mut { out }, &mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }
    }

    impl Drop for App {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn parts(scanned: &Scanned, database: &Path) -> Vec<Part> {
        let of = scanned.unnamed.iter().filter(|of| of.database == database);
        let mut parts: Vec<_> = of.map(|of| of.part).collect();
        parts.sort_unstable();
        parts
    }

    #[test]
    fn what_was_deleted_or_renamed_is_seen_and_what_is_elsewhere() {
        let (volume, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = volume.path().canonicalize().unwrap();
        let outside = other.path().canonicalize().unwrap().join("any.name");
        let [a, b, c] = ["a.sqlite3", "b", "c.db"].map(|name| root.join(name));
        let _apps = [&a, &b, &c, &outside].map(|path| App::open(path));
        let mut scanner = Scanner::new(&root);
        let scanned = scanner.scan();
        // Other tests of this process may have children, too.
        let databases: Vec<_> = scanned
            .databases
            .keys()
            .filter(|path| path.starts_with(&root))
            .collect();
        assert_eq!(databases, [&a, &b, &c]);
        assert!(scanned.databases[&b]);
        assert!(
            [&a, &b, &c]
                .iter()
                .all(|path| parts(&scanned, path).is_empty())
        );
        assert!(scanned.elsewhere.contains_key(&outside));
        std::fs::remove_file(root.join("a.sqlite3-wal")).unwrap();
        std::fs::rename(&b, root.join("renamed")).unwrap();
        std::fs::write(root.join("new"), "x").unwrap();
        std::fs::rename(root.join("new"), &c).unwrap();
        let scanned = scanner.scan();
        assert_eq!(parts(&scanned, &a), [Part::Log]);
        assert_eq!(parts(&scanned, &b), [Part::Main]);
        assert_eq!(parts(&scanned, &c), [Part::Main]);
    }

    #[test]
    fn a_database_elsewhere_without_a_log_is_seen_by_its_first_bytes() {
        let (volume, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = other.path().canonicalize().unwrap().join("vault");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("create table t(x)").unwrap();
        drop(conn);
        let open = |options: &mut std::fs::OpenOptions| options.open(&path).unwrap();
        let mut scanner = Scanner::new(volume.path());
        for (file, is_seen) in [
            (open(std::fs::File::options().read(true)), false),
            (open(std::fs::File::options().read(true).write(true)), true),
        ] {
            let child = Command::new("cat")
                .stdin(Stdio::piped())
                .stderr(file)
                .spawn();
            let app = App(child.unwrap());
            let scanned = scanner.scan();
            assert_eq!(scanned.elsewhere.contains_key(&path), is_seen);
            drop(app);
        }
    }
}
