//! What a run offers to the guard: its volume, and its log.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use monolite_guard::{Allowance, Cancel, Depth, GUARDED, Host, Progress, messages};
use monolite_replica::Find;
use monolite_supervisor::database_variables;

use crate::{Environment, KEY_VARIABLE};

/// Time between two lines of the log on a step that takes long.
const STEP_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How migrations are guarded.
#[derive(Clone)]
pub struct Guarding {
    /// Finds the databases: all that hold what cannot be made again.
    pub find: Find,
    /// Losses that are meant.
    pub allow: Vec<Allowance>,
    /// How thoroughly damage is looked for.
    pub depth: Depth,
}

impl fmt::Debug for Guarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarding")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

/// A run, as the guard sees it.
pub(crate) struct RunHost {
    pub(crate) volume: PathBuf,
    pub(crate) find: Find,
    pub(crate) cancel: Cancel,
    /// Nothing in this process has a database open yet.
    pub(crate) has_no_database_open: bool,
    step: Mutex<Option<Step>>,
}

/// A step with a database, and when it was last logged.
struct Step {
    database: String,
    what: &'static str,
    logged: Instant,
}

impl RunHost {
    pub(crate) fn new(volume: &Path, find: Find, has_no_database_open: bool) -> Self {
        Self {
            volume: volume.into(),
            find,
            cancel: Cancel::default(),
            has_no_database_open,
            step: Mutex::default(),
        }
    }
}

impl Host for RunHost {
    fn volume(&self) -> &Path {
        &self.volume
    }

    fn databases(&self) -> Vec<PathBuf> {
        (self.find)()
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    fn has_no_database_open(&self) -> bool {
        self.has_no_database_open
    }

    fn report(&self, progress: Progress) {
        if let Some(message) = messages::progress(&progress) {
            log(&message);
        }
        let mut current = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Step { database, step, .. } => {
                tracing::debug!(database, "{step}");
                *current = Some(Step {
                    database,
                    what: step,
                    logged: Instant::now(),
                });
            }
            Progress::Advance(_) => {
                if let Some(step) = current.as_mut()
                    && step.logged.elapsed() >= STEP_LOG_INTERVAL
                {
                    tracing::info!(database = step.database, "{}", step.what);
                    step.logged = Instant::now();
                }
            }
            Progress::Idle => *current = None,
            _ => {}
        }
    }
}

pub(crate) fn log(message: &messages::Message) {
    let text = &message.text;
    match message.is_warning {
        true => tracing::warn!("{text}"),
        false => tracing::info!("{text}"),
    }
}

/// What is added to the environment of a migration's command: where its database is, and that it is
/// guarded. Variables that are set keep their values, but for [`GUARDED`].
pub fn migration_environment(
    app_dir: &Path,
    data: &Path,
    database: &str,
    environment: &Environment,
) -> Vec<(String, OsString)> {
    let set = environment.without(KEY_VARIABLE);
    let mut variables = database_variables(app_dir, data, &data.join(database), &set);
    variables.push((GUARDED.to_owned(), data.as_os_str().to_owned()));
    variables
}
