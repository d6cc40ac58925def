//! A database whose every state is known, and sent to replicas as a follower
//! would send it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use monolite_ltx::{Checksum, DatabaseChecksums, Encoder, Header, Txid};
use monolite_replica::{Destination, DestinationOptions, FileInfo, PageMap, Replica};
use monolite_testkit::s3::S3Server;
use rusqlite::Connection;

/// Some Sunday noon.
pub(crate) const START: i64 = 1_772_366_400_000;

/// A state as it was.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) time_ms: i64,
    pub(crate) bytes: Vec<u8>,
}

/// The database, its states so far, and what was last sent.
pub(crate) struct Source {
    pub(crate) conn: Connection,
    path: PathBuf,
    pub(crate) states: Vec<State>,
    map: PageMap,
    pub(crate) checksums: bool,
    pub(crate) time_ms: i64,
}

impl Source {
    pub(crate) fn new(dir: &Path, page_size: u32) -> Self {
        let path = dir.join("source.sqlite3");
        let conn = Connection::open(&path).unwrap();
        // Without a WAL the file is the state.
        conn.execute_batch(&format!(
            "PRAGMA page_size = {page_size}; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;
             CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
             CREATE INDEX item_body ON item (substr(body, 1, 20));"
        ))
        .unwrap();
        Self {
            conn,
            path,
            states: Vec::new(),
            map: PageMap::empty(page_size),
            checksums: true,
            time_ms: START,
        }
    }

    pub(crate) fn page_size(&self) -> usize {
        self.map.page_size() as usize
    }

    pub(crate) fn txid(&self) -> Txid {
        Txid(self.states.len() as u64)
    }

    pub(crate) fn state(&self, txid: u64) -> &State {
        &self.states[txid as usize - 1]
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
    }

    /// Some change: growth, an update, a deletion, now and then a VACUUM.
    pub(crate) fn change(&self, random: &mut fastrand::Rng) {
        match random.u8(0..20) {
            0 => self.sql("VACUUM"),
            1..3 => self.sql("DELETE FROM item WHERE id % 3 = 0"),
            3..8 => self.sql("UPDATE item SET body = randomblob(length(body)) WHERE id % 7 = 1"),
            _ => {
                let (rows, bytes) = (random.u32(1..40), random.u32(1..900));
                self.sql(&format!(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                     INSERT INTO item (body) SELECT randomblob({bytes}) FROM n"
                ));
            }
        }
    }

    fn header(&self, min: u64, pages: &PageMap, pre: Option<Checksum>) -> Header {
        Header {
            page_size: self.map.page_size(),
            commit: pages.len(),
            min: Txid(min),
            max: self.txid(),
            timestamp_ms: self.time_ms,
            checksums: match self.checksums {
                true => DatabaseChecksums::Reserved {
                    pre,
                    post: pages.checksum(),
                },
                false => DatabaseChecksums::None,
            },
            wal: None,
            node_id: 7,
        }
    }

    /// The changes since the state before, as one more transaction.
    pub(crate) fn next(&mut self) -> (Header, Bytes) {
        let pre = self.map.checksum();
        let changed = self.advance();
        let header = self.header(self.txid().0, &self.map, Some(pre));
        let pages = changed.iter().map(|(pgno, page)| (*pgno, page.as_slice()));
        let body = encode(header, pages);
        (header, body)
    }

    fn advance(&mut self) -> Vec<(u32, Vec<u8>)> {
        let bytes = std::fs::read(&self.path).unwrap();
        let mut map = self.map.clone();
        map.resize((bytes.len() / self.page_size()) as u32);
        let mut changed = Vec::new();
        for (pgno, page) in (1..).zip(bytes.chunks(self.page_size())) {
            let sum = Checksum::of_page(pgno, page);
            if map.get(pgno) != Some(sum) {
                map.set(pgno, sum);
                changed.push((pgno, page.to_vec()));
            }
        }
        let time_ms = self.time_ms;
        self.states.push(State { time_ms, bytes });
        self.map = map;
        changed
    }

    /// The newest state as a whole.
    pub(crate) fn whole(&mut self) -> (Header, Bytes) {
        if self.states.is_empty() {
            let _ = self.advance();
        }
        let header = self.header(1, &self.map, None);
        let page_size = self.page_size();
        let pages = (1..).zip(self.states.last().unwrap().bytes.chunks(page_size));
        (header, encode(header, pages))
    }

    pub(crate) async fn send(&mut self, replica: &Replica) -> FileInfo {
        let (header, body) = self.next();
        replica.put(0, &header, body).await.unwrap()
    }

    pub(crate) async fn send_whole(&mut self, replica: &Replica) -> FileInfo {
        let (header, body) = self.whole();
        replica.put(9, &header, body).await.unwrap()
    }
}

pub(crate) fn encode<'a>(header: Header, pages: impl Iterator<Item = (u32, &'a [u8])>) -> Bytes {
    let mut encoder = Encoder::new(Vec::new(), header).unwrap();
    for (pgno, page) in pages {
        encoder.page(pgno, page).unwrap();
    }
    encoder.finish(None).unwrap().0.into()
}

/// A replica in a folder.
pub(crate) fn folder(dir: &Path) -> Replica {
    folder_with(dir, DestinationOptions::default())
}

pub(crate) fn folder_with(dir: &Path, options: DestinationOptions) -> Replica {
    let url = format!("file://{}/copy", dir.display());
    let destination = Destination::parse(&url, &|_| None, options).unwrap();
    destination.replica("app.sqlite3")
}

/// A replica in the server's bucket.
pub(crate) fn bucket(server: &S3Server) -> Replica {
    let variables = server.variables();
    let var = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    };
    let url = format!("s3://{}/some/prefix", server.bucket());
    let destination = Destination::parse(&url, &var, DestinationOptions::default()).unwrap();
    destination.replica("app.sqlite3")
}

/// What is in a directory, by name.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
