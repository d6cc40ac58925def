//! Statements that are not allowed in a migration.

use sqlite3_parser::ast::{Cmd, Expr, Literal, PragmaBody, QualifiedName, Stmt};

use crate::sql::{TokenType, same_name, tokens, unquote_name};

const TRANSACTION: &str = "the whole file is one transaction already; remove it";
const VACUUM: &str =
    "SQLite cannot do it in a transaction; run it by hand while nothing writes, if it is needed";
const ATTACH: &str =
    "a migration changes one database; a crash could commit one file without the other";
const CHECKPOINT: &str = "there is no checkpoint in a transaction; SQLite does one itself \
     when nothing reads; remove it";
const JOURNAL: &str = "the journal mode cannot be changed in a transaction; set it once, from the \
     app or the sqlite3 shell";
const SETTING: &str = "it lasts only as long as the connection, or cannot be set in a \
     transaction; set it where the app opens the database";
const EXPLAIN: &str = "it changes nothing; remove it";
pub(super) const EXTENSION: &str = "SQLite loads extensions only if the app allows it; \
     other tools could not open what a migration makes with one";
const OWN: &str =
    "Monolite keeps the records of migrations itself; use `monolite migrate up --baseline`";

/// Allowed pragmas: they change what is stored in the database, or only read.
const PRAGMAS: [&str; 21] = [
    "analysis_limit",
    "application_id",
    "collation_list",
    "compile_options",
    "database_list",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    // The file then runs with foreign keys off, or on as it does anyway.
    "foreign_keys",
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

/// Why the statement is not allowed, if it is not.
pub(super) fn why(cmd: &Cmd<'_>) -> Option<&'static str> {
    let stmt = match cmd {
        Cmd::Stmt(stmt) => stmt,
        Cmd::Explain(_) | Cmd::ExplainQueryPlan(_) => return Some(EXPLAIN),
    };
    match stmt {
        Stmt::Begin(..) | Stmt::Commit(_) => Some(TRANSACTION),
        // ROLLBACK TO a savepoint of the file is allowed.
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

/// Whether it calls `load_extension`, which SQLite refuses only when it runs.
pub(super) fn loads(sql: &str) -> bool {
    const NAME: &str = "load_extension";
    // A quick check first: few texts have the word.
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
        () if is("journal_mode") || is("locking_mode") => JOURNAL,
        () if is("wal_checkpoint") => CHECKPOINT,
        () => SETTING,
    })
}

/// Whether it turns foreign keys off: `PRAGMA foreign_keys = OFF`, which has no effect within the
/// transaction, so that the file is to begin without.
pub(super) fn turns_foreign_keys_off(cmd: &Cmd<'_>) -> bool {
    let Cmd::Stmt(Stmt::Pragma(name, Some(body))) = cmd else {
        return false;
    };
    let (PragmaBody::Equals(value) | PragmaBody::Call(value)) = body;
    let is_off = |text: &str| {
        let text = unquote_name(text);
        ["off", "0", "false", "no"]
            .iter()
            .any(|off| same_name(off, &text))
    };
    name.name == "foreign_keys"
        && match value {
            Expr::Id(id) => is_off(id.0),
            Expr::Name(name) => is_off(name.0),
            Expr::Literal(
                Literal::Numeric(text) | Literal::String(text) | Literal::Keyword(text),
            ) => is_off(text),
            _ => false,
        }
}

/// The same by the first word, for statements that this crate's grammar cannot parse.
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
