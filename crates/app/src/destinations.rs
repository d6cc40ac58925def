//! From settings to replicas: where they are, with which key, and how a volume is followed.

use std::cell::{Cell, OnceCell};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use monolite_replica::{Destination, DestinationOptions, FollowOptions, Key, Policy, StorageError};
use monolite_volume::layout;

use crate::aws_profile::AwsProfile;
use crate::settings::Error;
use crate::{Environment, Settings};

/// The value that turns replication off, also where `BUCKET_NAME` is set.
const NOWHERE: &str = "none";
/// The variable that may hold the key with which replicas are encrypted.
pub const KEY_VARIABLE: &str = "MONOLITE_REPLICA_KEY";
/// A key file is one line; what is larger is another file.
const KEY_BYTES_MAX: u64 = 4096;

/// Why there is no replica at a URL.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The settings are wrong.
    #[error(transparent)]
    Setting(#[from] Error),
    /// The storage is wrong, or cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReplicaError {
    /// Whether the user has to change a setting.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Setting(_) | Self::Storage(StorageError::Setting { .. })
        )
    }
}

/// Where the volume is replicated to; empty if it is not.
///
/// # Errors
/// A setting is wrong, or a folder cannot be opened.
pub fn destinations(
    settings: &Settings,
    environment: &Environment,
) -> Result<Vec<Destination>, ReplicaError> {
    let mut destinations: Vec<Destination> = Vec::new();
    let urls = &settings.replica;
    if urls.is_empty() {
        let options = options(settings, environment)?;
        let found = with_variables(environment, |variable| {
            Destination::from_variables(variable, options)
        })?;
        return Ok(found.into_iter().collect());
    }
    if urls.iter().any(|url| url == NOWHERE) {
        return match urls.len() {
            1 => Ok(destinations),
            _ => Err(wrong(
                "the replica `none` stands alone: it is for no replica at all",
            )),
        };
    }
    for url in urls {
        let mut destination = destination(url, settings, environment)?;
        let is_known =
            |one: &Destination| destinations.iter().any(|other| other.name() == one.name());
        if is_known(&destination) {
            // Buckets of two providers may have one name.
            destination = destination.named_by_endpoint();
        }
        if is_known(&destination) {
            let name = destination.name();
            return Err(wrong(format!("the replica {name} is given twice")));
        }
        destinations.push(destination);
    }
    Ok(destinations)
}

/// The destination at `url`, with the key of the settings. A path that is not absolute is one below
/// the current directory.
///
/// # Errors
/// As for [`destinations`].
pub fn destination(
    url: &str,
    settings: &Settings,
    environment: &Environment,
) -> Result<Destination, ReplicaError> {
    let url = url.trim();
    let is_relative = !url.contains(':') && !url.starts_with(['/', '~']) && !url.is_empty();
    let absolute = match std::path::absolute(url) {
        Ok(path) if is_relative => path.to_str().map(str::to_owned),
        _ => None,
    };
    let url = absolute.as_deref().unwrap_or(url);
    let options = options(settings, environment)?;
    with_variables(environment, |variable| {
        Destination::parse(url, variable, options)
    })
}

/// Calls `make` with a function that reads variables.
///
/// # Errors
/// That of `make`, or a variable that it reads is not UTF-8.
fn with_variables<T>(
    environment: &Environment,
    make: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, StorageError>,
) -> Result<T, ReplicaError> {
    let not_utf8 = Cell::new(None);
    let profile: OnceCell<Result<AwsProfile, String>> = OnceCell::new();
    let variable = |name: &str| {
        let text = environment.text(name);
        let text = text.unwrap_or_else(|error| {
            not_utf8.set(Some(error));
            None
        });
        if text.is_some() || !AwsProfile::knows(name) {
            return text;
        }
        // Amazon's own tools have it from a file.
        let profile = profile.get_or_init(|| AwsProfile::load(environment));
        profile.as_ref().ok().and_then(|profile| profile.get(name))
    };
    let made = make(&variable);
    if let Some(error) = not_utf8.take() {
        return Err(error.into());
    }
    match (made, profile.into_inner()) {
        (Ok(made), _) => Ok(made),
        // Why there are no keys.
        (Err(_), Some(Err(why))) => Err(wrong(why)),
        (Err(error), _) => Err(error.into()),
    }
}

fn options(
    settings: &Settings,
    environment: &Environment,
) -> Result<DestinationOptions, ReplicaError> {
    Ok(DestinationOptions {
        key: key(settings, environment)?,
        ..DestinationOptions::default()
    })
}

