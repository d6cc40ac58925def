//! Which channels a subscription wants.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Error, Pattern, Result, name};

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
        name::check("channel", channel)?;
        self.own_channel(channel)
    }

    /// Wants a channel that may be one of this crate's own.
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
