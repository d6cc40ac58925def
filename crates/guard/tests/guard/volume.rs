//! A volume with databases, and one guarded migration on it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use monolite_guard::{
    Cancel, Checksums, Guard, Host, Interrupted, NoSnapshot, Options, Progress, Result, Rollback,
    Survivors, Taken, Verdict,
};
use rusqlite::{Connection, OpenFlags};

/// An hour of 2026.
pub(crate) const NOON_MS: i64 = 1_795_262_400_000;

/// Called with the directory of each snapshot that was taken.
type AfterSnapshot = Arc<dyn Fn(&Path) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) path: PathBuf,
    pub(crate) events: Arc<Mutex<Vec<Progress>>>,
    /// What a snapshot answers instead, if anything.
    pub(crate) refusals: Arc<Mutex<Vec<NoSnapshot>>>,
    /// What was synced, and whether the journal was there then.
    pub(crate) synced: Arc<Mutex<Vec<(PathBuf, bool)>>>,
    /// What an interrupted migration has left running.
    pub(crate) survivors: Arc<Mutex<Survivors>>,
    /// What is known of a snapshot's pages.
    pub(crate) checksums: Option<fn(&Path) -> Checksums>,
    pub(crate) after_snapshot: Option<AfterSnapshot>,
    /// Called at each report.
    pub(crate) on_report: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Finds the databases, in place of their names.
    pub(crate) find: Option<Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>>,
    pub(crate) is_alone: bool,
    pub(crate) cancel: Cancel,
    pub(crate) now_ms: i64,
    /// Bytes that are free on its disk.
    pub(crate) free_bytes: u64,
}

impl Host for Volume {
    fn volume(&self) -> &Path {
        &self.path
    }

    fn databases(&self) -> Vec<PathBuf> {
        match &self.find {
            Some(find) => find(),
            None => find(&self.path),
        }
    }

    fn report(&self, progress: Progress) {
        self.events.lock().unwrap().push(progress);
        if let Some(called) = &self.on_report {
            called();
        }
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    fn has_no_database_open(&self) -> bool {
        self.is_alone
    }

    fn snapshot(&self, database: &Path, into: &Path) -> std::result::Result<Taken, NoSnapshot> {
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let mut taken = take(database, into);
        if let (Ok(Taken::File { path, checksums }), Some(of)) = (&mut taken, self.checksums) {
            *checksums = Some(of(path));
        }
        if let Some(after) = &self.after_snapshot {
            after(into);
        }
        taken
    }

    fn sync(&self, file: &Path) -> std::io::Result<()> {
        // Another process opens it, so that no lock is released.
        let sync = Command::new("sync").arg(file).output()?;
        if !sync.status.success() {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let synced = (file.into(), self.journal().exists());
        self.synced.lock().unwrap().push(synced);
        Ok(())
    }

    fn end_survivors(&self, _: &[PathBuf]) -> Survivors {
        std::mem::take(&mut *self.survivors.lock().unwrap())
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.free_bytes)
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }
}

impl Volume {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            events: Arc::default(),
            refusals: Arc::default(),
            synced: Arc::default(),
            survivors: Arc::default(),
            checksums: None,
            after_snapshot: None,
            on_report: None,
            find: None,
            is_alone: false,
            cancel: Cancel::default(),
            now_ms: NOON_MS,
            free_bytes: u64::MAX,
        }
    }

    /// With a database in WAL mode, one that is not, and an empty file.
    pub(crate) fn filled(path: &Path) -> Self {
        let volume = Self::new(path);
        std::fs::create_dir_all(path.join("sub")).unwrap();
        volume.run(
            "app.sqlite3",
            // More pages than are copied at once.
            &format!(
                "PRAGMA journal_mode = WAL; {}
                 CREATE TABLE filler AS SELECT zeroblob(2000000) AS x",
                super::pair::BLOG
            ),
        );
        volume.run(
            "sub/other.db",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 'one'), (2, 'two')",
        );
        std::fs::write(path.join("empty.db"), "").unwrap();
        volume
    }

    pub(crate) fn open(&self, name: &str) -> Connection {
        let conn = Connection::open(self.path.join(name)).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(30))
            .unwrap();
        conn
    }

    pub(crate) fn run(&self, name: &str, sql: &str) {
        self.open(name).execute_batch(sql).unwrap();
    }

    pub(crate) fn host(&self) -> Arc<dyn Host> {
        Arc::new(self.clone())
    }

    /// The journal of a migration that is under way.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join(".monolite/migrating/intent.json")
    }

    /// As if the disk had no room for that many snapshots.
    pub(crate) fn refuse(&self, times: usize, missing: Option<u64>) {
        let why = String::from("10 bytes are free");
        let refusals = vec![NoSnapshot::DiskFull { why, missing }; times];
        self.refusals.lock().unwrap().extend(refusals);
    }

    pub(crate) fn recover(&self, how: Interrupted) -> Result<Option<Rollback>> {
        Guard::enter(self.host(), "recovery")?.recover(how)
    }

    /// A migration that does `sql` to the main database.
    pub(crate) fn migrate(&self, options: Options, sql: &str, ends_well: bool) -> Result<Verdict> {
        let guard = Guard::enter(self.host(), "the migration")?;
        guard.recover(Interrupted::default())?;
        let active = guard.begin(options)?;
        self.run("app.sqlite3", sql);
        active.finish(ends_well)
    }

    /// The warnings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let warnings = events.iter().filter_map(|event| match event {
            Progress::Warning(what) => Some(what.clone()),
            _ => None,
        });
        warnings.collect()
    }

    /// Everything in all databases, as text.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for path in find(&self.path) {
            let name = path.strip_prefix(&self.path).unwrap().display().to_string();
            text += &format!("== {name}\n{}", dump(&path));
        }
        text
    }

    /// As [`Volume::dump`]; `None` while one of them is no database.
    pub(crate) fn dump_as_it_is(&self) -> Option<String> {
        let is_database = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            bytes.is_empty() || bytes.starts_with(b"SQLite format 3\0")
        };
        find(&self.path)
            .iter()
            .all(is_database)
            .then(|| self.dump())
    }

    /// What is in the guard's own directory, but for its lock.
    pub(crate) fn kept(&self) -> Vec<String> {
        let Ok(all) = std::fs::read_dir(self.path.join(".monolite/migrating")) else {
            return Vec::new();
        };
        let mut names: Vec<_> = all
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn find(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in [root.to_owned(), root.join("sub")] {
        let Ok(all) = std::fs::read_dir(dir) else {
            continue;
        };
        found.extend(all.map(|entry| entry.unwrap().path()).filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            matches!(extension, Some("sqlite3" | "db"))
        }));
    }
    found.sort();
    found
}

