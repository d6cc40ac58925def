//! Our own statement, `REBUILD TABLE`.

use rusqlite::Connection;

use super::record::TABLE;
use crate::rebuild::{Error, Rebuild};
use crate::sql::same_name;

/// Looks at the statement without a database.
pub(crate) fn check(sql: &str) -> Result<(), Box<Error>> {
    let rebuild = Rebuild::parse(sql).map_err(Box::new)?;
    if same_name(rebuild.name(), TABLE) {
        let what = "the record of migrations is kept by monolite; use `monolite migrate baseline`";
        return Err(Box::new(Error::clause(TABLE, what)));
    }
    Ok(())
}

/// Runs it, as part of the open transaction, which is looked through for rows
/// without a parent before its commit.
pub(crate) fn run(conn: &Connection, sql: &str) -> Result<(), Box<Error>> {
    let rebuild = Rebuild::parse(sql).map_err(Box::new)?;
    rebuild.run_unlooked(conn).map(drop).map_err(Box::new)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_migrations_is_not_rebuilt() {
        for name in ["_monolite_migration", "main.\"_Monolite_Migration\""] {
            let error = check(&format!(
                "REBUILD TABLE {name} (version INTEGER PRIMARY KEY)"
            ));
            assert!(error.unwrap_err().to_string().contains("migrate baseline"));
        }
        check("REBUILD TABLE migration (version INTEGER PRIMARY KEY)").unwrap();
    }
}
