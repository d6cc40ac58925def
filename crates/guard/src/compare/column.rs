//! What became of the values of one column, in the rows that are still there.

use rusqlite::types::ValueRef;

use super::sample::Sample;
use super::value::{self, Change, hash, number, same, says, shown};

/// Ways in which numbers are shortened: by what they are multiplied before the fraction goes, and
/// after it. Decimals, whole numbers; digits of money, milliseconds, bytes, minutes, hours.
const SHORTENED: [(f64, f64); 10] = [
    (1000.0, 0.001),
    (100.0, 0.01),
    (10.0, 0.1),
    (1.0, 1.0),
    (0.1, 1.0),
    (0.01, 1.0),
    (0.001, 1.0),
    (1.0 / 1024.0, 1.0),
    (1.0 / 60.0, 1.0),
    (1.0 / 3600.0, 1.0),
];
/// What a REAL cannot hold exactly, as a part of it.
const REAL_NOISE: f64 = 1e-9;
/// Different values that became one, of which many were in one row only: more are no kinds or states
/// that were joined.
const JOINED_MAX: usize = 4;
/// The same, however often each was.
const JOINED_KINDS_MAX: usize = 16;

/// Whether there was one value, or several.
#[derive(Debug, Default, Clone, Copy)]
enum Variety {
    #[default]
    None,
    One(u64),
    Several,
}

impl Variety {
    fn see(&mut self, hash: impl FnOnce() -> u64) {
        *self = match *self {
            Self::None => Self::One(hash()),
            Self::One(one) if one == hash() => Self::One(one),
            _ => Self::Several,
        };
    }
}

/// The old values that became one new one.
#[derive(Debug, Default)]
struct Joined {
    rows: u64,
    /// Different ones, as far as it matters.
    olds: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Column {
    /// Rows in which the old value says something.
    said: u64,
    /// Rows with another value, whatever it was.
    pub(super) changed: u64,
    /// Rows with a value in which there was none.
    filled: u64,
    /// Rows in which a value that said something is another one.
    pub(super) replaced: u64,
    nulls: u64,
    empties: u64,
    cut: u64,
    removed: Variety,
    cast_cut: u64,
    cast_removed: Variety,
    /// A text became a number that is not the one at its beginning.
    is_coded: bool,
    inexact: u64,
    /// Numbers in rows that are still there, and of these those that are others.
    numbers: u64,
    renumbered: u64,
    /// Which ways, cut off and rounded, explain all of them, and for how many something is lost.
    shortened: Vec<Shortened>,
    /// By what a number that is unchanged must be multiplied at least to be a whole one.
    unchanged: f64,
    has_other_class: bool,
    /// All old values that say something, and all new ones.
    olds: Variety,
    news: Variety,
    /// Of values that were replaced.
    forward: Sample<(u64, bool)>,
    backward: Sample<Joined>,
    texts: u64,
    sums: [u128; 2],
    example: Option<[String; 2]>,
    nulled: Variety,
    is_zero_nulled: bool,
}

/// One way in which all numbers were shortened that are others now.
#[derive(Debug, Clone, Copy)]
struct Shortened {
    /// By what they are multiplied, and what a unit of the result is.
    scale: (f64, f64),
    is_rounded: bool,
    lost: u64,
}

impl Shortened {
    /// Whether it makes `is` of `was`.
    fn explains(&mut self, was: f64, is: f64) -> bool {
        let (to, unit) = self.scale;
        let exact = was * to * unit;
        let noise = REAL_NOISE * exact.abs().max(1.0);
        let missing = (exact - is).abs();
        self.lost += u64::from(missing > noise);
        let units = is / unit;
        let is_whole = (units - units.round()).abs() <= REAL_NOISE * units.abs().max(1.0);
        let is_near = match self.is_rounded {
            true => missing <= unit / 2.0 + noise,
            false => missing < unit && is.abs() <= exact.abs() + noise,
        };
        is_whole && is_near
    }
}

/// Values that are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) count: u64,
    pub(super) of: u64,
    pub(super) what: String,
    /// They may be somewhere else.
    pub(super) may_be_elsewhere: bool,
}

