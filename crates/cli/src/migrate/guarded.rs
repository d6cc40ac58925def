//! `monolite migrate -- COMMAND`: any framework's migrations, guarded.

mod migration_lock;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use clap::ValueEnum;
use monolite_app::{Settings, migration_environment};
use monolite_guard::migration::{self, Migrated};
use monolite_guard::{
    Cancel, CommandStatus, Error, GUARDED, Host, IfOpen, Interrupted, Options, Progress,
    command_name, messages, run_command, shell_command_name,
};
use monolite_replica::Find;

use self::migration_lock::is_guarded;
pub(crate) use self::migration_lock::migration_lock;
use crate::bar::Bar;
use crate::flags::{self, Flags};
use crate::{Failure, human, print, replication, run, task};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: Flags<flags::Guarded>,

    /// Run it though others have the databases open: it is judged, and nothing is put back
    #[arg(long)]
    while_running: bool,

    /// What to do with a migration that was interrupted [default: put back and keep a copy of what
    /// is there, unless a database was used since]
    #[arg(long, value_name = "HOW")]
    interrupted: Option<How>,

    /// The command [default: `migrate` of monolite.toml]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// Put the databases back in any case; a copy of what is there is kept if there is room.
    PutBack,
    /// Take the databases as they are.
    Keep,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let interrupted = match arguments.interrupted {
        None => Interrupted::default(),
        Some(How::PutBack) => Interrupted::RollBack,
        Some(How::Keep) => Interrupted::Keep,
    };
    let settings = arguments.flags.settings()?;
    let command = match (arguments.command.is_empty(), &settings.migrate) {
        (false, _) => arguments.command,
        (true, Some(shell)) => ["/bin/sh", "-c", shell].map(OsString::from).into(),
        (true, None) if arguments.interrupted.is_some() => Vec::new(),
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
    let if_open = match arguments.while_running {
        true => IfOpen::JudgeOnly,
        false => IfOpen::Refuse,
    };
    let guarding = run::guarding(&settings, &volume);
    let options = Options::new()
        .allow(guarding.allow)
        .depth(guarding.depth)
        .if_open(if_open);
    // What is only recovered was guarded before.
    if !command.is_empty() {
        run::all_guardable(&settings, &volume)?;
    }
    let host = Arc::new(Terminal {
        find: guarding.find,
        volume,
        cancel: Cancel::default(),
        bar: Mutex::default(),
    });
    let runtime = task::runtime()?;
    let migrated =
        runtime.block_on(migrate(&host, &command, &environment, interrupted, options))?;
    match migrated {
        Some(migrated) => report(&migrated, &command, &host),
        None => Ok(()),
    }
}

/// An app that `run` serves may write at any time.
fn nobody_runs(volume: &Path) -> anyhow::Result<()> {
    match monolite_volume::holder(volume)? {
        Some(holder) => Err(anyhow!(
            "{} is in use by {holder}: what its app writes would be lost if the migration had to be put back. \
             Give the command to it instead (`monolite run --migrate`), which holds the requests meanwhile; \
             with --while-running it is run all the same, and is judged but not put back",
            volume.display()
        )),
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
    let cancelled = || anyhow::Error::from(Error::Cancelled);
    let signals = task::asked_to_stop()?;
    let mut stop = std::pin::pin!(async {
        signals.await;
    });
    let of: Arc<dyn Host> = Arc::clone(host) as _;
    let guard = migration::enter(of, &name_of(command), &mut stop).await?;
    let guard = guard.ok_or_else(cancelled)?;
    // It may have been started while another migration was waited for.
    if options.if_open == IfOpen::Refuse {
        nobody_runs(&host.volume)?;
    }
    let (guard, rollback) = migration::recover(guard, interrupted, &mut stop).await?;
    for line in rollback.iter().flat_map(messages::recovered) {
        eprintln!("monolite: {line}");
    }
    if command.is_empty() && (guard.is_some() || rollback.is_some()) {
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

/// Prints what became of it; the exit code is the command's own if that failed.
fn report(
    migrated: &Migrated<CommandStatus>,
    command: &[OsString],
    host: &Terminal,
) -> Result<(), Failure> {
    let name = name_of(command);
    if migrated.is_done() {
        for message in messages::accepted(&migrated.verdict) {
            eprintln!("monolite: {}", message.text);
        }
        let took = u64::try_from(migrated.took.as_micros()).unwrap_or(u64::MAX);
        let is_empty = host.databases().is_empty();
        eprintln!(
            "monolite: `{name}` took {}; {}",
            human::time_us(took),
            messages::guarded(migrated, &host.volume, is_empty)
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

/// What `monolite migrate` offers to the guard: lines, and a bar on a terminal.
struct Terminal {
    volume: PathBuf,
    find: Find,
    cancel: Cancel,
    /// Of the database that is worked on.
    bar: Mutex<Option<(String, Bar)>>,
}

impl Host for Terminal {
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
        true
    }

    fn report(&self, progress: Progress) {
        use monolite_replica::Progress as _;
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = messages::progress(&progress) {
            *bar = None;
            eprintln!("monolite: {}", message.text);
        }
        match progress {
            Progress::Step {
                database,
                step,
                total,
            } => {
                if bar.as_ref().is_none_or(|(of, _)| *of != database) {
                    *bar = Some((database.clone(), Bar::new(database)));
                }
                if let Some((_, bar)) = bar.as_ref() {
                    bar.begin(step, total);
                }
            }
            Progress::Advance(bytes) => {
                if let Some((_, bar)) = bar.as_ref() {
                    bar.advance(bytes);
                }
            }
            Progress::Idle => *bar = None,
            _ => {}
        }
    }
}
