//! Migrations that cannot lose data, in the life of a run: what `monolite-migrate`
//! promises, with the snapshots of `monolite-replica`.

mod said;
mod site;
mod written;

use std::ffi::OsString;
use std::sync::Arc;

use monolite_migrate::guard::{self, Begun, Guard, Interrupted, Options, Others, PutBack, Verdict};
use tokio::task::{JoinHandle, spawn_blocking};

pub use self::site::{Cancel, GUARDED, Guarding, migration_environment, site};
pub(crate) use self::written::Written;
use crate::Error;
use crate::app::App;
use crate::exit::Exit;
use crate::processes::called_by_shell;
use crate::run::Run;

/// How the migration of a run ended.
pub enum Migrated {
    /// The app may start.
    Yes,
    /// Asked to stop meanwhile.
    Stopped(Exit),
}

/// The turn of this run, if its migrations are guarded.
pub struct Recovered(Option<Guard>);

impl Run {
    /// Waits for a migration that another process runs on the volume, and puts
    /// back what an interrupted one has left; `None` if asked to stop meanwhile.
    /// Until the guard that this answers is dropped, no other migration begins.
    /// This is before anything here opens a database: that alone may change
    /// its file, and who changed it last tells whether it was used since.
    pub async fn recover(&mut self) -> Result<Option<Recovered>, Error> {
        let cancel = Cancel::default();
        let Some(site) = self.site(true, &cancel) else {
            return Ok(Some(Recovered(None)));
        };
        let recover = spawn_blocking(move || {
            let guard = Guard::enter(site, "monolite run")?;
            let put_back = guard.recover(Interrupted::default())?;
            Ok((guard, put_back))
        });
        let recovered = self.cancellable(recover, &cancel, |_| Ok(())).await?;
        let Some((guard, put_back)) = recovered else {
            return Ok(None);
        };
        if let Some(put_back) = &put_back {
            said::tell_recovered(put_back);
            self.forget(put_back)?;
        }
        Ok(Some(Recovered(Some(guard))))
    }

    /// What a migration made that was put back is not for a replica to restore.
    fn forget(&self, put_back: &PutBack) -> Result<(), Error> {
        (self.config.forget)(&put_back.made).map_err(|source| Error::Io {
            what: "write the state of replication on the volume",
            source,
        })
    }

    /// Runs the migrate command, if there is one, under the guard.
    pub async fn migrate(&mut self, recovered: Recovered) -> Result<Migrated, Error> {
        let Some(command) = self.config.migrate.clone() else {
            return Ok(Migrated::Yes);
        };
        let cancel = Cancel::default();
        let site = self.site(false, &cancel);
        let (Some(guarding), Some(site), Recovered(Some(guard))) =
            (self.config.guard.clone(), site, recovered)
        else {
            return self.migrate_by(&command, None).await;
        };
        let called = called_by_shell(&command);
        let begin = spawn_blocking(move || {
            let options = Options {
                allow: guarding.allow,
                depth: guarding.depth,
                others: Others::Keep,
            };
            guard.going_on(site, &called).begin(options)
        });
        match self.cancellable(begin, &cancel, Begun::abandon).await? {
            Some(begun) => self.migrate_by(&command, Some(begun)).await,
            None => Ok(Migrated::Stopped(Exit::Code(0))),
        }
    }

    fn site(&self, is_alone: bool, cancel: &Cancel) -> Option<guard::Site> {
        let find = Arc::clone(&self.config.guard.as_ref()?.find);
        let volume = &self.config.data;
        Some(site(volume, find, is_alone, cancel, said::logged()))
    }

    /// `None` if asked to stop meanwhile.
    async fn cancellable<T>(
        &mut self,
        mut work: JoinHandle<guard::Result<T>>,
        cancel: &Cancel,
        undo: fn(T) -> guard::Result<()>,
    ) -> Result<Option<T>, Error> {
        let mut stopped = false;
        let done = tokio::select! {
            done = &mut work => done,
            () = self.signals.stop() => {
                stopped = true;
                self.gate.refuse();
                cancel.cancel();
                work.await
            }
        };
        let done = done.map_err(|error| Error::Io {
            what: "guard the migration",
            source: std::io::Error::other(error),
        })?;
        match done {
            Ok(done) if !stopped => return Ok(Some(done)),
            // A moment too late.
            Ok(done) => undo(done).map_err(Error::Guard)?,
            Err(guard::Error::Cancelled) if stopped => {}
            Err(error) => return Err(Error::Guard(error)),
        }
        tracing::warn!("stopped before the migration began");
        self.close_gate().await;
        Ok(None)
    }

    async fn migrate_by(
        &mut self,
        command: &OsString,
        begun: Option<Begun>,
    ) -> Result<Migrated, Error> {
        let name = command.to_string_lossy().into_owned();
        let databases = begun.as_ref().map_or(0, Begun::databases);
        tracing::info!(command = %name, databases, "migrating; requests wait");
        let mut migration = match self.start_app(Some(command)) {
            Ok(migration) => migration,
            Err(error) => {
                if let Some(begun) = begun {
                    begun.abandon().map_err(Error::Guard)?;
                }
                return Err(error);
            }
        };
        let exit = tokio::select! {
            exit = migration.exited() => exit,
            () = self.signals.stop() => {
                return self.migration_stopped(&mut migration, begun).await;
            }
        };
        // A migration that leaves something running has not ended.
        self.kill_app(&mut migration).await;
        let ended_well = exit == Exit::Code(0);
        let verdict = self.judge(begun, ended_well).await?;
        let took_ms = migration.started.elapsed().as_millis() as u64;
        match (ended_well, verdict) {
            (true, None) => {}
            (true, Some(verdict @ Verdict::Accepted { .. })) => said::tell_accepted(&verdict),
            (true, Some(verdict)) => {
                let verdict = Box::new(verdict);
                return Err(Error::Refused {
                    command: name,
                    verdict,
                });
            }
            (false, verdict) => {
                migration.tail.last_lines().await;
                let verdict = verdict.map(Box::new);
                return Err(Error::Migrate {
                    command: name,
                    exit,
                    verdict,
                });
            }
        }
        tracing::info!(took_ms, "migrated");
        Ok(Migrated::Yes)
    }

    async fn migration_stopped(
        &mut self,
        migration: &mut App,
        begun: Option<Begun>,
    ) -> Result<Migrated, Error> {
        self.gate.refuse();
        let exit = self.stop_app(migration).await;
        tracing::warn!(migration = %exit, "stopped during the migration");
        if let Some(Verdict::PutBack { put_back, .. }) = self.judge(begun, false).await? {
            let databases = put_back.databases.join(", ");
            tracing::warn!(databases, "put back as it was before the migration");
        }
        self.close_gate().await;
        Ok(Migrated::Stopped(exit))
    }

    async fn judge(
        &self,
        begun: Option<Begun>,
        ended_well: bool,
    ) -> Result<Option<Verdict>, Error> {
        let Some(begun) = begun else {
            return Ok(None);
        };
        let judged = spawn_blocking(move || begun.finish(ended_well)).await;
        let judged = judged.map_err(|error| Error::Io {
            what: "look at what the migration did",
            source: std::io::Error::other(error),
        })?;
        let verdict = judged.map_err(Error::Guard)?;
        if let Verdict::PutBack { put_back, .. } = &verdict {
            self.forget(put_back)?;
        }
        Ok(Some(verdict))
    }
}
