//! The variables an app is given so that it finds its port and its database.

use std::ffi::OsString;
use std::path::Path;

/// What the app seems to be written with, recognized by the files in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framework {
    Rails,
    Phoenix,
    Laravel,
    Django,
    Node,
    Unknown,
}

impl Framework {
    pub(crate) fn detect(dir: &Path) -> Self {
        let has = |name: &str| dir.join(name).exists();
        if has("bin/rails") || has("config/application.rb") {
            Self::Rails
        } else if has("artisan") {
            Self::Laravel
        } else if has("manage.py") {
            Self::Django
        } else if has("mix.exs") || has("releases/start_erl.data") {
            Self::Phoenix
        } else if has("package.json") {
            Self::Node
        } else {
            Self::Unknown
        }
    }

    /// The database's address as the framework's own reader wants it.
    fn database_url(self, database: &Path) -> OsString {
        let scheme = match self {
            // sqlite3:///data/app.sqlite3, as Rails' own Dockerfile has it.
            Self::Rails => "sqlite3://",
            // Prisma and libSQL.
            Self::Node => "file:",
            // dj-database-url and SQLAlchemy take three slashes for a relative
            // path; the fourth is the absolute path's own.
            _ => "sqlite:///",
        };
        let mut url = OsString::from(scheme);
        url.push(database);
        url
    }

    /// Names and values; the caller leaves out those that are set already.
    pub(crate) fn variables(self, data: &Path, database: &Path) -> Vec<(&'static str, OsString)> {
        let path = database.as_os_str().to_owned();
        let url = self.database_url(database);
        let litestack = ("LITESTACK_DATA_PATH", data.as_os_str().to_owned());
        match self {
            Self::Rails => vec![("DATABASE_URL", url), litestack],
            Self::Phoenix => vec![("DATABASE_PATH", path)],
            Self::Laravel => vec![("DB_DATABASE", path)],
            Self::Django | Self::Node => vec![("DATABASE_URL", url)],
            Self::Unknown => vec![
                ("DATABASE_URL", url),
                ("DATABASE_PATH", path.clone()),
                ("DB_DATABASE", path),
                litestack,
            ],
        }
    }
}

/// The variables in which the framework of the app in `app_dir` looks for its data directory and its
/// database, which has the path `database`.
pub fn database_variables(
    app_dir: &Path,
    data: &Path,
    database: &Path,
) -> Vec<(&'static str, OsString)> {
    Framework::detect(app_dir).variables(data, database)
}

/// Whether the app in `app_dir` is written with a framework that is known, and so opens the database
/// that it is given.
pub fn is_framework(app_dir: &Path) -> bool {
    Framework::detect(app_dir) != Framework::Unknown
}

/// Puts the port where an argument says `$PORT` or `${PORT}`: a command in a
/// Dockerfile's list form has no shell to do it.
pub(crate) fn expand_port(argument: &OsString, port: u16) -> OsString {
    match argument.to_str() {
        Some(text) if text.contains('$') => text
            .replace("${PORT}", &port.to_string())
            .replace("$PORT", &port.to_string())
            .into(),
        _ => argument.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framework_gets_what_it_reads() {
        let cases = [
            ("bin/rails", "DATABASE_URL", "sqlite3:///data/app.sqlite3"),
            ("mix.exs", "DATABASE_PATH", "/data/app.sqlite3"),
            ("artisan", "DB_DATABASE", "/data/app.sqlite3"),
            ("manage.py", "DATABASE_URL", "sqlite:////data/app.sqlite3"),
            ("package.json", "DATABASE_URL", "file:/data/app.sqlite3"),
            ("nothing", "LITESTACK_DATA_PATH", "/data"),
        ];
        for (file, name, value) in cases {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            let variables = Framework::detect(dir.path())
                .variables("/data".as_ref(), "/data/app.sqlite3".as_ref());
            let expected = (name, OsString::from(value));
            assert!(variables.contains(&expected), "{file:?}: {variables:?}");
        }
    }

    #[test]
    fn the_port_is_put_into_arguments() {
        let expand = |text: &str| expand_port(&text.into(), 4000);
        assert_eq!(expand("--bind=127.0.0.1:$PORT"), "--bind=127.0.0.1:4000");
        assert_eq!(expand("${PORT}"), "4000");
        assert_eq!(expand("$HOME"), "$HOME");
    }
}