/// By what a number must be multiplied to be a whole one: 1, 10, 100, 1000, or more.
fn scale_of(number: f64) -> f64 {
    if number == 0.0 {
        return 0.0;
    }
    let scales = [1.0, 10.0, 100.0, 1000.0];
    let is_whole = |scale: &f64| {
        let units = number * scale;
        (units - units.round()).abs() <= REAL_NOISE * units.abs().max(1.0)
    };
    scales.into_iter().find(is_whole).unwrap_or(f64::INFINITY)
}

impl Column {
    /// One of so many columns of a table.
    pub(super) fn one_of(columns: usize) -> Self {
        Self {
            forward: Sample::one_of(columns),
            backward: Sample::one_of(columns),
            ..Self::default()
        }
    }

    /// `None`: it is the value it was. Else what became of it, if it said something.
    pub(super) fn see(&mut self, old: ValueRef<'_>, new: ValueRef<'_>) -> Option<Option<Change>> {
        let is_same = same(old, new);
        let said = match old {
            ValueRef::Text(_) | ValueRef::Blob(_) => says(old),
            ValueRef::Null => false,
            _ => true,
        };
        if said {
            self.said += 1;
            if !matches!(self.olds, Variety::Several) {
                self.olds.see(|| hash(old));
            }
        }
        if !matches!(self.news, Variety::Several) {
            self.news.see(|| hash(new));
        }
        self.has_other_class |= matches!(old, ValueRef::Real(_))
            != matches!(new, ValueRef::Real(_))
            && !matches!(new, ValueRef::Null);
        self.see_numbers(old, new, is_same);
        if is_same {
            return None;
        }
        self.changed += 1;
        if !said {
            self.filled += u64::from(says(new));
            return Some(None);
        }
        Some(Some(self.replace(old, new)))
    }

    fn replace(&mut self, old: ValueRef<'_>, new: ValueRef<'_>) -> Change {
        self.replaced += 1;
        let (was, is) = (hash(old), hash(new));
        let change = value::change(old, new);
        match change {
            Change::Null => {
                self.nulls += 1;
                self.nulled.see(|| was);
                self.is_zero_nulled = matches!(old, ValueRef::Integer(0));
            }
            Change::Empty => self.empties += 1,
            Change::Cut(removed) => {
                self.cut += 1;
                self.removed.see(|| removed);
            }
            Change::CastCut(removed) => {
                self.cast_cut += 1;
                self.cast_removed.see(|| removed);
            }
            Change::Inexact => self.inexact += 1,
            Change::Format => {}
            Change::Other => {
                self.is_coded |= matches!(old, ValueRef::Text(_)) && number(new).is_some();
            }
        }
        if self.example.is_none()
            || matches!(change, Change::Cut(_) | Change::CastCut(_))
                && self.cut + self.cast_cut == 1
        {
            self.example = Some([shown(old), shown(new)]);
        }
        self.texts += u64::from(matches!(old, ValueRef::Text(text) if text.len() > 1));
        self.sums[0] += u128::from(was);
        self.sums[1] += u128::from(is);
        if let Some((to, is_function)) = self.forward.entry(was) {
            match *to {
                0 => (*to, *is_function) = (is | 1, true),
                to => *is_function &= to == is | 1,
            }
        }
        if change != Change::Format
            && let Some(joined) = self.backward.entry(is)
        {
            joined.rows += 1;
            if joined.olds.len() <= JOINED_KINDS_MAX && !joined.olds.contains(&was) {
                joined.olds.push(was);
            }
        }
        change
    }

    fn see_numbers(&mut self, old: ValueRef<'_>, new: ValueRef<'_>, is_same: bool) {
        let Some(was) = number(old) else { return };
        self.numbers += 1;
        if is_same {
            self.unchanged = self.unchanged.max(scale_of(was));
            return;
        }
        let Some(is) = number(new) else {
            self.shortened.clear();
            return;
        };
        if self.renumbered == 0 {
            let all = SHORTENED.iter().flat_map(|scale| {
                [false, true].map(|is_rounded| Shortened {
                    scale: *scale,
                    is_rounded,
                    lost: 0,
                })
            });
            self.shortened = all.collect();
        }
        self.renumbered += 1;
        self.shortened.retain_mut(|way| way.explains(was, is));
    }

