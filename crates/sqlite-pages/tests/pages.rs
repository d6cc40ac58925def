//! What is read is what SQLite sees in the same transaction: the pages, put into
//! a file, are a sound database with the same rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use monolite_sqlite_pages::Pages;
use rusqlite::{Connection, ErrorCode, OpenFlags};

const SCHEMA: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, text TEXT);
     CREATE INDEX a_text ON a (text);
     WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT 300)
       INSERT INTO a (n, text) SELECT n, hex(randomblob(n * 7 % 900)) FROM i;";
const CHANGE: &str = "UPDATE a SET n = n + 1, text = hex(randomblob(n % 700)) WHERE id % 10 = ?1";

struct Volume {
    dir: tempfile::TempDir,
}

impl Volume {
    fn new(mode: &str, page_size: u32) -> (Self, Connection) {
        let volume = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let conn = volume.connect();
        conn.execute_batch(&format!(
            "PRAGMA page_size = {page_size}; PRAGMA journal_mode = {mode}; {SCHEMA}"
        ))
        .unwrap();
        (volume, conn)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.sqlite3")
    }

    fn connect(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(20))
            .unwrap();
        conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
        conn
    }
}

/// What the rows are, in one line.
fn rows(conn: &Connection) -> (i64, i64, i64) {
    let sql = "SELECT count(*), total(n), total(length(text)) FROM a";
    conn.query_row(sql, [], |row| {
        Ok((
            row.get(0)?,
            row.get::<_, f64>(1)? as i64,
            row.get::<_, f64>(2)? as i64,
        ))
    })
    .unwrap()
}

/// All pages, by both ways of reading them.
fn image(pages: &Pages<&Connection>) -> Vec<u8> {
    let size = pages.page_size() as usize;
    let mut image = Vec::new();
    let end = pages.each(|number, page| {
        assert_eq!(image.len(), (number as usize - 1) * size);
        image.extend_from_slice(page);
        ControlFlow::<()>::Continue(())
    });
    assert!(end.unwrap().is_continue());
    assert_eq!(image.len(), pages.count() as usize * size);
    let mut page = vec![0; size];
    for _ in 0..20 {
        let number = fastrand::u32(1..=pages.count());
        pages.read(number, &mut page).unwrap();
        assert_eq!(
            page,
            image[(number as usize - 1) * size..][..size],
            "page {number}"
        );
    }
    image
}

/// The image is a sound database with just the rows that the transaction sees.
fn is_what_it_sees(pages: &Pages<&Connection>, dir: &Path) {
    let seen = rows(pages.conn());
    let file = dir.join(format!("image-{}", fastrand::u64(..)));
    std::fs::write(&file, image(pages)).unwrap();
    let uri = format!("file:{}?immutable=1", file.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let read = Connection::open_with_flags(uri, flags).unwrap();
    let sound: String = read
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    assert_eq!(rows(&read), seen);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn in_every_mode_with_every_page_size() {
    for mode in ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"] {
        for page_size in [512, 1024, 4096, 65_536] {
            let (volume, writer) = Volume::new(mode, page_size);
            let reader = volume.connect();
            for round in 0..3 {
                writer.execute(CHANGE, [round]).unwrap();
                let pages = Pages::begin(&reader).unwrap();
                assert_eq!(pages.page_size(), page_size);
                is_what_it_sees(&pages, volume.dir.path());
                reader.execute_batch("COMMIT").unwrap();
            }
            let has_shm = volume.dir.path().join("app.sqlite3-shm").exists();
            assert_eq!(has_shm, mode == "WAL", "asking makes no index: {mode}");
        }
    }
}

/// Writers commit, and others copy the log into the database, cut it and begin
/// it from the start, as fast as they can.
#[test]
fn while_others_write_and_checkpoint() {
    let (volume, first) = Volume::new("WAL", 1024);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for checkpoint in [20, 400] {
            let (volume, stop) = (&volume, &stop);
            scope.spawn(move || {
                let writer = volume.connect();
                writer
                    .pragma_update(None, "wal_autocheckpoint", checkpoint)
                    .unwrap();
                for round in 0_i64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    writer.execute(CHANGE, [round % 13]).unwrap();
                    if round % 50 == 0 {
                        writer
                            .execute_batch("DELETE FROM a WHERE id % 17 = 3; VACUUM")
                            .unwrap();
                    }
                }
            });
        }
        let (volume, stop) = (&volume, &stop);
        scope.spawn(move || {
            let other = volume.connect();
            while !stop.load(Ordering::Relaxed) {
                for mode in ["PASSIVE", "RESTART", "TRUNCATE"] {
                    let sql = format!("PRAGMA wal_checkpoint({mode})");
                    let _ = other.query_row(&sql, [], |_| Ok(()));
                }
            }
        });
        let reader = volume.connect();
        for _ in 0..150 {
            let pages = Pages::begin(&reader).unwrap();
            is_what_it_sees(&pages, volume.dir.path());
            reader.execute_batch("COMMIT").unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(first);
}

/// All of the log was in the database when the transaction began; then the log
/// is begun from its start, over the frames that were listed.
#[test]
fn when_the_log_begins_anew_under_it() {
    let (volume, writer) = Volume::new("WAL", 4096);
    let reader = volume.connect();
    writer.execute(CHANGE, [1]).unwrap();
    writer
        .query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))
        .unwrap();
    let pages = Pages::begin(&reader).unwrap();
    let before = image(&pages);
    for round in 0..10 {
        writer.execute(CHANGE, [round]).unwrap();
    }
    assert_eq!(image(&pages), before);
    is_what_it_sees(&pages, volume.dir.path());
}

