//! Two values of one place: whether they are the same, and what became of the first.

use std::hash::{Hash, Hasher};

use rusqlite::types::ValueRef;

/// Numbers above this are not all exact as a REAL.
const EXACT_REAL_MAX: u64 = 1 << 53;
/// Letters of a value that is shown in a report.
const SHOWN_MAX: usize = 40;

/// What became of a value that said something and is another one now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// NULL.
    Null,
    /// An empty or blank text.
    Empty,
    /// The same but for case, blanks and the writing of a number.
    Format,
    /// A part of the text is left: the hash of what is missing.
    Cut(u64),
    /// The number at the beginning of the text, 0 if there is none: the hash of what is missing.
    CastCut(u64),
    /// A whole number that a REAL cannot hold.
    Inexact,
    /// Anything else.
    Other,
}

/// Whether a value says something. Neither NULL does, nor a blank text, nor a word for nothing.
pub(super) fn says(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Null => false,
        ValueRef::Text(text) => {
            let text = text.trim_ascii();
            !text.is_empty() && !is_word_for_nothing(text)
        }
        ValueRef::Blob(bytes) => !bytes.is_empty(),
        _ => true,
    }
}

fn is_word_for_nothing(text: &[u8]) -> bool {
    const WORDS: [&str; 9] = [
        "null",
        "(null)",
        "none",
        "nil",
        "n/a",
        "undefined",
        "-",
        "0000-00-00",
        "0000-00-00 00:00:00",
    ];
    text.len() <= 19
        && WORDS
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether both are one value, whatever type it is stored as.
pub(super) fn same(old: ValueRef<'_>, new: ValueRef<'_>) -> bool {
    use ValueRef as V;
    match (old, new) {
        (V::Null, V::Null) => true,
        (V::Integer(old), V::Integer(new)) => old == new,
        (V::Real(old), V::Real(new)) => old == new,
        (V::Integer(whole), V::Real(real)) | (V::Real(real), V::Integer(whole)) => {
            is_exactly(whole, real)
        }
        (V::Text(old) | V::Blob(old), V::Text(new) | V::Blob(new)) => old == new,
        (V::Text(text), number @ (V::Integer(_) | V::Real(_)))
        | (number @ (V::Integer(_) | V::Real(_)), V::Text(text)) => is_written_as(number, text),
        _ => false,
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "compared after it"
)]
fn is_exactly(whole: i64, real: f64) -> bool {
    whole as f64 == real && (whole.unsigned_abs() <= EXACT_REAL_MAX || real as i64 == whole)
}

fn is_written_as(number: ValueRef<'_>, text: &[u8]) -> bool {
    let Some(first) = text.first() else {
        return false;
    };
    (first.is_ascii_digit() || *first == b'-') && as_text(number).as_bytes() == text
}

/// A value as SQLite casts it to text.
pub(super) fn as_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(whole) => whole.to_string(),
        ValueRef::Real(real) if real.fract() == 0.0 && real.abs() < 1e15 => format!("{real:.1}"),
        ValueRef::Real(real) => format!("{real}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// As a report shows it.
pub(super) fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(_) | ValueRef::Real(_) => as_text(value),
        ValueRef::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            match text.char_indices().nth(SHOWN_MAX) {
                Some((at, _)) => format!("'{}…'", &text[..at]),
                None => format!("'{text}'"),
            }
        }
    }
}

/// Equal for values that are [`same`].
pub(super) fn hash(value: ValueRef<'_>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    match value {
        ValueRef::Null => 0_u8.hash(&mut hasher),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(&mut hasher),
        ValueRef::Integer(whole) => hash_text(whole, &mut hasher),
        ValueRef::Real(real) => match whole(real) {
            Some(whole) => hash_text(whole, &mut hasher),
            None => format!("{real}").as_bytes().hash(&mut hasher),
        },
    }
    hasher.finish()
}

fn hash_text(whole: i64, hasher: &mut impl Hasher) {
    whole.to_string().as_bytes().hash(hasher);
}

