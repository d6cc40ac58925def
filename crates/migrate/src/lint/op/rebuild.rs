//! What a `REBUILD TABLE` does.

use super::Op;
use crate::lint::copy::words;
use crate::rebuild::Rebuild;
use crate::sql::tokens;

/// The table and its renames. One that cannot be read is refused elsewhere.
pub(super) fn rebuild(sql: &str) -> Op {
    match Rebuild::parse(sql) {
        Ok(rebuild) => Op::RenameColumns {
            table: rebuild.name().to_owned(),
            pairs: rebuild.renames().to_vec(),
            rebuild: true,
        },
        Err(_) => Op::Other { writes_rows: false },
    }
}

/// Columns that a rebuild sets, and the names in what they are set to.
pub(in crate::lint) fn rebuild_sets(sql: &str) -> Vec<(String, Vec<String>)> {
    let Ok(rebuild) = Rebuild::parse(sql) else {
        return Vec::new();
    };
    let names = |expression: &str| words(expression, &tokens(expression).unwrap_or_default());
    let sets = rebuild.sets().iter();
    sets.map(|(column, to)| (column.clone(), names(to)))
        .collect()
}
