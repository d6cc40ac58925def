//! What a migration is meant to take away: the kinds of losses, and the one notation for them.
//!
//! The same words are used by `--allow-loss`, by `allow_loss` of the settings, and by the comments
//! of migration files; the guard reports each loss with the words that allow it:
//!
//! ```text
//! [KIND:][DATABASE/]NAME[=EXACTLY]
//! rows:comments=1203      values:posts.title=40      trigger:posts_are_logged
//! ```
//!
//! NAME is a table, `table.column`, or the name of an index, a trigger or a view. Without a kind it
//! stands for a table with all that hangs on it. EXACTLY is what the guard counted, or a checksum of
//! the definition that is lost: with it the allowance is for the loss that was reported, and for no
//! other one that comes later. A `,` `:` `=` `/` or `%` within a name is written as in a URL (`%2C`
//! for a comma).

use serde::{Deserialize, Serialize};

use crate::schema::Schema;
use crate::sql::{name_key, same_name};

/// The kinds, each with its one name for people, flags and programs.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What kind of thing is lost.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum LossKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl LossKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// As in `--allow-loss trigger:posts_search`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// The whole database: its file is missing, or empty.
    Database = "database",
    /// SQLite cannot read a file or a table any more, or finds damage that was not there before.
    Damage = "damage",
    /// A table with rows in it.
    Table = "table",
    /// Rows of a table that is still there.
    Rows = "rows",
    /// A column that held values.
    Column = "column",
    /// Values of a column that is still there.
    Values = "values",
    /// Which row another row refers to: it refers to another one, or to none.
    Links = "links",
    /// A primary key, a foreign key or what it does, a CHECK, STRICT.
    Constraint = "constraint",
    /// An index, or what made it unique or partial.
    Index = "index",
    /// A trigger.
    Trigger = "trigger",
    /// A view.
    View = "view",
    /// A view cannot be read, or a table cannot be written, any more.
    Broken = "broken",
}

impl LossKind {
    /// Whether it is of a table and what hangs on it, and not of the state that the table was left
    /// in.
    fn is_of_table(self) -> bool {
        !matches!(
            self,
            Self::Database | Self::Damage | Self::Links | Self::Broken
        )
    }
}

/// One loss, as far as an allowance looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'l> {
    /// What kind of thing.
    pub kind: LossKind,
    /// Of which table, if of one; under its name before the migration.
    pub table: Option<&'l str>,
    /// Its own name: of the column, the index, the trigger, the view.
    pub name: Option<&'l str>,
    /// How many rows or values, or a checksum of what it said; empty for what has neither.
    pub exactly: &'l str,
}

impl Lost<'_> {
    /// The allowance for this loss and no other; of one database if that is given, which must be
    /// said where a volume has several.
    #[must_use]
    pub fn allowance(&self, database: Option<&str>) -> String {
        let mut text = format!("{}:", self.kind.name());
        if let Some(database) = database {
            text += &encode(database, false);
            text.push('/');
        }
        match (self.table, self.name) {
            // The names of these are unique in a database.
            (_, Some(name)) if self.is_named_alone() => text += &encode(name, true),
            (Some(table), Some(name)) => {
                text += &format!("{}.{}", encode(table, true), encode(name, true));
            }
            (Some(one), None) | (None, Some(one)) => text += &encode(one, true),
            (None, None) => {
                text.truncate(text.strip_suffix('/').map_or(text.len(), str::len));
            }
        }
        if !self.exactly.is_empty() {
            text += &format!("={}", encode(self.exactly, true));
        }
        text
    }

    fn is_named_alone(&self) -> bool {
        use LossKind as Kind;
        self.table.is_none()
            || matches!(
                self.kind,
                Kind::Index | Kind::Trigger | Kind::View | Kind::Broken
            )
    }
}

/// One loss that is meant, or all of a table's: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    text: String,
    kind: Option<LossKind>,
    /// With its database in front of it, if that was said.
    name: String,
    exactly: Option<String>,
}

impl Allowance {
    /// Reads what was written. Anything may be a name; whether there is such a thing shows in the
    /// database.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        let of_kind = text.split_once(':').and_then(|(kind, name)| {
            let kind = LossKind::ALL.iter().find(|known| known.name() == kind)?;
            Some((*kind, name))
        });
        let (kind, rest) = match of_kind {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text),
        };
        let (name, exactly) = match rest.rsplit_once('=') {
            Some((name, exactly)) if kind.is_some() => (name, Some(decode(exactly))),
            _ => (rest, None),
        };
        Self {
            text: text.into(),
            kind,
            name: name_key(&decode(name)),
            exactly,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The kind, if it was said.
    #[must_use]
    pub fn kind(&self) -> Option<LossKind> {
        self.kind
    }

    /// What is named, with the database in front of it if that was said; ASCII letters are small.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this loss in `database`, a path in the volume, is meant.
    #[must_use]
    pub fn covers(&self, database: &str, lost: Lost<'_>) -> bool {
        let of_kind = match self.kind {
            Some(kind) => kind == lost.kind,
            // Who lets a table go says nothing of the state of what is there.
            None => lost.kind.is_of_table(),
        };
        let is_exact = self.exactly.as_deref().is_none_or(|it| it == lost.exactly);
        if !of_kind || !is_exact {
            return false;
        }
        if self.kind.is_some() && name_key(database) == self.name {
            return lost.table.is_none() && lost.name.is_none() || lost.kind == LossKind::Damage;
        }
        let (table, own) = (lost.table, lost.name);
        let both = table.zip(own).map(|(table, own)| format!("{table}.{own}"));
        // A column's name alone could be one of any table, so it is not enough.
        let own_alone = own.filter(|_| lost.is_named_alone());
        self.names(database).any(|allowed| {
            let is = |name: &str| same_name(name, allowed);
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
    #[must_use]
    pub fn is_known(&self, database: &str, schema: &Schema) -> bool {
        name_key(database) == self.name || self.names(database).any(|name| is_in(schema, name))
    }

    /// A table with a name like the one that was written, in case of a misspelling.
    pub fn nearest<'s>(&self, mut schemas: impl Iterator<Item = &'s Schema>) -> Option<&'s str> {
        let near = |schema: &'s Schema| {
            let mut tables = schema.tables.iter();
            let table = tables.find(|table| is_near(&name_key(&table.name), &self.name))?;
            Some(table.name.as_str())
        };
        schemas.find_map(near)
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
                    .any(|index| same_name(&index.name, column))
                || schema.trigger(column).is_some()
        })
    };
    schema.table(name).is_some()
        || schema.view(name).is_some()
        || schema.trigger(name).is_some()
        || schema.index(name).is_some()
        || name.match_indices('.').any(column)
}

