//! A component's own database file: opened, checked, and replaced by an empty
//! one when it cannot be used.
//!
//! Files next to the database `D`:
//! - `D-lock` is locked by the process that opens or closes `D`, one at a time, so
//!   that nobody deletes what another process has just made;
//! - `D-use` holds the *mark*: the boot in which the file was last opened, or
//!   `clean`. With [`WhileInUse::Refuse`] every open handle also locks it shared:
//!   whoever gets it exclusively is the only user of the file;
//! - `D-set-aside` is a file that had the database's name and was not this
//!   component's; a second one is `D-set-aside-2`, and so on.
//!
//! Invariants:
//! - the mark is on the disk before the first write after it: a machine that
//!   goes down leaves the mark of that boot;
//! - a file is deleted as a whole, the database first: a process that dies
//!   half-way leaves side files without a database, which the next opening
//!   deletes, and never a database without its WAL;
//! - what never was this component's file is renamed, not deleted, and never
//!   over another file. Its WAL goes first. A process that dies half-way leaves
//!   a hard link by which the next opening knows that it has to go on.
//!
//! The database itself is only opened by SQLite: closing any other descriptor
//! on it would drop this process's POSIX locks.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monolite_platform::cancel::Cancel;
use monolite_platform::lock::{Lock, LockError, Purpose};
use monolite_platform::path::with_suffix;
use monolite_sqlite_format::SUFFIXES;
use monolite_store::FileId;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{Clock, SchemaError};

/// Longest wait for another process that opens or closes the same file. A check
/// of all pages takes about a second for each GiB, and many on a slow disk.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(600);
/// Who may open the lock is whom the umask lets open the other files.
const LOCK_MODE: u32 = 0o666;
/// The mark of a file that was synced and closed by its last user.
const CLEAN: &str = "clean";

/// How a component treats its file.
#[derive(Debug, Clone, Copy)]
pub struct FileRules {
    /// What the names of the component's tables begin with, for example
    /// `_monolite_cache_`. A database that has tables, and none of these, is
    /// somebody else's.
    pub table_prefix: &'static str,
    /// Suffixes of the component's files next to the database, SQLite's not
    /// among them. They are deleted together with it.
    pub side_files: &'static [&'static str],
    /// What is done with a file that was not closed before the machine went
    /// down.
    pub after_crash: AfterCrash,
    /// What is done with a damaged file that other processes have open.
    pub while_in_use: WhileInUse,
}

/// What is done with a file that was in use when the machine went down. A file
/// that is not synced (`synchronous=OFF`) may then hold pages of different
/// moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCrash {
    /// The first opening after each boot checks all pages
    /// (`PRAGMA quick_check`), and keeps the file if they are whole.
    Check,
    /// It is deleted. A file that its last user closed is kept
    /// ([`InUse::close`] syncs it), and its pages are checked whenever
    /// nobody else has it open.
    Discard,
}

/// What is done with a damaged file that other processes have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileInUse {
    /// It is replaced. The other processes go on with the deleted file until
    /// they see that [`OwnFile::id`] is another one.
    Replace,
    /// It stays, and the opening fails with [`FileError::InUse`].
    Refuse,
}

/// What an opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opened {
    /// The file was there, and is in use now.
    Existing,
    /// There was none; an empty one was created.
    Created,
    /// It could not be used (damaged, cut short, or of a newer version of this
    /// program) and was replaced by an empty one. Its content is lost.
    Rebuilt {
        /// What was wrong with it.
        reason: String,
    },
    /// The file with this name was not this component's. It was renamed, and
    /// an empty one was created.
    SetAside {
        /// Where it is now.
        path: PathBuf,
    },
}

