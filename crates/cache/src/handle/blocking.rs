//! For threads that may be blocked. Not for async code.

use monolite_store::park::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Cache, EntryOptions, Result};

impl Cache {
    /// As [`Cache::get_bytes`], on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub fn get_bytes_blocking(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        block_on(self.get_bytes(key))
    }

    /// As [`Cache::set_bytes`], on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`].
    pub fn set_bytes_blocking(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        options: &EntryOptions,
    ) -> Result<()> {
        block_on(self.set_bytes(key, value, options))
    }

    /// As [`Cache::delete`], on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Cache::delete`].
    pub fn delete_blocking(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        block_on(self.delete(key))
    }

    /// As [`Cache::increment`], on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Cache::increment`].
    pub fn increment_blocking(
        &self,
        key: impl AsRef<[u8]>,
        by: i64,
        options: &EntryOptions,
    ) -> Result<i64> {
        block_on(self.increment(key, by, options))
    }

    /// As [`Cache::close`], on a thread that may be blocked.
    pub fn close_blocking(&self) {
        block_on(self.close());
    }

    /// As [`Cache::get`], on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_blocking<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        block_on(self.get(key))
    }

    /// As [`Cache::set`], on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Cache::set`].
    pub fn set_blocking<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &EntryOptions,
    ) -> Result<()> {
        block_on(self.set(key, value, options))
    }
}
