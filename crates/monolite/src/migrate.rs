//! Migration files, put into the program and applied to the app's database when
//! it starts.
//!
//! What the files may hold, and what the `monolite migrate` command does with
//! them, is in [`docs/migrations.md`](https://github.com/monolite/monolite/blob/main/docs/migrations.md).

use std::time::Duration;

use monolite_migrate::files;
use monolite_platform::clock::{Clock, SystemClock};
use monolite_store::Store;
use monolite_store::rusqlite::{Connection, OpenFlags};

pub use monolite_migrate::files::{Applied, Done, Embedded, Error, Migrations, Step};

#[cfg(doc)]
use crate::Monolite;
use crate::{Result, blocking};

/// Puts the migration files of a directory into the program: `0001_add_posts.sql`
/// and so on, named relative to the package's `Cargo.toml`. Give them to
/// [`Monolite::migrate`] or [`migrate_store`].
///
/// The compiler reads the directory when it compiles the line with the
/// macro; a changed file has it compiled again, a new one only if `build.rs`
/// prints `cargo::rerun-if-changed=migrations`. A program built without
/// optimisation compares the directory with what it holds, and says what it
/// misses.
///
/// ```
/// use monolite::{Monolite, migrate::Embedded};
///
/// const MIGRATIONS: Embedded = monolite::migrations!("tests/migrations");
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let data = dir.path();
/// let app = Monolite::open(data).await?;
/// let done = app.migrate(MIGRATIONS).await?;
/// assert_eq!(done[0].applied.name, "0001_add_posts");
/// assert!(app.migrate(MIGRATIONS).await?.is_empty());
/// # app.close().await;
/// # Ok(()) }
/// ```
pub use monolite_macros::migrations;

/// Which files are applied, and how.
///
/// ```
/// # use monolite::{Migrate, migrate::Embedded};
/// # const MIGRATIONS: Embedded = monolite::migrations!("tests/migrations");
/// // An older version of the app may start on a database that a newer one has
/// // migrated, where all its changes were additions.
/// let migrate = Migrate::new(MIGRATIONS).accept_newer(true);
/// # let _ = migrate;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Migrate {
    files: Files,
    accept_newer: bool,
    lock_wait: Duration,
}

#[derive(Debug, Clone)]
enum Files {
    Embedded(Embedded),
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
    /// Applies these files: those in the program ([`Embedded`]) or others
    /// ([`Migrations`]).
    pub fn new(files: impl Into<Self>) -> Self {
        files.into()
    }

    fn of(files: Files) -> Self {
        Self {
            files,
            accept_newer: false,
            lock_wait: files::Options::LOCK_WAIT_DEFAULT,
        }
    }

    /// Whether a database that a newer version of the app has migrated is
    /// accepted, and left as it is. Default: no, that is an error.
    pub fn accept_newer(mut self, accept: bool) -> Self {
        self.accept_newer = accept;
        self
    }

    /// How long each file waits for another process that migrates. Default: 10
    /// minutes.
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }
}

/// As [`Monolite::migrate`], for a [`Store`] alone.
///
/// # Errors
/// As [`Monolite::migrate`].
pub async fn migrate_store(store: &Store, migrate: impl Into<Migrate>) -> Result<Vec<Done>> {
    let (path, migrate) = (store.path().to_owned(), migrate.into());
    blocking(move || {
        let migrations = match migrate.files {
            Files::Embedded(embedded) => embedded.migrations()?,
            Files::Read(migrations) => migrations,
        };
        // The store has made the file: no other is made if it is gone.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&path, flags)?;
        let options = files::Options::new(SystemClock.now_ms())
            .accept_newer(migrate.accept_newer)
            .lock_wait(migrate.lock_wait);
        Ok(files::up(&conn, &migrations, &options, &mut |_| {})?)
    })
    .await
}
