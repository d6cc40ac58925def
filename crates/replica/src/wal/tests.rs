//! The log's reader while other processes write.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monolite_sqlite_format::{sibling_path, wal_path};
use rusqlite::Connection;

use super::{Advance, Budget, Changes, Snapshot, WalReader};

const BUDGET: usize = 64 << 20;

#[test]
fn an_old_sqlite_is_refused_with_what_it_lacks() {
    super::check_sqlite().unwrap();
    let error = super::check_version(3_050_004, "3.50.4").unwrap_err();
    assert_eq!(error.class(), crate::ErrorClass::Permanent);
    let text = error.to_string();
    for part in ["3.51.0 or later", "3.50.4", "wal_checkpoint(NOOP)"] {
        assert!(text.contains(part), "{text}");
    }
}

/// What the other side of a replica would hold.
struct Shadow {
    pages: HashMap<u32, Vec<u8>>,
}

impl Shadow {
    fn of(snapshot: &Snapshot) -> Self {
        let mut pages = HashMap::new();
        snapshot
            .each(|pgno, data| {
                pages.insert(pgno, data.to_vec());
                true
            })
            .unwrap();
        assert_eq!(pages.len(), snapshot.pages() as usize);
        Self { pages }
    }

    fn apply(&mut self, changes: &Changes) {
        if changes.is_none() {
            return;
        }
        assert!(!changes.overflowed());
        let (size, smallest) = (changes.size(), changes.smallest());
        self.pages.retain(|pgno, _| *pgno <= smallest.min(size));
        for (pgno, page) in changes.sorted() {
            self.pages.insert(pgno, page.data().to_vec());
        }
    }

    fn assert_is(&self, path: &Path) {
        let now = Snapshot::begin(path).unwrap();
        let mut differ = 0;
        now.each(|pgno, data| {
            // A page that nobody ever wrote is empty.
            let here = self.pages.get(&pgno);
            differ += u32::from(here.map_or(data.iter().any(|b| *b != 0), |h| h != data));
            true
        })
        .unwrap();
        assert_eq!(differ, 0, "of {} pages", now.pages());
        assert!(self.pages.keys().all(|pgno| *pgno <= now.pages()));
    }
}

fn database(dir: &Path, setting: &str) -> PathBuf {
    let path = dir.join("app.sqlite3");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "{setting}; PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, n, b);"
    ))
    .unwrap();
    path
}

/// A process that writes until its input ends.
struct Writer(Child);

impl Writer {
    fn start(path: &Path, pause_us: u64) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "wal::tests::writer", "--ignored", "--nocapture"])
            .env("WAL_DB", path)
            .env("WAL_PAUSE", pause_us.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
#[ignore = "the other process of the tests here"]
fn writer() {
    let path = std::env::var_os("WAL_DB").unwrap();
    let pause = std::env::var("WAL_PAUSE").unwrap().parse().unwrap();
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tx.send(()).unwrap();
    });
    let conn = Connection::open(path).unwrap();
    // Of two that write without a pause, SQLite may let one wait for long on a busy machine.
    conn.busy_timeout(Duration::from_secs(600)).unwrap();
    conn.execute_batch("PRAGMA synchronous = NORMAL").unwrap();
    let mut n = u64::from(std::process::id());
    while rx.try_recv().is_err() {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (key, size) = ((n >> 33 & 0x3fff) as i64, (n >> 40 & 0xfff) as i64);
        let sql = match n >> 60 {
            0 => "DELETE FROM t WHERE id BETWEEN ?1 AND ?1 + 50 AND ?2 > 0",
            1..=3 => "UPDATE t SET n = n + 1 WHERE id = ?1 AND ?2 > 0",
            _ => "INSERT OR REPLACE INTO t VALUES (?1, ?2, randomblob(?2))",
        };
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn.prepare_cached(sql)
            .unwrap()
            .execute((key, size))
            .unwrap();
        // Some are rolled back, after their pages went to the log.
        if n >> 50 & 0x3f == 0 {
            conn.execute_batch("UPDATE t SET b = zeroblob(length(b)); ROLLBACK")
                .unwrap();
        } else {
            conn.execute_batch("COMMIT").unwrap();
        }
        std::thread::sleep(Duration::from_micros(pause));
    }
}

fn checkpoint(reader: WalReader) -> (WalReader, Advance) {
    let (reader, advance) = super::checkpoint(reader, true);
    (reader, advance.unwrap().unwrap_or(Advance::Nothing))
}

