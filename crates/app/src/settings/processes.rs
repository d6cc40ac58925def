//! `[processes]` of `monolite.toml`: the app's processes by name, each a command, `false`, or a table
//! of keys.
//!
//! ```toml
//! [processes]
//! worker = "bundle exec sidekiq"
//! console = false                       # a line of the Procfile that is not to run
//!
//! [processes.reports]
//! command = ["bin/reports", "--slow"]
//! restart = "on-failure"
//! stop_timeout = "60s"
//! env = { QUEUE = "reports" }
//! ```

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::valid::nearest;
use super::value::parse_duration;

const KEYS: [&str; 4] = ["command", "restart", "stop_timeout", "env"];
/// Longest name of a process: it is before each line of its output.
const NAME_MAX: usize = 40;

/// What the file says of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessSetting {
    /// Its name.
    pub name: String,
    /// It is not to run.
    pub is_off: bool,
    /// What it runs, unless the Procfile says that.
    pub command: Option<ProcessCommand>,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Option<Duration>,
    /// Variables for it alone.
    pub env: Vec<(String, String)>,
}

/// A command as the file writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessCommand {
    /// A string: a line for the shell.
    Shell(String),
    /// A list of strings: a program and its arguments.
    Words(Vec<String>),
}

/// When a process that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// Unless it ended with exit code 0.
    OnFailure,
    /// Never.
    Never,
}

/// What is wrong, and at which byte of the file.
pub(super) type Wrong = (usize, String);

/// Reads the value of the key `processes`.
pub(super) fn parse(value: &Spanned<DeValue<'_>>) -> Result<Vec<ProcessSetting>, Wrong> {
    let at = value.span().start;
    let DeValue::Table(table) = value.get_ref() else {
        return Err((at, "processes: expected a table, [processes]".into()));
    };
    table
        .iter()
        .map(|(name, value)| {
            let at = name.span().start;
            let name = name.get_ref().as_ref();
            let wrong = |what: String| (at, format!("processes.{name}: {what}"));
            check_name(name).map_err(|what| (at, what))?;
            process(name, value).map_err(wrong)
        })
        .collect()
}

/// Whether a process can have this name; also of a Procfile.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_name) {
        true => Ok(()),
        false => Err(format!(
            "the name of a process is letters, digits, `_` and `-`, {NAME_MAX} at most, as in `worker`"
        )),
    }
}

fn process(name: &str, value: &Spanned<DeValue<'_>>) -> Result<ProcessSetting, String> {
    let mut process = ProcessSetting {
        name: name.to_owned(),
        is_off: false,
        command: None,
        restart: None,
        stop_timeout: None,
        env: Vec::new(),
    };
    match value.get_ref() {
        DeValue::Boolean(false) => process.is_off = true,
        DeValue::String(_) | DeValue::Array(_) => process.command = Some(command(value)?),
        DeValue::Table(table) => {
            for (key, value) in table {
                match key.get_ref().as_ref() {
                    "command" => process.command = Some(command(value)?),
                    "restart" => process.restart = Some(restart(value)?),
                    "stop_timeout" => process.stop_timeout = Some(stop_timeout(value)?),
                    "env" => process.env = env(value)?,
                    key => return Err(unknown(key)),
                }
            }
        }
        _ => return Err("expected a command, a table, or false".into()),
    }
    Ok(process)
}

fn unknown(key: &str) -> String {
    match nearest(key, &KEYS) {
        Some(known) => format!("unknown key `{key}`; did you mean `{known}`?"),
        None => format!("unknown key `{key}`; the keys are: {}", KEYS.join(", ")),
    }
}

fn command(value: &Spanned<DeValue<'_>>) -> Result<ProcessCommand, String> {
    let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let command = match value.get_ref() {
        DeValue::String(line) => Some(ProcessCommand::Shell(line.to_string())),
        DeValue::Array(words) => words
            .iter()
            .map(text)
            .collect::<Option<_>>()
            .map(ProcessCommand::Words),
        _ => None,
    };
    let is_empty = match &command {
        None => return Err("command: expected a string, or a list of strings".into()),
        Some(ProcessCommand::Shell(line)) => line.trim().is_empty(),
        Some(ProcessCommand::Words(words)) => words.first().is_none_or(String::is_empty),
    };
    match command {
        Some(command) if !is_empty => Ok(command),
        _ => Err("the command is empty".into()),
    }
}

fn restart(value: &Spanned<DeValue<'_>>) -> Result<RestartPolicy, String> {
    match value.get_ref().as_str() {
        Some("always") => Ok(RestartPolicy::Always),
        Some("on-failure") => Ok(RestartPolicy::OnFailure),
        Some("never") => Ok(RestartPolicy::Never),
        _ => Err("restart: it is none of \"always\", \"on-failure\", \"never\"".into()),
    }
}

fn stop_timeout(value: &Spanned<DeValue<'_>>) -> Result<Duration, String> {
    let text = value.get_ref().as_str();
    let text = text.ok_or("stop_timeout: expected a string as \"30s\"")?;
    parse_duration(text).map_err(|what| format!("stop_timeout: {what}"))
}

/// Values are not shown: they may be secret.
fn env(value: &Spanned<DeValue<'_>>) -> Result<Vec<(String, String)>, String> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err("env: expected a table, as in { QUEUE = \"mail\" }".into());
    };
    let variable = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("env: a variable cannot be called {name:?}"));
        }
        match value.get_ref().as_str() {
            Some(value) if !value.contains('\0') => Ok((name.to_string(), value.to_owned())),
            _ => Err(format!("env.{name}: expected a string")),
        }
    };
    let variables = <DeTable<'_>>::iter(table).map(variable);
    variables.collect()
}
