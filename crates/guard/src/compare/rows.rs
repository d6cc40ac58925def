//! One table's rows before and after: which are gone, which have other keys, which values are lost.
//!
//! Rows are the same if their key is: the declared primary key, else the rowid. A table without a
//! declared key may have been given new rowids; then contents are counted instead.

use std::collections::HashMap;

use rusqlite::{Connection, Result};

use super::column::{Column, Values};
use super::contents;
use super::key::Key;
use super::recreation::Proof;
use super::scan::{Id, Layout, Scan};
use super::sides::{Sides, count};
use super::{value, values};
use monolite_migrate::schema::{self, Table};
use monolite_migrate::sql::same_name;

/// Rows with other keys of which the old and the new one are remembered.
const RENUMBERED_MAX: usize = 10_000;

/// How a table compares.
#[derive(Debug, Default, Clone)]
pub(super) struct Compared {
    /// Rows there were.
    pub(super) before: u64,
    /// Rows there are.
    pub(super) after: u64,
    /// Rows that are gone.
    pub(super) lost: u64,
    /// Rows that were not there.
    pub(super) came: u64,
    /// Rows under whose key there is another one.
    pub(super) replaced: u64,
    /// Columns that are there and in which values are lost.
    pub(super) values: Vec<(String, Values)>,
    /// Columns that are there and in which values are others, in words.
    pub(super) told: Vec<(String, String)>,
    /// Columns that are gone, and how many values they had.
    pub(super) dropped: Vec<(String, u64)>,
    /// Columns under a new name.
    pub(super) renamed: Vec<(String, String)>,
    pub(super) renumbered: Option<Renumbered>,
    /// Rows that are the same under other keys, which refer to another table: they count as lost,
    /// or as others, unless the rows of that table have these other keys as well.
    pub(super) reassigned: Option<Renumbered>,
    /// What its rows are found by, if that is fast.
    pub(super) join: Option<String>,
}

/// Rows that are the same under other keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Renumbered {
    /// Some of them: the key before, and now.
    pub(super) pairs: Vec<(Id, Id)>,
    pub(super) rows: u64,
}

impl Renumbered {
    /// Whether the keys became the same ones as those of the rows of `parent`.
    pub(super) fn follows(&self, parent: &Self) -> bool {
        let theirs: HashMap<&Id, &Id> = parent.pairs.iter().map(|(old, new)| (old, new)).collect();
        let both = (self.pairs.iter()).filter_map(|(old, new)| Some((new, *theirs.get(old)?)));
        let mut both = both.peekable();
        // Beyond a sample, not all of them are known.
        both.peek().is_some() && both.all(|(new, their_new)| new == their_new)
    }
}

impl Compared {
    /// Nothing of the table is lost.
    pub(super) fn is_whole(&self) -> bool {
        self.has_all_rows() && self.values.is_empty()
    }

    /// Every row is there, and every column that held something.
    pub(super) fn has_all_rows(&self) -> bool {
        self.lost == 0 && self.replaced == 0 && self.dropped.iter().all(|(_, values)| *values == 0)
    }

    /// The table to which the keys refer has the same new keys, so that the rows followed it.
    pub(super) fn has_followed(&mut self) {
        self.renumbered = self.reassigned.take();
        (self.lost, self.came, self.replaced) = (0, 0, 0);
        self.values.clear();
        self.told.clear();
    }

    pub(super) fn is_unchanged(&self) -> bool {
        self.is_whole() && self.told.is_empty() && self.renumbered.is_none()
    }
}

/// Compares a table whose tree did not change: its rows are the same, so only
/// the names of columns can differ. `None` if that is not all.
pub(super) fn unchanged(before: &Table, after: &Table) -> Option<Compared> {
    let mut compared = Compared::default();
    for (at, column) in before.visible_columns().enumerate() {
        if after.column(&column.name).is_some() {
            continue;
        }
        let now = after.visible_columns().nth(at)?;
        if before.column(&now.name).is_some() || column.is_generated() != now.is_generated() {
            return None;
        }
        compared
            .renamed
            .push((column.name.clone(), now.name.clone()));
    }
    Some(compared)
}

