//! Which database on the volume is the app's own, if nobody names it: one that is there.
//!
//! An app that is given the path of a new file next to its real database comes up empty, and answers
//! 200. So the default name is given only where there is nothing else to give.

use std::path::Path;

use monolite_volume::discover;
use monolite_volume::layout::{self, APP, REDIS, Role};

/// What frameworks call their database in production, by its path in the volume. Rails 8 has others
/// next to the first two, for its cache, queue and cable: they are called after it.
const FRAMEWORKS: [&str; 8] = [
    "production.sqlite3",
    "storage/production.sqlite3",
    "db/production.sqlite3",
    "database.sqlite",
    "database/database.sqlite",
    "db.sqlite3",
    "prod.db",
    "prod.sqlite3",
];
/// Databases that an error names, at most.
const NAMED_MAX: usize = 5;

/// There are several databases, and nothing says which one is the app's.
#[derive(Debug, thiserror::Error)]
#[error(
    "the data directory has {count} databases ({names}) and no {APP}: name the app's with --database, or a new one with --database {APP}"
)]
pub struct Several {
    count: usize,
    names: String,
}

/// The path in the volume of the app's database: `app.sqlite3` if it is there, else the one that is
/// called as frameworks do, else the only one at the top of the volume, else `app.sqlite3`.
///
/// # Errors
/// There are several to choose from.
pub fn choose_database(volume: &Path) -> Result<String, Several> {
    let has_content = |name: &str| volume.join(name).metadata().is_ok_and(|of| of.len() > 0);
    if has_content(APP) {
        return Ok(APP.into());
    }
    let known = FRAMEWORKS.iter().filter(|name| has_content(name));
    let known: Vec<String> = known.map(|name| (*name).to_owned()).collect();
    let found = match known.is_empty() {
        false => known,
        true => at_the_top(volume),
    };
    match found.as_slice() {
        [] => Ok(APP.into()),
        [one] => Ok(one.clone()),
        several => Err(Several {
            count: several.len(),
            names: match several.get(..NAMED_MAX) {
                Some(first) if several.len() > NAMED_MAX => format!("{}, …", first.join(", ")),
                _ => several.join(", "),
            },
        }),
    }
}

/// Databases with something in them that are not ours.
fn at_the_top(volume: &Path) -> Vec<String> {
    let found = discover::by_name(volume).unwrap_or_default();
    let names = found.databases.iter().filter_map(|path| {
        let name = path.strip_prefix(volume).ok()?;
        let is_data = layout::role(name) == Role::Data && name != Path::new(REDIS);
        let is_filled = path.metadata().is_ok_and(|of| of.len() > 0);
        let is_at_the_top = name.components().count() == 1;
        (is_data && is_filled && is_at_the_top).then(|| name.to_str().map(str::to_owned))?
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::fs::write(dir.path().join("empty.db"), "").unwrap();
        choose_database(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_there_is_used() {
        let rails = [
            "production.sqlite3",
            "production_cache.sqlite3",
            "production_queue.sqlite3",
        ];
        for (names, expected) in [
            (&[][..], "app.sqlite3"),
            (
                &["app.sqlite3", "production.sqlite3", "x.db"],
                "app.sqlite3",
            ),
            (&rails, "production.sqlite3"),
            (
                &["storage/production.sqlite3"],
                "storage/production.sqlite3",
            ),
            (&["database.sqlite", "cache.sqlite3"], "database.sqlite"),
            (&["shop.db", "redis.sqlite3", "tenants/a.db"], "shop.db"),
            (&["tenants/a.db", "tenants/b.db"], "app.sqlite3"),
        ] {
            assert_eq!(chosen(names).as_deref(), Ok(expected), "{names:?}");
        }
        for names in [&["a.db", "b.db"][..], &["db.sqlite3", "database.sqlite"]] {
            let error = chosen(names).unwrap_err();
            assert!(
                error.starts_with("the data directory has 2 databases"),
                "{error}"
            );
        }
        let many: Vec<String> = (0..9).map(|n| format!("{n}.db")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(chosen(&many).unwrap_err().contains("4.db, …)"));
    }
}
