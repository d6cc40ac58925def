//! The name of a file.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, Txid};

/// `<min>-<max>.ltx`: which states a file leads through, from its name alone.
///
/// Parsed as strictly as the Go implementation does (16 lower-case digits
/// each), and only if the range is one: `1 <= min <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The first state it leads to.
    pub min: Txid,
    /// The last state it leads to.
    pub max: Txid,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.ltx", self.min, self.max)
    }
}

impl FromStr for FileName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::FileName(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<FileName> {
    let (min, max) = text.strip_suffix(".ltx")?.split_once('-')?;
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let (min, max) = (min.parse().ok()?, max.parse().ok()?);
    (Txid::FIRST <= min && min <= max).then_some(FileName { min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_both_ids() {
        let name = FileName {
            min: Txid(1),
            max: Txid(0xabc),
        };
        assert_eq!(name.to_string(), "0000000000000001-0000000000000abc.ltx");
        assert_eq!(name.to_string().parse::<FileName>().unwrap(), name);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in [
            "",
            "0000000000000001-0000000000000abc",
            "0000000000000001-0000000000000ABC.ltx",
            "0000000000000001-0000000000000abc.ltx.sealed",
            "000000000000001-0000000000000abc.ltx",
            "0000000000000000-0000000000000001.ltx",
            "0000000000000002-0000000000000001.ltx",
            "/0000000000000001-0000000000000abc.ltx",
            "0000000000000001-0000000000000abc.LTX",
            "0000000000000001-0000000000000abc-0000000000000abc.ltx",
        ] {
            assert!(wrong.parse::<FileName>().is_err(), "{wrong:?}");
        }
    }
}
