//! Settings as flags: each verb names those that it takes, and they are declared in
//! [`monolite_app::settings`].

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use monolite_app::settings::{Default, File, Flag, Group, Kind, SETTINGS, Setting, setting};
use monolite_app::{Environment, Settings};

use crate::Failure;

/// Which settings a verb takes.
pub(crate) trait Takes {
    /// Their keys.
    fn keys() -> Vec<&'static str>;

    /// Settings that it reads of variables and the file, and that are no flags of it.
    fn keys_without_flag() -> Vec<&'static str> {
        Vec::new()
    }

    /// Whether the flags may be given before a verb of it, too.
    fn are_global() -> bool {
        false
    }

    /// The help of one of them, if it has another meaning here.
    fn help(_key: &str) -> Option<&'static str> {
        None
    }
}

/// The flags of the settings that `T` takes, and `--config`.
#[derive(Debug, Clone)]
pub(crate) struct Flags<T> {
    given: Vec<Flag>,
    config: Option<PathBuf>,
    takes: PhantomData<T>,
}

impl<T: Takes> Flags<T> {
    /// The settings, of flags, variables and the file.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let file = File::read(self.config.as_deref()).map_err(usage)?;
        let keys = [T::keys(), T::keys_without_flag()].concat();
        Settings::resolve(&keys, &self.given, &environment(), &file).map_err(usage)
    }
}

fn usage(error: monolite_app::settings::Error) -> Failure {
    Failure::Usage(error.into())
}

/// The environment variables of this process.
pub(crate) fn environment() -> Environment {
    std::env::vars_os().collect()
}

impl<T: Takes> Args for Flags<T> {
    fn augment_args(mut command: Command) -> Command {
        for setting in T::keys().into_iter().filter_map(setting) {
            let argument = argument(setting, T::help(setting.key));
            command = command.arg(argument.global(T::are_global()));
        }
        let config = Arg::new("config").long("config").value_name("FILE");
        command.arg(
            config
                .value_parser(clap::value_parser!(PathBuf))
                .global(T::are_global())
                .help("Read this file instead of ./monolite.toml"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Takes> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = T::keys().into_iter().filter_map(|key| {
            let texts: Vec<String> = matches.get_many::<String>(key)?.cloned().collect();
            Some(Flag { key, texts })
        });
        Ok(Self {
            given: given.collect(),
            config: matches.get_one::<PathBuf>("config").cloned(),
            takes: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &'static Setting, help: Option<&'static str>) -> Arg {
    let mut argument = Arg::new(setting.key)
        .long(setting.name().trim_start_matches('-').to_owned())
        .value_name(setting.value)
        .help(help_text(setting, help));
    argument = match setting.group {
        Group::General | Group::File => argument,
        Group::Migration => argument.help_heading("Migration"),
        Group::Replication => argument.help_heading("Replication"),
    };
    // The parser shows what it refuses: a secret is checked later, with the variables.
    let check = move |text: &str| match setting.is_secret {
        true => Ok(text.to_owned()),
        false => (setting.check)(text).map(|()| text.to_owned()),
    };
    match setting.kind {
        Kind::Text | Kind::Number => argument.value_parser(ValueParser::from(check)),
        Kind::List => argument
            .value_parser(ValueParser::from(check))
            .value_delimiter(',')
            .action(ArgAction::Append),
        Kind::Switch => argument
            .value_parser(ValueParser::from(check))
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("yes"),
        Kind::Word(words) => {
            let values = words
                .iter()
                .map(|(word, help)| PossibleValue::new(word).help(*help));
            argument.value_parser(PossibleValuesParser::new(values))
        }
    }
}

fn help_text(setting: &Setting, help: Option<&'static str>) -> String {
    let help = help.unwrap_or(setting.help);
    let default = match setting.default {
        // Of whom nothing else is to be expected.
        Default::Unset("none") => String::new(),
        _ if help.contains("[default: ") => String::new(),
        default => format!(" [default: {default}]"),
    };
    let variable = setting.variable().unwrap_or_default();
    format!("{help}{default} [env: {variable}]")
}

/// What `run` takes: all but where the migration files are.
#[derive(Debug, Clone)]
pub(crate) struct Run;

impl Takes for Run {
    fn keys() -> Vec<&'static str> {
        let flags = SETTINGS
            .iter()
            .filter(|setting| setting.group != Group::File);
        flags
            .map(|setting| setting.key)
            .filter(|key| *key != "migrations")
            .collect()
    }
}

/// Which volume, and where its replicas are.
#[derive(Debug, Clone)]
pub(crate) struct Volume;

impl Takes for Volume {
    fn keys() -> Vec<&'static str> {
        vec!["data", "replica", "replica_key_file"]
    }
}

/// What `replicate` takes.
#[derive(Debug, Clone)]
pub(crate) struct Replicate;

impl Takes for Replicate {
    fn keys() -> Vec<&'static str> {
        let own = [
            "replica_exclude",
            "replica_host",
            "sync_interval",
            "sync_timeout",
            "snapshot_interval",
            "keep_all",
            "keep_hourly",
            "keep_daily",
            "take_over",
            "heartbeat_url",
            "log",
        ];
        [&Volume::keys()[..], &own].concat()
    }
}

/// What `backup` takes.
#[derive(Debug, Clone)]
pub(crate) struct Backup;

impl Takes for Backup {
    fn keys() -> Vec<&'static str> {
        [&Volume::keys()[..], &["keep_daily"]].concat()
    }

    fn help(key: &str) -> Option<&'static str> {
        let days = "How long the snapshots of --local are kept, in whole days";
        (key == "keep_daily").then_some(days)
    }
}