/// Page for page, as snapshots are.
fn take(database: &Path, into: &Path) -> std::result::Result<Taken, NoSnapshot> {
    let other = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => None,
        _ => Some(NoSnapshot::Other(error.to_string())),
    };
    if database.metadata().is_ok_and(|file| file.len() == 0) {
        return Ok(Taken::Empty);
    }
    std::fs::create_dir_all(into).unwrap();
    let to = into.join("snapshot.sqlite3");
    let copy = || -> rusqlite::Result<()> {
        let from = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut to = Connection::open(&to)?;
        rusqlite::backup::Backup::new(&from, &mut to)?.run_to_completion(
            1000,
            std::time::Duration::from_millis(1),
            None,
        )
    };
    match copy().map_err(other) {
        Ok(()) => Ok(Taken::File {
            path: to,
            checksums: None,
        }),
        Err(None) => Ok(Taken::NotADatabase),
        Err(Some(why)) => Err(why),
    }
}

fn dump(path: &Path) -> String {
    if path.metadata().unwrap().len() == 0 {
        return String::new();
    }
    let conn = Connection::open(path).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    let version: i64 = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let mut text = format!("version: {version}\nintegrity: {check}\n");
    let mut tables = conn
        .prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
        .unwrap();
    let tables: Vec<(String, String, Option<String>)> = tables
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (kind, name, sql) in tables {
        text += &format!("{kind} {name} {sql:?}\n");
        if kind != "table" {
            continue;
        }
        let mut rows = conn.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for at in 0..columns {
                let value = row.get_ref(at).unwrap();
                text += &match (value.as_str(), value.as_blob()) {
                    (Ok(words), _) => format!("{words:?} "),
                    (_, Ok(bytes)) if bytes.len() > 100 => {
                        let mut hasher = DefaultHasher::new();
                        bytes.hash(&mut hasher);
                        format!("{} bytes, {:x} ", bytes.len(), hasher.finish())
                    }
                    _ => format!("{value:?} "),
                };
            }
            text.push('\n');
        }
    }
    text
}
