//! A file split into statements, all of which are checked before any of them runs.

use rusqlite::Connection;
use sqlite3_parser::ast::{Cmd, Stmt};
use sqlite3_parser::lexer::sql::Parser;
use sqlite3_parser::{Bump, FallibleIterator};

use super::error::{Error, Result};
use super::file::File;
use super::forbidden;
use super::record::TABLE;
use crate::rebuild::{self, Rebuild};
use crate::sql::{self, Kind, Statement, same_name};

/// A file's statements.
#[derive(Debug)]
pub(super) struct Script<'f> {
    pub(super) file: &'f File,
    pub(super) statements: Vec<Statement>,
    /// Whether it runs with foreign keys enforced.
    pub(super) enforced: bool,
}

impl<'f> Script<'f> {
    /// # Errors
    /// A statement that does not parse or is forbidden; no statement.
    pub(super) fn of(file: &'f File) -> Result<Self> {
        let name = || file.file_name();
        let statements = sql::split(file.text()).map_err(|error| Error::Text {
            file: name(),
            source: error,
        })?;
        if statements.is_empty() && file.is_as_begun() {
            return Err(Error::Empty { file: name() });
        }
        // Empty: only the grammar is checked, not the names.
        let scratch =
            Connection::open_in_memory().map_err(Error::sqlite("open a database in memory"))?;
        let mut enforced = true;
        for statement in &statements {
            let line = statement.line;
            let wrong = |message: String| Error::Parse {
                file: name(),
                line,
                message,
            };
            if statement.kind == Kind::Rebuild {
                check_rebuild(&statement.sql).map_err(|error| wrong(error.to_string()))?;
                enforced = false;
                continue;
            }
            let checked = check(&statement.sql);
            if let Some(why) = checked.refused {
                return Err(Error::Refused {
                    file: name(),
                    line,
                    statement: first_words(&statement.sql),
                    why,
                });
            }
            if let Some(message) = syntax_error(&scratch, &statement.sql) {
                return Err(wrong(message));
            }
            enforced &= !checked.without_foreign_keys;
        }
        Ok(Self {
            file,
            statements,
            enforced,
        })
    }
}

/// Checks single statements as [`Script::of`] does.
pub(crate) struct Refusals {
    /// Empty: only the grammar is checked, not the names.
    scratch: Connection,
}

impl Refusals {
    pub(crate) fn new() -> rusqlite::Result<Self> {
        Connection::open_in_memory().map(|scratch| Self { scratch })
    }

    /// Why a statement is refused, if it is.
    pub(crate) fn why(&self, statement: &Statement) -> Option<String> {
        if statement.kind == Kind::Rebuild {
            let checked = check_rebuild(&statement.sql);
            return checked.err().map(|error| error.to_string());
        }
        if let Some(why) = check(&statement.sql).refused {
            return Some(why.into());
        }
        syntax_error(&self.scratch, &statement.sql)
    }
}

struct Checked {
    refused: Option<&'static str>,
    /// It drops a table, or turns foreign keys off.
    without_foreign_keys: bool,
}

fn check(sql: &str) -> Checked {
    if forbidden::loads(sql) {
        return Checked {
            refused: Some(forbidden::EXTENSION),
            without_foreign_keys: false,
        };
    }
    let bump = Bump::new();
    match Parser::new(&bump, sql.as_bytes()).next() {
        Ok(Some(cmd)) => Checked {
            refused: forbidden::why(&cmd),
            without_foreign_keys: matches!(cmd, Cmd::Stmt(Stmt::DropTable { .. }))
                || forbidden::turns_foreign_keys_off(&cmd),
        },
        // Newer than this grammar, or not SQL.
        _ => {
            let mut words = sql.split_ascii_whitespace();
            let first = words.next().unwrap_or_default();
            Checked {
                refused: forbidden::why_by_word(first.trim_end_matches(';')),
                without_foreign_keys: false,
            }
        }
    }
}

/// SQLite's syntax error for a statement, if there is one. Missing tables are none.
fn syntax_error(scratch: &Connection, sql: &str) -> Option<String> {
    // A pragma may take effect when it is compiled.
    let first = sql.split_ascii_whitespace().next().unwrap_or_default();
    if first.eq_ignore_ascii_case("pragma") {
        return None;
    }
    let message = sqlite_message(&scratch.prepare(sql).err()?, sql);
    let is_syntax = message.ends_with("syntax error")
        || message.starts_with("incomplete input")
        || message.starts_with("unrecognized token");
    is_syntax.then_some(message)
}

/// Checks a `REBUILD TABLE` without a database.
fn check_rebuild(sql: &str) -> Result<(), Box<rebuild::Error>> {
    let rebuild = Rebuild::parse(sql).map_err(Box::new)?;
    if same_name(rebuild.name(), TABLE) {
        let what =
            "Monolite keeps the records of migrations itself; use `monolite migrate up --baseline`";
        return Err(Box::new(rebuild::Error::clause(TABLE, what)));
    }
    Ok(())
}

/// Runs a `REBUILD TABLE` within the open transaction; the caller checks for rows
/// without a parent before the commit.
pub(crate) fn run_rebuild(conn: &Connection, sql: &str) -> Result<(), Box<rebuild::Error>> {
    let rebuild = Rebuild::parse(sql).map_err(Box::new)?;
    rebuild
        .run_without_orphan_check(conn)
        .map(drop)
        .map_err(Box::new)
}

