//! `monolite run`: serve an app.

pub(crate) mod replicated;

use std::ffi::OsString;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use monolite_gate::TrustForwarded;
use monolite_supervisor::{Config, Error, Guarding, Stream};
use monolite_volume::{Finding, Level};

use crate::migrate::show;
use crate::settings::{Settings, Trust};
use crate::{Failure, descriptors, log, replication, report, surroundings};

#[derive(Args)]
#[command(
    override_usage = "monolite run [OPTIONS] -- <COMMAND>...",
    after_help = "Examples:\n  monolite run -- bin/rails server\n  \
        monolite run --data /data --migrate 'python manage.py migrate' -- \\\n    \
        gunicorn --bind '127.0.0.1:$PORT' shop.wsgi\n\n\
        The app is told PORT, and where its database is in the variable its framework reads.\n\
        SIGTERM or Ctrl-C stops it all, a second one at once; SIGUSR2 restarts the app while\n\
        requests wait. GET /_monolite/health answers 200 while requests pass.\n\n\
        With --replica, every commit is stored there too; what is missing on the volume comes\n\
        back from there before the app starts, and what is deleted under it while it runs.\n\n\
        A migrate command is guarded: if it fails, or takes away tables, rows, values, indexes or\n\
        triggers that --allow-loss does not name, everything is put back and the app not started.\n\n\
        Exit code: the app's own; 1 failed, 2 wrong usage, 3 the volume is not fit."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Read this file instead of ./monolite.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The app's command; `$PORT` in it becomes the app's port
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (settings, from_file) = arguments
        .settings
        .with_file(arguments.config.as_deref())
        .map_err(Failure::Usage)?;
    let command = if arguments.command.is_empty() {
        from_file.into_iter().map(OsString::from).collect()
    } else {
        arguments.command
    };
    if command.is_empty() {
        let error = anyhow::anyhow!(
            "no command: name the app's after --, as in `monolite run -- bin/rails server`"
        );
        return Err(Failure::Usage(error));
    }
    let mut config = config(&settings, command, Ipv4Addr::UNSPECIFIED).map_err(Failure::Usage)?;
    config.replication = replicated::replication(&settings, &config.place.dir)?;
    serve(config, &settings)
}

/// The supervisor's configuration for `settings`.
pub(crate) fn config(
    settings: &Settings,
    command: Vec<OsString>,
    bind: Ipv4Addr,
) -> anyhow::Result<Config> {
    let listen = surroundings::listen(settings, bind)?;
    let place = surroundings::place(settings);
    let mut config = Config::new(command, listen, place.dir.clone());
    config.place = place;
    config.migrate = settings.migrate.clone().map(OsString::from);
    if settings.migrate.is_some() {
        all_guardable(settings, &config.place.dir)?;
    }
    config.guard = Some(guarding(settings, &config.place.dir));
    config.app_port = settings.app_port;
    config.allow = settings.allow.clone();
    config.app_dir = std::env::current_dir().unwrap_or_else(|_| ".".into());
    // What opens the replicas is not for the app to know, or to print.
    let environment = std::env::vars_os().filter(|(name, _)| name != replication::KEY_VARIABLE);
    config.environment = environment.collect();
    config.health.path = settings.health_path.clone();
    config.health.host = settings.health_host.clone();
    if let Some(name) = &settings.database {
        config.database.clone_from(name);
    }
    validate(settings, listen.port())?;
    let set = |to: &mut std::time::Duration, from: Option<std::time::Duration>| {
        if let Some(from) = from {
            *to = from;
        }
    };
    set(&mut config.start_time, settings.start_timeout);
    set(&mut config.stop_time, settings.stop_timeout);
    set(&mut config.drain_time, settings.drain_timeout);
    set(&mut config.gate.hold_time, settings.hold_timeout);
    set(&mut config.gate.response_time, settings.response_timeout);
    if let Some(requests) = settings.hold_requests {
        config.gate.hold_requests = requests;
    }
    if let Some(mib) = settings.hold_mib {
        config.gate.hold_bytes = mib.saturating_mul(1 << 20);
    }
    config.gate.write_concurrency = settings.write_concurrency.map(Into::into);
    config.gate.trust_forwarded = match settings.trust_forwarded {
        None | Some(Trust::Private) => TrustForwarded::Private,
        Some(Trust::All) => TrustForwarded::All,
        Some(Trust::None) => TrustForwarded::None,
    };
    config.keeper = vec![this_program()?.into(), "keeper".into()];
    config.output = Arc::new(pass_on);
    Ok(config)
}

