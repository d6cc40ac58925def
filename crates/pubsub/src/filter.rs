//! Which channels a subscription wants: names, and patterns as those of Redis'
//! PSUBSCRIBE.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::message::{RESERVED, check_name};
use crate::{Error, Result};

/// Most channels and patterns of one subscription.
pub const FILTER_MAX: usize = 1024;

/// Channels and patterns; a message that several of them want comes once.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    channels: BTreeSet<Arc<str>>,
    patterns: Vec<Pattern>,
}

impl Filter {
    /// Wants a channel.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::TooMany`] over [`FILTER_MAX`].
    pub fn channel(&mut self, channel: &str) -> Result<()> {
        check_name("channel", channel)?;
        self.own_channel(channel)
    }

    /// As [`Filter::channel`], for one of this crate's own channels too.
    pub(crate) fn own_channel(&mut self, channel: &str) -> Result<()> {
        self.channels.insert(channel.into());
        self.check()
    }

    /// Wants all channels that match.
    ///
    /// # Errors
    /// As [`Filter::channel`].
    pub fn pattern(&mut self, pattern: &str) -> Result<()> {
        if !self.patterns.iter().any(|own| own.as_str() == pattern) {
            self.patterns.push(Pattern::new(pattern)?);
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        let count = self.channels.len() + self.patterns.len();
        if count > FILTER_MAX {
            return Err(Error::TooMany {
                what: "channels and patterns",
                count,
                max: FILTER_MAX,
            });
        }
        Ok(())
    }

    /// The channels wanted by name.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.channels.iter()
    }

    /// The patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// True if a message of this channel is wanted.
    pub fn wants(&self, channel: &str) -> bool {
        self.channels.contains(channel) || self.patterns.iter().any(|p| p.matches(channel))
    }
}

/// A pattern: `*` any run of characters, `?` one, `[ab]`, `[a-z]`, `[^a]` one
/// of (not of) a set, `\` takes the next character as it is.
///
/// ```
/// use monolite_pubsub::Pattern;
/// let pattern = Pattern::new("room:[0-9]*").unwrap();
/// assert!(pattern.matches("room:7:typing"));
/// assert!(!pattern.matches("room:lobby"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Char(char),
    Any,
    Run,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any | Self::Run => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl Pattern {
    /// Parses a pattern. As in Redis no text is malformed: a set that is not
    /// closed ends with the pattern.
    ///
    /// # Errors
    /// [`Error::Name`] if it is empty, longer than
    /// [`NAME_MAX_BYTES`](crate::NAME_MAX_BYTES) or reserved.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check_name("pattern", &text)?;
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                // Two in a row are one.
                '*' if parts.last() == Some(&Part::Run) => {}
                '*' => parts.push(Part::Run),
                '?' => parts.push(Part::Any),
                '[' => parts.push(set(&mut chars)),
                '\\' => parts.push(Part::Char(chars.next().unwrap_or('\\'))),
                c => parts.push(Part::Char(c)),
            }
        }
        Ok(Self { text, parts })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if the pattern describes the whole of `channel`. No pattern matches
    /// this crate's own channels (`_monolite:…`).
    pub fn matches(&self, channel: &str) -> bool {
        !channel.starts_with(RESERVED) && self.takes(channel)
    }

    /// Goes back to the last run only: at most length × length steps.
    fn takes(&self, text: &str) -> bool {
        let mut at = 0;
        let mut rest = text.chars();
        // Where to try again: after the last run, one character further on.
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (self.parts.get(at), rest.next()) {
                (Some(Part::Run), _) => {
                    rest = before;
                    at += 1;
                    again = Some((at, rest.clone()));
                }
                (Some(part), Some(c)) if part.takes(c) => at += 1,
                (None, None) => return true,
                _ => {
                    let Some((after, from)) = &mut again else {
                        return false;
                    };
                    if from.next().is_none() {
                        return false;
                    }
                    at = *after;
                    rest = from.clone();
                }
            }
        }
    }
}

fn set(chars: &mut std::str::Chars<'_>) -> Part {
    let mut ranges = Vec::new();
    let mut ahead = chars.clone();
    let negated = ahead.next() == Some('^');
    if negated {
        *chars = ahead;
    }
    while let Some(c) = chars.next() {
        let low = match c {
            ']' => break,
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        let mut ahead = chars.clone();
        let range = (ahead.next(), ahead.next());
        match range {
            (Some('-'), Some(high)) if high != ']' => {
                *chars = ahead;
                ranges.push((low.min(high), low.max(high)));
            }
            _ => ranges.push((low, low)),
        }
    }
    Part::Set { negated, ranges }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook definition, exponential and plain.
    fn slow(parts: &[Part], text: &[char]) -> bool {
        match (parts.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((Part::Run, rest)), None) => slow(rest, text),
            (Some((Part::Run, rest)), Some((_, after))) => slow(rest, text) || slow(parts, after),
            (Some((part, rest)), Some((c, after))) => part.takes(*c) && slow(rest, after),
            _ => false,
        }
    }

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, channel, wanted) in [
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("[\\]]", "]", true),
            ("[a-]", "-", true),
            ("[abc", "b", true),
            ("*", "", true),
            ("*", "anything", true),
            ("*", "_monolite:presence:x", false),
            ("room:?", "room:ß", true),
            ("**a**b", "xxaxxab", true),
        ] {
            let found = Pattern::new(pattern).unwrap().matches(channel);
            assert_eq!(found, wanted, "{pattern} {channel}");
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_definition(
            pattern in "[ab*?\\[\\]^\\\\-]{1,10}",
            channel in "[ab^-]{0,10}",
        ) {
            let pattern = Pattern::new(pattern).unwrap();
            let chars: Vec<char> = channel.chars().collect();
            prop_assert_eq!(pattern.takes(&channel), slow(&pattern.parts, &chars));
        }

        #[test]
        fn any_text_is_a_pattern_or_refused_by_name(text: String, channel: String) {
            let Ok(pattern) = Pattern::new(text.clone()) else {
                prop_assert!(check_name("pattern", &text).is_err());
                return Ok(());
            };
            prop_assert_eq!(pattern.as_str(), &text);
            pattern.matches(&channel);
        }

        #[test]
        fn a_channel_written_with_backslashes_is_matched_alone(
            channel in prop_oneof![any::<String>(), "[ab*?\\[\\]^\\\\-]{1,10}"],
            other: String,
        ) {
            let text: String = channel.chars().flat_map(|c| ['\\', c]).collect();
            if let Ok(pattern) = Pattern::new(text) {
                prop_assert!(pattern.takes(&channel));
                prop_assert_eq!(pattern.takes(&other), other == channel);
            }
        }
    }
}