/// SQLite's message; some versions of rusqlite append the statement.
pub(crate) fn sqlite_message(error: &rusqlite::Error, sql: &str) -> String {
    let message = error.to_string();
    match message.find(&format!(" in {sql}")) {
        Some(at) => message[..at].to_owned(),
        None => message,
    }
}

/// The first words of a statement, to name it in messages.
pub(crate) fn first_words(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().take(4).collect();
    let words = words.join(" ");
    words
        .trim_end_matches([';', '(', ' '])
        .chars()
        .take(60)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        let file = File::new("0001_a.sql", text).unwrap();
        Script::of(&file).unwrap_err()
    }

    #[test]
    fn what_would_end_the_transaction_is_refused_by_name() {
        for sql in [
            "BEGIN",
            "BEGIN IMMEDIATE TRANSACTION",
            "COMMIT",
            "END TRANSACTION",
            "end",
            "ROLLBACK",
            "/* a */ commit",
            "VACUUM",
            "VACUUM INTO 'x.db'",
            "ATTACH 'x.db' AS x",
            "DETACH x",
            "PRAGMA journal_mode = WAL",
            "PRAGMA main.journal_mode = delete",
            "PRAGMA synchronous = OFF",
            "PRAGMA writable_schema = 1",
            "PRAGMA schema_version = 7",
            "EXPLAIN SELECT 1",
            "DROP TABLE _monolite_migration",
            "DELETE FROM \"_MONOLITE_migration\"",
            "SELECT Load_Extension('x')",
            "CREATE TABLE x AS SELECT \"load_extension\" /* a */ ('x')",
        ] {
            let text = format!("SELECT 1;\n{sql};\nSELECT 2");
            let error = error(&text);
            assert!(
                matches!(error, Error::Refused { line: 2, .. }),
                "{sql}: {error}"
            );
        }
    }

    #[test]
    fn foreign_keys_that_a_file_turns_off_are_off() {
        let enforced = |text: &str| {
            let file = File::new("0001_a.sql", text).unwrap();
            Script::of(&file).unwrap().enforced
        };
        for sql in [
            "PRAGMA foreign_keys=OFF; DELETE FROM t; PRAGMA foreign_keys=ON",
            "pragma \"foreign_keys\"(0)",
            "PRAGMA main.foreign_keys = 'no'",
            "PRAGMA foreign_keys = false",
        ] {
            assert!(!enforced(sql), "{sql}");
        }
        for sql in [
            "PRAGMA foreign_keys = ON",
            "PRAGMA foreign_keys",
            "PRAGMA foreign_keys(1)",
        ] {
            assert!(enforced(sql), "{sql}");
        }
    }

    #[test]
    fn what_is_harmless_is_not() {
        let text = "PRAGMA user_version = 3; PRAGMA defer_foreign_keys = ON; SAVEPOINT a;
            ROLLBACK TO a; RELEASE a; INSERT INTO t VALUES ('COMMIT; -- no'); -- COMMIT
            CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM u; END;
            CREATE TEMP TABLE x (y); DROP TABLE x; INSERT INTO load_extension VALUES ('load_extension(1)')";
        let file = File::new("0001_a.sql", text).unwrap();
        let script = Script::of(&file).unwrap();
        assert_eq!(script.statements.len(), 10);
        assert!(!script.enforced);
    }

    #[test]
    fn what_is_no_sql_is_an_error_with_its_line() {
        for (text, line) in [
            ("SELECT 1;\n\nCREATE TABEL x (y)", 3),
            ("CREATE TABLE x (y", 1),
            ("SELECT 1;\nSELECT 'a", 2),
            ("SELECT 1; SELECT \u{1}", 1),
            ("\n\nUPDATE x SET WHERE y", 3),
            ("SELECT 1;\nREBUILD TABLE", 2),
        ] {
            match error(text) {
                Error::Parse { line: found, .. } => assert_eq!(found, line, "{text}"),
                Error::Text { source, .. } => {
                    assert!(
                        source.to_string().contains(&format!("line {line}")),
                        "{source}"
                    );
                }
                other => unreachable!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn tables_need_not_be_there_to_be_read() {
        let text = "ALTER TABLE no ADD COLUMN x; CREATE INDEX i ON no (x) WHERE x > 1;
            CREATE VIEW v AS SELECT * FROM nowhere;
            CREATE VIRTUAL TABLE f USING fts5(a, content='');
            INSERT INTO no SELECT * FROM never RETURNING *";
        let file = File::new("0001_a.sql", text).unwrap();
        assert!(Script::of(&file).unwrap().enforced);
    }

    #[test]
    fn the_record_of_migrations_is_not_rebuilt() {
        for name in ["_monolite_migration", "main.\"_Monolite_Migration\""] {
            let error = check_rebuild(&format!(
                "REBUILD TABLE {name} (version INTEGER PRIMARY KEY)"
            ));
            assert!(
                error
                    .unwrap_err()
                    .to_string()
                    .contains("migrate up --baseline")
            );
        }
        check_rebuild("REBUILD TABLE migration (version INTEGER PRIMARY KEY)").unwrap();
    }
}
