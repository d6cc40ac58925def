//! The number of a state of a database.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A transaction id: the number of a state of the database, counted from 1.
///
/// Printed and parsed as exactly 16 hexadecimal digits, so that the order of
/// the texts is the order of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Txid(pub u64);

impl Txid {
    /// The first state; a file that begins with it is a snapshot.
    pub const FIRST: Self = Self(1);

    /// The state after this one. The last number there is has none, and stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Txid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_hex(text)
            .map(Self)
            .ok_or_else(|| Error::Txid(text.to_owned()))
    }
}

/// Exactly 16 hexadecimal digits. `from_str_radix` alone would take a sign.
pub(crate) fn parse_hex(text: &str) -> Option<u64> {
    let all = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sixteen_digits_both_ways() {
        assert_eq!(Txid(0x1f).to_string(), "000000000000001f");
        assert_eq!("000000000000001f".parse::<Txid>().unwrap(), Txid(0x1f));
        assert_eq!("000000000000001F".parse::<Txid>().unwrap(), Txid(0x1f));
        assert_eq!("ffffffffffffffff".parse::<Txid>().unwrap(), Txid(u64::MAX));
        for wrong in [
            "",
            "1f",
            "+00000000000001f",
            "000000000000001g",
            "0000000000000001f",
            "00000000000001é",
        ] {
            assert!(wrong.parse::<Txid>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn next_does_not_wrap() {
        assert_eq!(Txid(1).next(), Txid(2));
        assert_eq!(Txid(u64::MAX).next(), Txid(u64::MAX));
    }
}
