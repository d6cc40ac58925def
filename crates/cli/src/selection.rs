//! Which databases a verb works on: all of a volume, one of them, or those at a replica's URL.

use std::path::{Component, Path};

use anyhow::anyhow;
use monolite_app::{DATABASE, Settings};
use monolite_replica::{Destination, Replica};

use crate::{Failure, print, replication};

/// What was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Every database.
    All,
    /// One, by its path in the volume.
    Database(String),
    /// A replica, or a destination with several.
    Url(String),
}

impl Selection {
    /// `volume` is absolute.
    pub(crate) fn parse(named: Option<&str>, volume: &Path) -> Result<Self, Failure> {
        let Some(named) = named else {
            return Ok(Self::All);
        };
        if named.contains("://") {
            return Ok(Self::Url(named.into()));
        }
        if let Some(folder) = folder(named, volume) {
            return Ok(Self::Url(folder));
        }
        let refuse = |why: &str| Err(Failure::Usage(anyhow!("{named}: {why}")));
        let path = match Path::new(named).is_absolute() {
            false => Path::new(named),
            true => match Path::new(named).strip_prefix(volume) {
                Ok(path) => path,
                Err(_) => {
                    return refuse(&format!(
                        "it is not in the volume {}; name a database in it, or a replica by its URL or its folder",
                        volume.display()
                    ));
                }
            },
        };
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
                Component::CurDir => {}
                _ => return refuse("a database is named by its path in the volume, without `..`"),
            }
        }
        match parts.is_empty() {
            true => refuse("name a database, as app.sqlite3, or a replica by its URL"),
            false => Ok(Self::Database(parts.join("/"))),
        }
    }
}

/// The absolute path of a folder outside of the volume, which can only be a replica's. A
/// name without a slash is that of a database.
fn folder(named: &str, volume: &Path) -> Option<String> {
    let is_path = named.contains('/') || named.starts_with('.');
    let path = std::path::absolute(named)
        .ok()
        .filter(|path| is_path && path.is_dir())?;
    let path = path.canonicalize().unwrap_or(path);
    let volume = volume.canonicalize().unwrap_or_else(|_| volume.into());
    let is_outside = !path.starts_with(&volume);
    path.to_str().filter(|_| is_outside).map(str::to_owned)
}

/// One database, and its replicas: one in each destination that has it.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path in the volume.
    pub(crate) database: String,
    pub(crate) replicas: Vec<Replica>,
}

/// What was looked for in the replicas.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// The databases, by name.
    pub(crate) found: Vec<Found>,
    /// The destinations that were asked.
    pub(crate) asked: Vec<String>,
    /// Why some of them could not be asked.
    pub(crate) failed: Vec<anyhow::Error>,
}

impl Search {
    /// What of `selection` there is in the replicas of the settings, or at the
    /// URL it names.
    pub(crate) async fn of(selection: &Selection, settings: &Settings) -> Result<Self, Failure> {
        let mut search = Self::default();
        match selection {
            Selection::Url(url) => {
                let destination = replication::destination(url, settings)?;
                let known = replication::destinations(settings).unwrap_or_default();
                search.ask(&destination, None, &known).await;
            }
            Selection::All | Selection::Database(_) => {
                let only = match selection {
                    Selection::Database(name) => Some(name.as_str()),
                    _ => None,
                };
                for destination in replication::required(settings)? {
                    search.ask(&destination, only, &[]).await;
                }
            }
        }
        search.found.sort_by(|a, b| a.database.cmp(&b.database));
        Ok(search)
    }

    async fn ask(&mut self, destination: &Destination, only: Option<&str>, known: &[Destination]) {
        self.asked.push(destination.name().into());
        let names = match destination.databases().await {
            Ok(names) => names,
            Err(error) => return self.failed.push(error.into()),
        };
        for name in names {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            let replica = destination.replica(&name);
            let database = match name.is_empty() {
                true => own_name(destination.name(), known),
                false => name,
            };
            match self.found.iter_mut().find(|of| of.database == database) {
                Some(found) => found.replicas.push(replica),
                None => self.found.push(Found {
                    database,
                    replicas: vec![replica],
                }),
            }
        }
    }

    /// Nothing was found: why.
    pub(crate) fn nothing(&self, selection: &Selection) -> anyhow::Error {
        let asked = self.asked.join(", ");
        match selection {
            Selection::Database(name) => anyhow!(
                "{asked}: it holds no database {name}; `monolite snapshots` shows what it holds"
            ),
            _ => anyhow!(
                "{asked}: it holds no database; nothing was replicated there yet, or its prefix is another"
            ),
        }
    }

    /// Prints which destinations could not be asked; fails if there is no other.
    pub(crate) fn print_failed(mut self) -> Result<Self, Failure> {
        let failed = std::mem::take(&mut self.failed);
        let all = failed.len() == self.asked.len();
        for (at, error) in failed.into_iter().enumerate() {
            if all && at + 1 == self.asked.len() {
                return Err(Failure::Error(error));
            }
            print::warning(&error);
        }
        Ok(self)
    }
}

/// What a database is called whose replica was named by its own URL: its path
/// below a known destination, else the last part.
fn own_name(url: &str, known: &[Destination]) -> String {
    let below = known.iter().find_map(|destination| {
        let rest = url.strip_prefix(destination.name())?;
        rest.strip_prefix('/')
    });
    let last = || url.rsplit('/').find(|part| !part.is_empty());
    below.or_else(last).unwrap_or(DATABASE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(named: &str) -> Result<Selection, String> {
        match Selection::parse(Some(named), Path::new("/data")) {
            Ok(selection) => Ok(selection),
            Err(Failure::Usage(error)) => Err(error.to_string()),
            Err(_) => panic!("{named}"),
        }
    }

    #[test]
    fn databases_are_named_by_their_path_in_the_volume() {
        let database = |name: &str| Ok(Selection::Database(name.into()));
        assert_eq!(parse("app.sqlite3"), database("app.sqlite3"));
        assert_eq!(parse("./tenants//a.db"), database("tenants/a.db"));
        assert_eq!(parse("/data/tenants/a.db"), database("tenants/a.db"));
        assert_eq!(parse("s3://b/p"), Ok(Selection::Url("s3://b/p".into())));
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let folder = folder.to_str().unwrap();
        assert_eq!(parse(folder), Ok(Selection::Url(folder.into())));
        for wrong in ["/else/a.db", "../a.db", "a/../b", "/data", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replica_named_by_its_url_has_its_own_name() {
        assert_eq!(own_name("s3://b/p/app.sqlite3", &[]), "app.sqlite3");
        let options = monolite_replica::DestinationOptions::default();
        let known = Destination::parse("/backups", &|_| None, options).unwrap();
        let url = "file:///backups/tenants/a.db";
        assert_eq!(own_name(url, &[known]), "tenants/a.db");
        assert_eq!(own_name(url, &[]), "a.db");
    }
}
