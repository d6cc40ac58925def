//! Guarded migrations: one that was interrupted is rolled back before anything opens a database, and
//! the migrate command runs once the databases are complete.
//!
//! No other migration begins between the two: the lock is passed from the one to the other.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use monolite_guard::migration::{self, Finished, Migrated};
use monolite_guard::{
    GUARDED, Guard, Host, IfOpen, Interrupted, Options, Rollback, Verdict, messages,
    shell_command_name,
};
use monolite_supervisor::{Error, Exit, Run, Service, Started};

use crate::guard_host::{Guarding, RunHost, log};
use crate::replication::Forget;

/// Why the app was not started after a migration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The migration could not be guarded.
    #[error("{0}; the app was not started")]
    Guard(#[from] monolite_guard::Error),
    /// The command failed.
    #[error("the migrate command `{command}` {exit}; the app was not started")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What became of the databases.
        verdict: Box<Verdict>,
    },
    /// The command took away what nobody allowed.
    #[error(
        "the migrate command `{command}` took away what nobody allowed; the app was not started"
    )]
    Refused {
        /// The command.
        command: String,
        /// What it took, and what became of the databases.
        verdict: Box<Verdict>,
    },
    /// The command could not be run.
    #[error(transparent)]
    Run(#[from] Error),
}

impl MigrationError {
    /// What the migration did.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Failed { verdict, .. } | Self::Refused { verdict, .. } => Some(verdict),
            _ => None,
        }
    }

    /// The exit code for it: the command's own where it has one, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { exit, .. } => exit.code().max(1),
            Self::Run(error) => error.code(),
            _ => 1,
        }
    }

    fn of_service(self) -> Error {
        match self {
            Self::Run(error) => error,
            error => Error::service("migrations", error),
        }
    }
}

/// What both services share.
pub(crate) struct Guarded {
    pub(crate) volume: PathBuf,
    pub(crate) guarding: Guarding,
    /// A shell command, with the app's environment.
    pub(crate) command: Option<OsString>,
    /// Where replication is, if there is one.
    pub(crate) forget: Option<Forget>,
    /// The migration lock, once [`Recovery`] has it, until [`Migrations`] takes it.
    pub(crate) lock: Mutex<Option<Guard>>,
}

impl Guarded {
    fn host(&self, has_no_database_open: bool) -> Arc<dyn Host> {
        let find = Arc::clone(&self.guarding.find);
        Arc::new(RunHost::new(&self.volume, find, has_no_database_open))
    }

    fn swap_lock(&self, lock: Option<Guard>) -> Option<Guard> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, lock)
    }

    /// A database that was created by a migration that is rolled back is not for a replica to
    /// restore.
    fn forget(&self, rollback: &Rollback) -> Result<(), Error> {
        let Some(forget) = &self.forget else {
            return Ok(());
        };
        forget.removed(&rollback.made).map_err(|source| Error::Io {
            what: "write the state of replication on the volume",
            source,
        })
    }

    async fn recover(&self, run: &mut Run) -> Result<Started, MigrationError> {
        let (guard, rollback) = {
            let mut stop = pin!(run.stop_requested());
            match migration::enter(self.host(true), "monolite run", &mut stop).await? {
                Some(guard) => migration::recover(guard, Interrupted::default(), &mut stop).await?,
                None => (None, None),
            }
        };
        // Also if a stop came meanwhile: nobody else would do it.
        if let Some(rollback) = &rollback {
            for line in messages::recovered(rollback) {
                tracing::warn!("{line}");
            }
            self.forget(rollback)?;
        }
        let Some(guard) = guard else {
            return Ok(stopped_before());
        };
        self.swap_lock(Some(guard));
        Ok(Started::Yes)
    }

    async fn migrate(
        &self,
        guard: Guard,
        command: &OsStr,
        run: &mut Run,
    ) -> Result<Started, MigrationError> {
        let guard = guard.hand_over(self.host(false), &shell_command_name(command));
        let options = Options::new()
            .allow(self.guarding.allow.clone())
            .if_open(IfOpen::KeepCopy);
        let Some(active) = migration::begin(guard, options, run.stop_requested()).await? else {
            return Ok(stopped_before());
        };
        let databases = active.databases();
        let name = command.to_string_lossy().into_owned();
        tracing::info!(command = %name, databases, "migrating; requests wait");
        let variable = (GUARDED, self.volume.as_os_str());
        let judged: Migrated<(Exit, bool)> = migration::run(active, async || {
            let ended = run.run_command(command, &[variable]).await?;
            Ok::<_, MigrationError>(Finished {
                status: (ended.exit, ended.is_stopped),
                succeeded: ended.exit == Exit::Code(0) && !ended.is_stopped,
                left_running: Vec::new(),
            })
        })
        .await?;
        self.conclude(judged, name)
    }

    fn conclude(
        &self,
        judged: Migrated<(Exit, bool)>,
        command: String,
    ) -> Result<Started, MigrationError> {
        let (exit, is_stopped) = judged.status;
        let is_done = judged.is_done();
        if let Verdict::RolledBack { rollback, .. } = &judged.verdict {
            self.forget(rollback)?;
            if is_stopped {
                let databases = rollback.databases.join(", ");
                tracing::warn!(databases, "put back as it was before the migration");
            }
        }
        if is_stopped {
            tracing::warn!(migration = %exit, "stopped during the migration");
            return Ok(Started::Stopped(exit));
        }
        let verdict = Box::new(judged.verdict);
        if !judged.succeeded {
            return Err(MigrationError::Failed {
                command,
                exit,
                verdict,
            });
        }
        if !is_done {
            return Err(MigrationError::Refused { command, verdict });
        }
        messages::accepted(&verdict).iter().for_each(log);
        let took_ms = judged.took.as_millis() as u64;
        tracing::info!(took_ms, "migrated");
        Ok(Started::Yes)
    }
}

fn stopped_before() -> Started {
    tracing::warn!("stopped before the migration began");
    Started::Stopped(Exit::Code(0))
}

/// Rolls back a migration that was interrupted, and waits for one that another process runs.
pub(crate) struct Recovery(pub(crate) Arc<Guarded>);

#[async_trait(?Send)]
impl Service for Recovery {
    fn name(&self) -> &'static str {
        "recovery"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        self.0
            .recover(run)
            .await
            .map_err(MigrationError::of_service)
    }
}

/// Runs the migrate command, if there is one.
pub(crate) struct Migrations(pub(crate) Arc<Guarded>);

#[async_trait(?Send)]
impl Service for Migrations {
    fn name(&self) -> &'static str {
        "migrations"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        match (self.0.swap_lock(None), &self.0.command) {
            (Some(guard), Some(command)) => {
                let migrated = self.0.migrate(guard, command, run).await;
                migrated.map_err(MigrationError::of_service)
            }
            _ => Ok(Started::Yes),
        }
    }
}
