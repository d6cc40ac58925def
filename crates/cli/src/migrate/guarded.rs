//! `monolite migrate -- COMMAND`: any framework's migrations, guarded.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use monolite_app::{Settings, migration_environment};
use monolite_guard::migration::{self, Migrated};
use monolite_guard::{
    CommandStatus, GUARDED, Host, Interrupted, Options, Verdict, command_name, messages,
    run_command, shell_command_name,
};
use serde::Serialize;

use super::Common;
use super::host::{Terminal, cancelled, is_guarded};
use crate::{Failure, flags, human, print, replication, run, task};

/// `is_to_recover`: somebody says what to do with a migration that was interrupted, so that no
/// command is needed.
pub(super) fn run(
    common: &Common,
    interrupted: Interrupted,
    is_to_recover: bool,
    command: Vec<OsString>,
) -> Result<(), Failure> {
    let settings = common.flags.settings()?;
    let command = match (command.is_empty(), &settings.migrate) {
        (false, _) => command,
        (true, Some(shell)) => ["/bin/sh", "-c", shell].map(OsString::from).into(),
        (true, None) if is_to_recover => Vec::new(),
        (true, None) => {
            return Err(Failure::Usage(anyhow!(
                "name a command after --, as in `monolite migrate -- bin/rails db:migrate`; \
                 or a verb for migration files, as `monolite migrate up`"
            )));
        }
    };
    let volume = replication::volume(&settings)?;
    let volume = volume.canonicalize().unwrap_or(volume);
    let environment = environment(&settings, &volume)?;
    let environment = environment
        .iter()
        .map(|(name, value)| (&**name, value.clone()));
    let environment: Vec<(&str, OsString)> = environment.collect();
    if is_guarded(&volume) {
        // Whoever guards it has done away with what was interrupted.
        if command.is_empty() {
            return Ok(());
        }
        // Whoever guards it waits for this process.
        let finished = task::runtime()?.block_on(run_command(&command, &environment));
        let finished = finished.map_err(|error| not_started(&command, &error))?;
        return ended_with(finished.status.code());
    }
    let guarding = run::guarding(&settings, &volume);
    let options = Options::new().allow(guarding.allow);
    // What is only recovered was guarded before.
    if !command.is_empty() {
        run::all_guardable(&settings, &volume)?;
    }
    let host = Terminal::new(volume, guarding.find);
    let migrated =
        task::runtime()?.block_on(migrate(&host, &command, &environment, interrupted, options))?;
    match migrated {
        Some(migrated) => report(&migrated, &command, &host, common.json),
        None => Ok(()),
    }
}

/// What the command is told, where that is not set already.
fn environment(settings: &Settings, volume: &Path) -> anyhow::Result<Vec<(String, OsString)>> {
    let app = std::env::current_dir()?;
    let database = settings.database.as_deref().unwrap_or("app.sqlite3");
    let mut variables = migration_environment(&app, volume, database, &flags::environment());
    variables.retain(|(name, _)| name == GUARDED || std::env::var_os(name).is_none());
    variables.push(("MONOLITE_DATA".to_owned(), volume.as_os_str().to_owned()));
    Ok(variables)
}

/// A signal before the command ends it, with nothing begun; later it goes to the command. `None` if
/// there is no command.
async fn migrate(
    host: &Arc<Terminal>,
    command: &[OsString],
    environment: &[(&str, OsString)],
    interrupted: Interrupted,
    options: Options,
) -> Result<Option<Migrated<CommandStatus>>, Failure> {
    let signals = task::asked_to_stop()?;
    let mut stop = std::pin::pin!(async {
        signals.await;
    });
    let entered = host
        .enter(&name_of(command), interrupted, &mut stop)
        .await?;
    let (guard, had_been_interrupted) = entered;
    if command.is_empty() && (guard.is_some() || had_been_interrupted) {
        return Ok(None);
    }
    let guard = guard.ok_or_else(cancelled)?;
    let active = migration::begin(guard, options, &mut stop).await?;
    let active = active.ok_or_else(cancelled)?;
    let migrated = migration::run(active, async || {
        let finished = run_command(command, environment).await;
        finished.map_err(|error| not_started(command, &error))
    });
    Ok(Some(migrated.await?))
}

/// For programs: the last thing on standard output, after what the command wrote there.
#[derive(Serialize)]
struct Report<'r> {
    command: String,
    /// The command's own, or 128 and the number of its signal.
    exit_code: u8,
    took_ms: u64,
    /// How many databases there were that could be lost.
    databases: usize,
    #[serde(flatten)]
    verdict: &'r Verdict,
}

/// Prints what became of it; the exit code is the command's own if that failed.
fn report(
    migrated: &Migrated<CommandStatus>,
    command: &[OsString],
    host: &Terminal,
    json: bool,
) -> Result<(), Failure> {
    let name = name_of(command);
    if json {
        print::json_line(&Report {
            command: name.clone(),
            exit_code: migrated.status.code(),
            took_ms: u64::try_from(migrated.took.as_millis()).unwrap_or(u64::MAX),
            databases: migrated.databases,
            verdict: &migrated.verdict,
        })?;
    }
    if migrated.is_done() {
        for message in messages::accepted(&migrated.verdict) {
            eprintln!("monolite: {}", message.text);
        }
        let took = u64::try_from(migrated.took.as_micros()).unwrap_or(u64::MAX);
        let is_empty = host.databases().is_empty();
        eprintln!(
            "monolite: `{name}` took {}; {}",
            human::time_us(took),
            messages::guarded(migrated, host.volume(), is_empty)
        );
        return Ok(());
    }
    for line in messages::refused(&migrated.verdict) {
        eprintln!("{line}");
    }
    match migrated.succeeded {
        true => Err(Failure::Error(anyhow!(
            "`{name}` took away what nobody allowed"
        ))),
        false => {
            print::warning(&anyhow!("`{name}` {}", migrated.status.shown()));
            ended_with(migrated.status.code().max(1))
        }
    }
}

fn ended_with(code: u8) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

fn not_started(command: &[OsString], error: &std::io::Error) -> Failure {
    let program = command.first().map(OsString::as_os_str).unwrap_or_default();
    Failure::Error(anyhow!(
        "cannot start {}: {error}",
        program.to_string_lossy()
    ))
}

/// Without what may be a secret.
fn name_of(command: &[OsString]) -> String {
    match command {
        [] => "monolite migrate".into(),
        [shell, flag, line] if shell == "/bin/sh" && flag == "-c" => shell_command_name(line),
        command => command_name(command),
    }
}
