//! Where copies go: to files that are there or not, to writers, compressed.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use monolite_replica::Progress;
use monolite_replica::backup::{self, BackupOptions, Cancel, Check, Compression, Error};

use super::place::{Noted, database, names, state};

fn options() -> BackupOptions {
    BackupOptions::default()
}

fn unpacked(file: &Path, compression: Compression) -> Vec<u8> {
    let packed = std::fs::read(file).unwrap();
    let mut bytes = Vec::new();
    match compression {
        Compression::None => return packed,
        Compression::Gzip => flate2::read::GzDecoder::new(&*packed).read_to_end(&mut bytes),
        Compression::Zstd => zstd::Decoder::new(&*packed)
            .unwrap()
            .read_to_end(&mut bytes),
    }
    .unwrap();
    bytes
}

#[test]
fn compressed_by_name_or_by_option() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "DELETE", 1500);
    let bytes = std::fs::read(&db).unwrap();
    for (name, option, expected) in [
        ("a.sqlite3", None, Compression::None),
        ("a.sqlite3.gz", None, Compression::Gzip),
        ("a.sqlite3.zst", None, Compression::Zstd),
        ("b.sqlite3", Some(Compression::Zstd), Compression::Zstd),
        ("b.gz", Some(Compression::None), Compression::None),
    ] {
        let path = out.path().join(name);
        let progress = Noted::default();
        let options = BackupOptions {
            compression: option,
            check: Check::Full,
            ..options()
        };
        let made = backup::to_file(&db, &path, &options, &progress).unwrap();
        assert!(unpacked(&path, expected) == bytes, "{name}");
        assert_eq!(made.written, path.metadata().unwrap().len());
        assert_eq!(made.bytes(), bytes.len() as u64);
        assert_eq!(made.page_size, 4096);
        let total = Some(bytes.len() as u64);
        let packed = expected != Compression::None;
        let steps: &[_] = match packed {
            true => &[
                ("copying", total),
                ("unpacking", total),
                ("reading", total),
                ("checking", None),
            ],
            false => &[("copying", total), ("reading", total), ("checking", None)],
        };
        assert_eq!(*progress.steps.lock().unwrap(), steps);
        let done = bytes.len() as u64 * (2 + u64::from(packed));
        assert_eq!(*progress.bytes.lock().unwrap(), done);

        let mut written = Vec::new();
        let cancel = Cancel::default();
        let streamed = backup::to_writer(&db, &mut written, expected, &(), &cancel).unwrap();
        assert!(written == std::fs::read(&path).unwrap(), "{name}");
        assert_eq!(streamed, made);
    }
    assert_eq!(names(out.path()).len(), 5);
}

#[test]
fn every_page_size_and_odd_lengths() {
    let dir = tempfile::tempdir().unwrap();
    for size in [512, 1024, 2048, 4096, 8192, 65536] {
        let db = dir.path().join(format!("{size}.sqlite3"));
        let conn = rusqlite::Connection::open(&db).unwrap();
        // Not a whole number of blocks, and more than one buffer.
        conn.execute_batch(&format!(
            "PRAGMA page_size = {size}; PRAGMA synchronous = OFF; CREATE TABLE t (x);
             INSERT INTO t VALUES (randomblob(1500000)), (randomblob(700))"
        ))
        .unwrap();
        let out = dir.path().join("copy");
        let overwrite = BackupOptions {
            overwrite: true,
            ..options()
        };
        let made = backup::to_file(&db, &out, &overwrite, &()).unwrap();
        assert_eq!(made.page_size, size);
        assert!(std::fs::read(&out).unwrap() == std::fs::read(&db).unwrap());
    }
}

#[test]
fn what_is_there_is_left_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 3);
    let out = dir.path().join("copy.sqlite3");
    std::fs::write(&out, "precious").unwrap();
    let error = backup::to_file(&db, &out, &options(), &()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    let told = BackupOptions {
        overwrite: true,
        ..options()
    };
    backup::to_file(&db, &out, &told, &()).unwrap();
    assert_eq!(state(&out), 3);
    assert_eq!(names(dir.path()), ["app.sqlite3", "copy.sqlite3"]);
}