/// One letter more, less, or another; or two that changed places.
fn is_near(one: &str, other: &str) -> bool {
    // Of two letters, half may be another.
    one.chars().count().min(other.chars().count()) > 2
        && strsim::damerau_levenshtein(one, other) < 2
}

/// A name in which nothing separates. `whole`: a `/` does, too, and is no part of a path.
fn encode(name: &str, whole: bool) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            ',' | ':' | '=' | '%' => text += &format!("%{:02X}", u32::from(c)),
            '/' if whole => text += "%2F",
            // At the end of a list's entry it would be cut.
            c if c.is_whitespace() && c.is_ascii() => text += &format!("%{:02X}", u32::from(c)),
            c => text.push(c),
        }
    }
    text
}

/// What stands for a character is that; all else is as it is written.
fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                decoded.push(char::from(byte));
                decoded += &part[2..];
            }
            None => {
                decoded.push('%');
                decoded += part;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LossKind as Kind;
    use super::*;

    fn lost<'l>(kind: Kind, table: Option<&'l str>, name: Option<&'l str>) -> Lost<'l> {
        Lost {
            kind,
            table,
            name,
            exactly: "",
        }
    }

    fn is_covered(text: &str, database: &str, lost: Lost<'_>) -> bool {
        Allowance::new(text).covers(database, lost)
    }

    proptest! {
        /// Whatever the names are: as printed, it allows that loss in that database, and is one
        /// entry of a list with commas.
        #[test]
        fn every_loss_is_covered_by_what_it_says_to_allow(
            kind in 0..Kind::ALL.len(),
            table in proptest::option::of("[a-zA-Z ,.:=/%'\"é2C]{1,8}"),
            name in proptest::option::of("[a-zA-Z ,.:=/%'\"é2C]{1,8}"),
            count in 0..3000_u32,
        ) {
            let kind = Kind::ALL[kind];
            let database = "sub/app 1,2.db";
            let counted = match count {
                0 => String::new(),
                n => n.to_string(),
            };
            let lost = Lost {
                exactly: &counted,
                ..lost(kind, table.as_deref(), name.as_deref())
            };
            prop_assume!(kind != Kind::Database || (table.is_none() && name.is_none()));
            let in_it = lost.allowance(Some(database));
            prop_assert!(is_covered(&in_it, database, lost), "{in_it}");
            prop_assert!(!in_it.contains(',') && in_it.trim() == in_it);
            if table.is_some() || name.is_some() {
                let anywhere = lost.allowance(None);
                prop_assert!(is_covered(&anywhere, database, lost), "{anywhere}");
                let more = Lost { exactly: "3001", ..lost };
                prop_assert!(count == 0 || !is_covered(&anywhere, database, more));
            }
            prop_assert!(!is_covered(&in_it, "app.db", lost), "{in_it}");
        }
    }

    #[test]
    fn a_table_covers_all_of_it_and_nothing_else() {
        for kind in [
            Kind::Table,
            Kind::Rows,
            Kind::Values,
            Kind::Trigger,
            Kind::Constraint,
        ] {
            assert!(is_covered(
                "comments",
                "app",
                lost(kind, Some("Comments"), Some("x"))
            ));
            assert!(!is_covered(
                "comments",
                "app",
                lost(kind, Some("posts"), Some("x"))
            ));
        }
        assert!(!is_covered(
            "comments",
            "comments",
            lost(Kind::Database, None, None)
        ));
        let column = lost(Kind::Column, Some("posts"), Some("comments"));
        assert!(!is_covered("comments", "app", column));
        let rows = lost(Kind::Rows, Some("comments"), None);
        let own = "Sub/app.db/comments";
        assert!(is_covered(own, "sub/app.db", rows));
        assert!(!is_covered(own, "app.sqlite3", rows) && !is_covered(own, "app.db", rows));
        for kind in [Kind::Damage, Kind::Broken, Kind::Links] {
            let left = lost(kind, Some("comments"), None);
            assert!(!is_covered("comments", "app", left), "{kind:?}");
        }
        let damage = lost(Kind::Damage, Some("posts"), None);
        assert!(is_covered("damage:app", "app", damage));
    }

    #[test]
    fn a_kind_is_of_that_kind_only() {
        let trigger = lost(Kind::Trigger, Some("posts"), Some("t"));
        assert!(is_covered("trigger:posts", "app", trigger));
        assert!(!is_covered(
            "trigger:posts",
            "app",
            lost(Kind::Rows, Some("posts"), None)
        ));
        assert!(is_covered(
            "odd:name",
            "app",
            lost(Kind::Table, Some("odd:name"), None)
        ));
        let dotted = lost(Kind::Column, Some("a.b"), Some("c"));
        assert!(is_covered("a.b.c", "app", dotted));
    }
}
