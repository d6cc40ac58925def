//! The other processes: writers, ones that are killed, ones kept out.

use std::path::{Path, PathBuf};
use std::process::Command;

use monolite_platform::failpoint;
use monolite_replica::backup::{self, BackupOptions, Check, local};
use monolite_testkit::Process;
use rusqlite::Connection;
use rustix::process::{Signal, getpid, kill_process};

use super::place::transact;

/// This program as another process that does `role` to `db`.
pub(crate) fn start(role: &str, db: &Path, with: impl FnOnce(&mut Command)) -> Process {
    let arguments = ["child", "--exact", "--ignored", "--nocapture"];
    Process::start(std::env::current_exe().unwrap(), arguments, |command| {
        command.env("ROLE", role).env("DB", db);
        with(command);
    })
}

/// A process that writes to `db` until it is dropped.
pub(crate) fn writer(db: &Path) -> Process {
    let writer = start("writer", db, |_| {});
    writer.line("committed");
    writer
}

/// True if another process can begin to write.
pub(crate) fn can_write(db: &Path) -> bool {
    let (status, output) = start("try", db, |_| {}).end();
    assert!(status.success(), "{output}");
    output.contains("got in")
}

pub(crate) fn main() {
    let db = PathBuf::from(std::env::var_os("DB").unwrap());
    let out = || PathBuf::from(std::env::var_os("OUT").unwrap());
    failpoint::observe(|step| {
        if std::env::var_os("DIE_AT").is_some_and(|at| at == step) {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    match std::env::var("ROLE").unwrap().as_str() {
        "writer" => {
            let conn = Connection::open(&db).unwrap();
            // Small, so that the WAL begins anew often.
            conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 200")
                .unwrap();
            for n in 0.. {
                transact(&conn);
                if n == 0 {
                    println!("committed");
                }
                // A rollback journal's lock is free between two transactions
                // only: one who never pauses keeps all others out.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        "hold" => {
            let conn = Connection::open(&db).unwrap();
            conn.execute_batch("BEGIN EXCLUSIVE").unwrap();
            println!("held");
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        "leave" => {
            // Dies with commits in its WAL alone.
            let conn = Connection::open(&db).unwrap();
            conn.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
            for _ in 0..20 {
                transact(&conn);
            }
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        "try" => {
            let conn = Connection::open(&db).unwrap();
            conn.busy_timeout(std::time::Duration::ZERO).unwrap();
            match conn.execute_batch("BEGIN IMMEDIATE") {
                Ok(()) => println!("got in"),
                Err(error) => {
                    let code = error.sqlite_error_code();
                    assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
                    println!("kept out");
                }
            }
        }
        "to_file" => {
            let options = BackupOptions {
                overwrite: true,
                check: Check::Full,
                ..BackupOptions::default()
            };
            backup::to_file(&db, &out(), &options, &()).unwrap();
        }
        "take" => {
            local::take(&db, &out(), 0, &local::TakeOptions::default(), &()).unwrap();
        }
        role => panic!("no role {role}"),
    }
}
