//! Collations of the app's own, which only the app has.

use rusqlite::{Connection, Result};

/// Lets statements be compiled on `conn` that name collations which are not
/// there: each is what BINARY is. Good for reading a schema and for comparing
/// values; whoever writes an index with such a collation would break its order.
///
/// # Errors
/// The connection is of a build of SQLite without it.
pub(crate) fn stand_in_collations(conn: &Connection) -> Result<()> {
    conn.collation_needed(|conn, name| conn.create_collation(name, |a: &str, b: &str| a.cmp(b)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_names_an_unknown_collation_can_be_read() {
        let conn = Connection::open_in_memory().unwrap();
        conn.create_collation("icu", |a: &str, b: &str| a.cmp(b))
            .unwrap();
        conn.execute_batch(
            "CREATE TABLE t (a TEXT COLLATE icu); INSERT INTO t VALUES ('b'), ('a')",
        )
        .unwrap();
        conn.remove_collation("icu").unwrap();
        let first = || conn.query_row("SELECT a FROM t ORDER BY a", [], |row| row.get(0));
        assert!(first().is_err());
        stand_in_collations(&conn).unwrap();
        let first: String = first().unwrap();
        assert_eq!(first, "a");
    }
}
