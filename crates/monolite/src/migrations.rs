//! Migration files, applied to the app's database when it starts.

use std::time::{SystemTime, UNIX_EPOCH};

use monolite_migrate::files::{self, Done, Embedded, Migrations, Options};
use monolite_store::Store;
use monolite_store::rusqlite::{Connection, OpenFlags};

use crate::{Error, Monolite, Result};

/// Which files are applied, and how.
///
/// ```
/// # use monolite::{Migrate, migrate::files::Embedded};
/// # const MIGRATIONS: Embedded = monolite::migrations!("tests/migrations");
/// // An older version of the app may start on a database that a newer one has
/// // migrated, where all its changes were additions.
/// let migrate = Migrate { accept_newer: true, ..Migrate::from(MIGRATIONS) };
/// # let _ = migrate;
/// ```
#[derive(Debug, Clone)]
pub struct Migrate {
    /// The files.
    pub files: Files,
    /// Have nothing to do where a newer version of the app was. Default: no,
    /// that is an error.
    pub accept_newer: bool,
    /// How long to wait for another process that migrates, for each file.
    /// Default: 10 minutes.
    pub patience: std::time::Duration,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub enum Files {
    /// In the program.
    Embedded(Embedded),
    /// In memory.
    Read(Migrations),
}

impl From<Embedded> for Migrate {
    fn from(embedded: Embedded) -> Self {
        Self::of(Files::Embedded(embedded))
    }
}

impl From<Migrations> for Migrate {
    fn from(migrations: Migrations) -> Self {
        Self::of(Files::Read(migrations))
    }
}

impl Migrate {
    fn of(files: Files) -> Self {
        Self {
            files,
            accept_newer: false,
            patience: Options::LOCK_WAIT_DEFAULT,
        }
    }
}

impl Monolite {
    /// Applies the migration files that wait to the app's database, each in one
    /// transaction with its record. Where several processes start at once, one
    /// does it and the others wait and find it done.
    ///
    /// It takes a connection of its own, so that writes of the app wait for
    /// each file; do it before they begin.
    ///
    /// # Errors
    /// [`Error::Migrations`]: before the first file runs, what is wrong with
    /// any of them; afterwards, what one of them met. The database is then as
    /// it was before that file.
    pub async fn migrate(&self, migrate: impl Into<Migrate>) -> Result<Vec<Done>> {
        migrate_store(self.db(), migrate).await
    }
}

/// As [`Monolite::migrate`], for a [`Store`] alone.
///
/// # Errors
/// As [`Monolite::migrate`].
pub async fn migrate_store(store: &Store, migrate: impl Into<Migrate>) -> Result<Vec<Done>> {
    let (path, migrate) = (store.path().to_owned(), migrate.into());
    // It waits for the disk and for locks: not on the runtime.
    let migrating = tokio::task::spawn_blocking(move || {
        let migrations = match migrate.files {
            Files::Embedded(embedded) => embedded.migrations()?,
            Files::Read(migrations) => migrations,
        };
        // The store has made the file: no other is made if it is gone.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn =
            Connection::open_with_flags(&path, flags).map_err(monolite_store::Error::from)?;
        let options = Options::new(now_ms())
            .accept_newer(migrate.accept_newer)
            .lock_wait(migrate.patience);
        Ok::<_, Error>(files::up(&conn, &migrations, &options, &mut |_| {})?)
    });
    migrating.await.map_err(|_| Error::Stopped)?
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
