use std::path::Path;
use std::time::Duration;

use super::*;
use crate::Environment;

fn file(text: &str) -> Result<File, String> {
    File::parse(Path::new(FILE_NAME), text).map_err(|error| error.to_string())
}

fn flag(key: &'static str, texts: &[&str]) -> Flag {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    Flag { key, texts }
}

fn keys() -> Vec<&'static str> {
    SETTINGS.iter().map(|setting| setting.key).collect()
}

fn resolve(flags: &[Flag], variables: &[(&str, &str)], text: &str) -> Result<Settings, String> {
    let environment: Environment = variables.iter().copied().collect();
    let resolved = Settings::resolve(&keys(), flags, &environment, &file(text)?);
    resolved.map_err(|error| error.to_string())
}

#[test]
fn each_default_is_a_value() {
    for setting in SETTINGS {
        if let Default::Is(text) = setting.default {
            assert_eq!((setting.check)(text), Ok(()), "{}", setting.key);
        }
    }
    let defaults = Settings::default();
    assert_eq!(defaults.start_timeout, Duration::from_secs(60));
    assert_eq!(defaults.keep_daily, Duration::from_secs(5 * 24 * 3600));
    assert_eq!(defaults.health_host, "localhost");
    assert!(defaults.heal && !defaults.take_over);
    assert_eq!(defaults.port, None);
}

#[test]
fn keys_flags_and_variables_are_of_one_name() {
    let port = setting("app_port").unwrap();
    assert_eq!(port.name(), "--app-port");
    assert_eq!(port.variable().as_deref(), Some("MONOLITE_APP_PORT"));
    let migrations = setting("migrations").unwrap();
    assert_eq!(migrations.name(), "--dir");
    assert_eq!(
        migrations.variable().as_deref(),
        Some("MONOLITE_MIGRATIONS")
    );
    let command = setting("command").unwrap();
    assert_eq!(
        (command.name().as_str(), command.variable()),
        ("command", None)
    );
}

#[test]
fn a_flag_wins_over_the_variable_that_over_the_file_that_over_the_default() {
    let text = "# a comment\nport = 1\n";
    let variables = [("MONOLITE_PORT", "2")];
    let flags = [flag("port", &["3"])];
    let port = |flags: &[Flag], variables: &[(&str, &str)], text: &str| {
        let settings = resolve(flags, variables, text).unwrap();
        (settings.port, settings.source("port"))
    };
    assert_eq!(port(&flags, &variables, text), (Some(3), Source::Flag));
    assert_eq!(port(&[], &variables, text), (Some(2), Source::Variable));
    let in_file = Source::File {
        path: FILE_NAME.into(),
        line: 2,
    };
    assert_eq!(port(&[], &[], text), (Some(1), in_file));
    assert_eq!(port(&[], &[], ""), (None, Source::Default));
}

#[test]
fn only_the_variables_of_the_verb_are_read() {
    let environment = [("MONOLITE_PORT", "x"), ("MONOLITE_DATA", "/d")]
        .into_iter()
        .collect();
    let settings = Settings::resolve(&["data"], &[], &environment, &File::default()).unwrap();
    assert_eq!(settings.data.as_deref(), Some(Path::new("/d")));
    assert_eq!(settings.port, None);
}

#[test]
fn what_is_set_to_nothing_is_not_set() {
    let variables = [("MONOLITE_REPLICA", " , "), ("MONOLITE_HEALTH_PATH", "")];
    let settings = resolve(&[flag("replica", &[""])], &variables, "replica = '/b'").unwrap();
    assert_eq!(settings.replica, ["/b"]);
    assert_eq!(settings.health_path, None);
}

