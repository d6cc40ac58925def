//! What a migration is meant to take away.

use crate::report::{Kind, Loss};
use monolite_migrate::schema::Schema;
use monolite_migrate::sql::name_key;

/// One `--allow-loss`: a table with its rows, columns, values and all that hangs
/// on it, `table.column`, the name of an index, a trigger or a view, or any of
/// these behind a kind, `trigger:posts_search`, `check:posts`. All of them may
/// stand behind their database: `app.sqlite3/posts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    text: String,
    kind: Option<Kind>,
    name: String,
}

impl Allowance {
    /// Reads what was written. Anything may be a name; whether there is such a
    /// thing shows in the database.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        let of_kind = text.split_once(':').and_then(|(kind, name)| {
            let kind = Kind::ALL.iter().find(|known| known.name() == kind)?;
            Some((*kind, name.to_owned()))
        });
        let (kind, name) = match of_kind {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text.to_owned()),
        };
        Self {
            text: text.into(),
            kind,
            name: name_key(&name),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn covers(&self, database: &str, loss: &Loss) -> bool {
        let of_kind = match self.kind {
            Some(kind) => kind == loss.kind,
            // Who lets a table go says nothing of the state of what is there.
            None => loss.kind.is_of_table(),
        };
        if !of_kind {
            return false;
        }
        if self.kind.is_some() && name_key(database) == self.name {
            return loss.table.is_none() && loss.name.is_none() || loss.kind == Kind::Unreadable;
        }
        let table = loss.table.as_deref();
        let own = loss.name.as_deref();
        let both = table.zip(own).map(|(table, own)| format!("{table}.{own}"));
        // A column's name alone could be one of any table, so it is not enough.
        let named = [Kind::Index, Kind::Trigger, Kind::View, Kind::Broken];
        let own_alone = own.filter(|_| table.is_none() || named.contains(&loss.kind));
        self.names(database).any(|allowed| {
            let is = |name: &str| name_key(name) == allowed;
            table.is_some_and(is) || own_alone.is_some_and(is) || both.as_deref().is_some_and(is)
        })
    }

    /// What it may mean in this database: a name of any, or of this one only.
    fn names(&self, database: &str) -> impl Iterator<Item = &str> {
        let own = self.name.strip_prefix(&name_key(database));
        let own = own.and_then(|own| own.strip_prefix('/'));
        [Some(self.name.as_str()), own].into_iter().flatten()
    }

    /// Whether there is something of that name.
    pub(super) fn is_known(&self, database: &str, schema: &Schema) -> bool {
        name_key(database) == self.name || self.names(database).any(|name| is_in(schema, name))
    }
}

fn is_in(schema: &Schema, name: &str) -> bool {
    let column = |(at, _): (usize, &str)| {
        let (table, column) = (&name[..at], &name[at + 1..]);
        let table = schema.table(table);
        table.is_some_and(|table| {
            table.column(column).is_some()
                || schema
                    .indexes_of(&table.name)
                    .any(|index| name_key(&index.name) == *column)
                || schema.trigger(column).is_some()
        })
    };
    schema.table(name).is_some()
        || schema.view(name).is_some()
        || schema.trigger(name).is_some()
        || schema.index(name).is_some()
        || name.match_indices('.').any(column)
}

/// That an allowance names nothing, with what is most like it.
pub(super) fn unknown<'f>(
    allowance: &Allowance,
    schema: impl Iterator<Item = &'f Schema>,
) -> String {
    let tables = schema.flat_map(|schema| schema.tables.iter());
    let names: Vec<&str> = tables.map(|table| table.name.as_str()).collect();
    let near = names
        .iter()
        .find(|name| is_near(&name_key(name), &allowance.name));
    let near = near.map(|name| format!("; did you mean `{name}`?"));
    format!(
        "allow-loss `{}` names nothing that is there{}",
        allowance.text,
        near.unwrap_or_default()
    )
}

/// One letter more, less, or another; or two that changed places.
fn is_near(one: &str, other: &str) -> bool {
    // Of two letters, half may be another.
    one.chars().count().min(other.chars().count()) > 2
        && strsim::damerau_levenshtein(one, other) < 2
}

impl Loss {
    /// What to say to `--allow-loss` if this is meant, in any database.
    #[must_use]
    pub fn allowance(&self, database: &str) -> String {
        match self.named() {
            (true, name) => format!("{}:{name}", self.kind.name()),
            (false, name) if name.is_empty() => format!("{}:{database}", self.kind.name()),
            (false, name) => name,
        }
    }