    /// Values of which nothing is left, or not all. `is_key`: they refer to rows, and a 0 to none.
    pub(super) fn lost(&self, is_key: bool) -> Option<Values> {
        let values = |count: u64, what: String| {
            Some(Values {
                count,
                of: self.said,
                what,
                may_be_elsewhere: true,
            })
        };
        let is_zero = is_key && self.is_zero_nulled && matches!(self.nulled, Variety::One(_));
        match (self.nulls, self.empties) {
            (0, 0) => {}
            (nulls, 0) if is_zero && nulls > 0 => {}
            (nulls, 0) => return values(nulls, "NULL now".into()),
            (nulls, empties) => return values(nulls + empties, "empty now".into()),
        }
        if let (Variety::Several, Variety::One(_)) = (self.olds, self.news)
            && self.replaced > 0
        {
            let [_, new] = self.example.clone().unwrap_or_default();
            let what = format!(
                "{} different ones before, all {new} now",
                self.distinct_olds()
            );
            return values(self.replaced, what);
        }
        if self.cast_cut > 0
            && !self.is_coded
            && !matches!(self.cast_removed, Variety::One(_) if self.cast_cut > 1)
        {
            return values(
                self.cast_cut,
                format!("not all of them is in the number, {}", self.for_example()),
            );
        }
        if matches!(self.removed, Variety::Several) {
            return values(self.cut, format!("cut, {}", self.for_example()));
        }
        if self.inexact > 0 {
            let what = format!("rounded: a REAL does not hold them, {}", self.for_example());
            return values(self.inexact, what);
        }
        if let Some(rounded) = self.rounded() {
            return values(rounded, format!("rounded, {}", self.for_example()));
        }
        if let Some((olds, rows)) = self.joined() {
            return values(
                rows,
                format!("{olds} different ones became one, {}", self.for_example()),
            );
        }
        None
    }

    /// Numbers that were shortened. A single one may have been corrected.
    fn rounded(&self) -> Option<u64> {
        let is_conversion = self.renumbered > 1 || self.has_other_class;
        if self.renumbered == 0 || !is_conversion || self.numbers < 2 {
            return None;
        }
        // It would have shortened what is unchanged, too.
        let mut ways = self
            .shortened
            .iter()
            .filter(|way| way.scale.0 >= self.unchanged);
        let lost = ways.by_ref().map(|way| way.lost);
        // One that explains all without a loss is the one.
        lost.min().filter(|lost| *lost > 0)
    }

    fn joined(&self) -> Option<(String, u64)> {
        let most = self
            .backward
            .values()
            .max_by_key(|joined| joined.olds.len())?;
        let olds = most.olds.len();
        let is_unique = most.rows < 2 * olds as u64;
        let is_many = olds > JOINED_KINDS_MAX || (olds > JOINED_MAX && is_unique);
        is_many.then(|| {
            let more = if olds > JOINED_KINDS_MAX {
                "more than "
            } else {
                ""
            };
            (format!("{more}{}", olds.min(JOINED_KINDS_MAX)), most.rows)
        })
    }

    /// The same values are in other rows now.
    pub(super) fn is_permuted(&self) -> bool {
        self.replaced == self.texts
            && self.replaced == self.changed
            && self.replaced > 2
            && self.forward.distinct() > 2
            && self.sums[0] == self.sums[1]
    }

    /// Whether several values were replaced in all rows in which there were any.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced > 1 && self.replaced == self.said && matches!(self.olds, Variety::Several)
    }

    pub(super) fn has_several(&self) -> bool {
        self.replaced > 1 && self.forward.distinct() > 1
    }

    pub(super) fn has_texts(&self) -> bool {
        self.texts > 0
    }

    pub(super) fn said(&self) -> u64 {
        self.said
    }

    fn distinct_olds(&self) -> String {
        self.forward.shown()
    }

    fn for_example(&self) -> String {
        match &self.example {
            Some([old, new]) => format!("for example {old} → {new}"),
            None => String::new(),
        }
    }

    /// What became of it, for people.
    pub(super) fn told(&self) -> String {
        let replaced = self.replaced;
        if replaced == 0 && self.filled == 0 {
            return format!(
                "{} rows without a value have another word for none",
                self.changed
            );
        }
        if replaced == 0 {
            return format!("{} rows have a value that had none", self.filled);
        }
        let becomes = self.backward.distinct();
        let of = self.said;
        let mut text = format!("{replaced} of {of} values changed, {}", self.for_example());
        if becomes > 0 && becomes < self.forward.distinct() {
            text += &format!(
                "; {} different ones became {}",
                self.forward.shown(),
                self.backward.shown()
            );
        }
        text
    }
}
