//! What the frameworks read: the variables in which each looks for its port, its databases and its
//! log, recognized by the files in the app's directory.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What the app seems to be written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framework {
    Rails,
    Phoenix,
    Laravel,
    Django,
    /// Flask, FastAPI and the like.
    Python,
    Node,
    Unknown,
}

/// What one process of the app is given.
pub(crate) struct Given<'g> {
    pub(crate) app_dir: &'g Path,
    pub(crate) data: &'g Path,
    /// The app's database.
    pub(crate) database: &'g Path,
    pub(crate) port: Option<u16>,
    /// Where it may write the file with its process id.
    pub(crate) pid_file: Option<PathBuf>,
    /// What is set already.
    pub(crate) environment: &'g [(OsString, OsString)],
}

impl Given<'_> {
    fn set(&self, name: &str) -> Option<&OsStr> {
        let mut set = self.environment.iter().rev();
        let (_, value) = set.find(|(of, _)| of == name)?;
        (!value.is_empty()).then_some(value)
    }
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
        } else if has("pyproject.toml") || has("requirements.txt") || has("Pipfile") {
            Self::Python
        } else {
            Self::Unknown
        }
    }

    /// Does not create its database by itself: it wants an empty file.
    pub(crate) fn wants_a_database_file(self) -> bool {
        self == Self::Laravel
    }

    /// A database's address as the framework's own reader wants it.
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
    pub(crate) fn variables(self, given: &Given<'_>) -> Vec<(String, OsString)> {
        let mut variables = Vec::new();
        let mut give = |name: &str, value: OsString| variables.push((name.to_owned(), value));
        let path = || given.database.as_os_str().to_owned();
        let url = || self.database_url(given.database);
        let litestack = || given.data.as_os_str().to_owned();
        let port = given.port.map(|port| OsString::from(port.to_string()));
        let port_names: &[&str] = match self {
            Self::Rails => {
                give("DATABASE_URL", url());
                give("LITESTACK_DATA_PATH", litestack());
                for (name, url) in self.rails_databases(given) {
                    give(&name, url);
                }
                // Its log is a file on the container's own disk otherwise, and nobody else serves
                // its assets; both are read by Rails up to 7.0.
                give("RAILS_LOG_TO_STDOUT", "1".into());
                give("RAILS_SERVE_STATIC_FILES", "1".into());
                if let Some(file) = &given.pid_file {
                    give("PIDFILE", file.clone().into());
                }
                &[]
            }
            Self::Phoenix => {
                give("DATABASE_PATH", path());
                // A release does not listen without it.
                give("PHX_SERVER", "true".into());
                &[]
            }
            Self::Laravel => {
                give("DB_DATABASE", path());
                // What `artisan serve` reads.
                &["SERVER_PORT"]
            }
            Self::Django | Self::Python => {
                give("DATABASE_URL", url());
                give("DATABASE_PATH", path());
                // What it prints is in the log at once, not when 8 KiB are full.
                give("PYTHONUNBUFFERED", "1".into());
                &["UVICORN_PORT", "FLASK_RUN_PORT"]
            }
            Self::Node => {
                give("DATABASE_URL", url());
                give("DATABASE_PATH", path());
                &[]
            }
            Self::Unknown => {
                give("DATABASE_URL", url());
                give("DATABASE_PATH", path());
                give("DB_DATABASE", path());
                give("LITESTACK_DATA_PATH", litestack());
                // Spring and others.
                &["SERVER_PORT"]
            }
        };
        for name in port_names {
            if let Some(port) = &port {
                give(name, port.clone());
            }
        }
        variables
    }

    /// The variables of the databases that `config/database.yml` names: Rails 8 has `primary`,
    /// `cache`, `queue` and `cable`. The first is the app's database; the files of the others lie
    /// next to it, called as Rails calls them: `app_cache.sqlite3`.
    fn rails_databases(self, given: &Given<'_>) -> Vec<(String, OsString)> {
        let is_sqlite = |url: &OsStr| url.to_string_lossy().starts_with("sqlite3:");
        if given.set("DATABASE_URL").is_some_and(|url| !is_sqlite(url)) {
            return Vec::new();
        }
        let environment = given.set("RAILS_ENV").or_else(|| given.set("RACK_ENV"));
        let environment = environment.map_or("development".into(), OsStr::to_string_lossy);
        let file = given.app_dir.join("config/database.yml");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let names = database_names(&text, &environment);
        let of = |(at, name): (usize, &String)| {
            let variable = format!("{}_DATABASE_URL", name.to_uppercase());
            let url = match at {
                0 => self.database_url(given.database),
                _ => self.database_url(&next_to(given.database, name)),
            };
            (variable, url)
        };
        names.iter().enumerate().map(of).collect()
    }
}

/// `app.sqlite3` and `queue` make `app_queue.sqlite3`.
fn next_to(database: &Path, name: &str) -> PathBuf {
    let mut file = database.file_stem().unwrap_or_default().to_owned();
    file.push("_");
    file.push(name);
    if let Some(extension) = database.extension() {
        file.push(".");
        file.push(extension);
    }
    database.with_file_name(file)
}

