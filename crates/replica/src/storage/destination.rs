//! A bucket or a folder that holds replicas.

use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use monolite_sqlite_format::SUFFIXES;
use monolite_volume::layout;

use super::bucket::Bucket;
use super::context::Context;
use super::error::Result;
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
    /// [`StorageError::Setting`](super::StorageError::Setting), which says what
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
        Self::of(url::parse(url, var)?, options)
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
            .map(|setting| Self::of(setting, options))
            .transpose()
    }

    fn of(setting: Setting, options: DestinationOptions) -> Result<Self> {
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
        Ok(Self(Arc::new(Context {
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
    /// The destination cannot be listed. That there are none is no error.
    pub async fn databases(&self) -> Result<Vec<String>> {
        let bucket = &self.0.bucket;
        let mut databases = Vec::new();
        let mut folders = vec![String::new()];
        for _ in 0..DEPTH {
            let lists = folders.into_iter().map(async |folder| {
                let children = bucket.folders(&folder).await?;
                Ok((folder, children))
            });
            let lists = futures_util::stream::iter(lists).buffer_unordered(LISTS);
            let listed: Vec<(String, Vec<String>)> = lists.try_collect().await?;
            folders = Vec::new();
            for (folder, children) in listed {
                let layout = bucket.layout();
                let (levels, rest): (Vec<_>, Vec<_>) =
                    children.into_iter().partition(|name| match layout {
                        Layout::Objects => layout.parse_level(name).is_some(),
                        Layout::Folder => name == "ltx",
                    });
                if !levels.is_empty() {
                    databases.push(folder.clone());
                }
                let rest = rest.iter().filter(|name| *name != layout::STATE);
                folders.extend(rest.map(|name| join(&folder, name)));
            }
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
