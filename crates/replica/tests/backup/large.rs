//! A database with a lock page.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use monolite_replica::backup::{self, BackupOptions, Copy};
use rusqlite::Connection;

use super::common::{LARGE_PAGE as PAGE, fill_large};
use super::place::disk;

const GIBIBYTE: u64 = 1 << 30;

/// One of 1 GiB and some pages, mostly of nothing.
fn large(dir: &Path) -> std::path::PathBuf {
    let db = dir.join("large.sqlite3");
    fill_large(&Connection::open(&db).unwrap());
    db
}

#[test]
fn the_page_at_one_gibibyte_is_zero_and_those_after_it_are_right() {
    let _alone = disk();
    let dir = monolite_testkit::disk_dir();
    let db = large(dir.path());
    // SQLite never reads it, nor should anybody else.
    let file = std::fs::OpenOptions::new().write(true).open(&db).unwrap();
    file.write_all_at(&[0xEE; PAGE as usize], GIBIBYTE).unwrap();
    drop(file);

    let out = dir.path().join("copy");
    let made = backup::to_file(&db, &out, &BackupOptions::default(), &()).unwrap();
    assert!(made.bytes() > GIBIBYTE + 2 * PAGE);
    assert_eq!(made.bytes(), out.metadata().unwrap().len());
    let (mut one, mut other) = (file_at(&db, 0), file_at(&out, 0));
    assert_same(&mut one, &mut other, GIBIBYTE);
    let mut lock_page = vec![1; PAGE as usize];
    other.read_exact(&mut lock_page).unwrap();
    assert!(lock_page.iter().all(|byte| *byte == 0));
    let rest = made.bytes() - GIBIBYTE - PAGE;
    assert_same(&mut file_at(&db, GIBIBYTE + PAGE), &mut other, rest);
    let conn = Connection::open(&out).unwrap();
    let text = |sql| conn.query_row(sql, [], |row| row.get::<_, String>(0));
    assert_eq!(text("PRAGMA quick_check").unwrap(), "ok");
    let last = "SELECT x FROM t WHERE rowid = 3";
    assert_eq!(text(last).unwrap(), "the end");

    // The pages of the reader keep count across it.
    let mut reader = Copy::open(&db).unwrap().into_reader().unwrap();
    let mut next = 1;
    while let Some(pages) = reader.next_pages().unwrap() {
        assert_eq!(pages.first, next);
        next += u32::try_from(pages.bytes.len() as u64 / PAGE).unwrap();
    }
    assert_eq!(next, made.pages + 1);
}

fn file_at(path: &Path, offset: u64) -> BufReader<std::fs::File> {
    let mut file = std::fs::File::open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    BufReader::with_capacity(1 << 20, file)
}

fn assert_same(one: &mut impl BufRead, other: &mut impl Read, bytes: u64) {
    let mut left = usize::try_from(bytes).unwrap();
    let mut beside = vec![0; 1 << 20];
    while left > 0 {
        let part = one.fill_buf().unwrap();
        let part = &part[..part.len().min(left)];
        other.read_exact(&mut beside[..part.len()]).unwrap();
        assert!(part == &beside[..part.len()], "{left} bytes before the end");
        left -= part.len();
        let taken = part.len();
        one.consume(taken);
    }
}