/// The whole number that a REAL is, if it is one.
#[allow(
    clippy::cast_possible_truncation,
    reason = "it is within what a whole number holds"
)]
fn whole(real: f64) -> Option<i64> {
    (real.fract() == 0.0 && real.abs() < 9e18).then_some(real as i64)
}

#[allow(clippy::cast_precision_loss, reason = "for a comparison of sizes")]
pub(super) fn number(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Integer(whole) => Some(whole as f64),
        ValueRef::Real(real) => Some(real),
        _ => None,
    }
}

/// What became of `old`, which says something and is not [`same`] as `new`.
pub(super) fn change(old: ValueRef<'_>, new: ValueRef<'_>) -> Change {
    use ValueRef as V;
    match (old, new) {
        (_, V::Null) => Change::Null,
        (_, V::Text(text)) if text.trim_ascii().is_empty() => Change::Empty,
        (_, V::Blob([])) => Change::Empty,
        (V::Integer(old), V::Real(real)) if is_inexact(old, real) => Change::Inexact,
        (V::Integer(old), V::Integer(new)) if is_inexact_cast(old, new) => Change::Inexact,
        (V::Text(old), V::Integer(_) | V::Real(_)) => cast(old, new),
        (V::Text(old) | V::Blob(old), V::Text(new) | V::Blob(new)) => text(old, new),
        (V::Integer(_) | V::Real(_), V::Text(new)) => text(as_text(old).as_bytes(), new),
        _ => Change::Other,
    }
}

#[allow(clippy::cast_precision_loss, reason = "that is what is looked for")]
fn is_inexact(old: i64, new: f64) -> bool {
    old.unsigned_abs() > EXACT_REAL_MAX && old as f64 == new
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "that is what is looked for"
)]
fn is_inexact_cast(old: i64, new: i64) -> bool {
    old.unsigned_abs() > EXACT_REAL_MAX && old as f64 as i64 == new
}

fn text(old: &[u8], new: &[u8]) -> Change {
    if is_same_but_format(old, new) {
        return Change::Format;
    }
    if new.len() >= old.len() {
        return Change::Other;
    }
    let new = new.trim_ascii();
    match find(old, new) {
        Some(at) => {
            let (head, tail) = (&old[..at], &old[at + new.len()..]);
            Change::Cut(removed(head, tail))
        }
        None => Change::Other,
    }
}

fn removed(head: &[u8], tail: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (head.trim_ascii(), tail.trim_ascii()).hash(&mut hasher);
    hasher.finish()
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    let mut starts = all.windows(part.len().max(1));
    starts.position(|window| window == part)
}

/// Only letters and digits are compared, in any case.
fn is_same_but_format(old: &[u8], new: &[u8]) -> bool {
    let letters = |text: &[u8]| -> Vec<u8> {
        let kept = text
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
        kept.map(u8::to_ascii_lowercase).collect()
    };
    // A sign or a point may be all that is different.
    let is_number = |text: &[u8]| {
        std::str::from_utf8(text).is_ok_and(|text| text.trim().parse::<f64>().is_ok())
    };
    if is_number(old) && is_number(new) {
        let value = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<f64>().ok();
        return value(old) == value(new) && !has_zeros(old, new);
    }
    let (mut old, mut new) = (letters(old), letters(new));
    // The parts of a date may be in another order, with or without the letters of ISO 8601.
    let digits = old.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits >= 6 && digits * 2 > old.len() {
        for text in [&mut old, &mut new] {
            text.retain(|byte| !b"tz".contains(byte));
            text.sort_unstable();
        }
    }
    !old.is_empty() && old == new
}

/// Zeros at the beginning, as of a postal code, are gone.
fn has_zeros(old: &[u8], new: &[u8]) -> bool {
    let leads = |text: &[u8]| {
        let digits = text.trim_ascii().trim_ascii_start();
        matches!(digits, [b'0', next, ..] if next.is_ascii_digit())
    };
    leads(old) && !leads(new)
}

