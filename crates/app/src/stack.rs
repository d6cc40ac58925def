//! The wiring of `monolite run`: from settings to the list of services.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monolite_gate::{AccessLog, AccessLogFormat, Gate, TrustedProxies};
use monolite_guard::Allowance;
use monolite_supervisor::{Config, Error, Output, Service, database_variables};
use monolite_volume::discover::{self, DiscoverError};
use monolite_volume::{Volume, layout};

use crate::accounting::{self, Findings, Named, named_elsewhere};
use crate::database_choice::choose_database;
use crate::database_filter::matches;
use crate::processes::Processes;
use crate::replication::{Replicated, Replication};
use crate::services::{
    Accounting, DatabaseChoice, DatabaseFile, DriverLaneService, GateService, Guarded, JournalMode,
    MigrationError, Migrations, NoReplica, NotFit, Recovery, ReplicationService, VolumeService,
};
use crate::settings::{self, AccessFormat, DriverLane, LogFormat};
use crate::{
    DATABASE, Environment, Guarding, KEY_VARIABLE, ReplicaError, Settings, database_filter,
};
use crate::{destinations, environment};

/// The shortest time after which an app counts as hanging, unless it is set.
const HANG_TIME_MIN: Duration = Duration::from_secs(30);

/// Exit code for a volume that is not fit.
const NOT_FIT: u8 = 3;

/// What only the process that runs it all can know.
#[derive(Clone)]
pub struct Launch {
    /// The program that serves the requests, and its arguments; empty: as the Procfile or the
    /// settings have it.
    pub command: Vec<OsString>,
    /// The IP address to listen on, unless it is set.
    pub bind: Ipv4Addr,
    /// The current directory: the app's.
    pub app_dir: PathBuf,
    /// The environment of the process.
    pub environment: Environment,
    /// A command that calls [`watch_parent`](monolite_supervisor::watch_parent).
    pub watchdog: Vec<OsString>,
    /// Takes the app's output.
    pub output: Output,
}

/// All that `monolite run` consists of, made ready.
pub struct Stack {
    config: Config,
    gate: Gate,
    volume: Volume,
    listen: std::net::SocketAddr,
    allow: Vec<String>,
    replication: Option<Replication>,
    guarding: Guarding,
    migrate: Option<OsString>,
    /// Databases outside of the volume that are accepted, as patterns.
    accepted: Vec<String>,
    is_database_named: bool,
    /// Databases outside of the volume that variables name.
    named_elsewhere: Vec<Named>,
    /// The names of the app's processes.
    processes: Vec<String>,
    procfile: Option<PathBuf>,
    /// Databases are put in WAL mode.
    wal: bool,
    driver_lane: DriverLane,
}

