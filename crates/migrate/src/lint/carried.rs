//! Where the rows of known tables are while a file rebuilds them by hand.

use std::collections::BTreeSet;

use super::copy::Copy;
use super::known::Known;
use super::world::World;
use crate::sql::same_name;

/// The rows of known tables in others.
#[derive(Debug, Default)]
pub(super) struct Carried {
    all: Vec<One>,
    /// Tables of which some rows went somewhere.
    partly: BTreeSet<String>,
}

/// All rows of one, in one.
#[derive(Debug)]
struct One {
    /// The table that has them, by its present name.
    table: String,
    /// The table they are of, as the database calls it.
    of: String,
    /// The columns with their values.
    columns: BTreeSet<String>,
}

impl Carried {
    /// Some rows of tables are put elsewhere, maybe all of them.
    pub(super) fn copied(&mut self, from: &[String]) {
        let names = from.iter().map(|from| from.to_ascii_lowercase());
        self.partly.extend(names);
    }

    /// All rows of a table are put into another. `source`: the columns of the
    /// one, before; the other is as it is now.
    pub(super) fn copy(&mut self, copy: &Copy, source: &[String], world: &World, known: &Known) {
        let kept = copy.kept(source, &world.writable(&copy.to));
        let (of, has) = match known.table(&copy.from) {
            Some(known) => (known.name.clone(), None),
            None => match self
                .all
                .iter()
                .find(|one| same_name(&one.table, &copy.from))
            {
                Some(one) => (one.of.clone(), Some(one.columns.clone())),
                None => return,
            },
        };
        let is_there = |column: &String| has.as_ref().is_none_or(|has| has.contains(column));
        self.all.push(One {
            table: copy.to.clone(),
            of,
            columns: kept.into_iter().filter(is_there).collect(),
        });
    }

    /// The rows are gone again.
    pub(super) fn emptied(&mut self, table: &str) {
        self.all.retain(|one| !same_name(&one.table, table));
    }

    /// The values of a column are.
    pub(super) fn overwritten(&mut self, table: &str, columns: &[String]) {
        let all = self.all.iter_mut();
        for one in all.filter(|one| same_name(&one.table, table)) {
            let is_other = |column: &String| !columns.iter().any(|gone| same_name(gone, column));
            one.columns.retain(is_other);
        }
    }

    pub(super) fn renamed(&mut self, from: &str, to: &str) {
        let all = self.all.iter_mut();
        all.filter(|one| same_name(&one.table, from))
            .for_each(|one| to.clone_into(&mut one.table));
        if self.partly.remove(&from.to_ascii_lowercase()) {
            self.partly.insert(to.to_ascii_lowercase());
        }
    }

    /// Whether some rows of `table`, by its present name, were put elsewhere.
    pub(super) fn is_partly(&self, table: &str) -> bool {
        self.partly.contains(&table.to_ascii_lowercase())
    }

    /// The columns that `table` has of all rows of `of`.
    pub(super) fn columns(&self, table: &str, of: &str) -> Option<&BTreeSet<String>> {
        let all = self.all.iter();
        let those = all.filter(|one| same_name(&one.table, table) && same_name(&one.of, of));
        those
            .map(|one| &one.columns)
            .max_by_key(|columns| columns.len())
    }
}
