//! A bucket or a folder that holds replicas.

use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use monolite_sqlite_format::SUFFIXES;
use monolite_volume::layout;

use super::bucket::{Bucket, Entries};
use super::context::Context;
use super::error::{Result, StorageError};
use super::file_info::{Layout, join};
use super::folder::Folder;
use super::lease::LeaseStore;
use super::object::Client;
use super::options::DestinationOptions;
use super::replica::Replica;
use super::url::{self, Setting};

/// A bucket and a prefix in it, or a folder: a cheap handle.
#[derive(Clone)]
pub struct Destination(Arc<Context>);

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({})", self.0.name)
    }
}

/// Folders of folders that are looked through for databases.
const DEPTH: usize = 8;
/// The folder in which Litestream 0.3 keeps what it has of a database.
pub(super) const GENERATIONS: &str = "generations";
/// Lists that are under way at once.
const LISTS: usize = 8;

impl Destination {
    /// A destination by its URL: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` (or `abs://`), `file:///path`, or a plain path.
    ///
    /// An S3 URL may say `endpoint`, `region` and more in its query; what it
    /// does not say is taken from the variables that people have for this
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_S3`, …), which `var` answers.
    /// Nothing is asked of the network.
    ///
    /// # Errors
    /// [`StorageError::Setting`], which says what
    /// to write instead, and repeats no secret.
    ///
    /// ```
    /// use monolite_replica::Destination;
    /// let var = |name: &str| match name {
    ///     "AWS_ACCESS_KEY_ID" => Some("id".to_owned()),
    ///     "AWS_SECRET_ACCESS_KEY" => Some("secret".to_owned()),
    ///     _ => None,
    /// };
    /// let url = "s3://backups/shop?region=eu-west-1";
    /// let destination = Destination::parse(url, &var, Default::default())?;
    /// assert_eq!(destination.name(), "s3://backups/shop");
    /// # Ok::<(), monolite_replica::StorageError>(())
    /// ```
    pub fn parse(
        url: &str,
        var: &dyn Fn(&str) -> Option<String>,
        options: DestinationOptions,
    ) -> Result<Self> {
        Self::of(url::parse(url, var)?, url::again(url), options)
    }

    /// The bucket that the platform's variables name: `BUCKET_NAME`, as
    /// Tigris on Fly sets it together with `AWS_ENDPOINT_URL_S3` and the keys. The
    /// prefix is `monolite`. `None` without that variable.
    ///
    /// # Errors
    /// As [`Destination::parse`].
    pub fn from_variables(
        var: &dyn Fn(&str) -> Option<String>,
        options: DestinationOptions,
    ) -> Result<Option<Self>> {
        let setting = url::from_variables(var)?;
        setting
            .map(|setting| Self::of(setting, None, options))
            .transpose()
    }

    fn of(setting: Setting, url: Option<String>, options: DestinationOptions) -> Result<Self> {
        let clock = options.clock.clone();
        let (name, prefix, bucket): (_, _, Box<dyn Bucket>) = match setting {
            Setting::Folder(path) => {
                // Whatever the process's own folder is later.
                let path = std::path::absolute(&path).unwrap_or(path);
                let name = format!("file://{}", path.display());
                let prefix = path.to_string_lossy().into_owned();
                (name, prefix, Box::new(Folder::new(&path, clock)))
            }
            Setting::Bucket(setting) => {
                let (name, prefix) = (setting.name(), setting.prefix.clone());
                (name, prefix, Box::new(Client::new(*setting, &options)?))
            }
        };
        let url = url.filter(|_| name.contains("://") && !name.starts_with("file:"));
        Ok(Self(Arc::new(Context {
            url: url.unwrap_or_else(|| name.clone()),
            name,
            prefix,
            bucket,
            key: options.key,
            clock: options.clock,
        })))
    }

    /// One that exists in a test only.
    #[cfg(test)]
    pub(crate) fn simulated(
        bucket: super::sim::SimBucket,
        clock: Arc<dyn monolite_platform::clock::Clock>,
    ) -> Self {
        Self(Arc::new(Context {
            name: "sim".into(),
            url: "sim".into(),
            prefix: String::new(),
            bucket: Box::new(bucket),
            key: None,
            clock,
        }))
    }

