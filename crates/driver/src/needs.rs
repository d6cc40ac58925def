//! Which apps are known to need the lane: framework and driver, recognized by the app's files.
//!
//! On this list is what was measured to answer `database is locked` without the lane and not with
//! it (docs/driver-lane.md). Laravel is not: PHP's driver waits properly, and begins no transaction
//! with a read that Laravel does not ask for.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// As much of a file is looked at, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// An app that needs the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Ruby on Rails with the gem `sqlite3`.
    Rails,
    /// Django.
    Django,
    /// Node with `better-sqlite3`.
    BetterSqlite3,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rails => "Rails with sqlite3",
            Self::Django => "Django",
            Self::BetterSqlite3 => "Node with better-sqlite3",
        })
    }
}

/// Why the app in `dir` needs the lane; `None` if it is not known to.
#[must_use]
pub fn need(dir: &Path) -> Option<Need> {
    let has = |name: &str| dir.join(name).exists();
    let says = |name: &str, word: &str| read(&dir.join(name)).contains(word);
    if has("bin/rails") || has("config/application.rb") {
        let is_sqlite = says("Gemfile.lock", "sqlite3") || says("config/database.yml", "sqlite3");
        return is_sqlite.then_some(Need::Rails);
    }
    if has("manage.py") {
        return Some(Need::Django);
    }
    says("package.json", "\"better-sqlite3\"").then_some(Need::BetterSqlite3)
}

/// The start of a file; nothing if it cannot be read.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A pipe would be waited for.
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        let _ = file.take(FILE_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framework_and_driver_have_to_be_known() {
        for (files, wanted) in [
            (
                &[("bin/rails", ""), ("Gemfile.lock", "    sqlite3 (1.7.3)")][..],
                Some(Need::Rails),
            ),
            (
                &[
                    ("config/application.rb", ""),
                    ("config/database.yml", "adapter: sqlite3"),
                ],
                Some(Need::Rails),
            ),
            (&[("bin/rails", ""), ("Gemfile.lock", "    pg (1.5)")], None),
            (&[("manage.py", "")], Some(Need::Django)),
            (
                &[(
                    "package.json",
                    r#"{"dependencies":{"better-sqlite3":"^12"}}"#,
                )],
                Some(Need::BetterSqlite3),
            ),
            (
                &[("package.json", r#"{"dependencies":{"express":"^5"}}"#)],
                None,
            ),
            (&[("artisan", "")], None),
            (&[], None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (name, content) in files {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            assert_eq!(need(dir.path()), wanted, "{files:?}");
        }
    }
}