impl Stack {
    /// Makes ready what `settings` want. Nothing is started yet.
    ///
    /// # Errors
    /// Settings that no run can have.
    pub fn new(settings: &Settings, launch: Launch) -> Result<Self, ReplicaError> {
        let listen = environment::listen(settings, &launch.environment, launch.bind)?;
        let volume = environment::volume(settings, &launch.environment);
        validate(settings, listen.port())?;
        let processes = Processes::find(settings, launch.command, &launch.app_dir)?;
        let migrate = settings.migrate.clone().or(processes.release);
        let guarding = guarding(settings, &launch.environment, &volume.dir);
        if migrate.is_some() {
            let guardable = all_guardable(settings, &launch.environment, &volume.dir);
            guardable.map_err(|error| settings::Error::new(error.to_string()))?;
        }
        let named_elsewhere = named_elsewhere(&launch.environment, &launch.app_dir, &volume.dir);
        let destinations = destinations::destinations(settings, &launch.environment)?;
        let replication = match destinations.is_empty() {
            true => None,
            false => {
                let mut replication = Replication::new(settings, destinations, &volume.dir);
                let temporary = launch.environment.get("TMPDIR").unwrap_or("/tmp".as_ref());
                replication.follow.spare_scratch = Some(temporary.into());
                Some(replication)
            }
        };
        let gate = gate(settings, &launch.environment)?;
        let mut config = Config::new(processes.web, volume.dir.clone());
        config.web_environment = processes.web_environment;
        config.workers = processes.workers;
        // A program reads JSON lines; the app's are its own affair.
        config.output_prefix = processes.names.len() > 1 && settings.log == LogFormat::Text;
        config.run_dir = Some(layout::run_files(&volume.dir));
        config.app_port = settings.app_port;
        config.app_dir = launch.app_dir;
        // What opens the replicas is not for the app to know, or to print.
        config.environment = launch.environment.without(KEY_VARIABLE);
        config.health.path.clone_from(&settings.health_path);
        config.health.host.clone_from(&settings.health_host);
        config.database = database_name(settings, &volume.dir);
        config.start_time = settings.start_timeout;
        config.hang_time = hang_time(settings);
        config.stop_time = settings.stop_timeout;
        config.drain_time = settings.drain_timeout;
        config.watchdog = launch.watchdog;
        config.output = launch.output;
        Ok(Self {
            config,
            gate: Gate::new(gate),
            volume,
            listen,
            allow: settings.allow.clone(),
            replication,
            guarding,
            accepted: settings.replica_exclude.clone(),
            is_database_named: settings.database.is_some(),
            named_elsewhere,
            migrate: migrate.map(OsString::from),
            processes: processes.names,
            procfile: processes.procfile,
            wal: settings.wal,
            driver_lane: settings.driver_lane,
        })
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.volume.dir
    }

    /// The public address.
    pub fn listen(&self) -> std::net::SocketAddr {
        self.listen
    }

    /// Gives the app one more variable.
    pub fn add_variable(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.config.environment.push((name.into(), value.into()));
    }

    /// Serves until asked to stop, or until it cannot go on; the exit code to end with.
    ///
    /// Runs inside a tokio runtime, once per process: see [`monolite_supervisor::run`].
    ///
    /// # Errors
    /// See [`monolite_supervisor::Error`]; [`exit_code`] is for these.
    pub async fn run(mut self) -> Result<u8, Error> {
        if self.processes.len() > 1 || self.procfile.is_some() {
            let processes = self.processes.join(", ");
            match &self.procfile {
                Some(path) => {
                    tracing::info!(procfile = %path.display(), processes, "the app's processes")
                }
                None => tracing::info!(processes, "the app's processes"),
            }
        }
        let (gate, services) = (self.gate.clone(), self.services()?);
        monolite_supervisor::run(self.config, gate, services).await
    }

    /// The services, in the order in which they start.
    fn services(&mut self) -> Result<Vec<Box<dyn Service>>, Error> {
        let findings = Arc::new(Findings::default());
        let replicated = match self.replication.take() {
            Some(replication) => Some(self.replicated(replication, findings.clone())?),
            None => None,
        };
        let guarded = Arc::new(Guarded {
            volume: self.volume.dir.clone(),
            guarding: self.guarding.clone(),
            command: self.migrate.clone(),
            forget: replicated.as_ref().map(Replicated::forget),
            lock: Mutex::default(),
        });
        let mut services: Vec<Box<dyn Service>> = vec![
            Box::new(GateService {
                address: self.listen,
            }),
            Box::new(VolumeService {
                volume: self.volume.clone(),
                allow: self.allow.clone(),
                port: self.listen.port(),
                lock: None,
            }),
            // Its files are on the volume, and it takes part in migrations, too.
            Box::new(DriverLaneService::new(
                &self.volume.dir,
                &self.config.app_dir,
                self.driver_lane,
            )),
            // Before anything opens a database: that alone may change its file, and who changed it
            // last tells whether it was used since.
            Box::new(Recovery(guarded.clone())),
        ];
        let accounting = Accounting::new(self.accounting(replicated.is_some(), findings));
        services.push(match replicated {
            Some(replicated) => Box::new(ReplicationService { replicated }),
            None => Box::new(NoReplica {
                volume: self.volume.dir.clone(),
            }),
        });
        services.push(Box::new(DatabaseChoice {
            is_named: self.is_database_named,
        }));
        services.push(Box::new(DatabaseFile {
            app_dir: self.config.app_dir.clone(),
        }));
        services.push(Box::new(Migrations(guarded)));
        services.push(Box::new(JournalMode {
            volume: self.volume.dir.clone(),
            find: database_filter::find(&self.volume.dir, &[]),
            is_on: self.wal,
        }));
        // Last, so that it stops first: what it puts back is replicated by the last sync.
        services.push(Box::new(accounting));
        Ok(services)
    }