/// A text that became a number.
fn cast(old: &[u8], new: ValueRef<'_>) -> Change {
    let text = String::from_utf8_lossy(old);
    let text = text.trim();
    let head = number_prefix(text);
    let value = text[..head].parse::<f64>().unwrap_or(0.0);
    let Some(new) = number(new) else {
        return Change::Other;
    };
    let is_cast = value == new || value.trunc() == new;
    if !is_cast {
        return Change::Other;
    }
    let is_whole = head == text.len() && value == new;
    match is_whole && !has_zeros(text.as_bytes(), b"") {
        true => Change::Format,
        false if is_whole => Change::CastCut(hash(ValueRef::Text(text.as_bytes()))),
        false if value != new => Change::CastCut(hash(ValueRef::Text(text.as_bytes()))),
        // Without any number in it, each text is one of its own.
        false if head == 0 => Change::CastCut(hash(ValueRef::Text(text.as_bytes()))),
        false => Change::CastCut(hash(ValueRef::Text(&text.as_bytes()[head..]))),
    }
}

/// How many bytes at the beginning are a number.
fn number_prefix(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let begin = at;
    let mut has_point = false;
    let mut digits = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' if !has_point => has_point = true,
            b'e' | b'E' if digits > 0 && text[at + 1..].parse::<i32>().is_ok() => {
                return text.len();
            }
            _ => break,
        }
        at += 1;
    }
    match digits {
        0 => 0,
        _ if at > begin => at,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(text: &str) -> ValueRef<'_> {
        ValueRef::Text(text.as_bytes())
    }

    #[test]
    fn one_value_in_any_type() {
        use ValueRef as V;
        for (old, new, is) in [
            (V::Integer(5), V::Real(5.0), true),
            (V::Integer(5), t("5"), true),
            (V::Real(5.0), t("5.0"), true),
            (t("5"), V::Blob(b"5"), true),
            (t("5.0"), V::Integer(5), false),
            (t("007"), V::Integer(7), false),
            (
                V::Integer((1 << 53) + 1),
                V::Real(9_007_199_254_740_992.0),
                false,
            ),
            (V::Null, t(""), false),
        ] {
            assert_eq!(same(old, new), is, "{old:?} {new:?}");
            if is {
                let canonical = matches!((old, new), (V::Real(_), V::Text(_)));
                assert!(canonical || hash(old) == hash(new), "{old:?} {new:?}");
            }
        }
    }

    #[test]
    fn what_became_of_a_value() {
        use ValueRef as V;
        let cut = |change| matches!(change, Change::Cut(_) | Change::CastCut(_));
        assert!(cut(change(t("Hello world"), t("Hello"))));
        assert!(cut(change(t("free"), V::Integer(0))));
        assert!(cut(change(t("12abc"), V::Integer(12))));
        assert!(cut(change(t("12.75"), V::Integer(12))));
        assert!(cut(change(t("007"), V::Integer(7))));
        for (old, new) in [
            ("Ann ", "ann"),
            ("2024-01-02T03:04", "2024-01-02 03:04"),
            ("(030) 12", "03012"),
        ] {
            assert_eq!(change(t(old), t(new)), Change::Format, "{old}");
        }
        assert_eq!(change(t("5.0"), V::Integer(5)), Change::Format);
        assert_eq!(change(t("draft"), V::Integer(1)), Change::Other);
        assert_eq!(change(t("x"), V::Null), Change::Null);
        assert_eq!(change(t("x"), t(" ")), Change::Empty);
        assert_eq!(
            change(V::Integer(1 << 60 | 1), V::Real((1_i64 << 60) as f64)),
            Change::Inexact
        );
        // What all have lost alike can be put back.
        assert_eq!(
            change(t("a@x.com"), t("a")),
            change(t("bob@x.com"), t("bob"))
        );
        assert_ne!(
            change(t("Hello world"), t("Hello")),
            change(t("Hallo Welt"), t("Hallo"))
        );
        assert!(!says(t(" n/a ")) && !says(t("")) && !says(V::Null) && says(V::Integer(0)));
    }
}
