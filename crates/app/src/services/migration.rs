//! Guarded migrations: what an interrupted one has left is undone before anything opens a database,
//! and the migrate command runs once the databases are complete.
//!
//! No other migration begins between the two: the lock is passed from the one to the other.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use monolite_supervisor::{Error, Exit, Migrated, Recovered, Run, Service, Started};

/// The migration lock, once [`Recovery`] has it, until [`Migrations`] takes it.
#[derive(Clone, Default)]
pub(crate) struct MigrationLock(Arc<Mutex<Option<Recovered>>>);

impl MigrationLock {
    fn swap(&self, lock: Option<Recovered>) -> Option<Recovered> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, lock)
    }
}

/// Undoes a migration that was interrupted.
pub(crate) struct Recovery(pub(crate) MigrationLock);

#[async_trait]
impl Service for Recovery {
    fn name(&self) -> &'static str {
        "recovery"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        match run.recover().await? {
            Some(recovered) => {
                self.0.swap(Some(recovered));
                Ok(Started::Yes)
            }
            None => Ok(Started::Stopped(Exit::Code(0))),
        }
    }
}

/// Runs the migrate command.
pub(crate) struct Migrations(pub(crate) MigrationLock);

#[async_trait]
impl Service for Migrations {
    fn name(&self) -> &'static str {
        "migrations"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        let Some(recovered) = self.0.swap(None) else {
            return Ok(Started::Yes);
        };
        match run.migrate(recovered).await? {
            Migrated::Yes => Ok(Started::Yes),
            Migrated::Stopped(exit) => Ok(Started::Stopped(exit)),
        }
    }
}
