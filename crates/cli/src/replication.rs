//! From settings to replicas: which databases, to where, with which key.

mod news;
pub(crate) mod once;
pub(crate) mod report;
mod which;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use monolite_replica::{Destination, DestinationOptions, FollowOptions, Key, Policy, StorageError};
use monolite_volume::{Lock, Purpose};

pub(crate) use self::which::{find, find_guarded, guarded, is_replicated, name_in};
use crate::Failure;
use crate::settings::{Following, Replicas, Settings};

/// The value that turns replication off, also where `BUCKET_NAME` is set.
const NOWHERE: &str = "none";
/// Holds the key that replicas are encrypted with.
pub(crate) const KEY_VARIABLE: &str = "MONOLITE_REPLICA_KEY";
/// A key file is a line; what is larger is another file.
const MAX_KEY_BYTES: u64 = 4096;

/// Where the volume is replicated to; empty if it is not.
pub(crate) fn destinations(replicas: &Replicas) -> Result<Vec<Destination>, Failure> {
    let options = options(replicas)?;
    let mut destinations: Vec<Destination> = Vec::new();
    // A variable that is set to nothing is not set.
    let urls = replicas.replica.iter().map(|url| url.trim());
    let urls: Vec<&str> = urls.filter(|url| !url.is_empty()).collect();
    if urls.is_empty() {
        let found = Destination::from_variables(&variable, options).map_err(setting)?;
        return Ok(found.into_iter().collect());
    }
    if urls.contains(&NOWHERE) {
        return match urls.len() {
            1 => Ok(destinations),
            _ => Err(Failure::Usage(anyhow!(
                "the replica `none` stands alone: it is for no replica at all"
            ))),
        };
    }
    for url in urls {
        let destination = parse(url, options.clone())?;
        let name = destination.name();
        if destinations.iter().any(|other| other.name() == name) {
            return Err(Failure::Usage(anyhow!("the replica {name} is given twice")));
        }
        destinations.push(destination);
    }
    Ok(destinations)
}

/// As [`destinations`], for a verb that can do nothing without one.
pub(crate) fn required(replicas: &Replicas) -> Result<Vec<Destination>, Failure> {
    let destinations = destinations(replicas)?;
    if destinations.is_empty() {
        let error = anyhow!(
            "no replica is set: give --replica s3://BUCKET/PREFIX (or a folder), or set MONOLITE_REPLICA"
        );
        return Err(Failure::Usage(error));
    }
    Ok(destinations)
}

/// A destination named by its URL, with the key of the settings.
pub(crate) fn destination(url: &str, replicas: &Replicas) -> Result<Destination, Failure> {
    parse(url, options(replicas)?)
}

fn parse(url: &str, options: DestinationOptions) -> Result<Destination, Failure> {
    let url = url.trim();
    let is_relative = !url.contains(':') && !url.starts_with(['/', '~']) && !url.is_empty();
    let whole = match std::path::absolute(url) {
        Ok(path) if is_relative => path.to_str().map(str::to_owned),
        _ => None,
    };
    let url = whole.as_deref().unwrap_or(url);
    Destination::parse(url, &variable, options).map_err(setting)
}

fn options(replicas: &Replicas) -> Result<DestinationOptions, Failure> {
    Ok(DestinationOptions {
        key: key(replicas).map_err(Failure::Usage)?,
        ..DestinationOptions::default()
    })
}

/// The key that replicas are encrypted with, if they are.
pub(crate) fn key(replicas: &Replicas) -> anyhow::Result<Option<Key>> {
    match (&replicas.replica_key_file, variable(KEY_VARIABLE)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => bail!(
            "the replica's key is given twice, by a file and by MONOLITE_REPLICA_KEY; leave one of them"
        ),
        (None, Some(key)) => Ok(Some(Key::parse(&key).context("MONOLITE_REPLICA_KEY")?)),
        (Some(path), None) => {
            let key = read_key(path);
            Ok(Some(key.with_context(|| {
                format!("the replica's key file {}", path.display())
            })?))
        }
    }
}

