//! What is applied, what waits, and what does not fit together.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::Serialize;

use super::error::{Error, Result};
use super::file::File;
use super::migrations::Migrations;
use super::record::{Applied, applied};

/// How it is with one migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was applied.
    Applied,
    /// It waits.
    Pending,
    /// It was applied, and is another text now.
    Edited,
    /// It was applied, and there is no file.
    Gone,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its number.
    pub version: u32,
    /// Its name without `.sql`.
    pub name: String,
    /// How it is with it.
    pub state: State,
    /// When it was applied, in milliseconds since 1970.
    pub applied_at_ms: Option<i64>,
    /// How long it took, in milliseconds; `None` for one of a baseline.
    pub took_ms: Option<i64>,
}

/// Every file and every record, by number.
///
/// # Errors
/// The database cannot be read.
pub fn status(conn: &Connection, migrations: &Migrations) -> Result<Vec<Entry>> {
    let mut entries: BTreeMap<u32, Entry> = BTreeMap::new();
    for file in migrations.files() {
        let entry = Entry {
            version: file.version(),
            name: file.name().into(),
            state: State::Pending,
            applied_at_ms: None,
            took_ms: None,
        };
        entries.insert(file.version(), entry);
    }
    for record in applied(conn)? {
        let state = match migrations.get(record.version) {
            None => State::Gone,
            Some(file) if file.checksum() != record.checksum => State::Edited,
            Some(_) => State::Applied,
        };
        let entry = Entry {
            version: record.version,
            name: record.name,
            state,
            applied_at_ms: Some(record.applied_at_ms),
            took_ms: record.took_ms,
        };
        entries.insert(entry.version, entry);
    }
    Ok(entries.into_values().collect())
}

/// The files that wait to be applied to the database, in order.
///
/// `accept_newer` is for an older version of an app on a database that a newer
/// one has migrated: nothing waits then.
///
/// # Errors
/// What was applied and the files do not fit together.
pub fn pending<'m>(
    conn: &Connection,
    migrations: &'m Migrations,
    accept_newer: bool,
) -> Result<&'m [File]> {
    let records = applied(conn)?;
    compare(&records, migrations, accept_newer)
}

pub(super) fn compare<'m>(
    records: &[Applied],
    migrations: &'m Migrations,
    accept_newer: bool,
) -> Result<&'m [File]> {
    let Some(newest) = records.last() else {
        return Ok(migrations.files());
    };
    for record in records {
        match migrations.get(record.version) {
            Some(file) if file.checksum() != record.checksum => {
                let file = file.file_name();
                return Err(Error::Edited { file });
            }
            Some(_) => {}
            None if record.version <= migrations.newest() => {
                return Err(Error::Gone {
                    version: record.version,
                    name: record.name.clone(),
                });
            }
            None if accept_newer => {}
            None => {
                return Err(Error::Newer {
                    name: newest.name.clone(),
                    newest: migrations.newest(),
                });
            }
        }
    }
    let is_recorded = |file: &&File| {
        let found = records.binary_search_by_key(&file.version(), |record| record.version);
        found.is_ok()
    };
    let done = migrations.files().iter().take_while(is_recorded).count();
    let (_, waiting) = migrations.files().split_at(done);
    match waiting.first() {
        Some(file) if file.version() < newest.version => Err(Error::OutOfOrder {
            file: file.file_name(),
            newest: newest.name.clone(),
        }),
        _ => Ok(waiting),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Migrations {
        Migrations::new(names.iter().map(|name| (*name, *name))).unwrap()
    }

    fn records(of: &Migrations, versions: &[u32]) -> Vec<Applied> {
        let record = |version: &u32| {
            let file = of.get(*version).unwrap();
            Applied {
                version: *version,
                name: file.name().into(),
                checksum: file.checksum().into(),
                applied_at_ms: 0,
                took_ms: None,
            }
        };
        versions.iter().map(record).collect()
    }

    #[test]
    fn what_waits_is_what_follows() {
        let all = files(&["1_a.sql", "2_b.sql", "3_c.sql"]);
        let waits = |versions: &[u32]| {
            let pending = compare(&records(&all, versions), &all, false).unwrap();
            pending.iter().map(File::version).collect::<Vec<_>>()
        };
        assert_eq!(waits(&[]), [1, 2, 3]);
        assert_eq!(waits(&[1, 2]), [3]);
        assert_eq!(waits(&[1, 2, 3]), [] as [u32; 0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let all = files(&["1_a.sql", "2_b.sql", "3_c.sql"]);
        let error = |versions: &[u32], now: &Migrations| {
            compare(&records(&all, versions), now, false).unwrap_err()
        };
        let edited = Migrations::new([("1_a.sql", "other"), ("2_b.sql", "2_b.sql")]).unwrap();
        assert!(matches!(error(&[1], &edited), Error::Edited { file } if file == "1_a.sql"));
        let fewer = files(&["1_a.sql", "2_b.sql"]);
        let newer = error(&[1, 2, 3], &fewer);
        assert!(matches!(newer, Error::Newer { newest: 2, .. }), "{newer}");
        let accepted = compare(&records(&all, &[1, 2, 3]), &fewer, true).unwrap();
        assert!(accepted.is_empty());
        let edited = compare(&records(&all, &[1, 2, 3]), &edited, true).unwrap_err();
        assert!(matches!(edited, Error::Edited { .. }));
        let order = error(&[1, 3], &all);
        assert!(
            matches!(order, Error::OutOfOrder { ref file, .. } if file == "2_b.sql"),
            "{order}"
        );
    }

    /// Files are without a gap, so that a record without a file below the
    /// newest cannot be; were it so, it is named.
    #[test]
    fn a_record_of_number_zero_has_no_file() {
        let all = files(&["1_a.sql"]);
        let mut odd = records(&all, &[1]);
        odd[0].version = 0;
        let error = compare(&odd, &all, false).unwrap_err();
        assert!(matches!(error, Error::Gone { version: 0, .. }), "{error}");
    }
}
