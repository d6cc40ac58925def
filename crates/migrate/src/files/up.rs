//! Applies the pending files.
//!
//! For each file: `BEGIN IMMEDIATE`; the records are read again, since another
//! process may have applied it meanwhile; the statements; the check for rows without
//! a parent; the record; `COMMIT`. Whatever ends this before the commit leaves the
//! database without a trace of the file.
//!
//! With a rollback journal, a `COMMIT` that waits for a reader keeps all others from
//! beginning to read. It waits for some seconds only; then `ROLLBACK`, a pause in
//! which the others read, and the file again from its `BEGIN`.

use std::time::{Duration, Instant};

use monolite_platform::failpoint::reached;
use rusqlite::{Connection, ErrorCode};
use serde::Serialize;

use super::error::{Error, Result};
use super::file::File;
use super::migrations::Migrations;
use super::record::{Applied, applied, record};
use super::script::{Script, first_words, run_rebuild};
use super::status::compare;
use crate::schema::Orphans;
use crate::sql::{Kind, Statement};

/// SQLite's own wait for a lock at a time; the total wait is counted here.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// Between two tries for a lock: SQLite does not always wait itself.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How files are applied.
///
/// ```
/// # use std::time::Duration;
/// use monolite_migrate::files::Options;
/// let options = Options::new(1_763_735_405_250).lock_wait(Duration::from_secs(30)).up_to(12);
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) now_ms: i64,
    lock_wait: Duration,
    commit_wait: Duration,
    accept_newer: bool,
    up_to: Option<u32>,
}

impl Options {
    /// The default of [`Options::lock_wait`].
    pub const LOCK_WAIT_DEFAULT: Duration = Duration::from_secs(600);

    /// The defaults. `now_ms`, in milliseconds since 1970, is the time in the records.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self {
            now_ms,
            lock_wait: Self::LOCK_WAIT_DEFAULT,
            commit_wait: Duration::from_secs(10),
            accept_newer: false,
            up_to: None,
        }
    }

    /// How long to wait for the write lock, for each file, and, with a rollback
    /// journal, for readers at its commit. Another process that migrates may hold
    /// the lock for as long as its longest file takes. Default: 10 minutes.
    #[must_use]
    pub fn lock_wait(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }

    /// With a rollback journal: how long a commit waits for readers at a time, while
    /// no other process can begin to read. Then the file is rolled back, and applied
    /// again after a pause. Default: 10 seconds.
    #[must_use]
    pub fn commit_wait(mut self, commit_wait: Duration) -> Self {
        self.commit_wait = commit_wait;
        self
    }

    /// Accept a database that a newer version of the app has migrated: nothing is
    /// pending then. Default: no.
    #[must_use]
    pub fn accept_newer(mut self, accept_newer: bool) -> Self {
        self.accept_newer = accept_newer;
        self
    }

    /// Stop after the file of this number. Default, and with `None`: the newest.
    #[must_use]
    pub fn up_to(mut self, version: impl Into<Option<u32>>) -> Self {
        self.up_to = version.into();
        self
    }
}

/// Progress of [`up`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'e> {
    /// Another process holds the write lock or, with a rollback journal, reads when
    /// a file is to be committed.
    Waiting {
        /// The file that waits.
        file: &'e File,
    },
    /// A statement begins.
    Statement {
        /// Its file.
        file: &'e File,
        /// Its line, from 1.
        line: usize,
        /// Its first words.
        words: &'e str,
    },
    /// A file is applied and committed.
    Applied(&'e Done),
    /// Another process has applied the file meanwhile.
    Elsewhere {
        /// The file.
        file: &'e File,
    },
}

/// A file that was applied, and how long its statements took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Done {
    /// Its record.
    #[serde(flatten)]
    pub applied: Applied,
    /// Its statements.
    pub statements: Vec<Step>,
    /// How long the write lock was held, in microseconds: from `BEGIN` to the end of
    /// `COMMIT`.
    pub locked_us: u64,
}

/// A statement that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// Its first words.
    pub words: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// Applies the pending files in order, each with its record in one transaction.
