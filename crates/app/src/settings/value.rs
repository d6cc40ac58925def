//! The types of settings, and how their values are written.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, civil};

/// How the value of a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text; in TOML a string.
    Text,
    /// A number; in TOML, too.
    Number,
    /// Yes or no; in TOML `true` or `false`.
    Switch,
    /// One of these words, each with what it means.
    Word(&'static [(&'static str, &'static str)]),
    /// Several texts; in TOML a string or a list of strings.
    List,
}

/// A type that a setting has.
pub(super) trait Value: Default {
    const KIND: Kind;
    /// The value of what was written: one text, or as many as there are for a list, or none for
    /// what nobody sets. An error does not show the texts, which may be secret.
    fn parse(texts: &[&str]) -> Result<Self, String>;
}

/// A type of which one text is a value.
pub(super) trait Single: Sized {
    const KIND: Kind;
    fn parse(text: &str) -> Result<Self, String>;
}

impl<T: Single> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn parse(texts: &[&str]) -> Result<Self, String> {
        texts.last().map(|text| T::parse(text)).transpose()
    }
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;

    fn parse(texts: &[&str]) -> Result<Self, String> {
        Ok(texts.iter().map(|text| (*text).to_owned()).collect())
    }
}

macro_rules! single {
    ($($type:ty : $kind:expr, $parse:expr;)+) => {
        $(
            impl Single for $type {
                const KIND: Kind = $kind;

                fn parse(text: &str) -> Result<Self, String> {
                    let parse: fn(&str) -> Result<Self, String> = $parse;
                    parse(text)
                }
            }
        )+
    };
}

/// Types that have a value where nobody sets one.
macro_rules! always {
    ($($type:ty),+) => {
        $(
            impl Value for $type {
                const KIND: Kind = <Self as Single>::KIND;

                fn parse(texts: &[&str]) -> Result<Self, String> {
                    match texts.last() {
                        Some(text) => Single::parse(text),
                        None => Ok(Self::default()),
                    }
                }
            }
        )+
    };
}

single! {
    String: Kind::Text, |text| Ok(text.to_owned());
    PathBuf: Kind::Text, |text| Ok(text.into());
    Duration: Kind::Text, parse_duration;
    IpAddr: Kind::Text, |text| text.parse().map_err(|_| "it is not an IP address".into());
    u16: Kind::Number, |text| text.parse().map_err(|_| "it is not a whole number from 0 to 65535".into());
    usize: Kind::Number, |text| text.parse().map_err(|_| "it is not a whole number from 0".into());
    NonZeroUsize: Kind::Number, |text| text.parse().map_err(|_| "it is not a whole number from 1".into());
    bool: Kind::Switch, |text| match text.to_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
        _ => Err("it is neither yes nor no".into()),
    };
}
always!(
    String,
    Duration,
    usize,
    bool,
    AccessFormat,
    LogFormat,
    DriverLane
);

/// An enum of which each variant is one word.
macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        $type:ident = $default:ident { $(#[doc = $help:literal] $variant:ident = $word:literal,)+ }
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $type {
                $( #[doc = $help] $variant, )+
            }

            impl Default for $type {
                fn default() -> Self {
                    Self::$default
                }
            }

            impl Single for $type {
                const KIND: Kind = Kind::Word(&[$(($word, $help.trim_ascii())),+]);

                fn parse(text: &str) -> Result<Self, String> {
                    match text {
                        $( $word => Ok(Self::$variant), )+
                        _ => Err(format!("it is none of {}", [$($word),+].join(", "))),
                    }
                }
            }
        )+
    };
}

words! {
    /// How the lines of the access log are written.
    AccessFormat = Text {
        /// The combined format of Apache and nginx, with times and the request's id.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
    /// Whether the app's SQLite drivers are made to wait their turn.
    DriverLane = Auto {
        /// For apps that are known to need it.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }
    /// How log lines are written.
    LogFormat = Text {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// A length of time as people write it: `500ms`, `90s`, `1h 30m`, `5days`. A month has 31 days, a
/// year 365.
///
/// # Errors
/// It is none, or it is negative; the error says how one is written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a length of time; write 500ms, 30s, 2m or 5days".to_owned();
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    // A January has 31 days; the year is no leap year.
    let start = SpanRelativeTo::from(civil::date(2025, 1, 1));
    let duration = span.to_duration(start).map_err(|_| wrong())?;
    duration.try_into().map_err(|_| wrong())
}