    /// What to say if this is meant in this database, but not in the others.
    #[must_use]
    pub fn allowance_in(&self, database: &str) -> String {
        match self.named() {
            (true, name) => format!("{}:{database}/{name}", self.kind.name()),
            (false, name) if name.is_empty() => format!("{}:{database}", self.kind.name()),
            (false, name) => format!("{database}/{name}"),
        }
    }

    /// Its name, and whether the kind must be said with it; none if it is the
    /// whole database.
    fn named(&self) -> (bool, String) {
        match (self.kind, self.table.as_deref(), self.name.as_deref()) {
            (Kind::Table, Some(table), _) => (false, table.into()),
            (Kind::Column | Kind::Values, Some(table), Some(column)) => {
                (false, format!("{table}.{column}"))
            }
            // Commas separate allowances.
            (Kind::Index | Kind::Trigger | Kind::View, table, Some(name))
                if table.is_none() || !name.contains(',') =>
            {
                (true, name.into())
            }
            (_, Some(table), _) => (true, table.into()),
            (_, None, Some(name)) => (true, name.into()),
            (_, None, None) => (false, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(kind: Kind, table: Option<&str>, name: Option<&str>) -> Loss {
        Loss::new(kind, table, name)
    }

    #[test]
    fn every_loss_is_covered_by_what_it_says_to_allow() {
        for &kind in Kind::ALL {
            for (table, name) in [
                (Some("Posts"), None),
                (Some("Posts"), Some("title")),
                (None, Some("v.x")),
                (None, None),
            ] {
                if kind == Kind::Database && (table.is_some() || name.is_some()) {
                    continue;
                }
                let loss = loss(kind, table, name);
                let text = loss.allowance("app.sqlite3");
                let allowance = Allowance::new(&text);
                assert!(allowance.covers("app.sqlite3", &loss), "{kind:?} {text}");
                let text = loss.allowance_in("sub/app.db");
                let allowance = Allowance::new(&text);
                assert!(allowance.covers("sub/app.db", &loss), "{kind:?} {text}");
                assert!(!allowance.covers("app.db", &loss), "{kind:?} {text}");
            }
        }
    }

    #[test]
    fn a_table_covers_all_of_it_and_nothing_else() {
        let allowance = Allowance::new("comments");
        for kind in [
            Kind::Table,
            Kind::Rows,
            Kind::Values,
            Kind::Trigger,
            Kind::Check,
        ] {
            assert!(allowance.covers("app", &loss(kind, Some("Comments"), Some("x"))));
            assert!(!allowance.covers("app", &loss(kind, Some("posts"), Some("x"))));
        }
        assert!(!allowance.covers("comments", &loss(Kind::Database, None, None)));
        assert!(!allowance.covers("app", &loss(Kind::Column, Some("posts"), Some("comments"))));
    }

    #[test]
    fn a_table_that_may_go_is_of_one_database_and_not_left_damaged() {
        let own = Allowance::new("Sub/app.db/comments");
        let rows = loss(Kind::Rows, Some("comments"), None);
        assert!(own.covers("sub/app.db", &rows) && !own.covers("app.sqlite3", &rows));
        assert!(!own.covers("app.db", &rows));
        let rows = loss(Kind::Rows, Some("posts"), None);
        assert!(!own.covers("sub/app.db", &rows));
        let kinds = [
            Kind::Integrity,
            Kind::Broken,
            Kind::Violation,
            Kind::Unreadable,
        ];
        for kind in kinds {
            let left = loss(kind, Some("comments"), None);
            assert!(!Allowance::new("comments").covers("app", &left), "{kind:?}");
            assert!(Allowance::new(&left.allowance("app")).covers("app", &left));
        }
        let whole = Allowance::new("unreadable:app");
        assert!(whole.covers("app", &loss(Kind::Unreadable, Some("posts"), None)));
        assert!(!whole.covers("app", &loss(Kind::Rows, Some("posts"), None)));
    }

    #[test]
    fn a_kind_is_of_that_kind_only() {
        let allowance = Allowance::new("trigger:posts");
        assert!(allowance.covers("app", &loss(Kind::Trigger, Some("posts"), Some("t"))));
        assert!(!allowance.covers("app", &loss(Kind::Rows, Some("posts"), None)));
        assert!(
            Allowance::new("odd:name").covers("app", &loss(Kind::Table, Some("odd:name"), None))
        );
        assert!(Allowance::new("a.b.c").covers("app", &loss(Kind::Column, Some("a.b"), Some("c"))));
    }
}