/// The key with which replicas are encrypted, if they are.
///
/// # Errors
/// The key is given twice, cannot be read, or is none.
pub fn key(settings: &Settings, environment: &Environment) -> Result<Option<Key>, Error> {
    match (&settings.replica_key_file, environment.text(KEY_VARIABLE)?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::new(
            "the replica's key is given twice, by a file and by MONOLITE_REPLICA_KEY; leave one of them",
        )),
        (None, Some(key)) => match Key::parse(&key) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(Error::new(format!("{KEY_VARIABLE}: {error}"))),
        },
        (Some(path), None) => match read_key(path) {
            Ok(key) => Ok(Some(key)),
            Err(error) => {
                let path = path.display();
                Err(Error::new(format!(
                    "the replica's key file {path}: {error}"
                )))
            }
        },
    }
}

fn read_key(path: &Path) -> Result<Key, String> {
    let read = |error: std::io::Error| error.to_string();
    let size = std::fs::metadata(path).map_err(read)?.len();
    if size > KEY_BYTES_MAX {
        return Err(format!("it has {size} bytes; a key is one line"));
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    Key::parse(&text).map_err(|error| error.to_string())
}

fn wrong(what: impl Into<String>) -> ReplicaError {
    ReplicaError::Setting(Error::new(what))
}

/// How the volume is followed.
pub fn follow_options(settings: &Settings) -> FollowOptions {
    FollowOptions {
        host: settings.replica_host.clone().unwrap_or_else(host),
        take_over: settings.take_over,
        scratch: settings.replica_scratch.clone(),
        sync_interval: settings.sync_interval,
        snapshot_every: settings.snapshot_interval,
        policy: Policy {
            every: settings.keep_all,
            hourly: settings.keep_hourly,
            daily: settings.keep_daily,
            ..Policy::default()
        },
        ..FollowOptions::default()
    }
}

/// The name of this machine, or of this container.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The directory on the volume for what replication has to know after a restart.
pub fn state(volume: &Path) -> PathBuf {
    layout::replica_state(volume)
}

/// Whether a destination is a folder on the disk that the volume is on.
pub fn is_on_disk_of(destination: &Destination, volume: &Path) -> bool {
    let Some(folder) = destination.name().strip_prefix("file://") else {
        return false;
    };
    let disk = |path: &Path| path.metadata().ok().map(|of| of.dev());
    // The folder is made when something is stored: until then, the one that it will be in.
    let exists = Path::new(folder).ancestors().find_map(disk);
    exists.is_some() && exists == disk(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Environment {
        Environment::default()
    }

    #[test]
    fn folders_are_named_whole_and_none_is_none() {
        let named = |urls: &[&str]| {
            let mut settings = Settings::default();
            settings.replica = urls.iter().map(|url| (*url).into()).collect();
            let found = destinations(&settings, &none())?;
            let names = found.iter().map(|one| one.name().to_owned());
            Ok::<Vec<_>, ReplicaError>(names.collect())
        };
        let here = std::env::current_dir().unwrap();
        let named_here = format!("file://{}/backups", here.display());
        assert_eq!(named(&["backups"]).ok(), Some(vec![named_here]));
        assert_eq!(named(&["none"]).ok(), Some(vec![]));
        for wrong in [vec!["/a", "file:///a"], vec!["s4://a"], vec!["none", "/a"]] {
            assert!(named(&wrong).unwrap_err().is_usage(), "{wrong:?}");
        }
    }

    #[test]
    fn a_bucket_of_the_platform_is_taken_and_none_turns_it_off() {
        let pairs = [
            ("BUCKET_NAME", "shop"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL_S3", "https://fly.storage.tigris.dev"),
        ];
        let environment: Environment = pairs.into_iter().collect();
        let mut settings = Settings::default();
        let found = destinations(&settings, &environment).unwrap();
        assert_eq!(found[0].name(), "s3://shop/monolite");
        settings.replica = vec!["none".into()];
        assert!(destinations(&settings, &environment).unwrap().is_empty());
    }

    #[test]
    fn a_key_file_is_named_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let mut settings = Settings::default();
        settings.replica_key_file = Some(path.clone());
        let error = || key(&settings, &none()).unwrap_err().to_string();
        assert!(error().contains("/key: No such file"), "{}", error());
        std::fs::write(&path, "hunter2-not-a-key").unwrap();
        assert!(error().contains("openssl rand -hex 32"), "{}", error());
        assert!(!error().contains("hunter2"), "{}", error());
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(error().contains("5000 bytes"), "{}", error());
        std::fs::write(&path, format!("{}\n", "0f".repeat(32))).unwrap();
        assert!(key(&settings, &none()).unwrap().is_some());
        let environment = [(KEY_VARIABLE, "0f".repeat(32))].into_iter().collect();
        let twice = key(&settings, &environment).unwrap_err().to_string();
        assert!(twice.contains("given twice"), "{twice}");
    }
}