    fn accounting(&mut self, has_replica: bool, findings: Arc<Findings>) -> accounting::Options {
        let accepted = std::mem::take(&mut self.accepted);
        let (volume, excluded) = (self.volume.dir.clone(), accepted.clone());
        let database = self.volume.dir.join(&self.config.database);
        let dir = &self.config.app_dir;
        let set = &self.config.environment;
        let variables = database_variables(dir, &self.volume.dir, &database, set);
        let names = variables.iter().map(|(name, _)| name.as_str());
        let is_of_database = |name: &&str| name.contains("DATABASE") || name.contains("DATA_PATH");
        let variables: Vec<_> = names
            .filter(is_of_database)
            .chain(["MONOLITE_DATA"])
            .collect();
        accounting::Options {
            volume: self.volume.dir.clone(),
            app_dir: dir.clone(),
            is_accepted: Arc::new(move |path: &Path| {
                let name = path.to_string_lossy();
                accepted.iter().any(|pattern| matches(pattern, &name))
            }),
            variables: format!("it is given the path in {}", variables.join(" and ")),
            is_replicated: Arc::new(move |path: &Path| {
                let name = path.strip_prefix(&volume).unwrap_or(path).to_string_lossy();
                has_replica && database_filter::is_replicated(&name, &excluded)
            }),
            main: database.clone(),
            named: std::mem::take(&mut self.named_elsewhere),
            findings,
        }
    }

    fn replicated(
        &self,
        replication: Replication,
        findings: Arc<Findings>,
    ) -> Result<Replicated, Error> {
        let database = self.config.database.clone();
        let volume = self.volume.dir.clone();
        let replicated = Replicated::new(replication, volume, database, findings);
        replicated.map_err(|source| Error::Io {
            what: "make replication ready",
            source,
        })
    }
}

/// The exit code for a run that ended with this.
pub fn exit_code(error: &Error) -> u8 {
    if error.of_service::<NotFit>().is_some() {
        return NOT_FIT;
    }
    match error.of_service::<MigrationError>() {
        Some(error) => error.exit_code(),
        None => error.code(),
    }
}

/// As it looks now; what is missing may be restored before the app starts.
fn database_name(settings: &Settings, volume: &Path) -> String {
    let named = settings.database.clone();
    named.unwrap_or_else(|| choose_database(volume).unwrap_or_else(|_| DATABASE.into()))
}

/// An app that hangs is restarted after this; never where responses may take any time.
fn hang_time(settings: &Settings) -> Option<Duration> {
    let limit = settings.hang_timeout.unwrap_or_else(|| {
        let response = settings.response_timeout;
        match response.is_zero() {
            true => response,
            false => response.saturating_mul(2).max(HANG_TIME_MIN),
        }
    });
    (!limit.is_zero()).then_some(limit)
}

