//! Which files, and for which database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use monolite_app::settings::Source;
use monolite_app::{DATABASE, Settings, name_in};
use monolite_guard::ExclusiveLock;
use monolite_migrate::files::Migrations;
use monolite_platform::clock::{Clock, SystemClock};
use monolite_volume::layout;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Common, migration_lock};
use crate::selection::{Search, Selection};
use crate::{Failure, print, replication, task};

/// How long a verb that is not guarded itself waits for a guarded migration to end.
const MIGRATION_LOCK_WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// The directory of the files, unless it is named.
const DIRECTORY: &str = "migrations";

/// Which files, and for which database.
pub(crate) struct Found {
    /// Where the files are.
    pub(crate) dir: PathBuf,
    /// The data directory, which need not be there.
    pub(crate) volume: PathBuf,
    /// The database, which need not be there.
    pub(crate) path: PathBuf,
    /// Its path in the volume, if it is there.
    pub(crate) name: Option<String>,
    /// Somebody means this one, so that it is there.
    is_named: bool,
    is_volume_named: bool,
    pub(crate) settings: Settings,
}

/// The directory of the files.
pub(crate) fn dir(settings: &Settings) -> PathBuf {
    settings
        .migrations
        .clone()
        .unwrap_or_else(|| DIRECTORY.into())
}

fn by_name(named: &str, volume: &Path) -> Result<(PathBuf, Option<String>), Failure> {
    if named.contains("://") {
        return Err(Failure::Usage(anyhow!(
            "{named}: migrations are applied to a database of this machine; name a file"
        )));
    }
    let selection = Selection::parse(Some(named), volume);
    if let Ok(Selection::Database(name)) = &selection {
        let path = volume.join(name);
        if path.is_file() {
            return Ok((path, Some(name.clone())));
        }
    }
    if let Ok(path) = Path::new(named).canonicalize()
        && path.is_file()
    {
        let inside = volume.canonicalize().ok();
        let name = inside.and_then(|volume| name_in(&volume, &path));
        return Ok((named.into(), name));
    }
    if Path::new(named).is_dir() {
        return Err(Failure::Usage(anyhow!(
            "{named} is a directory; name a database in it, or the directory with --data"
        )));
    }
    match selection? {
        Selection::Database(name) => Ok((volume.join(&name), Some(name))),
        _ => Err(Failure::Usage(anyhow!("{named}: name a database"))),
    }
}

fn the_only_one(volume: &Path) -> Result<(PathBuf, Option<String>), Failure> {
    let found = monolite_app::find(volume, &[])();
    match found.as_slice() {
        [] => Ok((volume.join(DATABASE), Some(DATABASE.into()))),
        [one] => Ok((one.clone(), name_in(volume, one))),
        several => {
            let names = several.iter();
            let names: Vec<String> = names.filter_map(|path| name_in(volume, path)).collect();
            Err(Failure::Usage(anyhow!(
                "there are {} databases in {}; name one of {} with --database",
                several.len(),
                volume.display(),
                names.join(", ")
            )))
        }
    }
}

impl Found {
    /// As the flags, variables and the file say.
    pub(crate) fn of(common: &Common) -> Result<Self, Failure> {
        let settings = common.flags.settings()?;
        // By a flag or a variable: the file may name one that does not exist yet.
        let is_named = matches!(settings.source("database"), Source::Flag | Source::Variable);
        let place = replication::place(&settings);
        let volume = place.dir;
        let (path, name) = match settings.database.as_deref() {
            Some(database) => by_name(database, &volume)?,
            None => the_only_one(&volume)?,
        };
        Ok(Self {
            dir: dir(&settings),
            volume,
            path,
            name,
            is_named,
            is_volume_named: place.named,
            settings,
        })
    }

    /// The files.
    pub(crate) fn migrations(&self) -> Result<Migrations, Failure> {
        Ok(Migrations::read(&self.dir)?)
    }

