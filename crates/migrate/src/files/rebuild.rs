//! Our own statement, `REBUILD TABLE`.

use rusqlite::Connection;

use crate::rebuild::{Error, Rebuild};

/// Looks at the statement without a database.
pub(crate) fn check(sql: &str) -> Result<(), Box<Error>> {
    Rebuild::parse(sql).map(drop).map_err(Box::new)
}

/// Runs it, as part of the open transaction.
pub(crate) fn run(conn: &Connection, sql: &str) -> Result<(), Box<Error>> {
    let rebuild = Rebuild::parse(sql).map_err(Box::new)?;
    rebuild.run(conn).map(drop).map_err(Box::new)
}
