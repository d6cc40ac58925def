//! The S3 server is S3 to Litestream.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};
use monolite_testkit::{Process, Signal, disk_dir, provided, wait_until};
use rusqlite::Connection;

#[test]
#[ignore = "needs litestream"]
fn it_replicates_there_and_restores() {
    let litestream = provided("MONOLITE_TEST_LITESTREAM");
    let server = S3Server::start();
    let dir = disk_dir();
    let database = dir.path().join("app.sqlite3");
    let config = dir.path().join("litestream.yml");
    let text = format!(
        "dbs:\n\
         - path: {}\n\
         \x20 replica:\n\
         \x20   type: s3\n\
         \x20   bucket: {}\n\
         \x20   path: backups/app\n\
         \x20   endpoint: {}\n\
         \x20   region: {}\n\
         \x20   force-path-style: true\n\
         \x20   sync-interval: 100ms\n",
        database.display(),
        server.bucket(),
        server.url(),
        server.region(),
    );
    std::fs::write(&config, text).unwrap();
    let connection = Connection::open(&database).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE row (body BLOB)")
        .unwrap();
    let insert = |size: u32| {
        let sql = "INSERT INTO row VALUES (randomblob(?1))";
        connection.execute(sql, [size]).unwrap();
    };
    insert(100);

    // It asks again when it is refused.
    let refused = Rule::new(Fault::Status(503)).operation(Operation::PutObject);
    let refused = server.faults().add(refused.next(2));
    let start =
        |arguments: &[&str]| Process::start(&litestream, arguments, |command| server.lead(command));
    let config = config.to_str().unwrap();
    let replicate = start(&["replicate", "-config", config]);
    replicate.line("replicating to");
    refused.wait(2);
    wait_until("the first files arrive", || {
        !server.keys("backups/app/").is_empty()
    });
    for size in 1..100 {
        insert(size);
    }
    // Over the size of one part.
    insert(20 << 20);
    wait_until("the large row arrives, in parts", || {
        server.counts().of(Operation::CompleteMultipartUpload) > 0
    });
    insert(1);
    replicate.signal(Signal::TERM);
    let (status, output) = replicate.end();
    assert!(status.success(), "{status}: {output}");
    assert_eq!(server.open_uploads(), 0);

    let restored = dir.path().join("restored.sqlite3");
    let path = database.to_str().unwrap();
    let out = restored.to_str().unwrap();
    let (status, output) = start(&["restore", "-config", config, "-o", out, path]).end();
    assert!(status.success(), "{status}: {output}");
    let digest = "SELECT count(*), sum(length(body)), max(body) FROM row";
    let rows = |connection: &Connection| -> (u32, u32, Vec<u8>) {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        connection.query_row(digest, [], read).unwrap()
    };
    let restored = Connection::open(restored).unwrap();
    assert!(rows(&restored) == rows(&connection));
    assert_eq!(rows(&restored).0, 102);
    let check: String = restored
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}
