//! Values of any type that serde knows, as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::only_if_absent;
use crate::{Cache, EntryOptions, Error, Key, Result};

pub(crate) fn encode<T: Serialize + ?Sized>(key: &Key, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Encode {
        key: key.show(),
        source,
    })
}

pub(crate) fn decode<T: DeserializeOwned>(key: &Key, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|source| Error::Decode {
        key: key.show(),
        source,
    })
}

impl Cache {
    /// The value of a key.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`]; [`Error::Decode`] if it is of another type.
    pub async fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let key = self.key(key)?;
        match self.engine.get(key.clone()).await? {
            Some(found) => Ok(Some(decode(&key, &found.value)?)),
            None => Ok(None),
        }
    }

    /// The values of many keys, in order.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get_many<T: DeserializeOwned, K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Option<T>>> {
        let found = self.find_many(keys).await?;
        keys.iter()
            .zip(found)
            .map(|(key, found)| match found {
                Some(found) => Ok(Some(decode(&self.key(key)?, &found.value)?)),
                None => Ok(None),
            })
            .collect()
    }

    /// Puts a value in, in the place of what was there.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`]; [`Error::Encode`].
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &EntryOptions,
    ) -> Result<()> {
        let key = self.key(key)?;
        let change = self.setting(encode(&key, value)?, options);
        self.engine.write(key, change).await?;
        Ok(())
    }

    /// Puts a value in if there is none; false if there is.
    ///
    /// # Errors
    /// As [`Cache::set`].
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &EntryOptions,
    ) -> Result<bool> {
        let key = self.key(key)?;
        let change = only_if_absent(self.setting(encode(&key, value)?, options));
        self.done(key, change).await
    }

    /// Puts many values in, 64 a transaction; all with the same options.
    ///
    /// # Errors
    /// As [`Cache::set`], of the first that was refused; others may be in.
    pub async fn set_many<K: AsRef<[u8]>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
        options: &EntryOptions,
    ) -> Result<()> {
        let writes = entries
            .into_iter()
            .map(|(key, value)| {
                let key = self.key(key)?;
                let value = encode(&key, &value)?;
                Ok((key, self.setting(value, options)))
            })
            .collect::<Result<Vec<_>>>()?;
        self.write_many(writes).await.map(|_| ())
    }
}
