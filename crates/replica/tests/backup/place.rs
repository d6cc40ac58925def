//! A database that tells whether a copy of it is one committed state.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monolite_replica::Progress;
use rusqlite::{Connection, OpenFlags};

const TOTAL: i64 = 1_000_000;
/// Steps that are kept, so that the file does not grow for ever.
const KEPT: i64 = 2000;

/// Held by tests that move gigabytes or mount what is on this disk: beside
/// each other, the one's syncs wait for all that the other has written.
pub(crate) fn disk() -> MutexGuard<'static, ()> {
    static DISK: Mutex<()> = Mutex::new(());
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database in `dir`, in the journal mode given, with `steps` transactions.
pub(crate) fn database(dir: &Path, mode: &str, steps: u32) -> PathBuf {
    let path = dir.join("app.sqlite3");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = {mode}; PRAGMA synchronous = OFF;
         CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
         INSERT INTO account VALUES (1, {TOTAL}), (2, 0);
         CREATE TABLE step (n INTEGER PRIMARY KEY, filler BLOB, note TEXT);
         CREATE INDEX step_by_note ON step (note);
         CREATE TABLE last (n INTEGER);
         INSERT INTO last VALUES (0);"
    ))
    .unwrap();
    for _ in 0..steps {
        transact(&conn);
    }
    path
}

/// One transaction: the next step of the ledger, money moved, and an old step
/// changed, which leaves its mark all over the file.
pub(crate) fn transact(conn: &Connection) {
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         UPDATE last SET n = n + 1;
         INSERT INTO step SELECT n, randomblob(abs(random()) % 6000), hex(randomblob(8)) FROM last;
         DELETE FROM step WHERE n <= (SELECT n - {KEPT} FROM last);
         UPDATE account SET balance = balance + CASE id WHEN 1 THEN -7 ELSE 7 END;
         UPDATE step SET filler = randomblob(length(filler)), note = hex(randomblob(8))
             WHERE n = (SELECT n - abs(random()) % min(n, {KEPT}) FROM last);
         COMMIT"
    ))
    .unwrap();
}

/// The last step that is committed.
pub(crate) fn last(db: &Path) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let conn = Connection::open_with_flags(db, flags).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.query_row("SELECT n FROM last", [], |row| row.get(0))
        .unwrap()
}

/// Asserts that the file is a whole database of one committed state, and says
/// which.
pub(crate) fn state(copy: &Path) -> i64 {
    let name = copy.file_name().unwrap().to_str().unwrap().to_owned();
    for suffix in ["-wal", "-journal", "-shm"] {
        let beside = copy.with_file_name(format!("{name}{suffix}"));
        assert!(!beside.exists(), "{}", beside.display());
    }
    // As the file is, and leaving it so.
    let uri = format!("file:{}?immutable=1", copy.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags).unwrap();
    let text = |sql| conn.query_row(sql, [], |row| row.get::<_, String>(0));
    assert_eq!(text("PRAGMA integrity_check").unwrap(), "ok");
    let number = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let last = number("SELECT n FROM last").unwrap();
    let steps = (
        number("SELECT count(*) FROM step").unwrap(),
        number("SELECT coalesce(min(n), 1) FROM step").unwrap(),
        number("SELECT coalesce(max(n), 0) FROM step").unwrap(),
    );
    assert_eq!(steps, (last.min(KEPT), (last - KEPT).max(0) + 1, last));
    let moved = number("SELECT balance FROM account WHERE id = 2").unwrap();
    assert_eq!(moved, 7 * last);
    let sum = number("SELECT sum(balance) FROM account").unwrap();
    assert_eq!(sum, TOTAL);
    let pages = number("PRAGMA page_count").unwrap() * number("PRAGMA page_size").unwrap();
    let bytes = copy.metadata().unwrap().len();
    assert_eq!(i64::try_from(bytes).unwrap(), pages);
    last
}

/// What is in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

/// Runs the test `name` of this program in a mount namespace of its own, after
/// `script`, which finds an empty directory in `$PLACE`.
pub(crate) fn in_namespace(unshare: &[&str], script: &str, name: &str, place: &Path) {
    let script = format!("{script} && exec \"$SELF\" {name} --exact --ignored --nocapture");
    let output = std::process::Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &script])
        .env("SELF", std::env::current_exe().unwrap())
        .env("PLACE", place)
        .output()
        .expect("unshare, of util-linux, is needed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "failed (mount namespaces are needed here):\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr),
    );
}

/// For a user without rights.
pub(crate) const AS_ANYBODY: &[&str] = &["--user", "--map-root-user", "--mount"];

/// The directory that `in_namespace` was given.
pub(crate) fn place() -> PathBuf {
    PathBuf::from(std::env::var_os("PLACE").unwrap())
}

/// Notes what it is told.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) steps: Mutex<Vec<(&'static str, Option<u64>)>>,
    pub(crate) bytes: Mutex<u64>,
}

impl Noted {
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let steps = self.steps.lock().unwrap();
        steps.iter().map(|(step, _)| *step).collect()
    }
}

impl Progress for Noted {
    fn begin(&self, step: &'static str, total: Option<u64>) {
        self.steps.lock().unwrap().push((step, total));
    }

    fn advance(&self, bytes: u64) {
        *self.bytes.lock().unwrap() += bytes;
    }
}
