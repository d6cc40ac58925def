//! The tables, and the posts a new blog starts with.

use std::path::Path;

use monolite::rusqlite::{self, Connection, OpenFlags};
use monolite::{Monolite, Transaction};

use crate::Error;
use crate::discussed::CountDiscussed;

/// What makes each version out of the one before, the first out of nothing.
/// `PRAGMA user_version` says how many of them a file has seen.
const VERSIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The version this code reads and writes.
const VERSION: i64 = VERSIONS.len() as i64;

/// Our tables, and the version that brought each.
const TABLES: [(&str, i64); 6] = [
    ("post", 1),
    ("comment", 1),
    ("notification", 2),
    ("discussed", 2),
    ("discussed_count", 2),
    ("front", 2),
];

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
    /// Ours, or empty: version 0.
    Ours {
        version: i64,
    },
    Foreign {
        table: String,
    },
    Newer {
        version: i64,
    },
}

impl Found {
    fn look(conn: &Connection) -> rusqlite::Result<Self> {
        let version = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if !(0..=VERSION).contains(&version) {
            return Ok(Self::Newer { version });
        }
        // The version alone proves nothing: other apps count from 1 too.
        Ok(match foreign_table(conn, version)? {
            Some(table) => Self::Foreign { table },
            None => Self::Ours { version },
        })
    }

    fn usable(self, path: &Path) -> Result<(), Error> {
        let path = path.into();
        match self {
            Self::Ours { .. } => Ok(()),
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

/// Brings the tables up to [`VERSION`] and seeds an empty blog; changes nothing
/// otherwise. One transaction, so two processes may do it at once.
pub(crate) async fn prepare(app: &Monolite) -> Result<(), Error> {
    let found = app.transaction(prepare_in).await?;
    found.usable(app.db().path())
}

fn prepare_in(tx: &Transaction<'_>) -> monolite::Result<Found> {
    let found = Found::look(tx)?;
    let Found::Ours { version } = found else {
        return Ok(found);
    };
    for sql in VERSIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        tx.execute_batch(sql)?;
    }
    let empty = "SELECT NOT EXISTS (SELECT 1 FROM post)";
    if tx.query_row(empty, [], |row| row.get(0))? {
        seed(tx)?;
    }
    if version < VERSION {
        // Not only with the next minute.
        tx.enqueue(CountDiscussed {})?;
    }
    Ok(found)
}

/// A table that is not ours: the file belongs to another app. Names that begin
/// with an underscore are a tool's (Litestream's, Monolite's).
fn foreign_table(conn: &Connection, version: i64) -> rusqlite::Result<Option<String>> {
    let mut statement = conn.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table'
         AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_*'",
    )?;
    let names = statement.query_map([], |row| row.get(0))?;
    let names = names.collect::<rusqlite::Result<Vec<String>>>()?;
    let ours = |name: &str| {
        TABLES
            .iter()
            .any(|(n, since)| *n == name && *since <= version)
    };
    Ok(names.into_iter().find(|name| !ours(name)))
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
