//! The query of a URL, with its known keys.

use super::super::error::Result;
use super::parts::Parts;

/// The values of the query, by key: `force-path-style`, `forcePathStyle` and
/// `force_path_style` are one.
pub(super) struct Query<'a> {
    parts: &'a Parts,
    pairs: Vec<(&'static str, &'a str)>,
}

impl<'a> Query<'a> {
    /// Refuses a key that is not among the known ones, and names the nearest one.
    pub(super) fn new(parts: &'a Parts, known: &[&'static str]) -> Result<Self> {
        let mut pairs = Vec::new();
        for (key, value) in &parts.query {
            let found = known.iter().find(|known| plain(known) == plain(key));
            let Some(found) = found else {
                let shown: String = key.chars().filter(|c| !c.is_control()).take(40).collect();
                let fix = match nearest(&plain(key), known) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("there are {}", known.join(", ")),
                };
                return Err(parts.refuse(format!("there is no key `{shown}`; {fix}")));
            };
            if pairs.iter().any(|(key, _)| key == found) {
                return Err(parts.refuse(format!("`{found}` is given twice")));
            }
            pairs.push((*found, value.trim()));
        }
        Ok(Self { parts, pairs })
    }

    /// A value, if there is one and it is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        let pair = self.pairs.iter().find(|(known, _)| *known == key);
        pair.map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" | "yes" => Ok(Some(true)),
            "false" | "0" | "f" | "no" => Ok(Some(false)),
            _ => Err(self.parts.refuse(format!("`{key}` must be true or false"))),
        }
    }

    pub(super) fn number(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let (least, most) = (range.start(), range.end());
        match value.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self
                .parts
                .refuse(format!("`{key}` must be a number from {least} to {most}"))),
        }
    }
}

fn plain(key: &str) -> String {
    let letters = key.chars().filter(|c| !['-', '_'].contains(c));
    letters.flat_map(char::to_lowercase).collect()
}

/// The one of `known` that was most likely meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let by_distance = known.iter().map(|known| {
        let distance = strsim::damerau_levenshtein(&plain(word), &plain(known));
        (distance, *known)
    });
    by_distance
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .map(|(_, known)| known)
}
