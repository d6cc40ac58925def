//! What a bucket or a folder answers when it does not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::holder::Holder;
use crate::class::ErrorClass;

/// What the storage modules return.
pub(super) type Result<T, E = StorageError> = std::result::Result<T, E>;

/// What was being done, to what, and how to fix it. No message holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A URL, a variable or a key that cannot be used; nothing was tried.
    #[error("{what}: {why}")]
    Setting {
        /// What was given.
        what: String,
        /// Why it is refused, and what to write instead.
        why: String,
    },
    /// The file is not there; it may have been, when it was listed.
    #[error("{name} is not there")]
    NotFound {
        /// The file.
        name: String,
    },
    /// Another file has this name. Nothing was overwritten.
    #[error("{name} is there already, with other content: nothing was overwritten")]
    AlreadyExists {
        /// The file.
        name: String,
    },
    /// The file became another one while it was read.
    #[error("{name} was replaced while it was read")]
    Changed {
        /// The file.
        name: String,
    },
    /// More bytes than the reader allows for.
    #[error("{name} has {size} bytes or more, and {limit} are allowed here")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// There is no such bucket.
    #[error("{name}: the bucket does not exist; create it, or correct its name")]
    NoBucket {
        /// The destination.
        name: String,
    },
    /// A replica that Litestream before 0.5 wrote, in another format.
    #[error(
        "{name} is a replica by Litestream 0.3, which only that reads: restore it with \
         `litestream restore` of version 0.3, then replicate to another prefix"
    )]
    OldLitestream {
        /// The replica.
        name: String,
    },
    /// There are files, and none of them is a replica's.
    #[error(
        "{name} holds no replica, and other files, as {file}: it is not what was meant, or not for \
         replicas alone; correct the prefix, or name one of its own, as {name}/monolite"
    )]
    Foreign {
        /// The destination.
        name: String,
        /// One of the files.
        file: String,
    },
    /// The provider refuses these credentials, or does not know them.
    #[error("cannot {doing} {name}: the provider says {answer}; {fix}")]
    Denied {
        /// What was being done.
        doing: &'static str,
        /// To what.
        name: String,
        /// The provider's words.
        answer: String,
        /// What to do about it.
        fix: String,
        /// Whether it may pass by itself: a clock that is not set yet, a token that
        /// is renewed.
        passes: bool,
    },
    /// The provider refuses the request, and would refuse it again.
    #[error("cannot {doing} {name}: the provider says {answer}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// To what.
        name: String,
        /// The provider's words.
        answer: String,
    },
    /// The provider does not do conditional writes, so that nothing keeps two
    /// machines from writing at once.
    #[error(
        "{name}: this provider has no conditional writes ({answer}), so that no lease can keep two \
         machines from writing one replica"
    )]
    Unconditional {
        /// The destination.
        name: String,
        /// What shows it.
        answer: String,
    },
    /// No try succeeded in the time there is; a later one may. A write that was
    /// being done may have been done.
    #[error(
        "cannot {doing} {name} now, tried {attempts} times in {:.1} s: {answer}",
        elapsed.as_secs_f32()
    )]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// To what.
        name: String,
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
        /// The last answer.
        answer: String,
    },
    /// Another machine writes this replica.
    #[error("{name} is written by {holder}; its lease lasts {:.0} s more unless it is renewed, and \
             this one goes on by itself when it ends or is given back", remaining.as_secs_f32())]
    Held {
        /// The destination.
        name: String,
        /// Who holds it.
        holder: Box<Holder>,
        /// How long its lease lasts if it is not renewed.
        remaining: Duration,
    },
    /// This process has lost the lease: nothing may be written.
    #[error("{name}: this process no longer holds the lease, {}", match holder {
        Some(holder) => format!("{holder} writes here now"),
        None => "it was given back or removed".into(),
    })]
    Lost {
        /// The destination.
        name: String,
        /// Who has it now.
        holder: Option<Box<Holder>>,
    },
    /// This volume is a copy of the one that writes this replica.
    #[error(
        "{name} belongs to the volume that this one is a copy of; it was last written by {holder}, \
         {}. Give the copy a prefix of its own with --replica, or let it go on in the place of the \
         original with --take-over", holder.last_seen()
    )]
    Copied {
        /// The destination.
        name: String,
        /// Who had the lease last.
        holder: Box<Holder>,
    },
    /// An encrypted file, and no key.
    #[error("{name} is encrypted; give the key that it was written with")]
    NoKey {
        /// The file.
        name: String,
    },
    /// An encrypted file that the key does not open.
    #[error(
        "{name} cannot be decrypted: the key is not the one it was written with, or the file was \
         cut short, changed or given another name"
    )]
    Unsealable {
        /// The file.
        name: String,
    },
    /// A file whose beginning is no LTX header.
    #[error("{name}: {source}")]
    Header {
        /// The file.
        name: String,
        /// What is wrong with it.
        source: monolite_ltx::Error,
    },
    /// A folder or a file of this machine.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl StorageError {
    /// Whether waiting helps.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. }
            | Self::Denied { passes: true, .. }
            // Another list, or another plan, goes on without the file.
            | Self::NotFound { .. }
            | Self::Changed { .. }
            | Self::AlreadyExists { .. } => ErrorClass::Transient,
            Self::Io { source, .. } => ErrorClass::of_io(source),
            Self::Held { .. } | Self::Lost { .. } => ErrorClass::LeaseHeld,
            Self::Setting { .. }
            | Self::TooLarge { .. }
            | Self::NoBucket { .. }
            | Self::OldLitestream { .. }
            | Self::Foreign { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::Unconditional { .. }
            | Self::Copied { .. }
            | Self::NoKey { .. }
            | Self::Unsealable { .. }
            | Self::Header { .. } => ErrorClass::Permanent,
        }
    }

    /// Whether the very same request may succeed later, without anybody doing
    /// anything: the provider, the network or the disk failed, and not the
    /// request.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Io { .. })
            && self.class() == ErrorClass::Transient
    }

    /// Whether a file was not there: list the files again, and plan from that.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Changed { .. })
    }

    /// Whether a file is there and is not what was stored: cut short, changed or
    /// replaced; encrypted, maybe the key is another.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Header { .. } | Self::Unsealable { .. })
    }

    /// The file that is damaged or not there.
    pub(crate) fn file_name(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. }
            | Self::Unsealable { name }
            | Self::NotFound { name }
            | Self::Changed { name } => Some(name),
            _ => None,
        }
    }

    /// Whether this says that another machine writes the replica.
    #[must_use]
    pub fn is_lease(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Lost { .. })
    }

    /// Whether another machine has the lease now: nothing can be written until it
    /// gives the lease back, or the lease ends.
    #[must_use]
    pub fn is_held_by_another(&self) -> bool {
        match self {
            Self::Held { .. } => true,
            Self::Lost { holder, .. } => holder.as_ref().is_some_and(|holder| !holder.released),
            _ => false,
        }
    }

    /// The error in an I/O error that a [`Body`](super::Body) gave, if that is
    /// what it holds.
    ///
    /// # Errors
    /// The I/O error, if it is another one.
    pub fn from_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }

    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Io { source, .. } => source.kind(),
            Self::NotFound { .. } => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    pub(super) fn setting(what: impl Into<String>, why: impl Into<String>) -> Self {
        let (what, why) = (what.into(), why.into());
        Self::Setting { what, why }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.into();
            Self::Io {
                doing,
                path,
                source,
            }
        }
    }
}
