//! Which processes the app has: of the command, the Procfile and `[processes]` of the file of
//! settings.
//!
//! - A command that is given is the web. Then a Procfile is read only where it is named.
//! - Without a command, `./Procfile` is read if it exists, unless `[processes]` has a `web`.
//! - `[processes]` adds to it: the keys of a process that is in both win.
//! - `release` of a Procfile is the migrate command, unless one is set.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use monolite_supervisor::{CommandLine, Restart, WEB, Worker};

use crate::Settings;
use crate::settings::{Error, ProcessCommand, ProcessSetting, RestartPolicy, check_name};

/// The file that is looked for in the app's directory.
const PROCFILE: &str = "Procfile";
/// The line of it that runs before the web starts.
const RELEASE: &str = "release";
/// Bytes of a Procfile; more is some other file.
const PROCFILE_MAX: u64 = 256 << 10;
/// Processes of one app.
const PROCESSES_MAX: usize = 100;

/// The processes of an app.
#[derive(Clone)]
pub(crate) struct Processes {
    pub(crate) web: CommandLine,
    pub(crate) web_environment: Vec<(OsString, OsString)>,
    pub(crate) workers: Vec<Worker>,
    /// The names, the web's first.
    pub(crate) names: Vec<String>,
    /// A shell command that runs before they start.
    pub(crate) release: Option<String>,
    /// The Procfile that was read.
    pub(crate) procfile: Option<PathBuf>,
}

/// What is known of one process while the sources are read.
struct Entry {
    name: String,
    command: Option<CommandLine>,
    setting: Option<ProcessSetting>,
}

impl Processes {
    /// The processes of the app in `app_dir`; `command` is the one that was given, or empty.
    ///
    /// # Errors
    /// There is no web, a line or a key cannot be, or the Procfile cannot be read.
    pub(crate) fn find(
        settings: &Settings,
        command: Vec<OsString>,
        app_dir: &Path,
    ) -> Result<Self, Error> {
        let in_file = settings.processes.iter();
        let has_web = !command.is_empty()
            || in_file
                .clone()
                .any(|of| of.name == WEB && of.command.is_some());
        let procfile = match &settings.procfile {
            Some(named) => Some(app_dir.join(named)),
            None if has_web => None,
            None => Some(app_dir.join(PROCFILE)).filter(|found| found.is_file()),
        };
        let mut entries = Vec::new();
        if let Some(path) = &procfile {
            for (name, line) in read(path)? {
                entries.push(Entry {
                    name,
                    command: Some(CommandLine::Shell(line.into())),
                    setting: None,
                });
            }
        }
        let release = take_release(&mut entries);
        for setting in in_file {
            add(&mut entries, setting, !command.is_empty())?;
        }
        if !command.is_empty() {
            let command = Some(CommandLine::Words(command));
            match entries.iter_mut().find(|entry| entry.name == WEB) {
                Some(web) => web.command = command,
                None => entries.push(Entry {
                    name: WEB.into(),
                    command,
                    setting: None,
                }),
            }
        }
        entries.retain(|entry| !entry.setting.as_ref().is_some_and(|of| of.is_off));
        build(entries, release, procfile)
    }
}