/// Why a component's file could not be opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is damaged, and other processes have it open.
    #[error(
        "{} cannot be used ({reason}), and other processes have it open: stop them; the next start replaces it by an empty one", .path.display()
    )]
    InUse {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The lock for opening and closing could not be had: another process holds
    /// it for longer than ten minutes, or the system refused it.
    #[error("cannot open or close the database: {0}")]
    Lock(#[from] LockError),
    /// SQLite could not read the file to check it. It may be whole, and stays.
    #[error("cannot check {}: {source}", .path.display())]
    Check {
        /// The database.
        path: PathBuf,
        /// SQLite's answer.
        source: Box<rusqlite::Error>,
    },
    /// The file could not be synced when its last user closed it.
    #[error("cannot sync {}: {source}", .path.display())]
    Sync {
        /// The database.
        path: PathBuf,
        /// SQLite's answer.
        source: Box<rusqlite::Error>,
    },
}

/// What [`OwnFile::open`] needs to know of a component's error.
pub trait OpenError: std::error::Error + From<FileError> {
    /// True if the file is damaged or cannot be read by this program: an empty
    /// file in its place would not have this error.
    fn is_damage(&self) -> bool;
}

/// The name, the rules and the boot: what is needed to open the file.
#[derive(Debug, Clone)]
pub struct OwnFile {
    path: PathBuf,
    rules: FileRules,
    boot: String,
}

/// An opened file, until it is closed or dropped.
#[derive(Debug)]
pub struct OpenFile<T> {
    /// What `attempt` returned.
    pub value: T,
    /// What was found.
    pub opened: Opened,
    /// Which file it is that has the name now.
    pub id: Option<FileId>,
    /// Held until the last user closes the file.
    pub in_use: InUse,
}

/// Says that this process has the file open, until dropped.
#[derive(Debug)]
pub struct InUse {
    own: OwnFile,
    /// Locked shared; `None` without [`WhileInUse::Refuse`].
    shared: Option<File>,
}

impl OwnFile {
    /// The file `path`, made absolute. Opens nothing.
    ///
    /// # Errors
    /// [`FileError::Io`]: there is no current directory.
    pub fn new(path: &Path, rules: FileRules, clock: &dyn Clock) -> Result<Self, FileError> {
        let path = std::path::absolute(path)
            .map_err(|source| io("find the current directory for", path, source))?;
        Ok(Self {
            path,
            rules,
            boot: clock.boot_id(),
        })
    }

    /// The database's path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file has the name now; `None` if there is none.
    pub fn id(&self) -> Option<FileId> {
        FileId::of(&self.path)
    }

    /// Bytes that the database and its side files take on the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.files()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|found| found.blocks() * 512)
            .sum()
    }

    /// The database, and then every file that belongs to it.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let suffixes = [""].into_iter().chain(SUFFIXES);
        suffixes
            .chain(self.rules.side_files.iter().copied())
            .map(|suffix| with_suffix(&self.path, suffix))
    }

    /// Opens the file by calling `attempt`, after what cannot be used was
    /// replaced; calls it once more if its error says that the file is damaged.
    /// Blocks this thread: also while another process opens or closes the file.
    ///
    /// `suspect` is a file found damaged while it was open, and why: it is
    /// replaced if it still has the name. If another process was faster, its
    /// new file is opened.
    ///
    /// # Errors
    /// Those of `attempt` that an empty file would have too; [`FileError`].
    pub fn open<T, E: OpenError>(
        &self,
        suspect: Option<(FileId, String)>,
        attempt: impl Fn() -> Result<T, E>,
    ) -> Result<OpenFile<T>, E> {
        let _lock = self.lock()?;
        let mut use_file = self.open_use_file()?;
        let shares = self.rules.while_in_use == WhileInUse::Refuse;
        let may_replace = !shares || self.is_only_user(&use_file)?;
        let mut opened = Opened::Existing;
        if may_replace {
            opened = self.inspect(&mut use_file, suspect)?;
            // Before the first write.
            self.set_mark(&mut use_file, &self.boot)?;
        }
        if shares {
            // Nobody comes in between: all take `-lock` first.
            use_file
                .unlock()
                .and_then(|()| use_file.lock_shared())
                .map_err(|source| io("lock", &self.use_path(), source))?;
        }
        let value = match attempt() {
            Err(error) if error.is_damage() && !self.path.is_dir() => {
                let reason = error.to_string();
                if !may_replace {
                    let path = self.path.clone();
                    return Err(FileError::InUse { path, reason }.into());
                }
                self.delete()?;
                opened = Opened::Rebuilt { reason };
                attempt()?
            }
            other => other?,
        };
        Ok(OpenFile {
            value,
            opened,
            id: self.id(),
            in_use: InUse {
                own: self.clone(),
                shared: shares.then_some(use_file),
            },
        })
    }

    fn is_only_user(&self, file: &File) -> Result<bool, FileError> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(io("lock", &self.use_path(), source)),
        }
    }

    /// Looks at what is there, and deletes or renames what cannot be used.
    fn inspect(
        &self,
        use_file: &mut File,
        suspect: Option<(FileId, String)>,
    ) -> Result<Opened, FileError> {
        let exists = self
            .path
            .try_exists()
            .map_err(|source| io("look for", &self.path, source))?;
        if !exists {
            // What a deleted database left would be taken for the new one's.
            self.delete()?;
            return Ok(Opened::Created);
        }
        if self.path.is_dir() {
            return Ok(Opened::Existing); // `attempt` says so better.
        }
        let wrong = match suspect {
            Some((suspect, reason)) => (self.id() == Some(suspect)).then_some(reason),
            // In this order: to ask SQLite makes an empty WAL where the other was renamed.
            None if self.set_aside_begun().is_some() || self.is_foreign() => {
                let path = self.set_aside()?;
                return Ok(Opened::SetAside { path });
            }
            None => self.distrust(use_file)?,
        };
        match wrong {
            None => Ok(Opened::Existing),
            Some(reason) => {
                self.delete()?;
                Ok(Opened::Rebuilt { reason })
            }
        }
    }

    /// Why the file cannot be trusted, by its mark and its pages.
    fn distrust(&self, use_file: &mut File) -> Result<Option<String>, FileError> {
        let mut mark = String::new();
        // A mark that is no text is no mark.
        let _ = use_file.read_to_string(&mut mark);
        let mark = mark.trim_end();
        match self.rules.after_crash {
            AfterCrash::Check if mark == self.boot => Ok(None),
            AfterCrash::Check => self.quick_check(),
            AfterCrash::Discard if mark == CLEAN || mark == self.boot => self.quick_check(),
            AfterCrash::Discard if mark.is_empty() => Ok(Some(format!(
                "{} does not say who used it last",
                self.use_path().display()
            ))),
            AfterCrash::Discard => Ok(Some("the machine went down while it was in use".into())),
        }
    }

    /// Reads every page once; the damage, if there is any.
    fn quick_check(&self) -> Result<Option<String>, FileError> {
        let check = || {
            let conn = Connection::open(&self.path)?;
            // Closing it may write the WAL into the database: no sync for that.
            conn.pragma_update(None, "synchronous", 0)?;
            conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        };
        match check() {
            Ok(answer) if answer == "ok" => Ok(None),
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_damage(&error) => Ok(Some(error.to_string())),
            // Locked, not allowed, a full disk: that says nothing of its pages.
            Err(source) => Err(FileError::Check {
                path: self.path.clone(),
                source: Box::new(source),
            }),
        }
    }

    /// True for a file that somebody may want to have back: one that is no
    /// SQLite database, or one with tables, and none of this component.
    fn is_foreign(&self) -> bool {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let Ok(conn) = Connection::open_with_flags(&self.path, flags) else {
            return false;
        };
        let tables = conn.query_row(
            "SELECT count(*), count(*) FILTER (WHERE substr(name, 1, length(?1)) = ?1)
             FROM sqlite_schema",
            [self.rules.table_prefix],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        );
        match tables {
            Ok((all, own)) => all > 0 && own == 0,
            Err(error) => error.sqlite_error_code() == Some(ErrorCode::NotADatabase),
        }
    }

    /// Gives the database and SQLite's files another name. The WAL goes first:
    /// a database that is alone under its new name would lose what is in it.
    fn set_aside(&self) -> Result<PathBuf, FileError> {
        let rename = |from: &Path, to: &Path| match std::fs::rename(from, to) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(io("rename", from, source))
            }
            _ => Ok(()),
        };
        let (aside, is_linked) = match self.set_aside_begun() {
            Some(aside) => (aside, true),
            None => {
                let aside = self.free_name();
                // Some filesystems have no hard links.
                let linked = std::fs::hard_link(&self.path, &aside);
                (aside, linked.is_ok())
            }
        };
        for suffix in SUFFIXES {
            let to = with_suffix(&aside, suffix);
            if to.symlink_metadata().is_err() {
                rename(&with_suffix(&self.path, suffix), &to)?;
            }
        }
        match is_linked {
            true => std::fs::remove_file(&self.path)
                .map_err(|source| io("rename", &self.path, source))?,
            false => rename(&self.path, &aside)?,
        }
        self.delete()?;
        Ok(aside)
    }

    /// The new name of a database whose renaming has begun.
    fn set_aside_begun(&self) -> Option<PathBuf> {
        let id = self.id()?;
        self.aside_names()
            .take_while(|aside| aside.symlink_metadata().is_ok())
            .find(|aside| FileId::of(aside) == Some(id))
    }

    /// A name that neither a database that was set aside has, nor a file of one.
    fn free_name(&self) -> PathBuf {
        let is_free = |aside: &PathBuf| {
            let mut files = [""].into_iter().chain(SUFFIXES);
            files.all(|suffix| with_suffix(aside, suffix).symlink_metadata().is_err())
        };
        let mut names = self.aside_names();
        names.find(is_free).unwrap_or_default()
    }

    fn aside_names(&self) -> impl Iterator<Item = PathBuf> {
        (1_u64..).map(|n| match n {
            1 => with_suffix(&self.path, "-set-aside"),
            _ => with_suffix(&self.path, &format!("-set-aside-{n}")),
        })
    }

    fn delete(&self) -> Result<(), FileError> {
        for file in self.files() {
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("delete", &file, source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<Lock, FileError> {
        let name = self.path.file_name().unwrap_or_default();
        let purpose = Purpose::new(format!("opening {}", name.to_string_lossy())).mode(LOCK_MODE);
        let path = with_suffix(&self.path, "-lock");
        let cancel = Cancel::default();
        Ok(Lock::acquire(
            &path,
            &purpose,
            LOCK_WAIT_MAX,
            &cancel,
            |_| (),
        )?)
    }

    fn use_path(&self) -> PathBuf {
        with_suffix(&self.path, "-use")
    }

    fn open_use_file(&self) -> Result<File, FileError> {
        let path = self.use_path();
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options
            .open(&path)
            .map_err(|source| io("open", &path, source))
    }

    fn set_mark(&self, use_file: &mut File, mark: &str) -> Result<(), FileError> {
        let mut set = || {
            let mut found = String::new();
            use_file.rewind()?;
            // What is no text is replaced.
            let _ = use_file.read_to_string(&mut found);
            if found == mark {
                return Ok(());
            }
            use_file.rewind()?;
            // Cut after that: a full disk leaves no empty mark.
            use_file.write_all(mark.as_bytes())?;
            use_file.set_len(mark.len() as u64)?;
            use_file.sync_all()
        };
        set().map_err(|source| io("write", &self.use_path(), source))
    }
}

impl InUse {
    /// To be called once every connection of this handle is closed. The last
    /// user syncs the file and marks it clean, where [`AfterCrash::Discard`]
    /// asks for that.
    ///
    /// # Errors
    /// [`FileError`]; the file is then not trusted after the next boot.
    pub fn close(self) -> Result<(), FileError> {
        let Some(mut shared) = self.shared else {
            return Ok(());
        };
        let own = &self.own;
        let _lock = own.lock()?;
        shared
            .unlock()
            .map_err(|source| io("unlock", &own.use_path(), source))?;
        if own.rules.after_crash == AfterCrash::Check || !own.is_only_user(&shared)? {
            return Ok(());
        }
        sync(&own.path).map_err(|source| FileError::Sync {
            path: own.path.clone(),
            source: Box::new(source),
        })?;
        own.set_mark(&mut shared, CLEAN)
    }
}

/// Syncs the whole file: a checkpoint does it if the WAL holds anything, so one
/// frame is put there first.
fn sync(path: &Path) -> rusqlite::Result<()> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "synchronous", 2)?;
    let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    conn.pragma_update(None, "user_version", version)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.close().map_err(|(_, error)| error)
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> FileError {
    FileError::Io {
        what,
        path: path.into(),
        source,
    }
}

/// True if SQLite's answer says that the file is damaged, cut short, or not
/// what this program wrote: an empty file would not give it.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseCorrupt, NotADatabase, TypeMismatch};
    match error {
        rusqlite::Error::SqliteFailure(failure, text) => {
            matches!(failure.code, DatabaseCorrupt | NotADatabase | TypeMismatch)
                || matches!(
                    failure.extended_code,
                    rusqlite::ffi::SQLITE_IOERR_SHORT_READ | rusqlite::ffi::SQLITE_IOERR_CORRUPTFS
                )
                || text
                    .as_ref()
                    .is_some_and(|text| text.starts_with("no such table"))
        }
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// As [`is_damage`], for the store's answer.
pub fn is_store_damage(error: &monolite_store::Error) -> bool {
    match error {
        monolite_store::Error::Sqlite(error) => is_damage(error),
        monolite_store::Error::Commit(error) => is_damage(error),
        monolite_store::Error::NotADatabase { .. } | monolite_store::Error::Moved { .. } => true,
        _ => false,
    }
}

/// As [`is_damage`], for tables that cannot be used by this program.
pub fn is_schema_damage(error: &SchemaError) -> bool {
    match error {
        SchemaError::Newer { .. } => true,
        SchemaError::Sqlite { source, .. } => is_damage(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[derive(Debug, thiserror::Error)]
    enum TestError {
        #[error(transparent)]
        File(#[from] FileError),
        #[error(transparent)]
        Sqlite(#[from] rusqlite::Error),
    }

    impl OpenError for TestError {
        fn is_damage(&self) -> bool {
            matches!(self, Self::Sqlite(error) if is_damage(error))
        }
    }

    #[derive(Debug)]
    struct Boot(ManualClock, &'static str);

    impl Clock for Boot {
        fn now_ms(&self) -> i64 {
            self.0.now_ms()
        }
        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }
        fn boottime(&self) -> Duration {
            self.0.boottime()
        }
        fn boot_id(&self) -> String {
            self.1.into()
        }
    }

    const CHECK: FileRules = FileRules {
        table_prefix: "_monolite_test_",
        side_files: &["-extra"],
        after_crash: AfterCrash::Check,
        while_in_use: WhileInUse::Replace,
    };
    const DISCARD: FileRules = FileRules {
        after_crash: AfterCrash::Discard,
        while_in_use: WhileInUse::Refuse,
        ..CHECK
    };

    /// A directory, and the file in it as of a boot.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("a.sqlite3")
        }

        fn own(&self, rules: FileRules, boot: &'static str) -> OwnFile {
            OwnFile::new(&self.path(), rules, &Boot(ManualClock::at(0), boot)).unwrap()
        }

        fn open(&self, rules: FileRules, boot: &'static str) -> OpenFile<Connection> {
            open(&self.own(rules, boot), None).unwrap()
        }
    }

    fn open(
        own: &OwnFile,
        suspect: Option<(FileId, String)>,
    ) -> Result<OpenFile<Connection>, TestError> {
        own.open(suspect, || {
            let conn = Connection::open(own.path())?;
            conn.execute_batch(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE IF NOT EXISTS _monolite_test_row (n INTEGER) STRICT",
            )?;
            Ok(conn)
        })
    }

    fn rows(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM _monolite_test_row", [], |row| {
            row.get(0)
        })
        .unwrap()
    }

    fn insert(conn: &Connection) {
        conn.execute("INSERT INTO _monolite_test_row VALUES (1)", [])
            .unwrap();
    }

    #[test]
    fn a_whole_file_is_kept_and_what_a_deleted_one_left_is_not() {
        let place = Place::new();
        let stale = with_suffix(&place.path(), "-extra");
        std::fs::write(&stale, "stale").unwrap();
        let first = place.open(CHECK, "one");
        assert_eq!(first.opened, Opened::Created);
        assert!(!stale.exists());
        insert(&first.value);
        for boot in ["one", "two"] {
            let again = place.open(CHECK, boot);
            assert_eq!((again.opened, rows(&again.value)), (Opened::Existing, 1));
        }
    }

    #[test]
    fn damage_is_found_after_a_boot_and_the_file_replaced() {
        let place = Place::new();
        let first = place.open(CHECK, "one");
        for _ in 0..2_000 {
            insert(&first.value);
        }
        drop(first);
        let mut bytes = std::fs::read(place.path()).unwrap();
        bytes[8192..].fill(0x5a);
        std::fs::write(place.path(), bytes).unwrap();
        let second = place.open(CHECK, "two");
        assert!(matches!(second.opened, Opened::Rebuilt { .. }));
        assert_eq!(rows(&second.value), 0);
    }

    #[test]
    fn a_suspect_is_replaced_once() {
        let place = Place::new();
        let own = place.own(CHECK, "one");
        let first = open(&own, None).unwrap();
        insert(&first.value);
        let suspect = || Some((first.id.unwrap(), "it hurts".to_string()));
        let second = open(&own, suspect()).unwrap();
        let reason = "it hurts".to_string();
        assert_eq!(second.opened, Opened::Rebuilt { reason });
        insert(&second.value);
        insert(&second.value);
        // Another process that had found the same damage.
        let third = open(&own, suspect()).unwrap();
        assert_eq!((third.opened, rows(&third.value)), (Opened::Existing, 2));
    }

    #[test]
    fn a_file_that_was_in_use_at_a_crash_is_discarded() {
        let place = Place::new();
        let first = place.open(DISCARD, "one");
        insert(&first.value);
        drop(first.value);
        // Closed in order: it is kept.
        first.in_use.close().unwrap();
        let second = place.open(DISCARD, "two");
        assert_eq!(
            (&second.opened, rows(&second.value)),
            (&Opened::Existing, 1)
        );
        drop(second);
        let third = place.open(DISCARD, "three");
        assert!(matches!(third.opened, Opened::Rebuilt { .. }));
    }

    #[test]
    fn a_damaged_file_in_use_is_refused_and_the_last_user_alone_marks_it_clean() {
        let place = Place::new();
        let own = place.own(DISCARD, "one");
        let first = open(&own, None).unwrap();
        let broken = || Err::<(), _>(TestError::from(rusqlite::Error::QueryReturnedNoRows));
        let refused = own.open(None, broken).unwrap_err();
        assert!(
            matches!(refused, TestError::File(FileError::InUse { .. })),
            "{refused}"
        );
        let second = open(&own, None).unwrap();
        let mark = || std::fs::read_to_string(with_suffix(&place.path(), "-use")).unwrap();
        drop((first.value, second.value));
        first.in_use.close().unwrap();
        assert_eq!(mark(), "one");
        second.in_use.close().unwrap();
        assert_eq!(mark(), CLEAN);
    }

    #[test]
    fn a_file_of_somebody_else_is_renamed() {
        let place = Place::new();
        for content in ["my diary".repeat(1000), String::new()] {
            std::fs::write(place.path(), &content).unwrap();
            let file = place.open(CHECK, "one");
            match file.opened {
                Opened::SetAside { path } => {
                    assert_eq!(std::fs::read_to_string(path).unwrap(), content);
                }
                // An empty file is an empty database.
                Opened::Existing => assert_eq!(content, ""),
                other => panic!("{other:?}"),
            }
            drop(file.value);
            std::fs::remove_file(place.path()).unwrap();
        }
    }
    /// A WAL database of somebody else, with a row that only its WAL has.
    fn foreign_with_wal(path: &Path, row: &str) {
        let source = tempfile::tempdir().unwrap();
        let from = source.path().join("a");
        let conn = Connection::open(&from).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE diary (text TEXT); PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
        conn.execute("INSERT INTO diary VALUES (?1)", [row])
            .unwrap();
        for suffix in ["", "-wal"] {
            std::fs::copy(with_suffix(&from, suffix), with_suffix(path, suffix)).unwrap();
        }
    }

    fn diary(path: &Path) -> String {
        let conn = Connection::open(path).unwrap();
        conn.query_row("SELECT text FROM diary", [], |row| row.get(0))
            .unwrap()
    }

    fn set_aside(place: &Place) -> PathBuf {
        match place.open(CHECK, "one").opened {
            Opened::SetAside { path } => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_second_file_that_is_set_aside_does_not_replace_the_first() {
        let place = Place::new();
        let mut asides = Vec::new();
        for row in ["first", "second"] {
            foreign_with_wal(&place.path(), row);
            asides.push(set_aside(&place));
            place.own(CHECK, "one").delete().unwrap();
        }
        // A WAL that was left alone is not given to another database.
        foreign_with_wal(&place.path(), "third");
        std::fs::write(with_suffix(&place.path(), "-set-aside-3-wal"), "alone").unwrap();
        asides.push(set_aside(&place));
        assert!(asides[2].ends_with("a.sqlite3-set-aside-4"));
        let rows: Vec<String> = asides.iter().map(|path| diary(path)).collect();
        assert_eq!(rows, ["first", "second", "third"]);
    }

    #[test]
    fn setting_aside_goes_on_after_a_process_died_in_it() {
        for renamed in [0, 1] {
            let place = Place::new();
            foreign_with_wal(&place.path(), "kept");
            let aside = with_suffix(&place.path(), "-set-aside");
            std::fs::hard_link(place.path(), &aside).unwrap();
            if renamed == 1 {
                std::fs::rename(
                    with_suffix(&place.path(), "-wal"),
                    with_suffix(&aside, "-wal"),
                )
                .unwrap();
            }
            assert_eq!(set_aside(&place), aside);
            assert_eq!(diary(&aside), "kept");
        }
    }

    #[test]
    fn a_file_that_cannot_be_checked_is_not_damaged() {
        let place = Place::new();
        insert(&place.open(CHECK, "one").value);
        // SQLite cannot open the WAL.
        let wal = with_suffix(&place.path(), "-wal");
        std::fs::create_dir(&wal).unwrap();
        let refused = open(&place.own(CHECK, "two"), None).unwrap_err();
        assert!(
            matches!(refused, TestError::File(FileError::Check { .. })),
            "{refused}"
        );
        std::fs::remove_dir(&wal).unwrap();
        let again = place.open(CHECK, "two");
        assert_eq!((again.opened, rows(&again.value)), (Opened::Existing, 1));
    }
}