#[test]
fn lists_are_one_or_several() {
    let replicas = |text: &str| resolve(&[], &[], text).unwrap().replica;
    assert_eq!(replicas("replica = 's3://a/b'"), ["s3://a/b"]);
    assert_eq!(replicas("replica = ['s3://a', '/b']"), ["s3://a", "/b"]);
    let variables = [("MONOLITE_REPLICA", "s3://a, /b")];
    assert_eq!(
        resolve(&[], &variables, "").unwrap().replica,
        ["s3://a", "/b"]
    );
    // An argument of the app's command may be empty, or hold blanks.
    let command = resolve(&[], &[], "command = ['sh', ' x ', '']")
        .unwrap()
        .command;
    assert_eq!(command, ["sh", " x ", ""]);
}

#[test]
fn values_of_each_type_are_read() {
    let text = "heal = false\nkeep_all = '2h'\nhold_mib = 3\nbind = '::1'\nlog = 'json'\n\
                write_concurrency = 1\ntrust_forwarded = 'all'";
    let settings = resolve(&[], &[("MONOLITE_TAKE_OVER", "Yes")], text).unwrap();
    assert!(!settings.heal && settings.take_over);
    assert_eq!(settings.keep_all, Duration::from_secs(7200));
    assert_eq!(settings.hold_mib, 3);
    assert_eq!(settings.bind, Some("::1".parse().unwrap()));
    assert_eq!(settings.log, LogFormat::Json);
    assert_eq!(settings.write_concurrency.map(usize::from), Some(1));
    assert_eq!(settings.trust_forwarded, ["all"]);
}

#[test]
fn durations_are_as_people_write_them() {
    for (text, seconds) in [
        ("0s", 0.0),
        ("500ms", 0.5),
        ("90s", 90.0),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h 30m", 5400.0),
        ("1h30min", 5400.0),
        ("24h", 86400.0),
        ("5days", 432_000.0),
        ("2 days 30min", 174_600.0),
        ("1week", 604_800.0),
        ("1month", 31.0 * 86400.0),
    ] {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_secs_f64(seconds)),
            "{text}"
        );
    }
    for wrong in ["", "60", "soon", "-5s", "5s ago", "1 fortnight"] {
        assert!(parse_duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn mistakes_in_the_file_are_named_with_their_line() {
    let error = |text| file(text).unwrap_err();
    assert_eq!(
        error("port = 1\nhelth_path = '/'"),
        "monolite.toml, line 2, helth_path: unknown key `helth_path`; did you mean `health_path`?"
    );
    let unknown = error("zzz = 1");
    assert!(
        unknown.contains("unknown key `zzz`; the keys are: data,"),
        "{unknown}"
    );
    assert_eq!(
        error("port = 'x'"),
        "monolite.toml, line 1, port: expected a whole number"
    );
    assert_eq!(
        error("\n\nreplica = 7"),
        "monolite.toml, line 3, replica: expected a string, or a list of strings"
    );
    assert!(error("start_timeout = 'soon'").contains("start_timeout: it is not a length of time"));
    assert!(error("keep_all = 'for ever'").contains("keep_all: "));
    assert!(error("port = 70000").contains("from 0 to 65535"));
    assert!(error("log = 'xml'").contains("it is none of text, json"));
    assert!(error("port = ").contains("line 1"));
    assert!(error("sync_interval = '10ms'").contains("it must be 50ms or longer"));
    let secret = error("port = 1\nreplica = s3://id:hunter2@bucket");
    assert!(
        secret.starts_with("monolite.toml, line 2, replica: "),
        "{secret}"
    );
    assert!(!secret.contains("hunter2"), "{secret}");
    let url = error("heartbeat_url = 'ftp://hunter2'");
    assert!(
        url.contains("heartbeat_url: ") && !url.contains("hunter2"),
        "{url}"
    );
}

#[test]
fn mistakes_elsewhere_name_the_variable_or_the_flag() {
    let error =
        |flags: &[Flag], variables: &[(&str, &str)]| resolve(flags, variables, "").unwrap_err();
    let variable = error(&[], &[("MONOLITE_PORT", "http")]);
    assert_eq!(
        variable,
        "MONOLITE_PORT: it is not a whole number from 0 to 65535"
    );
    let flag = error(&[flag("health_path", &["up"])], &[]);
    assert_eq!(
        flag,
        "--health-path: the health path is `up`; it must begin with /"
    );
    let secret = error(&[], &[("MONOLITE_HEARTBEAT_URL", "hunter2")]);
    assert!(!secret.contains("hunter2"), "{secret}");
}

#[test]
fn every_finding_can_be_allowed_and_nothing_else() {
    let volume = monolite_volume::Volume::new(std::env::temp_dir());
    let allow = setting("allow").unwrap();
    for finding in monolite_volume::inspect(&volume) {
        assert_eq!((allow.check)(finding.name), Ok(()));
    }
    let error = (allow.check)("persistant").unwrap_err();
    assert!(error.ends_with("did you mean `persistent`?"), "{error}");
}

#[test]
fn a_file_that_is_named_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.toml");
    let error = File::read(Some(&path)).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read ") && error.contains("other.toml"),
        "{error}"
    );
    std::fs::write(&path, "port = 4").unwrap();
    assert_eq!(File::read(Some(&path)).unwrap().entries.len(), 1);
}