fn gate(
    settings: &Settings,
    environment: &Environment,
) -> Result<monolite_gate::Config, settings::Error> {
    let mut config = monolite_gate::Config::default();
    config.hold_time = settings.hold_timeout;
    config.hold_requests = settings.hold_requests;
    config.hold_bytes = settings.hold_mib.saturating_mul(1 << 20);
    config.response_time = settings.response_timeout;
    config.write_concurrency = settings.write_concurrency.map(Into::into);
    config.keep_alive = settings.keep_alive;
    config.buffer_dir = Some(environment::buffer_dir(settings, environment));
    config.buffer_unknown = settings.buffer_unknown;
    config.trusted_proxies = environment::proxies(environment);
    if !settings.trust_forwarded.is_empty() {
        let mut proxies = TrustedProxies::none();
        for word in &settings.trust_forwarded {
            let added = proxies.add(word);
            added.map_err(|error| settings::Error::new(format!("--trust-forwarded: {error}")))?;
        }
        config.trusted_proxies = proxies;
    }
    config.trust_forwarded_host = settings.trust_forwarded_host;
    config.proxy_protocol = settings.proxy_protocol;
    config.default_host.clone_from(&settings.health_host);
    config.server_timing = settings.server_timing;
    if let Some(file) = &settings.access_log {
        let format = match settings.access_log_format {
            AccessFormat::Text => AccessLogFormat::Text,
            AccessFormat::Json => AccessLogFormat::Json,
        };
        let log = AccessLog::to_file(file, format).map_err(|error| {
            settings::Error::new(format!(
                "cannot write the access log {}: {error}; name another file with --access-log",
                file.display()
            ))
        });
        config.access_log = Some(log?);
    }
    Ok(config)
}

/// How migrations are guarded: databases that replicas leave out hold data, too.
pub fn guarding(settings: &Settings, environment: &Environment, volume: &Path) -> Guarding {
    let named = settings.allow_loss.iter();
    Guarding {
        find: database_filter::find_guarded(volume, named_databases(settings, environment, volume)),
        allow: named.map(|text| Allowance::new(text)).collect(),
    }
}

/// A guard that passes over a database guards nothing.
///
/// # Errors
/// Not every database can be found, or could be restored.
pub fn all_guardable(
    settings: &Settings,
    environment: &Environment,
    volume: &Path,
) -> Result<(), DiscoverError> {
    let named = named_databases(settings, environment, volume);
    database_filter::guarded(volume, &named)?;
    named
        .iter()
        .try_for_each(|named| discover::check_named(named))?;
    // Which of them the migration changes is not known: each counts.
    let app_dir = std::env::current_dir().unwrap_or_else(|_| ".".into());
    match named_elsewhere(environment, &app_dir, volume)
        .into_iter()
        .find(|named| {
            let name = named.path.to_string_lossy();
            !settings
                .replica_exclude
                .iter()
                .any(|pattern| matches(pattern, &name))
        }) {
        None => Ok(()),
        Some(Named { variable, path }) => Err(DiscoverError::NamedElsewhere {
            variable,
            path,
            dir: volume.into(),
        }),
    }
}

/// The databases whose paths a migrate command gets.
fn named_databases(settings: &Settings, environment: &Environment, volume: &Path) -> Vec<PathBuf> {
    let mut named = vec![volume.join(database_name(settings, volume))];
    // A variable that is set already stays as it is.
    named.extend(environment.get("DATABASE_PATH").map(PathBuf::from));
    named
}