fn build(
    mut entries: Vec<Entry>,
    release: Option<String>,
    procfile: Option<PathBuf>,
) -> Result<Processes, Error> {
    // The web first; the others in the order in which they are written.
    entries.sort_by_key(|entry| entry.name != WEB);
    if entries.len() > PROCESSES_MAX {
        return Err(Error::new(format!(
            "the app has {} processes; {PROCESSES_MAX} at most are run",
            entries.len()
        )));
    }
    let names = entries.iter().map(|entry| entry.name.clone()).collect();
    let mut web = None;
    let mut workers = Vec::new();
    for Entry {
        name,
        command,
        setting,
    } in entries
    {
        let Some(command) = command else {
            return Err(Error::new(format!(
                "processes.{name}: it has no command, and no Procfile that is read has a line `{name}:`"
            )));
        };
        let environment = |setting: &ProcessSetting| {
            let env = setting.env.iter();
            env.map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let variables = setting.as_ref().map(environment).unwrap_or_default();
        if name == WEB {
            web = Some((command, variables));
            continue;
        }
        let mut worker = Worker::new(name, command).environment(variables);
        if let Some(restart) = setting.as_ref().and_then(|of| of.restart) {
            worker = worker.restart(match restart {
                RestartPolicy::Always => Restart::Always,
                RestartPolicy::OnFailure => Restart::OnFailure,
                RestartPolicy::Never => Restart::Never,
            });
        }
        if let Some(limit) = setting.as_ref().and_then(|of| of.stop_timeout) {
            worker = worker.stop_time(limit);
        }
        workers.push(worker);
    }
    let (web, web_environment) = web.ok_or_else(|| no_web(procfile.as_deref()))?;
    Ok(Processes {
        web,
        web_environment,
        workers,
        names,
        release,
        procfile,
    })
}

fn no_web(procfile: Option<&Path>) -> Error {
    Error::new(match procfile {
        Some(path) => format!(
            "{} has no line `web: COMMAND`; add one, or name the command that serves the requests after --",
            path.display()
        ),
        None => "no command: name the app's after --, as in `monolite run -- bin/rails server`, or write it into a Procfile as `web: bin/rails server`".to_owned(),
    })
}

/// Adds what the file of settings says of one process.
fn add(
    entries: &mut Vec<Entry>,
    setting: &ProcessSetting,
    is_web_given: bool,
) -> Result<(), Error> {
    let name = &setting.name;
    let wrong = |what: &str| Err(Error::new(format!("processes.{name}: {what}")));
    if name == RELEASE {
        return wrong("what runs before the app is set with `migrate`");
    }
    if name == WEB {
        if setting.is_off {
            return wrong("the process that serves the requests cannot be left out");
        }
        if setting.restart.is_some() {
            return wrong("it is always started again; `restart` is for the other processes");
        }
        if setting.stop_timeout.is_some() {
            return wrong("its stop timeout is the key `stop_timeout` outside of [processes]");
        }
        if setting.command.is_some() && is_web_given {
            return wrong("it has a command, and another one is given; leave one of them out");
        }
    }
    let command = setting.command.as_ref().map(|command| match command {
        ProcessCommand::Shell(line) => CommandLine::Shell(line.into()),
        ProcessCommand::Words(words) => {
            CommandLine::Words(words.iter().map(OsString::from).collect())
        }
    });
    match entries.iter_mut().find(|entry| entry.name == *name) {
        Some(entry) => {
            entry.setting = Some(setting.clone());
            if command.is_some() {
                entry.command = command;
            }
        }
        None => entries.push(Entry {
            name: name.clone(),
            command,
            setting: Some(setting.clone()),
        }),
    }
    Ok(())
}

fn take_release(entries: &mut Vec<Entry>) -> Option<String> {
    let at = entries.iter().position(|entry| entry.name == RELEASE)?;
    match entries.remove(at).command? {
        CommandLine::Shell(line) => line.into_string().ok(),
        CommandLine::Words(_) => None,
    }
}

/// The names and lines of the Procfile at `path`.
fn read(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let wrong = |what: String| Error::new(format!("cannot read {}: {what}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PROCFILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > PROCFILE_MAX {
        return Err(wrong(format!("it is larger than {PROCFILE_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
    parse(&text)
        .map_err(|(line, what)| Error::new(format!("{}, line {line}: {what}", path.display())))
}

/// The names and commands of a Procfile; an error has the line, from 1. What stands there is not
/// shown: it may hold a secret.
fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, command)) = line.split_once(':') else {
            let what = "expected `NAME: COMMAND`, as in `worker: bundle exec sidekiq`";
            return Err((number, what.into()));
        };
        let (name, command) = (name.trim_end(), command.trim());
        check_name(name).map_err(|what| (number, what))?;
        if command.is_empty() {
            return Err((number, format!("`{name}` has no command")));
        }
        if command.contains('\0') {
            return Err((
                number,
                format!("the command of `{name}` has a NUL character"),
            ));
        }
        if found.iter().any(|(of, _)| of == name) {
            return Err((number, format!("`{name}` is there twice")));
        }
        found.push((name.to_owned(), command.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use monolite_supervisor::Config;

    use super::*;
    use crate::Environment;
    use crate::settings::{File, Settings};

    fn settings(toml: &str) -> Settings {
        let file = File::parse(Path::new("monolite.toml"), toml).unwrap();
        Settings::resolve(&[], &[], &Environment::default(), &file).unwrap()
    }

    fn find(toml: &str, procfile: Option<&str>, command: &[&str]) -> Result<Processes, String> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(text) = procfile {
            std::fs::write(dir.path().join(PROCFILE), text).unwrap();
        }
        let command = command.iter().map(OsString::from).collect();
        Processes::find(&settings(toml), command, dir.path()).map_err(|error| {
            let dir = format!("{}/", dir.path().display());
            error.to_string().replace(&dir, "")
        })
    }

    fn error(toml: &str, procfile: Option<&str>, command: &[&str]) -> String {
        find(toml, procfile, command).err().unwrap()
    }

    fn shell(line: &str) -> CommandLine {
        CommandLine::Shell(line.into())
    }

    const RAILS: &str = "# of Heroku\nweb: bin/rails server\r\nworker:bundle exec sidekiq -q a:b\n\n\
                         release: bin/rails db:migrate\nclock: bin/clock\n";

    #[test]
    fn a_procfile_is_found_if_no_command_is_given() {
        let found = find("", Some(RAILS), &[]).unwrap();
        assert_eq!(found.web, shell("bin/rails server"));
        assert_eq!(found.names, ["web", "worker", "clock"]);
        assert_eq!(found.release.as_deref(), Some("bin/rails db:migrate"));
        assert!(found.procfile.is_some());
        let given = find("", Some(RAILS), &["puma"]).unwrap();
        assert_eq!(given.web, CommandLine::Words(vec!["puma".into()]));
        assert_eq!((given.names.len(), given.release), (1, None));
        assert!(given.procfile.is_none());
        // Named, its other processes run, too.
        let named = find("procfile = 'Procfile'", Some(RAILS), &["puma"]).unwrap();
        assert_eq!(named.web, CommandLine::Words(vec!["puma".into()]));
        assert_eq!(named.names, ["web", "worker", "clock"]);
        let own_web = find("[processes]\nweb = 'puma'", Some(RAILS), &[]).unwrap();
        assert_eq!(own_web.names, ["web"]);
    }

    #[test]
    fn the_file_of_settings_adds_to_it() {
        let toml = "[processes]\nclock = false\nmail = ['bin/mail', '']\n\
                    [processes.worker]\nstop_timeout = '60s'\nenv = { Q = 'x' }\n\
                    [processes.web]\nenv = { A = 'b' }";
        let found = find(toml, Some(RAILS), &[]).unwrap();
        assert_eq!(found.names, ["web", "worker", "mail"]);
        assert_eq!(found.web_environment, [("A".into(), "b".into())]);
        let mut config = Config::new(found.web, "/".into());
        config.workers = found.workers;
        assert_eq!(config.workers.len(), 2);
    }

    #[test]
    fn bad_lines_are_named_and_not_shown() {
        for (procfile, line, what) in [
            ("web bin/secret-7f3a", 1, "expected `NAME: COMMAND`"),
            ("web: x\n\n: secret-7f3a", 3, "the name of a process is"),
            (
                "web: x\nwork er: secret-7f3a",
                2,
                "the name of a process is",
            ),
            ("web: x\nSECRET_7F3A=1", 2, "expected `NAME: COMMAND`"),
            ("web: x\nworker:  ", 2, "`worker` has no command"),
            ("web: x\nweb: secret-7f3a", 2, "`web` is there twice"),
            ("web: a\0b", 1, "the command of `web` has a NUL"),
        ] {
            let error = error("", Some(procfile), &[]);
            let expected = format!("Procfile, line {line}: {what}");
            assert!(error.starts_with(&expected), "{error}");
            assert!(!error.to_lowercase().contains("7f3a"), "{error}");
        }
        let long = format!("web: x\n{}: y", "n".repeat(41));
        assert!(error("", Some(&long), &[]).contains("40 at most"));
        let many: String = (0..101).map(|n| format!("w{n}: x\n")).collect();
        let many = format!("web: x\n{many}");
        assert!(error("", Some(&many), &[]).contains("102 processes; 100 at most"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        for (toml, procfile, command, expected) in [
            ("", None, &[][..], "or write it into a Procfile"),
            (
                "",
                Some("worker: x"),
                &[],
                "Procfile has no line `web: COMMAND`",
            ),
            ("procfile = 'none'", None, &[], "cannot read none: "),
            (
                "[processes]\nrelease = 'x'",
                None,
                &["a"],
                "is set with `migrate`",
            ),
            (
                "[processes]\nweb = false",
                Some("web: x"),
                &[],
                "cannot be left out",
            ),
            (
                "[processes]\nweb = 'a'",
                None,
                &["b"],
                "leave one of them out",
            ),
            (
                "[processes.web]\nrestart = 'never'",
                Some("web: x"),
                &[],
                "always started again",
            ),
            (
                "[processes.x]\nrestart = 'never'",
                Some("web: x"),
                &[],
                "it has no command",
            ),
        ] {
            let error = error(toml, procfile, command);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn wrong_keys_of_a_process_are_named_with_their_line() {
        for (toml, expected) in [
            (
                "processes = 1",
                "line 1, processes: processes: expected a table",
            ),
            (
                "[processes]\nw = 3",
                "processes.w: expected a command, a table, or false",
            ),
            (
                "[processes]\nw = true",
                "processes.w: expected a command, a table, or false",
            ),
            ("[processes]\nw = ''", "processes.w: the command is empty"),
            ("[processes]\n'a b' = 'x'", "the name of a process is"),
            ("[processes.w]\ncomand = 'x'", "did you mean `command`?"),
            ("[processes.w]\nrestart = 'yes'", "restart: it is none of"),
            (
                "[processes.w]\nstop_timeout = 5",
                "stop_timeout: expected a string",
            ),
            ("[processes.w]\nenv = { A = 1 }", "env.A: expected a string"),
            (
                "[processes.w]\nenv = { 'A=B' = 'x' }",
                "a variable cannot be called",
            ),
        ] {
            let error = File::parse(Path::new("monolite.toml"), toml).unwrap_err();
            let error = error.to_string();
            assert!(
                error.starts_with("monolite.toml, line ") && error.contains(expected),
                "{error}"
            );
        }
    }
}