/// Follows `writers` for `time`, with `between` called now and then.
fn follow(
    path: &Path,
    pauses: &[u64],
    time: Duration,
    mut between: impl FnMut(u32),
) -> (u64, usize) {
    let budget = Budget::new(BUDGET);
    let mut reader = WalReader::open(path, &budget).unwrap();
    let mut shadow = Shadow::of(&Snapshot::begin(path).unwrap());
    let writers: Vec<_> = pauses.iter().map(|p| Writer::start(path, *p)).collect();
    let (began, mut largest, mut n) = (Instant::now(), 0, 0);
    let mut salts = std::collections::HashSet::new();
    while began.elapsed() < time {
        std::thread::sleep(Duration::from_millis(20));
        assert_ne!(reader.advance().unwrap(), Advance::Lost);
        let advance;
        (reader, advance) = checkpoint(reader);
        assert_ne!(advance, Advance::Lost);
        shadow.apply(&reader.changes());
        let wal = std::fs::metadata(wal_path(path)).unwrap();
        largest = largest.max(wal.len());
        salts.insert(reader.salts());
        n += 1;
        between(n);
    }
    for writer in writers {
        writer.stop();
    }
    assert_ne!(reader.advance().unwrap(), Advance::Lost);
    shadow.apply(&reader.changes());
    shadow.assert_is(path);
    (largest, salts.len())
}

#[test]
fn two_hot_writers_lose_nothing_and_the_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "");
    let (largest, _) = follow(&path, &[0, 0], Duration::from_secs(4), |_| {});
    assert!(largest < 256 << 20, "{largest}");
}

#[test]
fn a_large_log_is_cut_and_followed_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "PRAGMA page_size = 65536");
    let app = Connection::open(&path).unwrap();
    app.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    // A writer that never reset the log itself: it begins the next with salts
    // of its own choice.
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("PRAGMA wal_autocheckpoint = 0")
        .unwrap();
    let mut reader = WalReader::open(&path, &Budget::new(4 * BUDGET)).unwrap();
    let mut shadow = Shadow::of(&Snapshot::begin(&path).unwrap());
    let long_reader = Connection::open(&path).unwrap();
    for n in 0..4200 {
        other
            .execute(
                "INSERT OR REPLACE INTO t VALUES (?1, 1, zeroblob(50000))",
                [n % 5],
            )
            .unwrap();
        if n == 4000 {
            // Until now the log cannot be reset; from now on it must be.
            long_reader
                .execute_batch("BEGIN; SELECT * FROM t LIMIT 1")
                .unwrap();
        }
    }
    long_reader.execute_batch("COMMIT").unwrap();
    assert_ne!(reader.advance().unwrap(), Advance::Lost);
    let wal = wal_path(&path);
    assert!(std::fs::metadata(&wal).unwrap().len() > 64 << 20);
    // Our read transaction is of the last commit: PASSIVE alone is not enough for a reset.
    other.execute_batch("UPDATE t SET n = 2").unwrap();
    let (back, advance) = checkpoint(reader);
    reader = back;
    assert_ne!(advance, Advance::Lost);
    for _ in 0..3 {
        other.execute_batch("UPDATE t SET n = n + 1").unwrap();
        assert_eq!(reader.advance().unwrap(), Advance::Changes);
    }
    shadow.apply(&reader.changes());
    shadow.assert_is(&path);
}

#[test]
fn a_slow_writer_keeps_a_short_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "PRAGMA page_size = 1024");
    let (largest, generations) = follow(&path, &[500], Duration::from_secs(3), |_| {});
    assert!(largest < 8 << 20, "{largest}");
    assert!(generations > 1, "the log was never reset");
}

#[test]
fn checkpoints_and_readers_of_the_app_are_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "PRAGMA auto_vacuum = INCREMENTAL");
    let app = Connection::open(&path).unwrap();
    app.busy_timeout(Duration::from_millis(200)).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.busy_timeout(Duration::from_secs(5)).unwrap();
    follow(&path, &[300, 700], Duration::from_secs(4), |n| {
        match n % 12 {
            0 => drop(app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))),
            3 => app
                .execute_batch("PRAGMA incremental_vacuum(20)")
                .unwrap_or_default(),
            5 => reader
                .execute_batch("BEGIN; SELECT * FROM t LIMIT 1")
                .unwrap(),
            9 => reader.execute_batch("COMMIT").unwrap(),
            11 if n % 5 == 0 => app.execute_batch("VACUUM").unwrap_or_default(),
            _ => {}
        }
    });
}

