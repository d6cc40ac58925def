//! `monolite backup`: a consistent copy of a live database.

mod file;
mod local;
mod name;
mod remote;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use monolite_app::Settings;
use monolite_replica::backup::Error;
use monolite_replica::{Clock, SystemClock};
use serde::Serialize;

use crate::flags::{self, Flags};
use crate::selection::Selection;
use crate::{Failure, human, print, replication};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite backup                              # each database, to a file here\n  \
        monolite backup app.sqlite3 -o monday.sqlite3.zst\n  \
        monolite backup app.sqlite3 -o - | ssh host 'cat > app.sqlite3'\n  \
        monolite backup -o s3://bucket/before-the-move\n  \
        monolite backup --local                      # at hand on the volume itself\n\n\
        The app may write meanwhile. A copy is a plain database file, one committed state, and\n\
        appears under its name when it is whole. At a URL a replica is made, or brought up to date:\n\
        `monolite restore URL` and `litestream restore` read it.\n\n\
        Exit code: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// The database, by its path in the volume, or any other by its path [default: every one but
    /// caches]
    #[arg(value_name = "DB")]
    database: Option<String>,

    /// A file, a directory, - for standard output, or the URL of a replica; .gz and .zst are
    /// compressed [default: a file named by the time, in the current directory]
    #[arg(short, long, value_name = "TO", conflicts_with = "local")]
    output: Option<String>,

    /// Take a snapshot on the volume itself; of each day the last is kept, for --keep-daily
    #[arg(long)]
    local: bool,

    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,

    /// Run SQLite's integrity_check on the copy before it gets its name
    #[arg(long)]
    check: bool,

    /// Print what was made as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags<flags::Backup>,
}

pub(crate) fn backup(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        database,
        output,
        local,
        overwrite,
        check,
        json,
        flags,
    } = arguments;
    let settings = flags.settings()?;
    let sources = sources(database.as_deref(), &settings)?;
    let how = file::How { overwrite, check };
    if local {
        return local::take(&sources, &settings, check)?.show(json);
    }
    match output.as_deref() {
        Some(url) if url.contains("://") => remote::store(&sources, url, &settings, json),
        Some("-") => {
            if std::io::stdout().is_terminal() {
                return usage("a terminal cannot show a database; give a file, or a pipe");
            }
            if json || check || overwrite {
                return usage("--json, --check and --overwrite are for files, not for -o -");
            }
            file::to_stdout(only(&sources)?)
        }
        output => {
            let targets = name::targets(&sources, output, &settings)?;
            file::copy(&sources, &targets, &how).show(json)
        }
    }
}

fn usage<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::Usage(anyhow!("{why}")))
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    path: PathBuf,
    /// Its path in the volume, if it is there.
    name: Option<String>,
}

impl Source {
    /// For people.
    fn shown(&self) -> String {
        let path = || self.path.display().to_string();
        self.name.clone().unwrap_or_else(path)
    }
}

/// A copy that was made.
#[derive(Debug, Serialize)]
struct Made {
    database: String,
    path: PathBuf,
    /// Bytes of the database.
    size: u64,
    /// Bytes of the copy.
    written: u64,
    timestamp: String,
    /// Local snapshots that were too old.
    removed: Vec<PathBuf>,
}

/// The copies of several databases: that one fails does not keep others.
#[derive(Default)]
struct Batch {
    made: Vec<Made>,
    failed: Vec<anyhow::Error>,
}

impl Batch {
    fn of<S>(
        sources: impl IntoIterator<Item = S>,
        copy: impl Fn(S) -> anyhow::Result<Made>,
    ) -> Self {
        let mut batch = Self::default();
        for source in sources {
            match copy(source) {
                Ok(made) => batch.made.push(made),
                Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
                    batch.failed.push(error);
                    break;
                }
                Err(error) => batch.failed.push(error),
            }
        }
        batch
    }

    fn show(self, json: bool) -> Result<(), Failure> {
        match json {
            true => print::json(&self.made)?,
            false => print::lines(self.made.iter().map(Made::shown))?,
        }
        print::failures(self.failed)
    }
}

impl Made {
    fn shown(&self) -> String {
        let of = match self.size == self.written {
            true => String::new(),
            false => format!(" of {}", human::size(self.size)),
        };
        let removed = match self.removed.len() {
            0 => String::new(),
            n => format!(", {} removed", human::count(n, "older one", "older ones")),
        };
        let (path, size) = (self.path.display(), human::size(self.written));
        format!("{}: {path}, {size}{of}{removed}", self.database)
    }
}

/// The databases that are meant.
fn sources(named: Option<&str>, settings: &Settings) -> Result<Vec<Source>, Failure> {
    let Some(named) = named else {
        let volume = replication::volume(settings)?;
        let found = monolite_app::find(&volume, &[])();
        let of_volume = |path: PathBuf| Source {
            name: monolite_app::name_in(&volume, &path),
            path,
        };
        let sources: Vec<Source> = found.into_iter().map(of_volume).collect();
        if sources.is_empty() {
            let volume = volume.display();
            return Err(Failure::Error(anyhow!(
                "there is no database in {volume}; name one, or the volume with --data"
            )));
        }
        return Ok(sources);
    };
    if named.contains("://") {
        return usage(
            "backup copies a database of this machine; `monolite restore URL` brings one back",
        );
    }
    let volume = replication::place(settings).dir;
    if let Ok(Selection::Database(name)) = Selection::parse(Some(named), &volume) {
        let path = volume.join(&name);
        if path.is_file() {
            let name = Some(name);
            return Ok(vec![Source { path, name }]);
        }
    }
    match Path::new(named) {
        path if path.is_file() => Ok(vec![Source {
            path: path.into(),
            name: None,
        }]),
        _ => Err(Failure::Error(anyhow!(
            "there is no database {named}, neither in the volume {} nor here",
            volume.display()
        ))),
    }
}

/// The one database, where there can be only one.
fn only(sources: &[Source]) -> Result<&Source, Failure> {
    match sources {
        [source] => Ok(source),
        _ => {
            let names: Vec<String> = sources.iter().map(Source::shown).collect();
            usage(&format!(
                "there are {} databases; name one of {}, or give a directory with -o DIR/",
                names.len(),
                names.join(", ")
            ))
        }
    }
}

fn now() -> i64 {
    SystemClock.now_ms()
}
