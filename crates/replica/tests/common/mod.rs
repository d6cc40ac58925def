//! A volume, its replica in a folder, and what is the same in both.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{
    Destination, DestinationOptions, Find, FollowOptions, Follower, Policy, RestoreOptions,
    RetryPolicy, restore,
};
use monolite_testkit::s3::S3Server;
use rusqlite::Connection;

/// What never takes so long.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Everything as fast as it may be.
pub(crate) fn quick() -> FollowOptions {
    FollowOptions {
        sync_interval: Duration::from_millis(50),
        ..FollowOptions::default()
    }
}

/// Merges and deletes all the time.
pub(crate) fn busy() -> FollowOptions {
    FollowOptions {
        snapshot_every: Duration::from_millis(700),
        maintain_every: Duration::from_millis(100),
        policy: Policy {
            every: Duration::from_millis(300),
            hourly: Duration::from_millis(600),
            daily: Duration::from_millis(1500),
            grace: Duration::from_millis(200),
            short: Duration::from_millis(200),
            long: Duration::from_millis(400),
            ..Policy::default()
        },
        ..quick()
    }
}

/// Directories `data`, `state` and `copy`.
pub(crate) struct Volume {
    /// Removed with the last of its volumes.
    dir: Option<Arc<tempfile::TempDir>>,
    copy: PathBuf,
    own: PathBuf,
}

impl Volume {
    pub(crate) fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let own = dir.path().to_owned();
        Self::at(dir, own.join("copy"), own)
    }

    /// For what is large: not in memory, where that is what `/tmp` is.
    pub(crate) fn on_disk() -> Self {
        let dir = Arc::new(monolite_testkit::disk_dir());
        let own = dir.path().to_owned();
        Self::at(dir, own.join("copy"), own)
    }

    /// Another volume, with the same destination.
    pub(crate) fn another(&self) -> Self {
        let own = self.own.join("another");
        let dir = self.dir.clone().unwrap();
        Self::at(dir, self.copy.clone(), own)
    }

    /// The one that another process made.
    pub(crate) fn existing(root: &Path) -> Self {
        Self {
            dir: None,
            copy: root.join("copy"),
            own: root.into(),
        }
    }

    fn at(dir: Arc<tempfile::TempDir>, copy: PathBuf, own: PathBuf) -> Self {
        let dir = Some(dir);
        for path in [&own.join("data"), &own.join("state"), &copy] {
            std::fs::create_dir_all(path).unwrap();
        }
        Self { dir, copy, own }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    pub(crate) fn database(&self, name: &str) -> Connection {
        let conn = Connection::open(self.path("data").join(name)).unwrap();
        conn.busy_timeout(LONG).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            .unwrap();
        conn
    }

    pub(crate) fn destination(&self) -> Destination {
        let url = format!("file://{}", self.copy.display());
        Destination::parse(&url, &|_| None, Default::default()).unwrap()
    }

    pub(crate) fn follow(&self) -> Follower {
        self.follow_with(quick())
    }

    pub(crate) fn follow_with(&self, options: FollowOptions) -> Follower {
        let (volume, state) = (self.path("data"), self.path("state"));
        let destinations = vec![self.destination()];
        Follower::start(&volume, &state, destinations, find(&volume), options).unwrap()
    }

    /// What is restored is what `now` reads, to the last row, and proves itself.
    pub(crate) async fn assert_restores(&self, name: &str, now: &Connection) {
        let out = self.path(&format!("restored-{name}"));
        let options = RestoreOptions {
            overwrite: true,
            ..RestoreOptions::default()
        };
        let replica = self.destination().replica(name);
        let restored = restore(&replica, &out, options).await.unwrap();
        assert!(restored.checksum.is_some());
        let restored = Connection::open(&out).unwrap();
        let check: String = restored
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        assert_eq!(dump(&restored), dump(now));
    }
}

/// The server's bucket, as somebody with its keys sees it.
pub(crate) fn bucket(server: &S3Server) -> Destination {
    bucket_with(server, server.secret_key())
}

/// The same with a secret of one's own.
pub(crate) fn bucket_with(server: &S3Server, secret: &str) -> Destination {
    let variables = server.variables();
    let var = |name: &str| {
        if name == "AWS_SECRET_ACCESS_KEY" {
            return Some(secret.to_owned());
        }
        let found = variables.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.clone())
    };
    let options = DestinationOptions {
        request_timeout: Duration::from_secs(2),
        retry: RetryPolicy {
            attempts: 3,
            ..RetryPolicy::default()
        },
        ..DestinationOptions::default()
    };
    let url = format!("s3://{}/shop", server.bucket());
    Destination::parse(&url, &var, options).unwrap()
}

pub(crate) fn find(volume: &Path) -> Find {
    let volume = volume.to_owned();
    Arc::new(move || {
        std::fs::read_dir(&volume)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "sqlite3"))
            .collect()
    })
}

/// All rows of all tables.
pub(crate) fn dump(conn: &Connection) -> Vec<String> {
    let names = |sql: &str| -> Vec<String> {
        let mut all = conn.prepare(sql).unwrap();
        let rows = all.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut lines = names("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
    for table in names("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
        let mut all = conn
            .prepare(&format!("SELECT * FROM {table} ORDER BY rowid"))
            .unwrap();
        let columns = all.column_count();
        let mut rows = all.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap()));
            lines.push(values.collect::<Vec<_>>().join(","));
        }
    }
    lines
}

/// Bytes of a page of [`fill_large`].
pub(crate) const LARGE_PAGE: u64 = 65_536;

/// 1 GiB and some pages, mostly of nothing.
pub(crate) fn fill_large(conn: &Connection) {
    conn.execute_batch(&format!(
        "PRAGMA page_size = {LARGE_PAGE}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA cache_size = 10; CREATE TABLE t (x);
         INSERT INTO t VALUES (zeroblob(540000000)), (zeroblob(540000000)), ('the end');"
    ))
    .unwrap();
}
