//! A namespace and a key, joined into one string of bytes.

use crate::{Error, Result};

/// Longest key, with its namespace, in bytes.
pub const KEY_MAX_BYTES: usize = 1024;

/// A checked key; see [`Key::new`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

impl Key {
    /// Joins the two. A new handle has the namespace `""`.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`] over [`KEY_MAX_BYTES`];
    /// [`Error::NamespaceHasNul`].
    pub fn new(namespace: &str, key: &[u8]) -> Result<Self> {
        let bytes = namespace.len() + 1 + key.len();
        if bytes > KEY_MAX_BYTES {
            return Err(Error::KeyTooLong { bytes });
        }
        if namespace.contains('\0') {
            return Err(Error::NamespaceHasNul);
        }
        let mut full = Vec::with_capacity(bytes);
        full.extend_from_slice(namespace.as_bytes());
        full.push(0);
        full.extend_from_slice(key);
        Ok(Self(full.into()))
    }

    /// Namespace, NUL, key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as shown in errors.
    pub(crate) fn show(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        match text.split_once('\0') {
            Some(("", key)) => key.into(),
            Some((namespace, key)) => format!("{key} of {namespace}"),
            None => text.into_owned(),
        }
    }
}