fn read_key(path: &Path) -> anyhow::Result<Key> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_KEY_BYTES {
        bail!("it has {size} bytes; a key is one line");
    }
    Ok(Key::parse(&std::fs::read_to_string(path)?)?)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A wrong setting is wrong usage; anything else failed.
pub(crate) fn setting(error: StorageError) -> Failure {
    match error {
        StorageError::Setting { .. } => Failure::Usage(error.into()),
        other => Failure::Error(other.into()),
    }
}

/// How the volume is followed.
pub(crate) fn follow_options(following: &Following) -> FollowOptions {
    let mut options = FollowOptions {
        host: following.replica_host.clone().unwrap_or_else(host),
        take_over: following.take_over.unwrap_or(false),
        ..FollowOptions::default()
    };
    let mut policy = Policy::default();
    let set = |to: &mut std::time::Duration, from: Option<std::time::Duration>| {
        *to = from.unwrap_or(*to);
    };
    set(&mut options.sync_interval, following.sync_interval);
    set(&mut options.snapshot_every, following.snapshot_interval);
    set(&mut policy.every, following.keep_all);
    set(&mut policy.hourly, following.keep_hourly);
    set(&mut policy.daily, following.keep_daily);
    options.policy = policy;
    options
}

/// The name of this machine, or of this container.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Where what has to be known after a restart is kept on the volume.
pub(crate) fn state(volume: &Path) -> PathBuf {
    volume.join(".monolite").join("replica")
}

/// Keeps every other `monolite` from the volume while this one, called
/// `monolite VERB`, changes what is in it.
pub(crate) fn lock(volume: &Path, verb: &str) -> Result<Lock, Failure> {
    Ok(Lock::acquire(
        volume,
        &Purpose::new(format!("monolite {verb}")),
    )?)
}

/// Whether a destination is a folder on the disk that the volume is on.
pub(crate) fn is_beside(destination: &Destination, volume: &Path) -> bool {
    let Some(folder) = destination.name().strip_prefix("file://") else {
        return false;
    };
    let disk = |path: &Path| path.metadata().ok().map(|of| of.dev());
    // It is made when it is needed.
    let there = Path::new(folder).ancestors().find_map(disk);
    there.is_some() && there == disk(volume)
}

/// The volume's directory.
pub(crate) fn volume(settings: &Settings) -> Result<PathBuf, Failure> {
    let place = crate::surroundings::place(settings);
    if place.dir.is_dir() {
        return Ok(place.dir);
    }
    Err(Failure::Error(anyhow!(
        "there is no directory {}; name the volume with --data",
        place.dir.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_whole_and_none_is_none() {
        let named = |urls: &[&str]| {
            let replicas = Replicas {
                replica: urls.iter().map(|url| (*url).into()).collect(),
                ..Replicas::default()
            };
            let found = destinations(&replicas);
            found.map(|all| {
                all.iter()
                    .map(|one| one.name().to_owned())
                    .collect::<Vec<_>>()
            })
        };
        let here = std::env::current_dir().unwrap();
        let named_here = format!("file://{}/backups", here.display());
        assert_eq!(named(&["backups"]).ok(), Some(vec![named_here]));
        assert_eq!(named(&["none"]).ok(), Some(vec![]));
        for wrong in [vec!["/a", "file:///a"], vec!["s4://a"], vec!["none", "/a"]] {
            let refused = matches!(named(&wrong), Err(Failure::Usage(_)));
            assert!(refused, "{wrong:?}");
        }
    }

    #[test]
    fn a_key_file_is_named_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let replicas = Replicas {
            replica_key_file: Some(path.clone()),
            ..Replicas::default()
        };
        let error = || format!("{:#}", key(&replicas).unwrap_err());
        assert!(error().contains("/key: No such file"), "{}", error());
        std::fs::write(&path, "hunter2-not-a-key").unwrap();
        assert!(error().contains("openssl rand -hex 32"), "{}", error());
        assert!(!error().contains("hunter2"), "{}", error());
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(error().contains("5000 bytes"), "{}", error());
        std::fs::write(&path, format!("{}\n", "0f".repeat(32))).unwrap();
        assert!(key(&replicas).unwrap().is_some());
    }
}
