//! A volume with databases, and one guarded migration on it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use monolite_guard::{
    Cancel, Guard, Interrupted, News, NoSnapshot, Options, PutBack, Result, Site, Survived, Taken,
    Verdict,
};
use rusqlite::{Connection, OpenFlags};

/// An hour of 2026.
pub(crate) const NOON_MS: i64 = 1_795_262_400_000;

#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) path: PathBuf,
    pub(crate) said: Arc<Mutex<Vec<News>>>,
    /// What a snapshot answers instead, if anything.
    pub(crate) refusals: Arc<Mutex<Vec<NoSnapshot>>>,
    /// What was synced, and whether the note of the migration was there then.
    pub(crate) synced: Arc<Mutex<Vec<(PathBuf, bool)>>>,
    /// What an interrupted migration has left running, as it is told.
    pub(crate) survivors: Arc<Mutex<Survived>>,
    pub(crate) is_alone: bool,
    pub(crate) cancel: Cancel,
    pub(crate) now_ms: i64,
}

impl Volume {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            said: Arc::default(),
            refusals: Arc::default(),
            synced: Arc::default(),
            survivors: Arc::default(),
            is_alone: false,
            cancel: Cancel::default(),
            now_ms: NOON_MS,
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

    pub(crate) fn site(&self) -> Site {
        let (root, said, refusals) = (self.path.clone(), self.said.clone(), self.refusals.clone());
        let (synced, survivors) = (self.synced.clone(), self.survivors.clone());
        let note = self.note();
        let now_ms = self.now_ms;
        Site {
            volume: self.path.clone(),
            find: Arc::new(move || find(&root)),
            snapshot: Arc::new(move |database, into| {
                if let Some(refusal) = refusals.lock().unwrap().pop() {
                    return Err(refusal);
                }
                take(database, into)
            }),
            same_blocks: Arc::new(same_blocks),
            prints: Arc::new(|_| None),
            tell: Arc::new(move |news| said.lock().unwrap().push(news)),
            clock: Arc::new(move || now_ms),
            cancel: self.cancel.clone(),
            is_alone: self.is_alone,
            sync: Arc::new(move |file| {
                // Another process opens it, so that no lock is lost.
                let sync = Command::new("sync").arg(file).output()?;
                if !sync.status.success() {
                    return Err(std::io::ErrorKind::NotFound.into());
                }
                synced.lock().unwrap().push((file.into(), note.exists()));
                Ok(())
            }),
            survivors: Arc::new(move |_| std::mem::take(&mut *survivors.lock().unwrap())),
        }
    }

    /// The note of a migration that is under way.
    pub(crate) fn note(&self) -> PathBuf {
        self.path.join(".monolite/migrating/intent.json")
    }

    /// As if the disk had no room for that many snapshots.
    pub(crate) fn refuse(&self, times: usize, missing: Option<u64>) {
        let why = String::from("10 bytes are free");
        let refusals = vec![NoSnapshot::Room { why, missing }; times];
        self.refusals.lock().unwrap().extend(refusals);
    }

    pub(crate) fn recover(&self, how: Interrupted) -> Result<Option<PutBack>> {
        Guard::enter(self.site(), "recovery")?.recover(how)
    }

    /// A migration that does `sql` to the main database.
    pub(crate) fn migrate(&self, options: Options, sql: &str, ends_well: bool) -> Result<Verdict> {
        let guard = Guard::enter(self.site(), "the migration")?;
        guard.recover(Interrupted::default())?;
        let begun = guard.begin(options)?;
        self.run("app.sqlite3", sql);
        begun.finish(ends_well)
    }

    /// What was said, in sentences.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let said = self.said.lock().unwrap();
        let sentences = said.iter().filter_map(|news| match news {
            News::Said(what) => Some(what.clone()),
            _ => None,
        });
        sentences.collect()
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

/// As if each block of the two files that is equal were shared. Another process
/// reads the database, so that none of this one's locks on it is lost.
fn same_blocks(live: &Path, before: &Path) -> Vec<Range<u64>> {
    const BLOCK: usize = 4096;
    let read = |path: &Path| {
        let read = Command::new("cat").arg(path).output().unwrap();
        assert!(read.status.success());
        read.stdout
    };
    let (live, before) = (read(live), read(before));
    let blocks = live.chunks(BLOCK).zip(before.chunks(BLOCK)).enumerate();
    let equal = blocks.filter(|(_, (live, before))| live == before);
    let range = |n: usize| (n * BLOCK) as u64..((n + 1) * BLOCK) as u64;
    equal.map(|(n, _)| range(n)).collect()
}

/// Page for page, as snapshots are.
fn take(database: &Path, into: &Path) -> Result<Taken, NoSnapshot> {
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
        Ok(()) => Ok(Taken::File(to)),
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