/// Files that another process applies meanwhile are skipped.
///
/// # Errors
/// Before the first file runs: any of them cannot be read or holds a forbidden
/// statement, or files and records do not fit together. After that: a file fails;
/// the files before it stay applied.
pub fn up(
    conn: &Connection,
    migrations: &Migrations,
    options: &Options,
    progress: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Done>> {
    if !conn.is_autocommit() {
        return Err(Error::InTransaction);
    }
    let setting = Error::sqlite("set up the connection");
    let session = Session::begin(conn).map_err(&setting)?;
    if let Some(to) = options.up_to.filter(|to| migrations.get(*to).is_none()) {
        let newest = migrations.newest();
        return Err(Error::NoSuch {
            version: to,
            newest,
        });
    }
    let begun = Instant::now();
    let records = read_patiently(options, || applied(conn))?;
    let waiting = compare(&records, migrations, options.accept_newer)?;
    // All of them, before the first one runs.
    let scripts = waiting.iter().map(Script::of).collect::<Result<Vec<_>>>()?;
    let last = options.up_to.unwrap_or(u32::MAX);
    let mut done = Vec::new();
    for script in scripts
        .iter()
        .filter(|script| script.file.version() <= last)
    {
        session.foreign_keys(script.enforced).map_err(&setting)?;
        let run = FileRun {
            conn,
            migrations,
            options,
            begun,
            script,
        };
        match run.apply(progress)? {
            Some(one) => {
                progress(Event::Applied(&one));
                done.push(one);
            }
            None => progress(Event::Elsewhere { file: script.file }),
        }
    }
    Ok(done)
}

/// Reads, and tries again while another process creates the database.
fn read_patiently<T>(options: &Options, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let since = Instant::now();
    loop {
        match read() {
            Err(Error::Sqlite { source, .. })
                if is_busy(&source) && since.elapsed() < options.lock_wait =>
            {
                std::thread::sleep(RETRY_PAUSE);
            }
            other => return other,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// One file that is applied under the write lock.
struct FileRun<'t> {
    conn: &'t Connection,
    migrations: &'t Migrations,
    options: &'t Options,
    begun: Instant,
    script: &'t Script<'t>,
}

/// How a transaction ended.
enum Ended {
    /// Committed; `None` if another process had applied the file.
    Committed(Option<Done>),
    /// Rolled back, as readers kept it from committing since then.
    Blocked(Instant),
}

impl FileRun<'_> {
    /// `None` if another process has applied the file.
    fn apply(&self, progress: &mut dyn FnMut(Event<'_>)) -> Result<Option<Done>> {
        let lock_wait = self.options.lock_wait;
        let mut count_before = false;
        // When readers first kept it from committing.
        let mut blocked: Option<Instant> = None;
        loop {
            let left = blocked.map_or(lock_wait, |since| lock_wait.saturating_sub(since.elapsed()));
            match self.transaction(count_before, left, progress) {
                // Some may have been there before. Few databases have any: only
                // then is the file applied again, with a count before it.
                Err(Error::Orphans { .. }) if !count_before => count_before = true,
                Ok(Ended::Blocked(now)) => {
                    let since = *blocked.get_or_insert(now);
                    if since.elapsed() >= lock_wait {
                        return Err(self.busy(since));
                    }
                    // Readers that the commit held up begin meanwhile.
                    std::thread::sleep(self.options.commit_wait / 10);
                }
                Ok(Ended::Committed(done)) => return Ok(done),
                Err(error) => return Err(error),
            }
        }
    }

    /// `left`: how long it may wait for locks.
    fn transaction(
        &self,
        count_before: bool,
        left: Duration,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ended> {
        reached("up.waiting");
        let waiting = Instant::now();
        if !self.patiently("BEGIN IMMEDIATE", "begin a transaction", left, progress)? {
            return Err(self.busy(waiting));
        }
        reached("up.began");
        let locked = Instant::now();
        let result = self.inside(count_before, progress).and_then(|done| {
            reached("up.recorded");
            // With a rollback journal it waits for readers; a COMMIT that fails so
            // leaves the transaction open.
            let (since, left) = (Instant::now(), left.min(self.options.commit_wait));
            if !self.patiently("COMMIT", "commit the migration", left, progress)? {
                return Ok(Ended::Blocked(since));
            }
            reached("up.committed");
            Ok(Ended::Committed(done))
        });
        if !self.conn.is_autocommit() {
            // It fails only where SQLite has rolled back itself.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let mut ended = result?;
        if let Ended::Committed(Some(done)) = &mut ended {
            done.locked_us = micros(locked);
        }
        Ok(ended)
    }

    /// Runs a statement that may have to wait for locks; `false` if it still has to
    /// after `lock_wait`.
    fn patiently(
        &self,
        sql: &str,
        what: &'static str,
        lock_wait: Duration,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool> {
        let since = Instant::now();
        let mut reported = false;
        loop {
            let Err(error) = self.conn.execute_batch(sql) else {
                return Ok(true);
            };
            if !is_busy(&error) {
                return Err(Error::sqlite(what)(error));
            }
            if since.elapsed() >= lock_wait {
                return Ok(false);
            }
            if !std::mem::replace(&mut reported, true) {
                let file = self.script.file;
                progress(Event::Waiting { file });
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn busy(&self, since: Instant) -> Error {
        Error::Busy {
            file: self.script.file.file_name(),
            waited_ms: since.elapsed().as_millis(),
        }
    }

    fn inside(
        &self,
        count_before: bool,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Done>> {
        let file = self.script.file;
        let checking = Error::sqlite("look for rows without a parent");
        let waiting = compare(
            &applied(self.conn)?,
            self.migrations,
            self.options.accept_newer,
        )?;
        if waiting.first() != Some(file) {
            return Ok(None);
        }
        let began = Instant::now();
        let before = match count_before {
            true => Orphans::of(self.conn).map_err(&checking)?,
            false => Orphans::default(),
        };
        let mut steps = Vec::new();
        for statement in &self.script.statements {
            steps.push(self.run(statement, progress)?);
            reached("up.statement");
        }
        self.nothing_temporary()?;
        let orphans = Orphans::beyond(self.conn, before).map_err(&checking)?;
        if !orphans.is_empty() {
            return Err(Error::Orphans {
                file: file.file_name(),
                orphans,
                enforced: self.script.enforced,
            });
        }
        reached("up.checked");
        let at_ms = self.options.now_ms.saturating_add(millis(self.begun));
        let applied = record(self.conn, file, at_ms, Some(millis(began)))?;
        Ok(Some(Done {
            applied,
            statements: steps,
            locked_us: 0,
        }))
    }

    fn run(&self, statement: &Statement, progress: &mut dyn FnMut(Event<'_>)) -> Result<Step> {
        let (file, line) = (self.script.file, statement.line);
        let words = first_words(&statement.sql);
        progress(Event::Statement {
            file,
            line,
            words: &words,
        });
        let began = Instant::now();
        match statement.kind {
            Kind::Sqlite => execute(self.conn, &statement.sql).map_err(|source| {
                match source.sqlite_error_code() {
                    Some(ErrorCode::ReadOnly) => Error::sqlite("apply the migration")(source),
                    _ => Error::Statement {
                        file: file.file_name(),
                        line,
                        source,
                    },
                }
            })?,
            Kind::Rebuild => {
                run_rebuild(self.conn, &statement.sql).map_err(|source| Error::Rebuild {
                    file: file.file_name(),
                    line,
                    source,
                })?;
            }
        }
        if self.conn.is_autocommit() {
            let file = file.file_name();
            return Err(Error::Ended { file, line });
        }
        Ok(Step {
            line,
            words,
            took_us: micros(began),
        })
    }

    fn nothing_temporary(&self) -> Result<()> {
        let looking = Error::sqlite("look for temporary tables");
        match temporary(self.conn).map_err(looking)?.pop() {
            None => Ok(()),
            Some(name) => Err(Error::Temporary {
                file: self.script.file.file_name(),
                name,
            }),
        }
    }
}

/// Temporary objects of the connection, as `table x`: later files would see them, and
/// a temporary trigger would fire in them.
pub(crate) fn temporary(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut all = conn.prepare(
        "SELECT type || ' ' || name FROM temp.sqlite_schema
         WHERE type IN ('table', 'view', 'trigger') ORDER BY rowid",
    )?;
    let all = all.query_map([], |row| row.get(0))?;
    all.collect()
}

/// Runs one statement to its end and drops its rows.
fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn millis(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// A connection set up for migrations; drop restores its settings.
struct Session<'c> {
    conn: &'c Connection,
    settings: Vec<(&'static str, i64)>,
}

impl<'c> Session<'c> {
    /// `conn` is in no transaction.
    fn begin(conn: &'c Connection) -> rusqlite::Result<Self> {
        let mut settings = Vec::new();
        for name in ["busy_timeout", "foreign_keys", "legacy_alter_table"] {
            let value = conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
            settings.push((name, value));
        }
        let session = Self { conn, settings };
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "legacy_alter_table", 0)?;
        Ok(session)
    }

    /// Enforces foreign keys, or not, from the next transaction on.
    fn foreign_keys(&self, on: bool) -> rusqlite::Result<()> {
        self.conn.pragma_update(None, "foreign_keys", on)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for (name, value) in &self.settings {
            // A value that was read can be set.
            let _ = self.conn.pragma_update(None, name, value);
        }
    }
}
