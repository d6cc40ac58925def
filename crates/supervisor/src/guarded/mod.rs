//! The migrate command of a run, under the guard.

mod host;

use std::ffi::OsString;
use std::sync::Arc;

use monolite_guard::migration::{self, Finished, Migrated as Judged};
use monolite_guard::{
    self as guard, Active, Guard, Host, IfOpen, Interrupted, Options, Rollback, Verdict, messages,
    shell_command_name,
};

use self::host::RunHost;
pub use self::host::{Guarding, migration_environment};
use crate::Error;
use crate::exit::Exit;
use crate::run::Run;

/// How the migration of a run ended.
pub(crate) enum Migrated {
    /// The app may start.
    Yes,
    /// Asked to stop meanwhile.
    Stopped(Exit),
}

/// The migration lock of this run, if its migrations are guarded.
pub(crate) struct Recovered(Option<Guard>);

impl Run {
    /// Waits for a migration that another process runs on the volume, and rolls back one that was
    /// interrupted; `None` if asked to stop meanwhile. Until the guard that this answers is
    /// dropped, no other migration begins. This comes before anything here opens a database: that
    /// alone may change its file, and who changed it last tells whether it was used since.
    pub(crate) async fn recover(&mut self) -> Result<Option<Recovered>, Error> {
        let Some(host) = self.host(true) else {
            return Ok(Some(Recovered(None)));
        };
        let recovered = {
            let (signals, gate) = (&mut self.signals, &self.gate);
            let mut stop = std::pin::pin!(async {
                signals.stop().await;
                gate.refuse();
            });
            match migration::enter(host, "monolite run", &mut stop).await? {
                Some(guard) => migration::recover(guard, Interrupted::default(), &mut stop).await?,
                None => None,
            }
        };
        let Some((guard, rollback)) = recovered else {
            return Ok(self.stopped_before().await);
        };
        if let Some(rollback) = &rollback {
            for line in messages::recovered(rollback) {
                tracing::warn!("{line}");
            }
            self.forget(rollback)?;
        }
        Ok(Some(Recovered(Some(guard))))
    }

    /// A database that a migration made which was rolled back is not for a replica to restore.
    fn forget(&self, rollback: &Rollback) -> Result<(), Error> {
        let Some(replicated) = &self.replicated else {
            return Ok(());
        };
        replicated
            .removed(&rollback.made)
            .map_err(|source| Error::Io {
                what: "write the state of replication on the volume",
                source,
            })
    }

    /// Runs the migrate command, if there is one, under the guard.
    pub(crate) async fn migrate(&mut self, recovered: Recovered) -> Result<Migrated, Error> {
        let Some(command) = self.config.migrate.clone() else {
            return Ok(Migrated::Yes);
        };
        let (Some(guarding), Some(host), Recovered(Some(guard))) =
            (self.config.guard.clone(), self.host(false), recovered)
        else {
            return self.migrate_unguarded(&command).await;
        };
        let guard = guard.hand_over(host, &shell_command_name(&command));
        let options = Options::new()
            .allow(guarding.allow)
            .depth(guarding.depth)
            .if_open(IfOpen::KeepCopy);
        let (signals, gate) = (&mut self.signals, &self.gate);
        let stop = async {
            signals.stop().await;
            gate.refuse();
        };
        match migration::begin(guard, options, stop).await? {
            Some(active) => self.migrate_guarded(&command, active).await,
            None => {
                self.stopped_before::<()>().await;
                Ok(Migrated::Stopped(Exit::Code(0)))
            }
        }
    }

    fn host(&self, has_no_database_open: bool) -> Option<Arc<dyn Host>> {
        let find = Arc::clone(&self.config.guard.as_ref()?.find);
        let volume = &self.config.place.dir;
        Some(Arc::new(RunHost::new(volume, find, has_no_database_open)))
    }

    async fn stopped_before<T>(&mut self) -> Option<T> {
        tracing::warn!("stopped before the migration began");
        self.close_gate().await;
        None
    }

    async fn migrate_guarded(
        &mut self,
        command: &OsString,
        active: Active,
    ) -> Result<Migrated, Error> {
        let databases = active.databases();
        let judged = migration::run(active, async || self.run_command(command, databases).await);
        let judged: Judged<Command> = judged.await?;
        if let Verdict::RolledBack { rollback, .. } = &judged.verdict {
            self.forget(rollback)?;
        }
        let (exit, is_done) = (judged.status.exit, judged.is_done());
        if judged.status.is_stopped {
            if let Verdict::RolledBack { rollback, .. } = &judged.verdict {
                let databases = rollback.databases.join(", ");
                tracing::warn!(databases, "put back as it was before the migration");
            }
            self.close_gate().await;
            return Ok(Migrated::Stopped(exit));
        }
        let command = command.to_string_lossy().into_owned();
        let verdict = Box::new(judged.verdict);
        if !judged.succeeded {
            let verdict = Some(verdict);
            return Err(Error::Migrate {
                command,
                exit,
                verdict,
            });
        }
        if !is_done {
            return Err(Error::Refused { command, verdict });
        }
        messages::accepted(&verdict).iter().for_each(host::log);
        let took_ms = judged.took.as_millis() as u64;
        tracing::info!(took_ms, "migrated");
        Ok(Migrated::Yes)
    }

    async fn migrate_unguarded(&mut self, command: &OsString) -> Result<Migrated, Error> {
        let finished = self.run_command(command, 0).await?;
        let exit = finished.status.exit;
        if finished.status.is_stopped {
            self.close_gate().await;
            return Ok(Migrated::Stopped(exit));
        }
        if !finished.succeeded {
            return Err(Error::Migrate {
                command: command.to_string_lossy().into_owned(),
                exit,
                verdict: None,
            });
        }
        tracing::info!("migrated");
        Ok(Migrated::Yes)
    }

    /// Runs the command to its end; what it has left running is killed, since its work is judged
    /// then.
    async fn run_command(
        &mut self,
        command: &OsString,
        databases: usize,
    ) -> Result<Finished<Command>, Error> {
        let name = command.to_string_lossy().into_owned();
        tracing::info!(command = %name, databases, "migrating; requests wait");
        let mut app = self.start_app(Some(command))?;
        let exit = tokio::select! {
            exit = app.exited() => Some(exit),
            () = self.signals.stop() => None,
        };
        let is_stopped = exit.is_none();
        let exit = match exit {
            Some(exit) => {
                self.kill_app(&mut app).await;
                exit
            }
            None => {
                self.gate.refuse();
                let exit = self.stop_app(&mut app).await;
                tracing::warn!(migration = %exit, "stopped during the migration");
                exit
            }
        };
        let succeeded = exit == Exit::Code(0) && !is_stopped;
        if !succeeded {
            app.tail.last_lines().await;
        }
        Ok(Finished {
            status: Command { exit, is_stopped },
            succeeded,
            left_running: Vec::new(),
        })
    }
}

/// How the migrate command ended.
struct Command {
    exit: Exit,
    /// The run was asked to stop meanwhile.
    is_stopped: bool,
}

impl From<guard::Error> for Error {
    fn from(error: guard::Error) -> Self {
        Self::Guard(error)
    }
}