pub(super) fn compare(
    conn: &Connection,
    before: &Table,
    after: &Table,
    proof: Proof,
) -> Result<Compared> {
    let sides = Sides {
        conn,
        before,
        after,
        proof,
    };
    let names = |all: &[&schema::Column]| all.iter().map(|one| one.name.clone()).collect();
    let gone: Vec<_> = stored(before)
        .filter(|column| after.column(&column.name).is_none())
        .collect();
    let new: Vec<_> = stored(after)
        .filter(|column| before.column(&column.name).is_none())
        .collect();
    let mut compared = Compared {
        before: count(conn, "before", before)?,
        ..Compared::default()
    };
    if compared.before == 0 {
        compared.after = count(conn, "main", after)?;
        compared.came = compared.after;
        let gone: Vec<String> = names(&gone);
        compared.dropped = gone.into_iter().map(|name| (name, 0)).collect();
        return Ok(compared);
    }
    let [gone, new]: [Vec<String>; 2] = [names(&gone), names(&new)];
    // A primary key may have been renamed, too.
    let Some(key) = Key::of(before, after, &refs(&gone), &refs(&new)) else {
        compared.after = count(conn, "main", after)?;
        compared.by_contents(sides, &gone)?;
        return Ok(compared);
    };
    if key.is_looked_up(sides)? {
        compared.join = Some(key.join(before, after));
    }
    compared.renamed.extend(key.renamed());
    let mut layout = layout(before, after, &key, &[]);
    let mut scan = Scan::run(sides, &key, &layout)?;
    let renamed = compared.renames(sides, &scan, &layout);
    if !renamed.is_empty() {
        compared.renamed.extend(renamed.iter().cloned());
        layout = self::layout(before, after, &key, &renamed);
        scan = Scan::run(sides, &key, &layout)?;
    }
    (compared.after, compared.came) = (scan.after, scan.came);
    compared.before = scan.before;
    for name in &gone {
        if compared.is_renamed(name) {
            continue;
        }
        let values = values::of(conn, "before", before, name)?;
        compared.dropped.push((name.clone(), values));
    }
    if before.primary_key().is_empty() && scan.lost + scan.changed > 0 {
        // Where only a rowid identifies rows, they may have been numbered again, or other rows may
        // have the rowids of those that are gone.
        compared.came = 0;
        if scan.has_same_contents() {
            return Ok(compared);
        }
        let lost = contents::lost(sides, compared.after)?;
        let is_child = before
            .foreign_keys
            .iter()
            .any(|key| key.on_delete == "CASCADE");
        let has_strangers = || match is_child {
            true => contents::has_strangers(sides, &key, &compared.renamed),
            false => Ok(false),
        };
        let are_rowids = scan.lost == 0 && lost >= scan.changed && !has_strangers()?;
        if !are_rowids {
            // A rowid that is the same may well be the same row: fewer rows are gone then than have
            // contents that are not there any more.
            compared.lost = match scan.lost {
                0 => lost,
                by_rowid => lost.min(by_rowid),
            };
            let kept = compared.before - compared.lost;
            compared.came = compared.after.saturating_sub(kept);
            return Ok(compared);
        }
        compared.came = scan.came;
    }
    compared.judge(&scan, &layout, before);
    Ok(compared)
}

