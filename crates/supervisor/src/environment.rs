//! The environment that a process of the app is given, so that it finds its port and its database.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::app::Program;
use crate::config::Config;
use crate::framework::{Framework, Given};

/// Gives `command` the environment of `program`. What is set already stays, but for the port and
/// the data directory.
///
/// # Errors
/// The directory of the run cannot be created.
pub(crate) fn set(command: &mut Command, config: &Config, program: Program<'_>) -> io::Result<()> {
    let framework = Framework::detect(&config.app_dir);
    let pid_file = match (&config.run_dir, framework) {
        (Some(dir), Framework::Rails) => {
            std::fs::create_dir_all(dir)?;
            let file = dir.join(format!("{}.pid", program.name));
            // Of a life that was killed: its number may be another process's by now.
            let _ = std::fs::remove_file(&file);
            Some(file)
        }
        _ => None,
    };
    let set = [&config.environment[..], program.environment].concat();
    let given = Given {
        app_dir: &config.app_dir,
        data: &config.data,
        database: &config.data.join(&config.database),
        port: program.port,
        pid_file,
        environment: &set,
    };
    command.env_clear();
    command.envs(framework.variables(&given));
    command.envs(set.iter().map(|(name, value)| (name, value)));
    command.env("MONOLITE_DATA", &config.data);
    match program.port {
        Some(port) => command.env("PORT", port.to_string()),
        // The public one, which is not for it.
        None => command.env_remove("PORT"),
    };
    Ok(())
}

/// The variables in which the framework of the app in `app_dir` looks for its data directory and its
/// databases, of which the first has the path `database`. Those of `environment` are set already;
/// the caller leaves them out.
pub fn database_variables(
    app_dir: &Path,
    data: &Path,
    database: &Path,
    environment: &[(OsString, OsString)],
) -> Vec<(String, OsString)> {
    let given = Given {
        app_dir,
        data,
        database,
        port: None,
        pid_file: None,
        environment,
    };
    Framework::detect(app_dir).variables(&given)
}

/// Whether the framework of the app in `app_dir` wants its database to be there, empty, before it
/// creates the tables.
pub fn wants_a_database_file(app_dir: &Path) -> bool {
    Framework::detect(app_dir).wants_a_database_file()
}

/// Puts the port where an argument says `$PORT` or `${PORT}`: a command in a
/// Dockerfile's list form has no shell to do it.
pub(crate) fn expand_port(argument: &OsString, port: Option<u16>) -> OsString {
    let (Some(text), Some(port)) = (argument.to_str(), port) else {
        return argument.clone();
    };
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let after_port = after.strip_prefix("{PORT}").or_else(|| {
            let after = after.strip_prefix("PORT")?;
            (!after.starts_with(is_word)).then_some(after)
        });
        match after_port {
            Some(after) => {
                expanded.push_str(&port.to_string());
                rest = after;
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_put_into_arguments() {
        let expand = |text: &str| expand_port(&text.into(), Some(4000));
        assert_eq!(expand("--bind=127.0.0.1:$PORT"), "--bind=127.0.0.1:4000");
        assert_eq!(expand("${PORT}"), "4000");
        assert_eq!(expand("$PORT,${PORT}/$PORT"), "4000,4000/4000");
        for other in ["$HOME", "$PORTAL", "a$", "$$", "${PORT", "cost: $5"] {
            assert_eq!(expand(other), other);
        }
        assert_eq!(expand_port(&"$PORT".into(), None), "$PORT");
    }
}
