//! One file's turn with the write lock.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::error::{Error, Result};
use super::rebuild;
use super::record::{applied, record};
use super::script::{Script, first_words};
use super::set::Migrations;
use super::state::compare;
use super::up::{Done, Event, Options, Step};
use crate::schema::Orphans;
use crate::sql::{Kind, Statement};
use crate::steps::reached;

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Between two tries: SQLite does not always wait by itself.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// One file's.
pub(super) struct Turn<'t> {
    pub(super) conn: &'t Connection,
    pub(super) migrations: &'t Migrations,
    pub(super) options: &'t Options,
    pub(super) begun: Instant,
    pub(super) script: &'t Script<'t>,
}

/// How a transaction ended.
enum Taken {
    /// Committed; `None` if there was nothing left to do.
    Over(Option<Done>),
    /// Undone, as its commit was kept from being done from then on.
    Held(Instant),
}

impl Turn<'_> {
    /// `None` if another process was faster.
    pub(super) fn take(&self, progress: &mut dyn FnMut(Event<'_>)) -> Result<Option<Done>> {
        let patience = self.options.patience;
        let mut count_before = false;
        // Since a commit was first kept from being done.
        let mut held: Option<Instant> = None;
        loop {
            let left = held.map_or(patience, |since| patience.saturating_sub(since.elapsed()));
            match self.transaction(count_before, left, progress) {
                // Some may have been there before, which is no fault of the
                // file: once more, counting them first. Hardly any database has
                // some, and the others do not pay for counting twice.
                Err(Error::Orphans { .. }) if !count_before => count_before = true,
                Ok(Taken::Held(now)) => {
                    let since = *held.get_or_insert(now);
                    if since.elapsed() >= patience {
                        return Err(self.busy(since));
                    }
                    // Those whom the commit kept from reading try again by now.
                    std::thread::sleep(self.options.commit_patience / 10);
                }
                Ok(Taken::Over(done)) => return Ok(done),
                Err(error) => return Err(error),
            }
        }
    }

    /// `left` is how long it may wait.
    fn transaction(
        &self,
        count_before: bool,
        left: Duration,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Taken> {
        reached("up.waiting");
        let waiting = Instant::now();
        if !self.patiently("BEGIN IMMEDIATE", "begin a transaction", left, progress)? {
            return Err(self.busy(waiting));
        }
        reached("up.began");
        let locked = Instant::now();
        let result = self.inside(count_before, progress).and_then(|done| {
            reached("up.recorded");
            // With a rollback journal it waits for those who read; until then
            // the transaction is as it was.
            let (since, left) = (Instant::now(), left.min(self.options.commit_patience));
            if !self.patiently("COMMIT", "commit the migration", left, progress)? {
                return Ok(Taken::Held(since));
            }
            reached("up.committed");
            Ok(Taken::Over(done))
        });
        if !self.conn.is_autocommit() {
            // Refused only where SQLite has rolled back by itself.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let mut taken = result?;
        if let Taken::Over(Some(done)) = &mut taken {
            done.locked_us = micros(locked);
        }
        Ok(taken)
    }

    /// What others may keep from being done for a while: `false`, if they do
    /// for longer than `patience`.
    fn patiently(
        &self,
        sql: &str,
        what: &'static str,
        patience: Duration,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool> {
        let since = Instant::now();
        let mut said = false;
        loop {
            let Err(error) = self.conn.execute_batch(sql) else {
                return Ok(true);
            };
            if !is_busy(&error) {
                return Err(Error::sqlite(what)(error));
            }
            if since.elapsed() >= patience {
                return Ok(false);
            }
            if !std::mem::replace(&mut said, true) {
                let file = self.script.file;
                progress(Event::Waiting { file });
            }
            std::thread::sleep(PAUSE);
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
                rebuild::run(self.conn, &statement.sql).map_err(|source| Error::Rebuild {
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

/// What lasts as long as the connection, as `table x`: a trigger too would go
/// on with the files after it.
pub(crate) fn temporary(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut all = conn.prepare(
        "SELECT type || ' ' || name FROM temp.sqlite_schema
         WHERE type IN ('table', 'view', 'trigger') ORDER BY rowid",
    )?;
    let all = all.query_map([], |row| row.get(0))?;
    all.collect()
}

/// Runs one statement to its end; what it answers is dropped.
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