/// The columns whose values are in the file.
fn stored(table: &Table) -> impl Iterator<Item = &schema::Column> {
    table
        .visible_columns()
        .filter(|column| !column.is_generated())
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn layout(before: &Table, after: &Table, key: &Key, renamed: &[(String, String)]) -> Layout {
    let is_key_now = |name: &str| key.columns.iter().any(|(_, now)| same_name(now, name));
    let old: Vec<String> = stored(before).map(|column| column.name.clone()).collect();
    let old: Vec<String> = old.into_iter().filter(|name| !key.has(name)).collect();
    let new: Vec<String> = stored(after).map(|column| column.name.clone()).collect();
    let new: Vec<String> = new.into_iter().filter(|name| !is_key_now(name)).collect();
    let named = |name: &str| {
        let mut renamed = renamed.iter();
        let to = renamed
            .find(|(from, _)| from == name)
            .map(|(_, to)| to.as_str());
        to.unwrap_or(name).to_owned()
    };
    let pair = |(at, name): (usize, &String)| {
        let now = named(name);
        let to = new.iter().position(|column| same_name(column, &now))?;
        Some((at, to))
    };
    let pairs = old.iter().enumerate().filter_map(pair).collect();
    Layout { old, new, pairs }
}

impl Compared {
    fn is_renamed(&self, name: &str) -> bool {
        self.renamed.iter().any(|(from, _)| from == name)
    }

    fn by_contents(&mut self, sides: Sides<'_>, gone: &[String]) -> Result<()> {
        for name in gone {
            let values = values::of(sides.conn, "before", sides.before, name)?;
            self.dropped.push((name.clone(), values));
        }
        self.lost = contents::lost(sides, self.after)?;
        self.came = (self.after + self.lost).saturating_sub(self.before);
        Ok(())
    }

    /// The new columns that have all values of a lost one, or that are surely the lost ones under
    /// another name.
    fn renames(&self, sides: Sides<'_>, scan: &Scan, layout: &Layout) -> Vec<(String, String)> {
        let mut renamed: Vec<(usize, usize)> = Vec::new();
        let is_taken = |renamed: &[(usize, usize)], old, new| {
            renamed.iter().any(|(from, to)| *from == old || *to == new)
        };
        for exact in [true, false] {
            for rename in &scan.renames {
                let is_like = rename.is_like != exact && rename.said > 0;
                if is_like && !is_taken(&renamed, rename.old, rename.new) {
                    renamed.push((rename.old, rename.new));
                }
            }
        }
        // Nothing was dropped and made again, so a new one in its place is this one, whatever its
        // values are now.
        if sides.proof == Proof::Columns {
            let both = sides
                .before
                .visible_columns()
                .zip(sides.after.visible_columns());
            for (was, now) in both {
                let old = layout.old.iter().position(|name| *name == was.name);
                let new = layout.new.iter().position(|name| *name == now.name);
                let is_one = sides.after.column(&was.name).is_none()
                    && sides.before.column(&now.name).is_none()
                    && now.declared_type.eq_ignore_ascii_case(&was.declared_type);
                if let (Some(old), Some(new), true) = (old, new, is_one)
                    && !is_taken(&renamed, old, new)
                {
                    renamed.push((old, new));
                }
            }
        }
        renamed.sort_unstable();
        let name = |(old, new): (usize, usize)| (layout.old[old].clone(), layout.new[new].clone());
        renamed.into_iter().map(name).collect()
    }

    /// Puts together what the rows and the columns say.
    fn judge(&mut self, scan: &Scan, layout: &Layout, before: &Table) {
        self.lost = scan.lost;
        self.renumbered = renumbered(scan);
        // A key that refers to another table says whose the row is: under another key it is
        // somebody else's.
        let refers = before.primary_key().iter().any(|own| {
            let mut from = before.foreign_keys.iter().flat_map(|key| key.from());
            from.any(|column| same_name(column, &own.name))
        });
        let has_number_key = scan.has_number_key && !refers;
        if self.renumbered.is_some() && scan.has_same_contents() {
            // A number, or a random one, says nothing but which row it is.
            let is_kept = |(old, new): &(Id, Id)| match (old, new) {
                (Id::Text(old), Id::Text(new)) => value::is_like(old, new) || is_random(old),
                _ => true,
            };
            let pairs = self.renumbered.iter().flat_map(|of| &of.pairs);
            let mut pairs = pairs.peekable();
            let are_kept = !refers && pairs.peek().is_some() && pairs.all(is_kept);
            if has_number_key || are_kept {
                // All of their values are there.
                (self.lost, self.came) = (0, 0);
                return;
            }
            // The keys say more than which row it is, so that the contents have other owners.
            self.reassigned = self.renumbered.take().filter(|_| refers);
        }
        if let (Some(renumbered), true) = (&self.renumbered, has_number_key) {
            let same = renumbered.rows.min(unmatched(scan));
            self.lost = self.lost.saturating_sub(same);
            self.came = self.came.saturating_sub(same);
        }
        let matched = scan.before - scan.lost;
        let [two, more] = scan.strangers;
        self.replaced = more;
        if two > 1 && two * 2 > matched {
            self.replaced += two;
        }
        for (at, (old, _)) in layout.pairs.iter().enumerate() {
            let (column, name) = (&scan.columns[at], &layout.old[*old]);
            if column.changed == 0 {
                continue;
            }
            match column_lost(column, at, scan, layout, before) {
                Some(lost) if self.replaced < matched => self.values.push((name.clone(), lost)),
                _ => self.told.push((name.clone(), column.told())),
            }
        }
    }
}

/// Whether a key looks like a UUID or a hash.
fn is_random(key: &str) -> bool {
    key.len() >= 16
        && key
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Rows on one side only of which the content is on both.
fn unmatched(scan: &Scan) -> u64 {
    let both = scan.old_contents.kept_by(&scan.new_contents);
    let both = both.filter_map(|(hash, old)| Some((old, scan.new_contents.get(hash)?)));
    let rows = both.map(|(old, new)| u64::from(old.unmatched.min(new.unmatched)));
    rows.sum()
}

fn renumbered(scan: &Scan) -> Option<Renumbered> {
    let (old, new) = (&scan.old_contents, &scan.new_contents);
    let mut pairs = Vec::new();
    let (mut rows, mut sampled) = (0_u64, 0_u64);
    for (hash, was) in old.kept_by(new) {
        sampled += u64::from(was.rows);
        let Some(now) = new.get(hash) else { continue };
        // One that several rows have says nothing about which is which.
        if was.rows != 1 || now.rows != 1 || (was.key == now.key && was.key.is_some()) {
            continue;
        }
        rows += 1;
        if let (Some(was), Some(now)) = (&was.key, &now.key)
            && pairs.len() < RENUMBERED_MAX
        {
            pairs.push((was.clone(), now.clone()));
        }
    }
    let has_texts = scan.lost > 0 || scan.columns.iter().any(Column::has_texts);
    let is_most = rows > 1 && rows * 2 > sampled;
    if !has_texts || scan.columns.is_empty() || !is_most {
        return None;
    }
    let all = (scan.lost + scan.changed) * rows / sampled.max(1);
    Some(Renumbered { pairs, rows: all })
}

/// What of a column is lost by its values, or by those of other columns.
fn column_lost(
    column: &Column,
    at: usize,
    scan: &Scan,
    layout: &Layout,
    before: &Table,
) -> Option<Values> {
    let (old, new) = layout.pairs[at];
    let name = &layout.old[old];
    let is_key = before
        .foreign_keys
        .iter()
        .any(|key| key.from().any(|from| same_name(from, name)));
    let column_of_new = |new: usize| {
        let at = layout.pairs.iter().position(|(_, to)| *to == new)?;
        Some((&scan.columns[at], layout.pairs[at].0))
    };
    let moved_to = |old: usize| {
        let mut moves = scan.moves.iter().filter(move |(from, _)| *from == old);
        moves.next().map(|(_, to)| *to)
    };
    let lost = |what: String| {
        Some(Values {
            count: column.replaced,
            of: column.said(),
            what,
            may_be_elsewhere: true,
        })
    };
    if column.has_several()
        && let Some(to) = moved_to(old)
    {
        let target = column_of_new(to);
        // Else it had nothing of its own.
        let (_, its_old) = target.filter(|(target, _)| target.replaced > 0)?;
        // Along the columns to which values went, back to this one.
        let mut next = its_old;
        for _ in 0..layout.old.len() {
            if next == old {
                let what = format!("they are in {} now, which had others", layout.new[to]);
                return lost(what).map(|lost| Values {
                    may_be_elsewhere: false,
                    ..lost
                });
            }
            match moved_to(next).and_then(column_of_new) {
                Some((_, its_old)) => next = its_old,
                None => break,
            }
        }
    }
    if let Some(lost) = column.lost(is_key) {
        return Some(lost);
    }
    if column.is_permuted() {
        return lost("the same ones are in other rows now".into());
    }
    let from = scan
        .copies
        .iter()
        .find(|(_, to)| *to == new)
        .map(|(from, _)| *from);
    if let Some(from) = from.filter(|_| column.is_replaced() && column.has_several()) {
        return lost(format!("there is what {} held now", layout.old[from]));
    }
    None
}
