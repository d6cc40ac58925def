//! The tables, and the posts a new blog starts with.

use std::path::Path;

use monolite_store::Store;
use monolite_store::rusqlite::{self, Connection, OpenFlags, OptionalExtension};

use crate::Error;

/// The version this code reads and writes, kept in `PRAGMA user_version`.
const VERSION: i64 = 1;

/// Oldest first. The first line is the title, the rest after a blank line the
/// body. The texts name post 2 by its number.
const POSTS: [&str; 5] = [
    include_str!("../seed/1-what-monolite-is.txt"),
    include_str!("../seed/2-the-file-is-the-interface.txt"),
    include_str!("../seed/3-pull-the-plug.txt"),
    include_str!("../seed/4-open-a-second-window.txt"),
    include_str!("../seed/5-one-process-one-file.txt"),
];

/// Post, name, body.
const COMMENTS: [(i64, &str, &str); 2] = [
    (
        3,
        "Gatekeeper",
        "I have been told to hold the door. I am good at it.",
    ),
    (
        5,
        "The Slab",
        "First! (I was compiled in. It is not a fair race.)",
    ),
];

/// What was found in the file.
enum Found {
    Empty,
    Ours,
    Foreign { table: String },
    Newer { version: i64 },
}

impl Found {
    fn look(conn: &Connection) -> rusqlite::Result<Self> {
        let version = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if !(0..=VERSION).contains(&version) {
            return Ok(Self::Newer { version });
        }
        // The version alone proves nothing: other apps count from 1 too.
        Ok(match (foreign_table(conn)?, version) {
            (Some(table), _) => Self::Foreign { table },
            (None, VERSION) => Self::Ours,
            (None, _) => Self::Empty,
        })
    }

    fn usable(self, path: &Path) -> Result<(), Error> {
        let path = path.into();
        match self {
            Self::Empty | Self::Ours => Ok(()),
            Self::Foreign { table } => Err(Error::Foreign { path, table }),
            Self::Newer { version } => Err(Error::Newer {
                path,
                found: version,
                known: VERSION,
            }),
        }
    }
}

/// Refuses a file that is not ours before the store is opened, which would
/// change its journal mode.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = Connection::open_with_flags(path, flags).and_then(|conn| Found::look(&conn));
    // What cannot be read, or is not there yet, is for the store to name.
    found.map_or(Ok(()), |found| found.usable(path))
}

/// Creates the tables in an empty file and seeds an empty blog; changes
/// nothing otherwise. One transaction, so two processes may do it at once.
pub(crate) async fn prepare(store: &Store) -> Result<(), Error> {
    let found = store.write(prepare_in).await.map_err(Error::Store)?;
    found.usable(store.path())
}

fn prepare_in(conn: &Connection) -> monolite_store::Result<Found> {
    let found = Found::look(conn)?;
    match found {
        Found::Empty => conn.execute_batch(include_str!("schema.sql"))?,
        Found::Ours => {}
        Found::Foreign { .. } | Found::Newer { .. } => return Ok(found),
    }
    let empty = "SELECT NOT EXISTS (SELECT 1 FROM post)";
    if conn.query_row(empty, [], |row| row.get(0))? {
        seed(conn)?;
    }
    Ok(found)
}

/// A table that is not ours: the file belongs to another app. Names that begin
/// with an underscore are a tool's (Litestream's, Monolite's).
fn foreign_table(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table'
        AND name NOT IN ('post', 'comment')
        AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_*' LIMIT 1";
    conn.query_row(sql, [], |row| row.get(0)).optional()
}

fn seed(conn: &Connection) -> rusqlite::Result<()> {
    for (id, text) in (1_i64..).zip(POSTS) {
        let (title, body) = text.split_once("\n\n").unwrap_or((text, text));
        // A blog emptied by hand gets the same numbers again: the texts use them.
        conn.execute(
            "INSERT INTO post (id, title, body) VALUES (?1, ?2, ?3)",
            (id, title.trim(), body.trim_end()),
        )?;
    }
    for comment in COMMENTS {
        conn.execute(
            "INSERT INTO comment (post_id, name, body) VALUES (?1, ?2, ?3)",
            comment,
        )?;
    }
    Ok(())
}
