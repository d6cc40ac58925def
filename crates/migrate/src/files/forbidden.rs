//! Statements that no migration may hold.

use sqlite3_parser::ast::{Cmd, QualifiedName, Stmt};

use crate::sql::{TokenType, same_name, tokens, unquote_name};

const TRANSACTION: &str =
    "the whole file is one transaction, which begins and ends by itself; remove it";
const VACUUM: &str =
    "SQLite cannot do it in a transaction; run it by hand when nobody writes, if at all";
const ATTACH: &str =
    "a migration changes one database; what two files commit, a crash can tear apart";
const FOREIGN_KEYS: &str = "it does nothing in a transaction; a file that drops or rebuilds a \
     table runs with foreign keys off by itself, and every file is checked before its commit";
const CHECKPOINT: &str = "the log cannot be written back in a transaction; SQLite does it by itself \
     when nobody reads";
const JOURNAL: &str = "the journal mode cannot be changed in a transaction; set it once, from the \
     app or the sqlite3 shell";
const SETTING: &str = "it sets what lasts no longer than the connection, or cannot be set in a \
     transaction; set it where the app opens the database";
const EXPLAIN: &str = "it changes nothing; remove it";
pub(super) const EXTENSION: &str = "SQLite loads extensions only where the app has opened it so; \
     what a migration makes with one, other tools could not open";
const OWN: &str = "the record of migrations is kept by monolite; use `monolite migrate baseline`";

/// Pragmas that belong to the data, or only look.
const PRAGMAS: [&str; 20] = [
    "analysis_limit",
    "application_id",
    "collation_list",
    "compile_options",
    "database_list",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Why the statement cannot be part of a migration, if it cannot.
pub(super) fn why(cmd: &Cmd<'_>) -> Option<&'static str> {
    let stmt = match cmd {
        Cmd::Stmt(stmt) => stmt,
        Cmd::Explain(_) | Cmd::ExplainQueryPlan(_) => return Some(EXPLAIN),
    };
    match stmt {
        Stmt::Begin(..) | Stmt::Commit(_) => Some(TRANSACTION),
        // To a savepoint of the file's own: harmless.
        Stmt::Rollback {
            savepoint_name: None,
            ..
        } => Some(TRANSACTION),
        Stmt::Vacuum(..) => Some(VACUUM),
        Stmt::Attach { .. } | Stmt::Detach(_) => Some(ATTACH),
        Stmt::Pragma(name, _) => pragma(name),
        Stmt::AlterTable(name, _) if is_own(name) => Some(OWN),
        Stmt::DropTable { tbl_name, .. }
        | Stmt::Delete { tbl_name, .. }
        | Stmt::Insert { tbl_name, .. }
        | Stmt::Update { tbl_name, .. }
        | Stmt::CreateTable { tbl_name, .. }
            if is_own(tbl_name) =>
        {
            Some(OWN)
        }
        _ => None,
    }
}

/// It calls `load_extension`, which SQLite refuses only while it runs.
pub(super) fn loads(sql: &str) -> bool {
    const NAME: &str = "load_extension";
    // Hardly any text has the word at all.
    let mut windows = sql.as_bytes().windows(NAME.len());
    if !windows.any(|word| word.eq_ignore_ascii_case(NAME.as_bytes())) {
        return false;
    }
    let all = tokens(sql).unwrap_or_default();
    all.windows(2).any(|pair| {
        let is_name =
            pair[0].kind == TokenType::TK_ID && same_name(&unquote_name(pair[0].text(sql)), NAME);
        is_name && pair[1].kind == TokenType::TK_LP
    })
}

fn is_own(name: &QualifiedName<'_>) -> bool {
    name.name == super::record::TABLE
}

fn pragma(name: &QualifiedName<'_>) -> Option<&'static str> {
    let is = |known: &str| name.name == known;
    if PRAGMAS.iter().any(|known| is(known)) {
        return None;
    }
    Some(match () {
        () if is("foreign_keys") => FOREIGN_KEYS,
        () if is("journal_mode") || is("locking_mode") => JOURNAL,
        () if is("wal_checkpoint") => CHECKPOINT,
        () => SETTING,
    })
}

/// The same by the first word, for what only SQLite's own grammar can read.
pub(super) fn why_by_word(word: &str) -> Option<&'static str> {
    let why = match word.to_ascii_uppercase().as_str() {
        "BEGIN" | "COMMIT" | "END" | "ROLLBACK" => TRANSACTION,
        "VACUUM" => VACUUM,
        "ATTACH" | "DETACH" => ATTACH,
        "PRAGMA" => SETTING,
        "EXPLAIN" => EXPLAIN,
        _ => return None,
    };
    Some(why)
}