#[test]
fn where_no_shared_index_can_be_made() {
    let (volume, writer) = Volume::new("WAL", 4096);
    writer.execute(CHANGE, [1]).unwrap();
    // As after a crash on a disk that is read-only now: the index is of nobody.
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("app.sqlite3{suffix}");
        std::fs::copy(volume.dir.path().join(&name), copy.path().join(name)).unwrap();
    }
    std::fs::write(copy.path().join("app.sqlite3-shm"), "").unwrap();
    let uri = format!("file:{}/app.sqlite3?readonly_shm=1", copy.path().display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let reader = Connection::open_with_flags(uri, flags).unwrap();
    let pages = Pages::begin(&reader).unwrap();
    is_what_it_sees(&pages, volume.dir.path());
    assert_eq!(rows(&reader), rows(&writer));
    let index = copy.path().join("app.sqlite3-shm").metadata().unwrap();
    assert_eq!(index.len(), 0, "it was not written");
}

#[test]
fn what_is_wrong_is_an_error() {
    let code = |error: rusqlite::Error| error.sqlite_error_code();
    let (volume, writer) = Volume::new("DELETE", 4096);
    let reader = volume.connect();
    let pages = Pages::begin(&reader).unwrap();
    let mut page = vec![0; 4096];
    let mut read = |number, bytes| pages.read(number, &mut page[..bytes]).map_err(code);
    assert_eq!(read(1, 4096), Ok(()));
    let misuse = Err(Some(ErrorCode::ApiMisuse));
    assert_eq!(read(0, 4096), misuse);
    assert_eq!(read(pages.count() + 1, 4096), misuse);
    assert_eq!(read(1, 512), misuse);
    assert!(Pages::begin(&reader).is_err(), "a transaction is open");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(read(1, 4096), misuse, "it has ended");
    drop(writer);

    // The header counts pages that the file has not.
    let pages = Pages::begin(&reader).unwrap();
    let last = pages.count();
    let file = std::process::Command::new("truncate")
        .args(["--size", &format!("{}", (last - 1) * 4096)])
        .arg(volume.path())
        .status();
    assert!(file.unwrap().success());
    let damaged = pages.read(last, &mut page).map_err(code);
    assert_eq!(damaged, Err(Some(ErrorCode::DatabaseCorrupt)));
    let all = pages.each(|_, _| ControlFlow::<()>::Continue(()));
    assert_eq!(all.map_err(code), Err(Some(ErrorCode::DatabaseCorrupt)));
}

#[test]
fn a_connection_that_locks_for_itself_alone_is_refused() {
    let (volume, writer) = Volume::new("WAL", 4096);
    drop(writer);
    let reader = Connection::open(volume.path()).unwrap();
    reader
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE")
        .unwrap();
    let error = Pages::begin(&reader).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ApiMisuse));
    assert!(reader.is_autocommit(), "nothing is left open");
    assert!(!volume.dir.path().join("app.sqlite3-shm").exists());
}

#[test]
fn an_empty_database_has_no_pages() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(dir.path().join("a")).unwrap();
    let pages = Pages::begin(&conn).unwrap();
    assert_eq!(pages.count(), 0);
    let none = pages.each(|_, _| ControlFlow::Break(()));
    assert!(none.unwrap().is_continue());
}