/// What each setting alone allows, but no run can do.
fn validate(settings: &Settings, port: u16) -> Result<(), settings::Error> {
    if settings.app_port == Some(port) {
        return Err(settings::Error::new(format!(
            "the app's port is the public port, {port}; leave --app-port out, or choose another"
        )));
    }
    match settings.database.as_deref() {
        Some(name) if name.contains('/') || name == "." || name == ".." => {
            Err(settings::Error::new(format!(
                "the database is {name:?}; it must be a plain file name in the data directory"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Launch {
        Launch {
            command: vec!["app".into()],
            bind: Ipv4Addr::LOCALHOST,
            app_dir: ".".into(),
            environment: variables.iter().copied().collect(),
            watchdog: Vec::new(),
            output: Arc::new(|_, _| {}),
        }
    }

    fn settings(dir: &Path) -> Settings {
        let mut settings = Settings::default();
        settings.data = Some(dir.into());
        settings
    }

    fn names(stack: &mut Stack) -> Vec<&'static str> {
        let services = stack.services().unwrap();
        services.iter().map(|service| service.name()).collect()
    }

    #[test]
    fn the_services_and_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let mut stack = Stack::new(&settings, launch(&[])).unwrap();
        assert_eq!(
            names(&mut stack),
            [
                "gate",
                "volume",
                "driver lane",
                "recovery",
                "no replica",
                "database",
                "database file",
                "migrations",
                "journal mode",
                "files"
            ]
        );
        settings.replica = vec![dir.path().join("replica").display().to_string()];
        let mut stack = Stack::new(&settings, launch(&[])).unwrap();
        assert_eq!(names(&mut stack)[4], "replica");
    }

    #[test]
    fn the_app_gets_no_key_of_the_replicas() {
        let dir = tempfile::tempdir().unwrap();
        let key = "0f".repeat(32);
        let variables = [("HOME", "/home"), ("MONOLITE_REPLICA_KEY", &*key)];
        let mut stack = Stack::new(&settings(dir.path()), launch(&variables)).unwrap();
        stack.add_variable("MORE", "more");
        let expected = [("HOME", "/home"), ("MORE", "more")];
        let expected = expected.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(stack.config.environment, expected);
    }

    #[test]
    fn what_no_run_can_do_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = |change: fn(&mut Settings)| {
            let mut settings = settings(dir.path());
            change(&mut settings);
            let error = Stack::new(&settings, launch(&[])).err().unwrap();
            assert!(error.is_usage());
            error.to_string()
        };
        let same = error(|settings| (settings.port, settings.app_port) = (Some(1), Some(1)));
        assert!(
            same.starts_with("the app's port is the public port, 1"),
            "{same}"
        );
        for name in ["a/b", ".", ".."] {
            let mut settings = settings(dir.path());
            settings.database = Some(name.into());
            assert!(Stack::new(&settings, launch(&[])).is_err(), "{name}");
        }
        let elsewhere = error(|settings| settings.replica = vec!["s4://a".into()]);
        assert!(elsewhere.contains("s4"), "{elsewhere}");
    }

    #[test]
    fn an_app_may_be_silent_for_twice_the_response_timeout() {
        let time = |response: u64, hang: Option<u64>| {
            let mut settings = Settings::default();
            settings.response_timeout = Duration::from_secs(response);
            settings.hang_timeout = hang.map(Duration::from_secs);
            hang_time(&settings).map(|limit| limit.as_secs())
        };
        assert_eq!(time(60, None), Some(120));
        assert_eq!(time(3, None), Some(30));
        assert_eq!(time(0, None), None);
        assert_eq!(time(60, Some(0)), None);
        assert_eq!(time(0, Some(5)), Some(5));
    }

    #[test]
    fn settings_reach_the_gate_and_the_supervisor() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        settings.hold_mib = 3;
        settings.trust_forwarded = vec!["none".into(), "192.0.2.1".into()];
        settings.database = Some("shop.db".into());
        let gate = gate(&settings, &launch(&[("TMPDIR", "/var/tmp")]).environment).unwrap();
        assert_eq!(gate.hold_bytes, 3 << 20);
        assert_eq!(gate.trusted_proxies, "192.0.2.1".parse().unwrap());
        assert_eq!(gate.buffer_dir.as_deref(), Some(Path::new("/var/tmp")));
        let stack = Stack::new(&settings, launch(&[])).unwrap();
        assert_eq!(stack.config.database, "shop.db");
        assert_eq!(stack.config.health.host, "localhost");
        assert_eq!(stack.listen(), "127.0.0.1:8080".parse().unwrap());
    }
}
