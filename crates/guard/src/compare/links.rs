//! Rows that refer to rows which have other keys now.

use rusqlite::Result;

use super::key::Key;
use super::matches::Matches;
use super::recreation::Look;
use super::rows::Renumbered;
use super::scan::Id;
use super::sides::{Sides, number};
use monolite_migrate::schema::{Table, TableKind};
use monolite_migrate::sql::{name_key, quote_name, same_name};

pub(super) struct Links<'l> {
    pub(super) look: &'l Look<'l>,
    pub(super) matches: &'l Matches,
}

impl Links<'_> {
    /// Tables and columns that refer to keys which the rows of a table had, and in which rows still
    /// say the same; with how many.
    pub(super) fn left_behind(
        &self,
        was: &Table,
        now: &Table,
        renumbered: &Renumbered,
    ) -> Result<Vec<(String, String, u64)>> {
        let mut found = Vec::new();
        for child in &self.look.before.tables {
            let Some(child_now) = self
                .matches
                .of(&child.name)
                .and_then(|name| self.look.after.table(name))
            else {
                continue;
            };
            for column in self.references(was, now, child, child_now) {
                let rows = self.unchanged(child, child_now, &column, renumbered)?;
                if rows > 0 {
                    found.push((child.name.clone(), column, rows));
                }
            }
        }
        Ok(found)
    }

    /// Columns of `child` that refer to the table: by a foreign key before or after, or by their
    /// name where an app declares none.
    fn references(
        &self,
        was: &Table,
        now: &Table,
        child: &Table,
        child_now: &Table,
    ) -> Vec<String> {
        if child.kind != TableKind::Ordinary {
            return Vec::new();
        }
        let declared = |table: &Table, parent: &Table| -> Vec<String> {
            let keys = table.foreign_keys.iter();
            let keys =
                keys.filter(|key| same_name(&key.parent, &parent.name) && key.columns.len() == 1);
            keys.filter(|key| {
                let to = key.to();
                let primary = parent.primary_key();
                to.iter()
                    .all(|to| primary.iter().any(|own| same_name(&own.name, to)))
            })
            .flat_map(|key| key.from().map(str::to_owned).collect::<Vec<_>>())
            .collect()
        };
        let mut columns = declared(child, was);
        columns.extend(declared(child_now, now));
        let names = names_for(
            &was.name,
            was.primary_key().first().map_or("id", |key| &key.name),
        );
        let by_name = child.visible_columns().map(|column| column.name.clone());
        let has_others = |column: &str| {
            let mut keys = child.foreign_keys.iter();
            keys.any(|key| key.from().any(|from| same_name(from, column)))
        };
        columns.extend(by_name.filter(|name| names.contains(&name_key(name)) && !has_others(name)));
        columns.retain(|name| child.column(name).is_some() && child_now.column(name).is_some());
        columns.sort_by_key(|name| name_key(name));
        columns.dedup_by(|one, other| same_name(one, other));
        columns
    }

    /// Rows that referred to one of the old keys, and say the same now.
    fn unchanged(
        &self,
        child: &Table,
        now: &Table,
        column: &str,
        renumbered: &Renumbered,
    ) -> Result<u64> {
        let sides = Sides {
            conn: self.look.conn,
            before: child,
            after: now,
            proof: super::recreation::Proof::Nothing,
        };
        let Some(key) = Key::of(child, now, &[], &[]) else {
            return Ok(0);
        };
        if !key.is_looked_up(sides)? {
            return Ok(0);
        }
        let keys: Vec<String> = renumbered.pairs.iter().map(|(old, _)| old.json()).collect();
        let column = quote_name(column);
        let sql = format!(
            "SELECT count(*) {} WHERE b.{column} = a.{column} AND b.{column} IN (SELECT value FROM json_each(?1))",
            key.join(child, now)
        );
        let list = format!("[{}]", keys.join(","));
        self.look.conn.query_row(&sql, [list], |row| number(row, 0))
    }
}

/// What a column is called that refers to a table: `user_id` for `users`.
pub(super) fn names_for(table: &str, key: &str) -> Vec<String> {
    let (table, key) = (name_key(table), name_key(key));
    const IRREGULAR: [(&str, &str); 6] = [
        ("people", "person"),
        ("children", "child"),
        ("men", "man"),
        ("women", "woman"),
        ("media", "medium"),
        ("indices", "index"),
    ];
    let mut names = vec![table.clone()];
    for (many, one) in IRREGULAR {
        if let Some(stem) = table.strip_suffix(many) {
            names.push(format!("{stem}{one}"));
        }
    }
    for (ending, instead) in [("ies", "y"), ("es", ""), ("s", "")] {
        if let Some(stem) = table.strip_suffix(ending) {
            names.push(format!("{stem}{instead}"));
        }
    }
    let with_key = names
        .iter()
        .flat_map(|name| [format!("{name}_{key}"), format!("{name}{key}")]);
    with_key.collect()
}

impl Id {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("'{text}'"),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        }
    }
}
