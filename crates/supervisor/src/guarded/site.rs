//! The volume as the guard sees it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monolite_migrate::guard::{self, Find, News, NoSnapshot, Prints, Site, Taken};
use monolite_replica::Progress;
use monolite_replica::backup::local::{self, TakeOptions};
use monolite_replica::backup::{self, Check, Pages};

use crate::Config;
use crate::environment::Framework;
use crate::processes::end_guarded;

/// How long a database that another process locks is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How migrations are guarded.
#[derive(Clone)]
pub struct Guarding {
    /// Finds the databases: all that hold what cannot be made anew.
    pub find: Find,
    /// What is meant to be lost.
    pub allow: Vec<guard::Allowance>,
    /// How thoroughly damage is looked for.
    pub depth: guard::Depth,
}

impl fmt::Debug for Guarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarding")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

/// Ends what waits for a migration to begin, soon after; clones are the same
/// one.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    guard: guard::Cancel,
    snapshot: backup::Cancel,
}

impl Cancel {
    /// Asks for the end. What comes after the command is never cut short.
    pub fn cancel(&self) {
        self.guard.cancel();
        self.snapshot.cancel();
    }
}

/// The volume as the guard sees it: snapshots share blocks with the databases
/// where the filesystem can, and are copies elsewhere. `is_alone`: this process
/// has none of the databases open.
pub fn site(
    volume: &Path,
    find: Find,
    is_alone: bool,
    cancel: &Cancel,
    tell: Arc<dyn Fn(News) + Send + Sync>,
) -> Site {
    let (of, told, snapshot) = (
        volume.to_owned(),
        Arc::clone(&tell),
        cancel.snapshot.clone(),
    );
    let taken = Arc::new(Mutex::new(HashMap::new()));
    let prints = Arc::clone(&taken);
    Site {
        volume: volume.into(),
        find,
        snapshot: Arc::new(move |database, into| {
            let (done, prints) = take(&of, database, into, &snapshot, &told)?;
            if let Taken::File(path) = &done {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                taken.insert(path.clone(), Arc::new(prints));
            }
            Ok(done)
        }),
        prints: Arc::new(move |snapshot: &Path| {
            let prints = prints.lock().unwrap_or_else(PoisonError::into_inner);
            prints.get(snapshot).map(Arc::clone)
        }),
        // Where that cannot be told, all of it is read.
        same_blocks: Arc::new(|live, before| local::same_blocks(live, before).unwrap_or_default()),
        sync: Arc::new(local::sync),
        survivors: {
            let of = volume.to_owned();
            Arc::new(move |databases| end_guarded(&of, databases))
        },
        tell,
        clock: Arc::new(now_ms),
        cancel: cancel.guard.clone(),
        is_alone,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn take(
    volume: &Path,
    database: &Path,
    into: &Path,
    cancel: &backup::Cancel,
    tell: &Arc<dyn Fn(News) + Send + Sync>,
) -> Result<(Taken, Prints), NoSnapshot> {
    let name = database.strip_prefix(volume).unwrap_or(database);
    let prints = Arc::<Mutex<Prints>>::default();
    let told = Told {
        database: name.display().to_string(),
        tell: Arc::clone(tell),
        prints: Arc::clone(&prints),
    };
    let options = TakeOptions {
        // What the database is, its snapshot has to be, damage and all.
        check: Check::None,
        patience: PATIENCE,
        cancel: cancel.clone(),
    };
    let said = |error: backup::Error| error.to_string();
    let taken = match local::take(database, into, now_ms(), &options, &told) {
        Ok(snapshot) => Ok(Taken::File(snapshot.path)),
        Err(backup::Error::Empty { .. } | backup::Error::Missing { .. }) => Ok(Taken::Empty),
        Err(backup::Error::NotADatabase { .. }) => Ok(Taken::NotADatabase),
        Err(error @ (backup::Error::NoRoom { .. } | backup::Error::DiskFull { .. })) => {
            let missing = match &error {
                backup::Error::NoRoom {
                    needed, free, kept, ..
                } => Some(needed.saturating_add(*kept).saturating_sub(*free)),
                _ => None,
            };
            let why = said(error);
            Err(NoSnapshot::Room { why, missing })
        }
        Err(error) => Err(NoSnapshot::Other(said(error))),
    }?;
    let mut prints = prints.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((taken, std::mem::take(&mut *prints)))
}

/// Passes on how far a snapshot is, and remembers what was written to it.
struct Told {
    database: String,
    tell: Arc<dyn Fn(News) + Send + Sync>,
    prints: Arc<Mutex<Prints>>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Progress for Told {
    fn begin(&self, step: &'static str, total: Option<u64>) {
        let database = self.database.clone();
        (self.tell)(News::Step {
            database,
            step,
            total,
        });
    }

    fn advance(&self, bytes: u64) {
        (self.tell)(News::Advance(bytes));
    }

    fn copied(&self, page_size: u32, pages: Pages<'_>) {
        let mut prints = self.prints.lock().unwrap_or_else(PoisonError::into_inner);
        prints.add(page_size as usize, pages.bytes);
    }
}

/// What a migration's command finds in its environment beside what is there:
/// where its database is, and that it is guarded already. The values of
/// variables that are set stay, but for [`GUARDED`].
pub fn migration_environment(
    app_dir: &Path,
    data: &Path,
    database: &str,
) -> Vec<(&'static str, OsString)> {
    let mut variables = Framework::detect(app_dir).variables(data, &data.join(database));
    variables.push((GUARDED, data.as_os_str().to_owned()));
    variables
}

/// Set to the volume for a command that is guarded: a `monolite migrate` in it
/// would wait for itself.
pub const GUARDED: &str = "MONOLITE_GUARDED";

impl Config {
    /// What the migrate command is told besides what the app is.
    pub(crate) fn guarded(&self) -> Option<(&'static str, OsString)> {
        let data = self.data.as_os_str().to_owned();
        self.guard.is_some().then_some((GUARDED, data))
    }
}
