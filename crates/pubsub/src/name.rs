//! What may be the name of a channel or of a member.

use crate::{Error, NewMessage, Result};

/// Longest name of a channel, a member or a pattern, in bytes.
pub const NAME_MAX_BYTES: usize = 255;

/// Longest payload anyone may ask for, in bytes: 16 MiB.
pub const PAYLOAD_MAX_BYTES: usize = 16 << 20;

/// What channels of this crate's own begin with. No pattern matches them.
pub(crate) const RESERVED: &str = "_monolite:";

pub(crate) fn check(what: &'static str, name: &str) -> Result<()> {
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
        return refuse("what begins with `_monolite:` is reserved");
    }
    Ok(())
}

pub(crate) fn check_message(message: &NewMessage, max: usize) -> Result<()> {
    check("channel", &message.channel)?;
    if message.payload.len() > max {
        return Err(Error::TooLarge {
            channel: message.channel.clone(),
            bytes: message.payload.len(),
            max,
        });
    }
    Ok(())
}
