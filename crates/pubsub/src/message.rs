//! Messages: what is published, what a subscriber gets, the id it resumes from,
//! and the limits of names and payloads.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::{Error, Result};

/// The position of a message in the file. It prints and parses as a short
/// string, for `Last-Event-ID` and the like.
///
/// ```
/// use monolite_pubsub::MessageId;
/// let id = MessageId { epoch: 0x7d2f, seq: 42 };
/// assert_eq!(id.to_string(), "0000000000007d2f-42");
/// assert_eq!("0000000000007d2f-42".parse::<MessageId>().unwrap(), id);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// A random number of the file. A file that replaces it has another one, so
    /// that ids of the two are not mixed up.
    pub epoch: u64,
    /// Number of the message in the file: one more than that of the message
    /// before it, in the order of commits.
    pub seq: u64,
}

impl Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.seq)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (epoch, seq) = text.split_once('-')?;
            let digits = |t: &str| t.bytes().all(|b| b.is_ascii_hexdigit());
            if epoch.len() != 16 || !digits(epoch) || !digits(seq) {
                return None;
            }
            Some(Self {
                epoch: u64::from_str_radix(epoch, 16).ok()?,
                // Beyond what SQLite counts to there is no message.
                seq: seq.parse().ok().filter(|seq| i64::try_from(*seq).is_ok())?,
            })
        };
        // Not the whole of what a stranger sent.
        parse().ok_or_else(|| Error::MessageId(text.chars().take(64).collect()))
    }
}

/// One message; the subscribers of a process share it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Resume from here to go on after this message.
    pub id: MessageId,
    /// The channel it was published to.
    pub channel: Arc<str>,
    /// What was published.
    pub payload: Vec<u8>,
    /// When it was published, by the publisher's wall clock; to the
    /// millisecond.
    pub published_at: Timestamp,
}

impl Message {
    /// The payload, read as JSON.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.payload).map_err(|source| Error::Json {
            what: "read a message as JSON",
            source,
        })
    }

    /// The payload as text; `None` if it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }

    /// Bytes it counts for in a bound.
    #[cfg(feature = "handle")]
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.channel.len() + ROW_BYTES
    }
}

/// About what a row costs in addition to its channel and payload, in bytes.
pub(crate) const ROW_BYTES: usize = 64;

/// A column of milliseconds since 1970.
pub(crate) fn timestamp(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let ms: i64 = row.get(column)?;
    Timestamp::from_millisecond(ms)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, ms))
}

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The channel it is for.
    pub channel: String,
    /// Any bytes.
    pub payload: Vec<u8>,
}

impl NewMessage {
    /// A message of bytes.
    pub fn new(channel: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            channel: channel.into(),
            payload: payload.into(),
        }
    }

    /// A message of a value, as JSON.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be written as JSON.
    pub fn json(channel: impl Into<String>, value: &impl serde::Serialize) -> Result<Self> {
        let payload = serde_json::to_vec(value).map_err(|source| Error::Json {
            what: "publish a value as JSON",
            source,
        })?;
        Ok(Self::new(channel, payload))
    }
}

/// Longest name of a channel, a member or a pattern, in bytes.
pub const NAME_MAX_BYTES: usize = 255;

/// Largest payload that can be allowed, in bytes: 16 MiB.
pub const PAYLOAD_MAX_BYTES: usize = 16 << 20;

/// The prefix of this crate's own channels. No pattern matches them.
pub(crate) const RESERVED: &str = "_monolite:";

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let refuse = |why| {
        Err(Error::Name {
            what,
            name: name.chars().take(64).collect(),
            why,
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > NAME_MAX_BYTES {
        return refuse("it is longer than 255 bytes");
    }
    if name.starts_with(RESERVED) {
        return refuse("the prefix `_monolite:` is reserved");
    }
    Ok(())
}

pub(crate) fn check_message(message: &NewMessage, max: usize) -> Result<()> {
    check_name("channel", &message.channel)?;
    if message.payload.len() > max {
        return Err(Error::TooLarge {
            channel: message.channel.clone(),
            bytes: message.payload.len(),
            max,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The id, if the text is one; the error never holds the whole of it.
    fn read(text: &str) -> Option<MessageId> {
        match text.parse() {
            Ok(id) => Some(id),
            Err(Error::MessageId(shown)) => {
                assert!(shown.chars().count() <= 64 && text.starts_with(&shown));
                None
            }
            Err(other) => unreachable!("{other}"),
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let epoch = "0123456789abcdef";
        assert!(read(&format!("{epoch}-{}", i64::MAX)).is_some());
        for text in [
            "".into(),
            "-".into(),
            epoch.into(),
            format!("{epoch}-"),
            format!("{epoch}-+1"),
            format!("{epoch}--1"),
            format!("{epoch}-a"),
            format!("{epoch}-1 "),
            format!("{epoch}-1\n"),
            format!("{epoch}-1-1"),
            format!("{epoch}-{}", i64::MAX.unsigned_abs() + 1),
            format!("{epoch}-{}", u128::MAX),
            format!("+{}-1", &epoch[1..]),
            format!("{}-1", &epoch[1..]),
            format!("0{epoch}-1"),
            // 16 bytes, of another alphabet.
            "éééééééé-1".into(),
            format!("{epoch}-١"),
        ] {
            assert_eq!(read(&text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_id_is_read_as_it_was_printed(epoch: u64, seq in 0..=i64::MAX.unsigned_abs()) {
            let id = MessageId { epoch, seq };
            prop_assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        }

        #[test]
        fn any_text_is_an_id_or_an_error(
            text in prop_oneof![any::<String>(), "[0-9a-fA-F+-]{0,40}", "[0-9a-fA-Fé]{14,17}-[0-9a-f+-]{0,21}"],
        ) {
            if let Some(id) = read(&text) {
                // What is read is what stands there.
                prop_assert!(text[..16].eq_ignore_ascii_case(&id.to_string()[..16]));
                let digits = text[17..].trim_start_matches('0');
                prop_assert_eq!(if digits.is_empty() { "0" } else { digits }, id.seq.to_string());
            }
        }
    }
}
