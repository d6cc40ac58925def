//! A message, and the id that a subscriber resumes from.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, Result};

/// Where a message stands in the file; prints and parses as a short string,
/// for `Last-Event-ID` and the like.
///
/// ```
/// use monolite_pubsub::MessageId;
/// let id = MessageId { epoch: 0x7d2f, seq: 42 };
/// assert_eq!(id.to_string(), "0000000000007d2f-42");
/// assert_eq!("0000000000007d2f-42".parse::<MessageId>().unwrap(), id);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// Random, of the file; another one when the file was made anew, so that
    /// an id of the former file is not taken for one of this.
    pub epoch: u64,
    /// Goes up by one with every message of the file, in the order of commits.
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

/// One message, as every subscriber of a process shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Resume from here to go on after this message.
    pub id: MessageId,
    /// The channel it was published to.
    pub channel: Arc<str>,
    /// What was published.
    pub payload: Vec<u8>,
    /// When, in milliseconds since 1970 by the publisher's wall clock.
    pub published_ms: i64,
}

impl Message {
    /// The payload as the value that was published as JSON.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.payload).map_err(|source| Error::Json {
            what: "read a message as JSON",
            source,
        })
    }

    /// The payload as text, if it is.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }

    /// What it counts for in a bound.
    #[cfg(feature = "handle")]
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.channel.len() + ROW_BYTES
    }
}

/// What a row costs beside its channel and payload, roughly.
pub(crate) const ROW_BYTES: usize = 64;

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// To this channel.
    pub channel: String,
    /// Any bytes.
    pub payload: Vec<u8>,
}

impl NewMessage {
    /// Bytes for a channel.
    pub fn new(channel: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            channel: channel.into(),
            payload: payload.into(),
        }
    }

    /// A value for a channel, as JSON.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be JSON.
    pub fn json(channel: impl Into<String>, value: &impl serde::Serialize) -> Result<Self> {
        let payload = serde_json::to_vec(value).map_err(|source| Error::Json {
            what: "publish a value as JSON",
            source,
        })?;
        Ok(Self::new(channel, payload))
    }
}
