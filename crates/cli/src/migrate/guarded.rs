//! `monolite migrate -- COMMAND`: any framework's migrations, guarded.

mod command;
pub(crate) mod show;
mod turn;

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::anyhow;
use clap::ValueEnum;
use monolite_app::Settings;
use monolite_migrate::guard::{Begun, Error, Guard, Interrupted, News, Options, Others, Verdict};
use monolite_replica::Progress;
use monolite_supervisor::{Cancel, GUARDED, called, called_by_shell, migration_environment, site};

use self::turn::is_guarded;
pub(crate) use self::turn::turn;
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
        Some(How::PutBack) => Interrupted::PutBack,
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
    if is_guarded(&volume) {
        // Whoever guards it waits for us.
        let ended =
            command::run(&command, &environment).map_err(|error| not_started(&command, &error))?;
        return ended_with(ended.code());
    }
    let others = match arguments.while_running {
        true => Others::Leave,
        false => Others::Refuse,
    };
    let guarding = run::guarding(&settings, &volume);
    let options = Options {
        allow: guarding.allow,
        depth: guarding.depth,
        others,
    };
    let begun = begin(&settings, &volume, &command, interrupted, options)?;
    match begun {
        Some(begun) => migrate(begun, &command, &environment, &settings, &volume),
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
fn environment(
    settings: &Settings,
    volume: &Path,
) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let app = std::env::current_dir()?;
    let database = settings.database.as_deref().unwrap_or("app.sqlite3");
    let mut variables = migration_environment(&app, volume, database);
    variables.retain(|(name, _)| *name == GUARDED || std::env::var_os(name).is_none());
    variables.push(("MONOLITE_DATA", volume.as_os_str().to_owned()));
    Ok(variables)
}

/// Everything before the command; a signal ends it, with nothing begun. `None`
/// if there is no command.
fn begin(
    settings: &Settings,
    volume: &Path,
    command: &[OsString],
    interrupted: Interrupted,
    options: Options,
) -> Result<Option<Begun>, Failure> {
    let cancel = Cancel::default();
    // What is only recovered was guarded before.
    if !command.is_empty() {
        run::all_guardable(settings, volume)?;
    }
    let guarding = run::guarding(settings, volume);
    let site = site(volume, guarding.find, true, &cancel, shown());
    let name = name_of(command);
    let has_command = !command.is_empty();
    let (of, others) = (volume.to_owned(), options.others);
    let work = move || -> anyhow::Result<Option<Begun>> {
        let guard = Guard::enter(site, &name)?;
        // It may have been started while another migration was waited for.
        if others == Others::Refuse {
            nobody_runs(&of)?;
        }
        if let Some(put_back) = guard.recover(interrupted)? {
            let done = match (interrupted, put_back.databases.is_empty()) {
                (Interrupted::Keep, _) => "the databases stay as they are".into(),
                _ if put_back.left => {
                    "it ran beside others, so the databases stay as they are".into()
                }
                (_, true) => "the databases are as they were before it".into(),
                (_, false) => format!(
                    "put back as it was before: {}",
                    put_back.databases.join(", ")
                ),
            };
            eprintln!(
                "monolite: a migration (`{}`) was interrupted; {done}",
                put_back.command
            );
            show::kept(&put_back)
                .iter()
                .for_each(|line| eprintln!("{line}"));
        }
        match has_command {
            true => Ok(Some(guard.begin(options)?)),
            false => Ok(None),
        }
    };
    let runtime = task::runtime()?;
    let begun: anyhow::Result<anyhow::Result<Option<Begun>>> = runtime.block_on(async {
        let mut working = tokio::task::spawn_blocking(work);
        tokio::select! {
            done = &mut working => Ok(done.map_err(std::io::Error::other)?),
            _ = task::asked_to_stop()? => {
                cancel.cancel();
                match working.await.map_err(std::io::Error::other)? {
                    // A moment too late: it was about to begin.
                    Ok(Some(begun)) => {
                        begun.abandon()?;
                        Ok(Err(anyhow::Error::from(Error::Cancelled)))
                    }
                    other => Ok(other),
                }
            }
        }
    });
    Ok(begun??)
}

fn migrate(
    begun: Begun,
    command: &[OsString],
    environment: &[(&'static str, OsString)],
    settings: &Settings,
    volume: &Path,
) -> Result<(), Failure> {
    let databases = begun.databases();
    let since = Instant::now();
    let ended = match command::run(command, environment) {
        Ok(ended) => ended,
        Err(error) => {
            begun.abandon()?;
            return Err(not_started(command, &error));
        }
    };
    let took = human::time_us(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
    let verdict = begun.finish(ended.is_well())?;
    let name = name_of(command);
    if ended.is_well() && matches!(verdict, Verdict::Accepted { .. }) {
        show::accepted(&verdict)
            .iter()
            .for_each(|line| eprintln!("{line}"));
        let nothing_came = databases == 0 && (run::guarding(settings, volume).find)().is_empty();
        let guarded = match databases {
            0 if nothing_came => format!(
                "there is no database in {}, so NOTHING WAS GUARDED: if it is elsewhere, name its directory with --data",
                volume.display()
            ),
            0 => "there was no database to guard yet".into(),
            n => format!(
                "nothing was lost that was not meant to be ({})",
                human::count(n, "database", "databases")
            ),
        };
        eprintln!("monolite: `{name}` took {took}; {guarded}");
        return Ok(());
    }
    show::lines(&verdict)
        .iter()
        .for_each(|line| eprintln!("{line}"));
    match ended.is_well() {
        true => Err(Failure::Error(anyhow!(
            "`{name}` took away what nobody allowed"
        ))),
        false => {
            print::warning(&anyhow!("`{name}` {}", ended.shown()));
            ended_with(ended.code().max(1))
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
        [shell, flag, line] if shell == "/bin/sh" && flag == "-c" => called_by_shell(line),
        command => called(command),
    }
}

/// Shows the news: lines, and bars on a terminal.
fn shown() -> Arc<dyn Fn(News) + Send + Sync> {
    let bar: Mutex<Option<(String, Bar)>> = Mutex::new(None);
    Arc::new(move |news| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match news {
            News::Step {
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
            News::Advance(bytes) => {
                if let Some((_, bar)) = bar.as_ref() {
                    bar.advance(bytes);
                }
            }
            News::Waiting { behind } => {
                eprintln!("monolite: waiting for {behind}, which migrates this volume");
            }
            News::Said(what) => {
                *bar = None;
                eprintln!("monolite: {what}");
            }
            News::Idle => *bar = None,
            _ => {}
        }
    })
}
