//! One pass over the rows of a table before and after, in the order of their key: which are gone,
//! which came, and for each column what became of its values.
//!
//! Both sides are read in the order of the key, so that nothing is looked up. What is kept of them is
//! bounded, whatever the number of rows: counters, and [`Sample`]s.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::types::ValueRef;
use rusqlite::{Result, Row};

use super::column::Column;
use super::key::Key;
use super::sample::Sample;
use super::sides::Sides;
use super::value::{self, Change};
use monolite_migrate::sql::{qualified_name, quote_name};

/// Columns before, times columns after, that are compared with each other.
const CROSSED_MAX: usize = 4096;
/// In wider tables: pairs of columns that are followed from the first row on in which one changed,
/// and of these, pairs for one column.
const SOUGHT_MAX: usize = 1024;
const SOUGHT_FOR_ONE_MAX: usize = 16;

/// The columns that are looked at, by their names.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Columns before that are no part of the key.
    pub(super) old: Vec<String>,
    /// Columns after that are no part of the key.
    pub(super) new: Vec<String>,
    /// Which is which, by their positions.
    pub(super) pairs: Vec<(usize, usize)>,
}

/// A row without its key, as it was or is in rows that were not found unchanged under their key.
#[derive(Debug, Default, Clone)]
pub(super) struct Content {
    /// How many rows have it.
    pub(super) rows: u32,
    /// Of these, rows whose key is on one side only.
    pub(super) unmatched: u32,
    /// The key of one of them, if it is one column.
    pub(super) key: Option<Id>,
}

/// A key of one column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

/// A new column that may be an old one under another name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rename {
    pub(super) old: usize,
    pub(super) new: usize,
    /// Rows in which it says something, and the same.
    pub(super) said: u64,
    /// Some values have another format.
    pub(super) is_like: bool,
}

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) before: u64,
    pub(super) after: u64,
    /// Rows whose key is gone.
    pub(super) lost: u64,
    /// Rows whose key is new.
    pub(super) came: u64,
    /// Rows under the same key in which a column that is still there has another value.
    pub(super) changed: u64,
    /// Of these, rows in which nothing is left that was in them, and in which other texts are: two of
    /// them, and more.
    pub(super) strangers: [u64; 2],
    /// For each of the layout's pairs.
    pub(super) columns: Vec<Column>,
    /// Old column → new column that has its values in all rows, but for their format.
    pub(super) renames: Vec<Rename>,
    /// Old column → another new column that has its values wherever it changed.
    pub(super) moves: Vec<(usize, usize)>,
    /// Old or new column → new column that has its values wherever that changed.
    pub(super) copies: Vec<(usize, usize)>,
    pub(super) old_contents: Sample<Content>,
    pub(super) new_contents: Sample<Content>,
    /// Sums of the hashes of all these contents.
    sums: [u128; 2],
    /// The key was a number in all rows.
    pub(super) has_number_key: bool,
    /// Of a wide table, for each of the layout's pairs: whether its moves and copies were sought.
    sought: Vec<bool>,
    /// The key comes first in a row as it is stored.
    is_plain_key: bool,
}

impl Scan {
    /// The rows that are not as they were under their key are the same but for their keys.
    pub(super) fn has_same_contents(&self) -> bool {
        self.sums[0] == self.sums[1] && self.lost == self.came && self.lost + self.changed > 0
    }