/// What `check` takes.
#[derive(Debug, Clone)]
pub(crate) struct Check;

impl Takes for Check {
    fn keys() -> Vec<&'static str> {
        vec!["data", "allow"]
    }
}

/// What `migrate` takes, and each verb of it.
#[derive(Debug, Clone)]
pub(crate) struct Migrate;

impl Takes for Migrate {
    fn keys() -> Vec<&'static str> {
        vec!["data", "database", "migrations", "allow_loss"]
    }

    /// They are read only to learn whether a database that is missing can be restored.
    fn keys_without_flag() -> Vec<&'static str> {
        vec!["replica", "replica_key_file"]
    }

    fn are_global() -> bool {
        true
    }

    fn help(key: &str) -> Option<&'static str> {
        let database = "The database, by its path in the data directory, or any other by its path \
                        [default: app.sqlite3, or the only one there is]";
        (key == "database").then_some(database)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Verb {
        #[command(flatten)]
        flags: Flags<Run>,
    }

    fn parse(arguments: &[&str]) -> Result<Vec<Flag>, String> {
        let all = ["verb"].iter().chain(arguments);
        let parsed = Verb::try_parse_from(all);
        parsed
            .map(|verb| verb.flags.given)
            .map_err(|error| error.to_string())
    }

    fn flag(key: &'static str, texts: &[&str]) -> Flag {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Flag { key, texts }
    }

    #[test]
    fn every_setting_but_those_of_the_file_is_a_flag_of_run() {
        let command = Flags::<Run>::augment_args(Command::new("run"));
        let known: Vec<_> = command
            .get_arguments()
            .map(|one| one.get_id().as_str())
            .collect();
        assert!(known.contains(&"replica_key_file") && known.contains(&"config"));
        assert!(!known.contains(&"command") && !known.contains(&"migrations"));
        assert_eq!(known.len(), SETTINGS.len() - 2 + 1);
        command.debug_assert();
    }

    #[test]
    fn flags_are_read_and_nothing_else_counts_as_given() {
        assert_eq!(parse(&[]), Ok(vec![]));
        let given = parse(&["--port", "80", "--replica", "/a,/b", "--replica=/c"]).unwrap();
        let expected = [flag("port", &["80"]), flag("replica", &["/a", "/b", "/c"])];
        assert_eq!(given, expected);
        assert_eq!(parse(&["--heal=false"]), Ok(vec![flag("heal", &["false"])]));
        assert_eq!(
            parse(&["--take-over"]),
            Ok(vec![flag("take_over", &["yes"])])
        );
    }

    #[test]
    fn wrong_values_are_refused_with_the_flag() {
        for (arguments, expected) in [
            (["--port", "x"], "invalid value 'x' for '--port <PORT>'"),
            (["--start-timeout", "60"], "it is not a length of time"),
            (["--log", "xml"], "[possible values: text, json]"),
            (["--health-path", "up"], "it must begin with /"),
            (["--allow", "persistant"], "did you mean `persistent`?"),
        ] {
            let error = parse(&arguments).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(parse(&["--heal=maybe"]).is_err());
    }

    #[test]
    fn a_wrong_secret_is_refused_and_not_shown() {
        let wrong = "htps://ping.example/key-7f3a";
        let given = parse(&["--heartbeat-url", wrong]).unwrap();
        let resolved = Settings::resolve(
            &Run::keys(),
            &given,
            &Environment::default(),
            &File::default(),
        );
        let error = resolved.unwrap_err().to_string();
        assert!(error.starts_with("--heartbeat-url: "), "{error}");
        assert!(!error.contains("key-7f3a"), "{error}");
    }

    #[test]
    fn help_names_default_and_variable() {
        let text = |key| help_text(setting(key).unwrap(), None);
        assert!(text("stop_timeout").ends_with("[default: 10s] [env: MONOLITE_STOP_TIMEOUT]"));
        assert!(text("migrate").ends_with("wait meanwhile [env: MONOLITE_MIGRATE]"));
    }
}