    /// For people, without secrets: `s3://bucket/prefix`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The URL as it can be given again on a command line, with what is not secret of its
    /// query: `s3://bucket/prefix?endpoint=…`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The same, with its endpoint in its name: for two destinations whose names are one.
    #[must_use]
    pub fn named_by_endpoint(mut self) -> Self {
        let url = self.0.url.clone();
        let endpoint = url.split_once("endpoint=").map(|(_, rest)| rest);
        let endpoint = endpoint.and_then(|rest| rest.split('&').next());
        let host = endpoint.map(|endpoint| endpoint.rsplit("://").next().unwrap_or(endpoint));
        // It was made just now, and has no other handle.
        if let (Some(host), Some(context)) = (host, Arc::get_mut(&mut self.0)) {
            context.name = format!("{} ({})", context.name, host.trim_end_matches('/'));
        }
        self
    }

    /// Whether what is written is encrypted.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.0.key.is_some()
    }

    /// One database's files; `database` is its path relative to the volume.
    /// The empty one is the destination itself, for a URL that names a database.
    #[must_use]
    pub fn replica(&self, database: &str) -> Replica {
        Replica::new(self.0.clone(), database.trim_matches('/'))
    }

    /// The right to write here.
    #[must_use]
    pub fn lease(&self) -> LeaseStore {
        LeaseStore::new(self.0.clone())
    }

    /// The databases that have files here, sorted. Found by listing folders, so
    /// that a long history costs nothing. Each name stays inside a volume, and
    /// is not that of a WAL or a journal; the destination
    /// itself has the empty one.
    ///
    /// # Errors
    /// The destination cannot be listed; it has a replica by Litestream 0.3; or it has
    /// no database and other files, and so is most likely not what was meant. That there
    /// is nothing at all is no error.
    pub async fn databases(&self) -> Result<Vec<String>> {
        let bucket = &self.0.bucket;
        let mut databases = Vec::new();
        let (mut old, mut foreign) = (Vec::new(), None);
        let mut folders = vec![String::new()];
        for _ in 0..DEPTH {
            let lists = folders.into_iter().map(async |folder| {
                let entries = bucket.entries(&folder).await?;
                Ok((folder, entries))
            });
            let lists = futures_util::stream::iter(lists).buffer_unordered(LISTS);
            let listed: Vec<(String, Entries)> = lists.try_collect().await?;
            folders = Vec::new();
            for (folder, entries) in listed {
                let layout = bucket.layout();
                let (levels, rest): (Vec<_>, Vec<_>) =
                    (entries.folders.into_iter()).partition(|name| match layout {
                        Layout::Objects => layout.parse_level(name).is_some(),
                        Layout::Folder => name == "ltx",
                    });
                if !levels.is_empty() {
                    databases.push(folder.clone());
                } else if rest.iter().any(|name| name == GENERATIONS) {
                    old.push(folder.clone());
                }
                if let Some(file) = entries.file {
                    foreign.get_or_insert(join(&folder, &file));
                }
                let is_ours = |name: &&String| *name != layout::STATE && *name != GENERATIONS;
                folders.extend(rest.iter().filter(is_ours).map(|name| join(&folder, name)));
            }
        }
        if let Some(first) = old.first() {
            let name = join(self.name(), first);
            return Err(StorageError::OldLitestream { name });
        }
        if let (Some(file), true) = (foreign, databases.is_empty()) {
            let name = self.name().into();
            return Err(StorageError::Foreign { name, file });
        }
        databases.retain(|name| name.is_empty() || is_inside(name));
        databases.sort_unstable();
        Ok(databases)
    }
}

/// Whether a name that comes from outside names a database on a volume.
fn is_inside(name: &str) -> bool {
    let normal =
        |part: Component<'_>| matches!(part, Component::Normal(part) if part != layout::STATE);
    !name.contains('\0')
        && !name.ends_with('/')
        && !SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        && Path::new(name).components().all(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_stay_inside() {
        for name in ["app.sqlite3", "tenants/a b.db", "a/..b/c"] {
            assert!(is_inside(name), "{name}");
        }
        for name in [
            "../app.sqlite3",
            "/etc/passwd",
            "a/../../b",
            ".monolite/lock",
            "a/.monolite/b",
            "app.sqlite3-wal",
            "a\0b",
            "a/",
        ] {
            assert!(!is_inside(name), "{name}");
        }
    }
}
