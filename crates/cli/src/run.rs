//! `monolite run`: serve an app.

use std::ffi::OsString;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use monolite_app::settings::LogFormat;
use monolite_app::{Guarding, Launch, MigrationError, NotFit, Settings, Stack, exit_code};
use monolite_supervisor::{Error, Stream};

use crate::flags::{self, Flags, environment};
use crate::{Failure, descriptors, log, replication, report};

#[derive(Args)]
#[command(
    override_usage = "monolite run [OPTIONS] [-- <COMMAND>...]",
    after_help = "Examples:\n  monolite run -- bin/rails server\n  \
        monolite run --data /data --migrate 'python manage.py migrate' -- \\\n    \
        gunicorn --bind '127.0.0.1:$PORT' shop.wsgi\n\n\
        Without a command, the processes of ./Procfile run: `web` behind the port, the others as\n\
        workers. The app gets PORT, and the path of its database in the variable its framework reads.\n\
        SIGTERM or Ctrl-C stops it all, a second one at once; SIGUSR2 restarts the app while\n\
        requests wait. GET /_monolite/health answers 200 while requests pass.\n\n\
        With --replica, every commit is stored there too; what is missing on the volume comes\n\
        back from there before the app starts, and what is deleted under it while it runs.\n\n\
        A migrate command is guarded: if it fails, or takes away tables, rows, values, indexes or\n\
        triggers that --allow-loss does not name, everything is rolled back and the app not started.\n\n\
        Exit code: the app's own; 1 failed, 2 wrong usage, 3 the volume is not fit."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: Flags<flags::Run>,

    /// The app's command; `$PORT` in it becomes the app's port
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let command = match arguments.command.is_empty() {
        true => settings.command.iter().map(OsString::from).collect(),
        false => arguments.command,
    };
    serve(
        stack(&settings, command, Ipv4Addr::UNSPECIFIED)?,
        settings.log,
    )
}

/// All that serves `command`.
pub(crate) fn stack(
    settings: &Settings,
    command: Vec<OsString>,
    bind: Ipv4Addr,
) -> Result<Stack, Failure> {
    let launch = Launch {
        command,
        bind,
        app_dir: std::env::current_dir().unwrap_or_else(|_| ".".into()),
        environment: environment(),
        watchdog: vec![this_program()?.into(), "watchdog".into()],
        output: Arc::new(pass_on),
    };
    Stack::new(settings, launch).map_err(replication::failure)
}

/// How migrations are guarded.
pub(crate) fn guarding(settings: &Settings, volume: &Path) -> Guarding {
    monolite_app::guarding(settings, &environment(), volume)
}

/// A guard that passes over a database guards nothing.
///
/// # Errors
/// Not every database can be found, or could be restored.
pub(crate) fn all_guardable(settings: &Settings, volume: &Path) -> anyhow::Result<()> {
    Ok(monolite_app::all_guardable(
        settings,
        &environment(),
        volume,
    )?)
}

/// This binary, also if its file was replaced or removed meanwhile.
pub(crate) fn this_program() -> anyhow::Result<PathBuf> {
    let named = std::env::current_exe()?;
    Ok(match named.exists() {
        true => named,
        false => "/proc/self/exe".into(),
    })
}

/// The app's output, as it came.
fn pass_on(stream: Stream, bytes: &[u8]) {
    // If nobody reads it any more, the app still runs on.
    let _ = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    };
}

pub(crate) fn serve(stack: Stack, format: LogFormat) -> Result<(), Failure> {
    log::start(format).map_err(Failure::Usage)?;
    descriptors::raise_limit();
    // Only the supervisor is on this runtime; the gate and replication have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(stack.run());
    // Threads that still pass on the output of an orphan are not waited for.
    runtime.shutdown_background();
    let (code, text) = match result {
        Ok(code) => (code, String::new()),
        Err(error) => (exit_code(&error), failure_text(&error)),
    };
    log::last_words(&text);
    match code {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

/// What is printed about a run that failed.
fn failure_text(error: &Error) -> String {
    let mut text = Vec::new();
    let not_fit = error.of_service::<NotFit>();
    if let Some(NotFit(findings)) = not_fit {
        let colour = crate::print::in_colour(&std::io::stderr());
        let _ = report::findings(findings, colour, &mut text);
    }
    if let Some(tail) = error.tail().filter(|tail| !tail.is_empty()) {
        let _ = writeln!(text, "--- the end of the app's output ---\n{tail}\n---");
    }
    let migration = error.of_service::<MigrationError>();
    if let Some(verdict) = migration.and_then(MigrationError::verdict) {
        for line in monolite_guard::messages::refused(verdict) {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(text, "monolite: {error}{}", hint(not_fit));
    String::from_utf8_lossy(&text).into_owned()
}

fn hint(not_fit: Option<&NotFit>) -> String {
    let Some(NotFit(findings)) = not_fit else {
        return String::new();
    };
    let names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
    format!(
        ": repair what failed, or accept it with --allow {}",
        names.join(",")
    )
}
