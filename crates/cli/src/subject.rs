//! What a verb is about: a volume's databases, one of them, or a replica by
//! its URL.

use std::path::{Component, Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use monolite_replica::{Destination, Replica};

use crate::settings::{Replicas, Settings};
use crate::{Failure, print, replication};

/// Which volume, and where its replicas are.
#[derive(Args)]
pub(crate) struct Where {
    /// The data directory [default: $LITESTACK_DATA_PATH, else /data, else ./data]
    #[arg(long, env = "MONOLITE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,

    /// Read this file instead of ./monolite.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    replicas: Replicas,
}

impl Where {
    /// The settings, with those of the file.
    pub(crate) fn settings(self) -> Result<Settings, Failure> {
        self.settings_over(Settings::default())
    }

    /// As [`settings`](Self::settings), with what a verb has besides.
    pub(crate) fn settings_over(self, besides: Settings) -> Result<Settings, Failure> {
        let flags = Settings {
            data: self.data,
            replicas: self.replicas,
            ..besides
        };
        let (settings, _) = flags
            .with_file(self.config.as_deref())
            .map_err(Failure::Usage)?;
        settings.following.validate().map_err(Failure::Usage)?;
        Ok(settings)
    }
}

/// What was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Every database.
    All,
    /// One, by its path in the volume.
    Database(String),
    /// A replica, or a destination with several.
    Url(String),
}

impl Subject {
    /// `volume` is absolute.
    pub(crate) fn parse(named: Option<&str>, volume: &Path) -> Result<Self, Failure> {
        let Some(named) = named else {
            return Ok(Self::All);
        };
        if named.contains("://") {
            return Ok(Self::Url(named.into()));
        }
        let refuse = |why: &str| Err(Failure::Usage(anyhow!("{named}: {why}")));
        let path = match Path::new(named).is_absolute() {
            false => Path::new(named),
            true => match Path::new(named).strip_prefix(volume) {
                Ok(path) => path,
                Err(_) => {
                    return refuse(&format!(
                        "it is not in the volume {}; name a database in it, or a replica by its URL",
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
    /// Where was looked.
    pub(crate) places: Vec<String>,
    /// Places that could not be asked, and why.
    pub(crate) failed: Vec<anyhow::Error>,
}

impl Search {
    /// What of `subject` there is in the replicas of the settings, or at the
    /// URL it names.
    pub(crate) async fn of(subject: &Subject, replicas: &Replicas) -> Result<Self, Failure> {
        let mut search = Self::default();
        match subject {
            Subject::Url(url) => {
                let destination = replication::destination(url, replicas)?;
                let known = replication::destinations(replicas).unwrap_or_default();
                search.ask(&destination, None, &known).await;
            }
            Subject::All | Subject::Database(_) => {
                let only = match subject {
                    Subject::Database(name) => Some(name.as_str()),
                    _ => None,
                };
                for destination in replication::required(replicas)? {
                    search.ask(&destination, only, &[]).await;
                }
            }
        }
        search.found.sort_by(|a, b| a.database.cmp(&b.database));
        Ok(search)
    }

    async fn ask(&mut self, destination: &Destination, only: Option<&str>, known: &[Destination]) {
        self.places.push(destination.name().into());
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
    pub(crate) fn nothing(&self, subject: &Subject) -> anyhow::Error {
        let places = self.places.join(", ");
        match subject {
            Subject::Database(name) => anyhow!(
                "{places}: it holds no database {name}; `monolite snapshots` shows what it holds"
            ),
            _ => anyhow!(
                "{places}: it holds no database; nothing was replicated there yet, or its prefix is another"
            ),
        }
    }

    /// Says which places could not be asked; fails if there is no other.
    pub(crate) fn said(mut self) -> Result<Self, Failure> {
        let failed = std::mem::take(&mut self.failed);
        let all = failed.len() == self.places.len();
        for (at, error) in failed.into_iter().enumerate() {
            if all && at + 1 == self.places.len() {
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
    below.or_else(last).unwrap_or("app.sqlite3").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(named: &str) -> Result<Subject, String> {
        match Subject::parse(Some(named), Path::new("/data")) {
            Ok(subject) => Ok(subject),
            Err(Failure::Usage(error)) => Err(error.to_string()),
            Err(_) => panic!("{named}"),
        }
    }

    #[test]
    fn databases_are_named_by_their_path_in_the_volume() {
        let database = |name: &str| Ok(Subject::Database(name.into()));
        assert_eq!(parse("app.sqlite3"), database("app.sqlite3"));
        assert_eq!(parse("./tenants//a.db"), database("tenants/a.db"));
        assert_eq!(parse("/data/tenants/a.db"), database("tenants/a.db"));
        assert_eq!(parse("s3://b/p"), Ok(Subject::Url("s3://b/p".into())));
        for wrong in ["/else/a.db", "../a.db", "a/../b", ".", "/data", ""] {
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