/// How migrations are guarded: what replicas leave out holds data all the same.
pub(crate) fn guarding(settings: &Settings, volume: &Path) -> Guarding {
    Guarding {
        find: replication::find_guarded(volume, named(settings, volume)),
        allow: settings.guarding.allowances(),
        depth: settings.guarding.depth(),
    }
}

/// A guard that passes a database over guards nothing.
///
/// # Errors
/// Not every database can be found, or be put back.
pub(crate) fn all_guardable(settings: &Settings, volume: &Path) -> anyhow::Result<()> {
    let named = named(settings, volume);
    replication::guarded(volume, &named)?;
    for named in named {
        monolite_volume::discover::check_named(&named)?;
    }
    Ok(())
}

/// The databases that a migrate command is told of.
fn named(settings: &Settings, volume: &Path) -> Vec<PathBuf> {
    let name = settings.database.as_deref().unwrap_or("app.sqlite3");
    // What is set already, the command is not told otherwise.
    let elsewhere = std::env::var_os("DATABASE_PATH").filter(|path| !path.is_empty());
    let mut named = vec![volume.join(name)];
    named.extend(elsewhere.map(PathBuf::from));
    named
}

/// What each setting allows but no run can do.
fn validate(settings: &Settings, port: u16) -> anyhow::Result<()> {
    if let Some(path) = &settings.health_path {
        if !path.starts_with('/') {
            anyhow::bail!("the health path is `{path}`; it must begin with /");
        }
        if path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            anyhow::bail!("the health path {path:?} holds a space; write it as %20");
        }
    }
    if let Some(host) = &settings.health_host
        && host.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        anyhow::bail!("the health host {host:?} is not a host name");
    }
    if settings.app_port == Some(port) {
        anyhow::bail!(
            "the app's port is the public port, {port}; leave --app-port out, or choose another"
        );
    }
    if let Some(name) = &settings.database
        && (name.is_empty() || name.contains('/') || name == "." || name == "..")
    {
        anyhow::bail!(
            "the database is {name:?}; it must be a plain file name in the data directory"
        );
    }
    settings.following.validate()?;
    settings.check_allowed()
}

/// This binary, also if its file was replaced or removed meanwhile.
pub(crate) fn this_program() -> anyhow::Result<PathBuf> {
    let named = std::env::current_exe()?;
    Ok(if named.exists() {
        named
    } else {
        "/proc/self/exe".into()
    })
}

/// The app's output, as it came.
fn pass_on(stream: Stream, bytes: &[u8]) {
    // Nobody reads any more: that is no reason to disturb the app.
    let _ = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    };
}

pub(crate) fn serve(config: Config, settings: &Settings) -> Result<(), Failure> {
    log::start(settings.log.unwrap_or_default()).map_err(Failure::Usage)?;
    descriptors::raise_limit();
    // Only the supervisor lives here; the gate has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let allow = config.allow.clone();
    let result = runtime.block_on(monolite_supervisor::run(config, |found| {
        warn(found, &allow)
    }));
    // Threads that still pass on the output of an orphan do not keep us.
    runtime.shutdown_background();
    let (code, text) = match result {
        Ok(code) => (code, String::new()),
        Err(error) => (error.code(), obituary(&error)),
    };
    log::last_words(&text);
    match code {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

/// What is said of a run that failed.
fn obituary(error: &Error) -> String {
    let mut text = Vec::new();
    if let Error::NotFit(findings) = error {
        let colour = crate::print::in_colour(&std::io::stderr());
        let _ = report::findings(findings, colour, &mut text);
    }
    if let Some(tail) = error.tail().filter(|tail| !tail.is_empty()) {
        let _ = writeln!(text, "--- the end of the app's output ---\n{tail}\n---");
    }
    if let Some(verdict) = error.verdict() {
        for line in show::lines(verdict) {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(text, "monolite: {error}{}", hint(error));
    String::from_utf8_lossy(&text).into_owned()
}

fn hint(error: &Error) -> String {
    let Error::NotFit(findings) = error else {
        return String::new();
    };
    let names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
    format!(
        ": mend what failed, or accept it with --allow {}",
        names.join(",")
    )
}

/// Logs what is not as it should be but does not stop the run.
fn warn(found: &[Finding], allowed: &[String]) {
    for finding in found {
        let allowed = allowed.iter().any(|name| name == finding.name);
        let (check, mend, what) = (finding.name, &finding.mend, &finding.what);
        match finding.level {
            Level::Warn => tracing::warn!(check, mend, "{what}"),
            Level::Fail if allowed => tracing::warn!(check, "allowed: {what}"),
            Level::Pass | Level::Fail => {}
        }
    }
}
