use super::{ForeignKey, Schema, Table};
use crate::sql::{quote_name, same_name};

/// The rows that refer to none, by what they refer to. As with a foreign key,
/// the parent's column says how values are compared: `+` takes from the child's
/// column what it would say of that.
pub(super) fn query(child: &Table, key: &ForeignKey, to: &[String]) -> String {
    let own = |(from, _): &(String, Option<String>)| format!("child.{}", quote_name(from));
    let values: Vec<String> = key
        .columns
        .iter()
        .map(|pair| format!("quote(CAST({} AS TEXT))", own(pair)))
        .collect();
    let refers: Vec<String> = key
        .columns
        .iter()
        .map(|pair| format!("{} IS NOT NULL", own(pair)))
        .collect();
    let found: Vec<String> = key
        .columns
        .iter()
        .zip(to)
        .map(|(pair, to)| format!("parent.{} = +{}", quote_name(to), own(pair)))
        .collect();
    let without = match found.is_empty() {
        // There is no such table.
        true => String::new(),
        false => format!(
            " AND NOT EXISTS (SELECT 1 FROM main.{} AS parent WHERE {})",
            quote_name(&key.parent),
            found.join(" AND ")
        ),
    };
    format!(
        "SELECT {}, count(*) FROM main.{} AS child WHERE {}{without} GROUP BY 1",
        values.join(" || ', ' || "),
        quote_name(&child.name),
        refers.join(" AND "),
    )
}

/// The columns of the parent that are the key; empty without such a table, none
/// if they are not unique there.
pub(super) fn named_columns(schema: &Schema, key: &ForeignKey) -> Option<Vec<String>> {
    let Some(parent) = schema.table(&key.parent) else {
        return schema.view(&key.parent).is_none().then(Vec::new);
    };
    let mut primary: Vec<_> = parent.columns.iter().filter(|one| one.key > 0).collect();
    primary.sort_by_key(|column| column.key);
    let primary: Vec<String> = primary.iter().map(|one| one.name.clone()).collect();
    let named: Option<Vec<String>> = key.columns.iter().map(|(_, to)| to.clone()).collect();
    let to = named.unwrap_or_else(|| primary.clone());
    let is = |unique: &[String]| {
        unique.len() == to.len()
            && unique
                .iter()
                .all(|one| to.iter().any(|to| same_name(to, one)))
    };
    let indexed = schema.indexes_of(&parent.name).any(|index| {
        let columns: Option<Vec<String>> =
            index.columns.iter().map(|one| one.name.clone()).collect();
        let collated = index.columns.iter().all(|one| {
            let column = one.name.as_deref().and_then(|name| parent.column(name));
            column.is_some_and(|column| same_name(&column.collation, &one.collation))
        });
        index.unique && !index.partial && collated && columns.is_some_and(|all| is(&all))
    });
    (to.len() == key.columns.len() && (is(&primary) || indexed)).then_some(to)
}