#[test]
fn a_log_whose_resets_were_missed_is_lost_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "");
    let app = Connection::open(&path).unwrap();
    let budget = Budget::new(BUDGET);
    let mut reader = WalReader::open(&path, &budget).unwrap();
    app.execute_batch("INSERT INTO t VALUES (1, 1, 1)").unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    assert_eq!(reader.advance().unwrap(), Advance::Nothing);
    reader.let_go();
    for n in 0..3 {
        app.execute_batch(&format!(
            "INSERT INTO t (n) VALUES ({n}); PRAGMA wal_checkpoint(RESTART)"
        ))
        .unwrap();
    }
    app.execute_batch("INSERT INTO t (n) VALUES (9)").unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Lost);
    reader.skip_to_end().unwrap();
    let mut shadow = Shadow::of(&Snapshot::begin(&path).unwrap());
    app.execute_batch("INSERT INTO t (n) VALUES (10)").unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    shadow.apply(&reader.changes());
    shadow.assert_is(&path);
}

/// Frames as a writer leaves them that died between the write of its last one
/// and the commit: sound, and not committed.
fn leave_a_ghost(path: &Path, page: u8) {
    use std::os::unix::fs::FileExt;
    let wal = wal_path(path);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(wal)
        .unwrap();
    let header = super::scan::header(&file).unwrap().unwrap();
    let begin = super::scan::Position::start(header);
    let end = super::scan::committed(&file, begin, u64::MAX).unwrap().end;
    let mut frame = vec![page; 24 + header.page_size as usize];
    frame[..4].copy_from_slice(&2u32.to_be_bytes());
    frame[4..8].copy_from_slice(&9u32.to_be_bytes());
    frame[8..12].copy_from_slice(&header.salts.0.to_be_bytes());
    frame[12..16].copy_from_slice(&header.salts.1.to_be_bytes());
    let sum = monolite_sqlite_format::wal::frame_sum(&header, end.sum(), &frame).unwrap();
    frame[16..20].copy_from_slice(&sum.0.to_be_bytes());
    frame[20..24].copy_from_slice(&sum.1.to_be_bytes());
    file.write_all_at(&frame, end.offset()).unwrap();
}

#[test]
fn what_was_written_and_not_committed_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "");
    let app = Connection::open(&path).unwrap();
    let mut reader = WalReader::open(&path, &Budget::new(BUDGET)).unwrap();
    let mut shadow = Shadow::of(&Snapshot::begin(&path).unwrap());
    app.execute_batch("INSERT INTO t VALUES (1, 1, 1)").unwrap();
    leave_a_ghost(&path, 7);
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    assert_eq!(reader.advance().unwrap(), Advance::Nothing);
    // The next writer writes over it.
    for n in 2..60 {
        app.execute("INSERT INTO t VALUES (?1, 1, randomblob(2000))", [n])
            .unwrap();
        leave_a_ghost(&path, 8);
        assert_eq!(reader.advance().unwrap(), Advance::Changes);
    }
    shadow.apply(&reader.changes());
    shadow.assert_is(&path);
    leave_a_ghost(&path, 9);
    reader.skip_to_end().unwrap();
    app.execute_batch("INSERT INTO t VALUES (100, 1, 1)")
        .unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    shadow.apply(&reader.changes());
    shadow.assert_is(&path);
}

#[test]
fn what_is_committed_to_a_deleted_database_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "");
    let app = Connection::open(&path).unwrap();
    let mut reader = WalReader::open(&path, &Budget::new(BUDGET)).unwrap();
    app.execute_batch("INSERT INTO t VALUES (1, 1, 1)").unwrap();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(sibling_path(&path, suffix)).unwrap();
    }
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    app.execute_batch("INSERT INTO t VALUES (2, 1, 1)").unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    assert!(!reader.changes().is_none());
}

#[test]
fn what_does_not_fit_is_said_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "");
    let app = Connection::open(&path).unwrap();
    let budget = Budget::new(20 * 4096);
    let mut reader = WalReader::open(&path, &budget).unwrap();
    app.execute_batch("INSERT INTO t VALUES (1, 1, randomblob(40960))")
        .unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    let small = reader.changes();
    assert!(!small.overflowed());
    app.execute_batch("INSERT INTO t VALUES (2, 1, randomblob(409600))")
        .unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    let large = reader.changes();
    assert!(large.overflowed() && !large.is_none());
    drop((small, large));
    app.execute_batch("UPDATE t SET b = randomblob(4096) WHERE id = 1")
        .unwrap();
    assert_eq!(reader.advance().unwrap(), Advance::Changes);
    assert!(!reader.changes().overflowed());
}