    pub(super) fn run(sides: Sides<'_>, key: &Key, layout: &Layout) -> Result<Self> {
        let mut scan = Self::of(layout);
        let [of_old, of_new] = key.terms(sides)?;
        let keys = key.len();
        let (was, is) = key.first();
        // Last comes the key as it is stored, if it is sorted as something else: not in any case,
        // since SQLite has a limit for the columns of a result.
        let is_plain = |terms: &[String], own: &str| terms.first().is_some_and(|term| term == own);
        let is_plain = is_plain(&of_old, was) && is_plain(&of_new, is);
        let select =
            |schema: &str, table: &str, key: Vec<String>, columns: &[String], own: &str| {
                let columns = columns.iter().map(|name| quote_name(name));
                let own = (!is_plain).then(|| own.to_owned());
                let all = key.iter().cloned().chain(columns).chain(own);
                let all: Vec<String> = all.collect();
                format!(
                    "SELECT {} FROM {} ORDER BY {}",
                    all.join(", "),
                    qualified_name(schema, table),
                    key.join(", ")
                )
            };
        let old = select("before", &sides.before.name, of_old, &layout.old, was);
        let new = select("main", &sides.after.name, of_new, &layout.new, is);
        let (mut old, mut new) = (sides.conn.prepare(&old)?, sides.conn.prepare(&new)?);
        scan.is_plain_key = is_plain;
        let (mut old, mut new) = (old.query([])?, new.query([])?);
        let mut b = old.next()?;
        let mut a = new.next()?;
        let (mut nulls_before, mut nulls_after) = (0_u64, 0_u64);
        loop {
            let order = match (b, a) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(b), Some(a)) => key.compare(b, a)?,
            };
            if let (Some(row), Ordering::Less) = (b, order) {
                scan.before += 1;
                // As old tables allow, a key may be NULL, and equals no other.
                match has_null(row, keys)? {
                    true => nulls_before += 1,
                    false => scan.lost(row, keys, layout)?,
                }
                b = old.next()?;
            } else if let (Some(row), Ordering::Greater) = (a, order) {
                scan.after += 1;
                match has_null(row, keys)? {
                    true => nulls_after += 1,
                    false => scan.came(row, keys, layout)?,
                }
                a = new.next()?;
            } else if let (Some(was), Some(now)) = (b, a) {
                scan.before += 1;
                scan.after += 1;
                match has_null(was, keys)? {
                    true => {
                        nulls_before += 1;
                        nulls_after += 1;
                    }
                    false => scan.matched(was, now, keys, layout)?,
                }
                b = old.next()?;
                a = new.next()?;
            }
        }
        scan.lost += nulls_before.saturating_sub(nulls_after);
        Ok(scan)
    }

    fn of(layout: &Layout) -> Self {
        let (olds, news) = (layout.old.len(), layout.new.len());
        let is_few = olds * news <= CROSSED_MAX;
        let all = |_: ()| (0..olds).flat_map(move |old| (0..news).map(move |new| (old, new)));
        let is_paired_old = |old: usize| layout.pairs.iter().any(|(at, _)| *at == old);
        let is_paired_new = |new: usize| layout.pairs.iter().any(|(_, at)| *at == new);
        let is_pair = |both: &(usize, usize)| layout.pairs.contains(both);
        let mut renames = Vec::new();
        let mut moves = Vec::new();
        let mut copies = Vec::new();
        let unpaired_old = (0..olds).filter(|at| !is_paired_old(*at));
        let unpaired_new: Vec<usize> = (0..news).filter(|at| !is_paired_new(*at)).collect();
        if !is_few {
            let all = unpaired_old.flat_map(|old| unpaired_new.iter().map(move |new| (old, *new)));
            renames.extend(all.take(CROSSED_MAX).map(|(old, new)| Rename {
                old,
                new,
                said: 0,
                is_like: false,
            }));
        } else {
            for both in all(()) {
                match (is_paired_old(both.0), is_paired_new(both.1)) {
                    (false, false) => renames.push(Rename {
                        old: both.0,
                        new: both.1,
                        said: 0,
                        is_like: false,
                    }),
                    (true, _) if !is_pair(&both) => moves.push(both),
                    _ => {}
                }
                if is_paired_new(both.1) && !is_pair(&both) {
                    copies.push(both);
                }
            }
        }
        Self {
            columns: (layout.pairs.iter())
                .map(|_| Column::one_of(layout.pairs.len()))
                .collect(),
            sought: match is_few {
                true => Vec::new(),
                false => vec![false; layout.pairs.len()],
            },
            renames,
            moves,
            copies,
            has_number_key: true,
            ..Self::default()
        }
    }

    fn lost(&mut self, row: &Row<'_>, keys: usize, layout: &Layout) -> Result<()> {
        self.lost += 1;
        self.see_key(row, keys)?;
        let content = content(row, keys, layout.pairs.iter().map(|(old, _)| *old))?;
        self.sums[0] += u128::from(content);
        let key = self.stored_key(row, keys)?;
        note(&mut self.old_contents, content, key, true)
    }

    fn came(&mut self, row: &Row<'_>, keys: usize, layout: &Layout) -> Result<()> {
        self.came += 1;
        let content = content(row, keys, layout.pairs.iter().map(|(_, new)| *new))?;
        self.sums[1] += u128::from(content);
        let key = self.stored_key(row, keys)?;
        note(&mut self.new_contents, content, key, true)
    }

    /// The key as it is stored, if it is one column.
    fn stored_key<'r>(&self, row: &'r Row<'_>, keys: usize) -> Result<Option<ValueRef<'r>>> {
        let at = match self.is_plain_key {
            true => 0,
            false => row.as_ref().column_count().saturating_sub(1),
        };
        match keys {
            1 => row.get_ref(at).map(Some),
            _ => Ok(None),
        }
    }

    fn see_key(&mut self, row: &Row<'_>, keys: usize) -> Result<()> {
        let key = self.stored_key(row, keys)?;
        self.has_number_key &= matches!(key, Some(ValueRef::Integer(_)));
        Ok(())
    }

    fn matched(
        &mut self,
        was: &Row<'_>,
        now: &Row<'_>,
        keys: usize,
        layout: &Layout,
    ) -> Result<()> {
        for at in (0..self.renames.len()).rev() {
            let rename = &mut self.renames[at];
            let (old, new) = (
                was.get_ref(keys + rename.old)?,
                now.get_ref(keys + rename.new)?,
            );
            let says = value::says(old);
            if value::same(old, new) {
                rename.said += u64::from(says);
            } else if says && value::change(old, new) == Change::Format {
                rename.said += 1;
                rename.is_like = true;
            } else {
                self.renames.swap_remove(at);
            }
        }
        let mut is_changed = false;
        // Texts that have nothing in common with what they were, and whether anything has.
        let (mut others, mut is_left) = (0, false);
        for (at, (old_at, new_at)) in layout.pairs.iter().enumerate() {
            let (old, new) = (was.get_ref(keys + old_at)?, now.get_ref(keys + new_at)?);
            let Some(change) = self.columns[at].see(old, new) else {
                is_left |= value::says(old);
                continue;
            };
            is_changed = true;
            match change {
                Some(Change::Other) => {
                    let both = (old, new);
                    others += u32::from(matches!(both, (ValueRef::Text(_), ValueRef::Text(_))));
                }
                Some(Change::Null | Change::Empty) | None => {}
                Some(_) => is_left = true,
            }
            if change.is_some() {
                if self.sought.get(at) == Some(&false) {
                    self.sought[at] = true;
                    self.seek(was, now, keys, layout, (*old_at, *new_at))?;
                }
                self.follow(was, now, keys, (*old_at, *new_at))?;
            }
        }
        if !is_changed {
            return Ok(());
        }
        self.changed += 1;
        self.see_key(was, keys)?;
        if !is_left && others >= 2 {
            self.strangers[usize::from(others > 2)] += 1;
        }
        let olds = layout.pairs.iter().map(|(old, _)| *old);
        let content_was = content(was, keys, olds)?;
        let news = layout.pairs.iter().map(|(_, new)| *new);
        let content_is = content(now, keys, news)?;
        self.sums[0] += u128::from(content_was);
        self.sums[1] += u128::from(content_is);
        let key_was = self.stored_key(was, keys)?;
        let key_is = self.stored_key(now, keys)?;
        note(&mut self.old_contents, content_was, key_was, false)?;
        note(&mut self.new_contents, content_is, key_is, false)
    }

    /// In the first row in which a column of a wide table changed: the other columns that may have
    /// its values now, and those that may have held what it has.
    fn seek(
        &mut self,
        was: &Row<'_>,
        now: &Row<'_>,
        keys: usize,
        layout: &Layout,
        pair: (usize, usize),
    ) -> Result<()> {
        let old = was.get_ref(keys + pair.0)?;
        let new = now.get_ref(keys + pair.1)?;
        let mut found = 0;
        for (other_old, other_new) in &layout.pairs {
            let is_full = found >= SOUGHT_FOR_ONE_MAX || self.moves.len() >= SOUGHT_MAX;
            if (*other_old, *other_new) == pair || is_full {
                continue;
            }
            let is = now.get_ref(keys + other_new)?;
            // What was there before came from nowhere.
            if value::same(old, is) && !value::same(was.get_ref(keys + other_old)?, is) {
                self.moves.push((pair.0, *other_new));
                found += 1;
            }
        }
        let is_paired = |new: &usize| layout.pairs.iter().any(|(_, at)| at == new);
        for other in (0..layout.new.len()).filter(|new| !is_paired(new)) {
            let is_full = found >= SOUGHT_FOR_ONE_MAX || self.moves.len() >= SOUGHT_MAX;
            if !is_full && value::same(old, now.get_ref(keys + other)?) {
                self.moves.push((pair.0, other));
                found += 1;
            }
        }
        found = 0;
        for other in (0..layout.old.len()).filter(|other| *other != pair.0) {
            let is_full = found >= SOUGHT_FOR_ONE_MAX || self.copies.len() >= SOUGHT_MAX;
            if !is_full && value::same(was.get_ref(keys + other)?, new) {
                self.copies.push((other, pair.1));
                found += 1;
            }
        }
        Ok(())
    }

    /// Where the values are that a column had, and those that it has.
    fn follow(
        &mut self,
        was: &Row<'_>,
        now: &Row<'_>,
        keys: usize,
        pair: (usize, usize),
    ) -> Result<()> {
        let old = was.get_ref(keys + pair.0)?;
        for at in (0..self.moves.len()).rev() {
            let (from, to) = self.moves[at];
            if from == pair.0 && !value::same(old, now.get_ref(keys + to)?) {
                self.moves.swap_remove(at);
            }
        }
        let new = now.get_ref(keys + pair.1)?;
        for at in (0..self.copies.len()).rev() {
            let (from, to) = self.copies[at];
            if to == pair.1 && !value::same(was.get_ref(keys + from)?, new) {
                self.copies.swap_remove(at);
            }
        }
        Ok(())
    }
}

fn has_null(row: &Row<'_>, keys: usize) -> Result<bool> {
    for at in 0..keys {
        if matches!(row.get_ref(at)?, ValueRef::Null) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A hash of what a row says without its key.
fn content(row: &Row<'_>, keys: usize, columns: impl Iterator<Item = usize>) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for at in columns {
        value::hash(row.get_ref(keys + at)?).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn note(
    contents: &mut Sample<Content>,
    content: u64,
    key: Option<ValueRef<'_>>,
    is_unmatched: bool,
) -> Result<()> {
    let Some(of) = contents.entry(content) else {
        return Ok(());
    };
    of.rows += 1;
    of.unmatched += u32::from(is_unmatched);
    if of.key.is_none() {
        of.key = match key {
            Some(ValueRef::Integer(number)) => Some(Id::Number(number)),
            Some(ValueRef::Text(text)) if text.len() <= 64 => {
                Some(Id::Text(String::from_utf8_lossy(text).into_owned()))
            }
            _ => None,
        };
    }
    Ok(())
}