    /// No guarded migration runs, nor is one to be put back, meanwhile.
    pub(crate) fn lock(&self, verb: &str) -> Result<Option<ExclusiveLock>, Failure> {
        match self.name {
            Some(_) => migration_lock(&self.volume, verb, MIGRATION_LOCK_WAIT_MAX),
            None => Ok(None),
        }
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.path.display().to_string(),
        }
    }

    /// Whether there is the database.
    ///
    /// # Errors
    /// That cannot be found out.
    pub(crate) fn is_there(&self) -> Result<bool, Failure> {
        let there = self.path.try_exists();
        Ok(there.with_context(|| format!("cannot look for {}", self.path.display()))?)
    }

    /// For verbs that make no database: one that somebody has named is meant to
    /// be there.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn is_there_if_named(&self) -> Result<(), Failure> {
        if self.is_there()? {
            return Ok(());
        }
        if self.is_volume_named && self.name.is_some() && !self.volume.is_dir() {
            return Err(self.no_directory(&self.volume));
        }
        if self.is_named {
            return Err(Failure::Error(anyhow!(
                "there is no database {}; `monolite migrate up` makes one",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn no_directory(&self, dir: &Path) -> Failure {
        Failure::Error(anyhow!(
            "there is no directory {}; name the data directory with --data, or make it",
            dir.display()
        ))
    }

    /// The database, if there is one.
    pub(crate) fn open(&self) -> Result<Option<Connection>, Failure> {
        if !self.is_there()? {
            return Ok(None);
        }
        // Written to only by who asked for it; one that may only be read is
        // opened all the same.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(Some(self.connect(flags)?))
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection, Failure> {
        let conn = Connection::open_with_flags(&self.path, flags)
            .map_err(|error| self.unreadable(error))?;
        // What is not a database says so here, and not in the middle.
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(|error| self.unreadable(error))?;
        Ok(conn)
    }

    /// SQLite's answer, and what to do about it.
    fn unreadable(&self, error: rusqlite::Error) -> Failure {
        let path = self.path.display();
        let as_app = "run it as the user that the app runs as";
        Failure::Error(match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => anyhow!(
                "{path} is not a SQLite database, or it is encrypted, which SQLite cannot read"
            ),
            Some(ErrorCode::ReadOnly) => anyhow!(
                "{path} cannot be read by a user who may not write to its directory, where its log is kept; {as_app}"
            ),
            Some(ErrorCode::CannotOpen) => match std::fs::File::open(&self.path) {
                Err(error) => anyhow!("cannot open {path}: {error}; {as_app}"),
                Ok(_) => anyhow!(
                    "cannot open {path}: this user may not read the other files in its directory; {as_app}"
                ),
            },
            _ => anyhow::Error::from(error).context(format!("cannot read {path}")),
        })
    }

    /// Whether a new database may be begun, if there is none.
    ///
    /// # Errors
    /// Its directory is missing, or a replica has it.
    pub(crate) fn may_be_made(&self) -> Result<(), Failure> {
        if self.is_there()? {
            return Ok(());
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        if !dir.is_dir() {
            return Err(self.no_directory(dir));
        }
        self.nothing_to_restore()
    }

    /// The database; a new one, in WAL mode, if there is none or nothing in it.
    pub(crate) fn open_or_create(&self) -> Result<Connection, Failure> {
        let is_new = std::fs::metadata(&self.path).map_or(true, |file| file.len() == 0);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = self.connect(flags)?;
        if is_new {
            // Refused while another process makes it: that one sets it.
            let _ = conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
        }
        Ok(conn)
    }

    /// A database that is missing may be one that was lost.
    fn nothing_to_restore(&self) -> Result<(), Failure> {
        let settings = &self.settings;
        let Some(name) = &self.name else {
            return Ok(());
        };
        if replication::destinations(settings)?.is_empty() {
            return Ok(());
        }
        let selection = Selection::Database(name.clone());
        let search = task::block_on(Search::of(&selection, settings))?;
        let (missing, instead) = (
            format!("{name} is missing, and"),
            "bring it back with `monolite restore`; or begin an empty one by making an empty file of its name",
        );
        if let Some(found) = search
            .found
            .first()
            .and_then(|found| found.replicas.first())
        {
            return Err(Failure::Error(anyhow!(
                "{missing} {} has it: {instead}",
                found.name()
            )));
        }
        match search.failed.first() {
            None => Ok(()),
            Some(error) => Err(Failure::Error(anyhow!(
                "{missing} it cannot be asked whether a replica has it ({}): {instead}",
                print::with_causes(error)
            ))),
        }
    }

    /// The directory for copies that a plan is tried on.
    pub(crate) fn plans(&self) -> PathBuf {
        let (root, name) = self.root();
        layout::plans(root, name)
    }

    /// The volume and the database's path in it; for a database elsewhere, its directory.
    pub(crate) fn root(&self) -> (&Path, &Path) {
        match &self.name {
            Some(name) => (self.volume.as_path(), Path::new(name)),
            None => (
                match self.path.parent() {
                    Some(parent) if parent != Path::new("") => parent,
                    _ => Path::new("."),
                },
                Path::new(self.path.file_name().unwrap_or_default()),
            ),
        }
    }
}

/// In milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_database_needs_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        let found = || the_only_one(volume).map(|(_, name)| name.unwrap());
        assert_eq!(found().ok().as_deref(), Some(DATABASE), "to be made");
        std::fs::write(volume.join("cache.sqlite3"), "").unwrap();
        std::fs::write(volume.join("shop.db"), "").unwrap();
        assert_eq!(found().ok().as_deref(), Some("shop.db"));
        std::fs::write(volume.join("other.db"), "").unwrap();
        let Err(Failure::Usage(error)) = found() else {
            panic!("two");
        };
        assert!(error.to_string().contains("other.db, shop.db"), "{error}");
    }

    #[test]
    fn a_named_one_is_in_the_volume_or_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("data");
        std::fs::create_dir(&volume).unwrap();
        let outside = dir.path().join("x.db");
        std::fs::write(&outside, "").unwrap();
        let outside = outside.to_str().unwrap();
        let name = |named: &str| by_name(named, &volume).ok().map(|(_, name)| name);
        assert_eq!(name("new.db"), Some(Some("new.db".into())));
        assert_eq!(name(outside), Some(None));
        assert_eq!(name("s3://bucket/x"), None);
        assert_eq!(name("../x.db"), None);
    }
}
