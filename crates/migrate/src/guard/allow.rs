//! What a migration is meant to take away.

use super::facts::{Facts, key};
use super::report::{Kind, Loss};

/// One `--allow-loss`: a table with everything of it, `table.column`, the name
/// of an index, a trigger or a view, or any of these behind a kind:
/// `trigger:posts_search`, `check:posts`.
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
            let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
            Some((kind, name.to_owned()))
        });
        let (kind, name) = match of_kind {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text.to_owned()),
        };
        Self {
            text: text.into(),
            kind,
            name: key(&name),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn covers(&self, database: &str, loss: &Loss) -> bool {
        if self.kind.is_some_and(|kind| kind != loss.kind) {
            return false;
        }
        let is = |name: &str| key(name) == self.name;
        let table = loss.table.as_deref();
        let own = loss.name.as_deref();
        let both = table.zip(own).map(|(table, own)| format!("{table}.{own}"));
        // A column's name alone could be one of any table, so it is not enough.
        let named = [Kind::Index, Kind::Trigger, Kind::View, Kind::Broken];
        let own_alone = own.filter(|_| table.is_none() || named.contains(&loss.kind));
        if table.is_none() && own.is_none() {
            return self.kind.is_some() && is(database);
        }
        table.is_some_and(is) || own_alone.is_some_and(is) || both.is_some_and(|both| is(&both))
    }

    /// Whether there is something of that name.
    pub(super) fn is_known(&self, database: &str, facts: &Facts) -> bool {
        let name = &self.name;
        let column = |(at, _): (usize, &str)| {
            let (table, column) = (&name[..at], &name[at + 1..]);
            let table = facts.tables.get(table);
            table.is_some_and(|table| {
                table.column(column).is_some()
                    || facts
                        .indexes_of(&table.name)
                        .any(|index| key(&index.name) == *column)
                    || facts.triggers.contains_key(column)
            })
        };
        key(database) == *name
            || facts.tables.contains_key(name)
            || facts.views.contains_key(name)
            || facts.triggers.contains_key(name)
            || facts.indexes.iter().any(|index| key(&index.name) == *name)
            || name.match_indices('.').any(column)
    }
}

/// That an allowance names nothing, with what is most like it.
pub(super) fn unknown<'f>(allowance: &Allowance, facts: impl Iterator<Item = &'f Facts>) -> String {
    let tables = facts.flat_map(|facts| facts.tables.values());
    let names: Vec<&str> = tables.map(|table| table.name.as_str()).collect();
    let near = names
        .iter()
        .find(|name| is_near(&key(name), &allowance.name));
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
    if one.len().min(other.len()) < 3 {
        return false;
    }
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let rest = |by: usize, other_by: usize| {
        one.get(by..).is_some() && one.get(by..) == other.get(other_by..)
    };
    let swapped = one.len() > 1 && other.len() > 1 && one[0] == other[1] && one[1] == other[0];
    rest(1, 0) || rest(0, 1) || rest(1, 1) || (swapped && rest(2, 2))
}

impl Loss {
    /// What to say to `--allow-loss` if this is meant.
    #[must_use]
    pub fn allowance(&self, database: &str) -> String {
        let (table, name) = (self.table.as_deref(), self.name.as_deref());
        match (self.kind, table, name) {
            (Kind::Database | Kind::Unreadable, ..) => format!("{}:{database}", self.kind.name()),
            (Kind::Table, Some(table), _) => table.into(),
            (Kind::Column | Kind::Values, Some(table), Some(column)) => format!("{table}.{column}"),
            // Commas separate allowances.
            (Kind::Index | Kind::Trigger | Kind::View, table, Some(name))
                if table.is_none() || !name.contains(',') =>
            {
                format!("{}:{name}", self.kind.name())
            }
            (kind, Some(table), _) => format!("{}:{table}", kind.name()),
            (kind, None, Some(name)) => format!("{}:{name}", kind.name()),
            (kind, None, None) => format!("{}:{database}", kind.name()),
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
        for kind in Kind::ALL {
            for (table, name) in [
                (Some("Posts"), None),
                (Some("Posts"), Some("title")),
                (None, Some("v.x")),
                (None, None),
            ] {
                let whole = matches!(kind, Kind::Database | Kind::Unreadable);
                if whole && (table.is_some() || name.is_some()) {
                    continue;
                }
                let loss = loss(kind, table, name);
                let text = loss.allowance("app.sqlite3");
                let allowance = Allowance::new(&text);
                assert!(allowance.covers("app.sqlite3", &loss), "{kind:?} {text}");
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