#[test]
fn one_that_appears_meanwhile_is_left_too() {
    #[derive(Debug)]
    struct Appears(std::path::PathBuf);
    impl Progress for Appears {
        fn advance(&self, _: u64) {
            std::fs::write(&self.0, "precious").unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 3);
    let out = dir.path().join("copy.sqlite3");
    let error = backup::to_file(&db, &out, &options(), &Appears(out.clone())).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    assert_eq!(names(dir.path()), ["app.sqlite3", "copy.sqlite3"]);
}

#[test]
fn what_must_not_be_replaced_is_not_even_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 3);
    let told = BackupOptions {
        overwrite: true,
        ..options()
    };
    let at = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(&db, at("link")).unwrap();
    std::fs::hard_link(&db, at("hard")).unwrap();
    for itself in [&db, &at("link"), &at("hard")] {
        let error = backup::to_file(&db, itself, &told, &()).unwrap_err();
        assert!(matches!(error, Error::Itself { .. }), "{error}");
    }
    std::fs::create_dir(at("dir")).unwrap();
    for no_file in [at("dir"), "/dev/null".into(), "/".into(), "..".into()] {
        let error = backup::to_file(&db, &no_file, &told, &()).unwrap_err();
        assert!(matches!(error, Error::NotAFile { .. }), "{error}");
    }
    for suffix in ["-wal", "-journal"] {
        let beside = at(&format!("other.sqlite3{suffix}"));
        std::fs::write(&beside, "commits").unwrap();
        let error = backup::to_file(&db, &at("other.sqlite3"), &told, &()).unwrap_err();
        assert!(matches!(&error, Error::LeftoverJournal { path } if *path == beside));
        std::fs::remove_file(beside).unwrap();
    }
    let error = backup::to_file(&db, &at("none/copy"), &told, &()).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    assert_eq!(names(dir.path()), ["app.sqlite3", "dir", "hard", "link"]);
    std::fs::remove_file(at("hard")).unwrap();
    assert_eq!(state(&db), 3);
}

#[test]
fn as_private_as_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 3);
    for (mode, expected) in [(0o600, 0o600), (0o640, 0o640), (0o400, 0o400)] {
        std::fs::set_permissions(&db, PermissionsExt::from_mode(mode)).unwrap();
        let out = dir.path().join(format!("{mode:o}"));
        backup::to_file(&db, &out, &options(), &()).unwrap();
        let mode = out.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected);
    }
}

/// Takes so much, and then refuses.
#[derive(Default)]
struct Closes {
    written: Vec<u8>,
    room: usize,
}

impl Write for Closes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room - self.written.len());
        self.written.extend_from_slice(&bytes[..taken]);
        match taken {
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_refuses_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "DELETE", 1500);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let mut closes = Closes {
            room: 100_000,
            ..Closes::default()
        };
        let cancel = Cancel::default();
        let error = backup::to_writer(&db, &mut closes, compression, &(), &cancel).unwrap_err();
        let Error::Writer(source) = &error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
        // Nobody reads it any more.
        rusqlite::Connection::open(&db)
            .unwrap()
            .execute_batch("UPDATE last SET n = n")
            .unwrap();
    }
}

/// Asks for the end at the second megabyte.
#[derive(Debug, Default)]
struct Cancels(Cancel, Noted);

impl Progress for Cancels {
    fn advance(&self, bytes: u64) {
        self.1.advance(bytes);
        if *self.1.bytes.lock().unwrap() > 1 << 20 {
            self.0.cancel();
        }
    }
}

#[test]
fn a_cancelled_copy_leaves_nothing_that_looks_whole() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 2000);
    for name in ["copy", "copy.gz", "copy.zst"] {
        let progress = Cancels::default();
        let options = BackupOptions {
            cancel: progress.0.clone(),
            ..options()
        };
        let error = backup::to_file(&db, &dir.path().join(name), &options, &progress);
        assert!(matches!(error, Err(Error::Cancelled)));
        assert_eq!(names(dir.path()), ["app.sqlite3"]);

        let (compression, progress) = (Compression::of_name(name), Cancels::default());
        let mut out = Vec::new();
        let error = backup::to_writer(&db, &mut out, compression, &progress, &progress.0);
        assert!(matches!(error, Err(Error::Cancelled)));
        let mut bytes = Vec::new();
        let decoded = match compression {
            Compression::None => continue,
            Compression::Gzip => flate2::read::GzDecoder::new(&*out).read_to_end(&mut bytes),
            Compression::Zstd => zstd::Decoder::new(&*out).unwrap().read_to_end(&mut bytes),
        };
        decoded.unwrap_err();
    }
}

#[test]
fn a_check_can_be_cancelled() {
    #[derive(Debug)]
    struct AtCheck(Cancel);
    impl Progress for AtCheck {
        fn begin(&self, step: &'static str, _: Option<u64>) {
            if step == "checking" {
                self.0.cancel();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 500);
    let cancel = Cancel::default();
    let options = BackupOptions {
        check: Check::Full,
        cancel: cancel.clone(),
        ..options()
    };
    let made = backup::to_file(&db, &dir.path().join("copy"), &options, &AtCheck(cancel));
    assert!(matches!(made, Err(Error::Cancelled)));
    assert_eq!(names(dir.path()), ["app.sqlite3"]);
}