/// The names of the databases in the section `environment` of a `database.yml`, in their order.
/// None where the section is one database, and where any is of another kind than SQLite: which is
/// which shows to Rails alone, as the file is a template.
fn database_names(text: &str, environment: &str) -> Vec<String> {
    let lines = || {
        let lines = text.lines().map(str::trim_end);
        lines.filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'))
    };
    let is_other = |line: &str| {
        ["postgresql", "postgis", "mysql2", "trilogy"]
            .iter()
            .any(|adapter| line.contains(adapter))
    };
    if lines().any(is_other) {
        return Vec::new();
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let begins = format!("{environment}:");
    let section = lines()
        .skip_while(|line| !line.starts_with(&begins))
        .skip(1);
    let section: Vec<&str> = section.take_while(|line| indent(line) > 0).collect();
    let Some(first) = section.first().map(|line| indent(line)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for line in section {
        let line_indent = indent(line);
        if line_indent > first {
            if line.trim() == "replica: true" {
                // The file of another database, to be read only.
                names.pop();
            }
            continue;
        }
        let Some((name, rest)) = line.trim().split_once(':') else {
            continue;
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let rest = rest.trim();
        if name == "<<" || line.trim().starts_with("<%") {
            continue;
        }
        if !rest.is_empty() && !rest.starts_with('&') {
            // A key of the one database that this section is.
            return Vec::new();
        }
        if !name.is_empty() && name.chars().all(is_name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn variables(dir: &Path, set: &[(&str, &str)]) -> Vec<(String, String)> {
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let given = Given {
            app_dir: dir,
            data: "/data".as_ref(),
            database: "/data/app.sqlite3".as_ref(),
            port: Some(4000),
            pid_file: Some("/run/web.pid".into()),
            environment: &set,
        };
        let all = Framework::detect(dir).variables(&given);
        all.into_iter()
            .map(|(name, value)| (name, value.into_string().unwrap()))
            .collect()
    }

    #[test]
    fn each_framework_gets_what_it_reads() {
        let cases = [
            ("bin/rails", "DATABASE_URL", "sqlite3:///data/app.sqlite3"),
            ("bin/rails", "PIDFILE", "/run/web.pid"),
            ("bin/rails", "RAILS_LOG_TO_STDOUT", "1"),
            ("mix.exs", "DATABASE_PATH", "/data/app.sqlite3"),
            ("mix.exs", "PHX_SERVER", "true"),
            ("artisan", "DB_DATABASE", "/data/app.sqlite3"),
            ("artisan", "SERVER_PORT", "4000"),
            ("manage.py", "DATABASE_URL", "sqlite:////data/app.sqlite3"),
            ("requirements.txt", "UVICORN_PORT", "4000"),
            ("package.json", "DATABASE_URL", "file:/data/app.sqlite3"),
            ("package.json", "DATABASE_PATH", "/data/app.sqlite3"),
            ("nothing", "LITESTACK_DATA_PATH", "/data"),
        ];
        for (file, name, value) in cases {
            let dir = app(&[(file, "")]);
            let variables = variables(dir.path(), &[]);
            let expected = (name.to_owned(), value.to_owned());
            assert!(variables.contains(&expected), "{file:?}: {variables:?}");
        }
    }

    const RAILS_8: &str = "# a comment\ndefault: &default\n  adapter: sqlite3\n  timeout: 5000\n\n\
        development:\n  <<: *default\n  database: storage/development.sqlite3\n\n\
        production:\n  primary:\n    <<: *default\n    database: storage/production.sqlite3\n  \
        cache:\n    <<: *default\n    database: storage/production_cache.sqlite3\n    \
        migrations_paths: db/cache_migrate\n  queue: &queue\n    <<: *default\n  # cable: no\n  \
        reading:\n    <<: *default\n    replica: true\n  cable:\n    <<: *default\n";

    #[test]
    fn all_databases_of_rails_8_are_on_the_volume() {
        assert_eq!(
            database_names(RAILS_8, "production"),
            ["primary", "cache", "queue", "cable"]
        );
        assert_eq!(database_names(RAILS_8, "development"), [""; 0]);
        assert_eq!(database_names(RAILS_8, "test"), [""; 0]);
        assert_eq!(database_names("production:\n", "production"), [""; 0]);
        let dir = app(&[("bin/rails", ""), ("config/database.yml", RAILS_8)]);
        let given = variables(dir.path(), &[("RAILS_ENV", "production")]);
        for (name, file) in [
            ("PRIMARY", "app"),
            ("CACHE", "app_cache"),
            ("QUEUE", "app_queue"),
            ("CABLE", "app_cable"),
        ] {
            let expected = (
                format!("{name}_DATABASE_URL"),
                format!("sqlite3:///data/{file}.sqlite3"),
            );
            assert!(given.contains(&expected), "{name}: {given:?}");
        }
        assert!(!given.iter().any(|(name, _)| name == "READING_DATABASE_URL"));
    }

    #[test]
    fn a_rails_app_with_another_engine_keeps_its_databases() {
        let mixed = RAILS_8.replace("replica: true", "adapter: postgresql");
        let production = [("RAILS_ENV", "production")];
        let dir = app(&[("bin/rails", ""), ("config/database.yml", &mixed)]);
        let more = |given: &[(String, String)]| {
            let mut names = given.iter().map(|(name, _)| name);
            names.any(|name| name.ends_with("_DATABASE_URL"))
        };
        assert!(!more(&variables(dir.path(), &production)));
        let dir = app(&[("bin/rails", ""), ("config/database.yml", RAILS_8)]);
        let url = ("DATABASE_URL", "postgres://db/app");
        assert!(!more(&variables(dir.path(), &[production[0], url])));
        let url = ("DATABASE_URL", "sqlite3:///data/other.sqlite3");
        assert!(more(&variables(dir.path(), &[production[0], url])));
        assert!(!more(&variables(dir.path(), &[])), "development has one");
    }

    #[test]
    fn files_next_to_the_database_are_called_as_rails_calls_them() {
        for (database, expected) in [
            ("/d/production.sqlite3", "/d/production_queue.sqlite3"),
            ("/d/app", "/d/app_queue"),
            ("/d/a.b.db", "/d/a.b_queue.db"),
        ] {
            assert_eq!(next_to(database.as_ref(), "queue"), Path::new(expected));
        }
    }
}