/// The tables of the pages are made of the declarations.
#[test]
fn the_tables_of_the_documentation_are_complete() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (page, groups) in [
        (
            "run.md",
            &[Group::General, Group::Migration, Group::File][..],
        ),
        ("replication.md", &[Group::Replication]),
    ] {
        let text = std::fs::read_to_string(docs.join(page)).unwrap();
        let table = table(groups);
        assert!(
            text.contains(&table),
            "docs/{page} should have this table:\n\n{table}"
        );
    }
}

fn table(groups: &[Group]) -> String {
    let mut table =
        String::from("| flag | variable | key | default | what it does |\n|---|---|---|---|---|\n");
    // `migrations` is a flag of other verbs.
    let all = SETTINGS
        .iter()
        .filter(|setting| setting.key != "migrations");
    for setting in all.filter(|setting| groups.contains(&setting.group)) {
        let (name, value) = (setting.name(), setting.value);
        let flag = match setting.kind {
            _ if setting.group == Group::File => "after `--`".into(),
            Kind::Switch => format!("`{name}[={value}]`"),
            Kind::List => format!("`{name} {value},…`"),
            _ => format!("`{name} {value}`"),
        };
        let variable = setting
            .variable()
            .map_or(String::new(), |name| format!(" `{name}`"));
        let default = match setting.default {
            Default::Is(text) => format!("`{text}`"),
            Default::Unset(text) => text.into(),
        };
        let (key, help) = (setting.key, setting.help);
        table += &format!("| {flag} |{variable} | `{key}` | {default} | {help} |\n");
    }
    table
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_and_a_path_is_taken() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let value = OsString::from_vec(b"/data/caf\xe9".to_vec());
    let resolve = |name: &str| {
        let environment: Environment = [(name, value.clone())].into_iter().collect();
        Settings::resolve(&keys(), &[], &environment, &File::default())
    };
    let settings = resolve("MONOLITE_DATA").unwrap();
    assert_eq!(settings.data, Some(value.clone().into()));
    assert_eq!(settings.source("data"), Source::Variable);
    for name in ["MONOLITE_REPLICA", "MONOLITE_MIGRATE"] {
        let error = resolve(name).unwrap_err().to_string();
        assert_eq!(error, format!("{name}: its value is not UTF-8"));
    }
    // What is read later: the key, and the variables of providers.
    for name in ["MONOLITE_REPLICA_KEY", "BUCKET_NAME"] {
        let environment: Environment = [(name, value.clone())].into_iter().collect();
        let error = crate::destinations(&Settings::default(), &environment).unwrap_err();
        assert!(
            error.is_usage() && error.to_string().starts_with(name),
            "{error}"
        );
    }
}
