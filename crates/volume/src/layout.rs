//! The layout of a volume: which files lie where, what they are called, and
//! what they are for. `docs/volume.md` describes the content of each.
//!
//! ```text
//! /data                     the volume
//!   app.sqlite3             the app's database, by default; any name will do
//!   redis.sqlite3           what clients of the Redis protocol wrote
//!   …                       any other SQLite file, wherever it lies
//!   cache.sqlite3           ┐
//!   pubsub.sqlite3          │ rebuilt when lost
//!   metrics.sqlite3         ┘
//!   DATABASE.before-TIME    a database that `monolite restore --overwrite` replaced
//!   .monolite/              ours: nothing in it is the app's
//!     lock                  one `monolite` at a time
//!     control.sock          the control socket of the one that runs
//!     run/                  files of the processes that run now
//!     migrating.lock        one migration at a time
//!     migrating/            the migration under way, and copies of databases
//!     snapshots/DATABASE/   local snapshots
//!     plan/DATABASE/        copies that migration files are tried on
//!     driver/               the driver lane: what the app's processes load
//!     replica/              what replication has to know after a restart
//!     backup/               the same, of `backup` to object storage
//!     rescued/              commits that were written to files without a name
//! ```
//!
//! Invariant: a name or a path that two crates have to agree on is written here
//! and nowhere else.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use monolite_platform::durable;
use monolite_sqlite_format::{SUFFIXES, sibling_path};

/// The app's database, unless the configuration names another.
pub const APP: &str = "app.sqlite3";
/// The cache.
pub const CACHE: &str = "cache.sqlite3";
/// Publish and subscribe.
pub const PUBSUB: &str = "pubsub.sqlite3";
/// Measurements over time.
pub const METRICS: &str = "metrics.sqlite3";
/// What clients of the Redis protocol wrote.
pub const REDIS: &str = "redis.sqlite3";

/// What holds nothing that could not be made again: it is neither replicated nor
/// guarded, and lies at the top of the volume.
pub const REBUILT: [&str; 3] = [CACHE, PUBSUB, METRICS];

/// The directory of our own files, at the top of the volume.
pub const STATE: &str = ".monolite";

/// What the cache and publish/subscribe put next to their files.
const SIDE_FILES: [&str; 4] = ["-blobs", "-changes", "-lock", "-use"];

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The app's, or a store of ours that cannot be made again: replicated,
    /// guarded and restored if it is a database.
    Data,
    /// One of [`REBUILT`], or what belongs to it: neither replicated nor guarded.
    Rebuilt,
    /// In a directory called [`STATE`], wherever that is: ours.
    State,
    /// A database that a restore replaced ([`replaced`]): kept until somebody removes it.
    Replaced,
    /// Being written, under a temporary name ([`durable::is_temporary`]).
    Temporary,
}

/// What the file is for that has this path in the volume (`a/b.db`). The names
/// are compared as they are, capital letters too.
#[must_use]
pub fn role(name: &Path) -> Role {
    if name
        .components()
        .any(|part| part == Component::Normal(OsStr::new(STATE)))
    {
        return Role::State;
    }
    if name.file_name().is_some_and(durable::is_temporary) {
        return Role::Temporary;
    }
    if name.file_name().is_some_and(is_replaced) {
        return Role::Replaced;
    }
    let text = name.to_str().unwrap_or_default();
    let suffixes = || SUFFIXES.iter().chain(&SIDE_FILES);
    let base = suffixes().find_map(|suffix| text.strip_suffix(suffix));
    match REBUILT.contains(&base.unwrap_or(text)) {
        true => Role::Rebuilt,
        false => Role::Data,
    }
}

/// What is between the name of a database that was replaced and the time.
const BEFORE: &str = ".before-";
/// The form of that time, in UTC.
const BEFORE_TIME: &str = "YYYYMMDDTHHMMSSZ";

/// What a database is called once a restore has replaced it, at `time` in UTC, as
/// `20261130T154200Z`.
#[must_use]
pub fn replaced(database: &Path, time: &str) -> PathBuf {
    sibling_path(database, &format!("{BEFORE}{time}"))
}

/// Whether it is the name of one, or of what belongs to it.
pub(crate) fn is_replaced(name: &OsStr) -> bool {
    let name = database_of(name)
        .to_str()
        .and_then(|name| name.rsplit_once(BEFORE));
    let matches = |(c, form): (char, char)| match form {
        'T' | 'Z' => c == form,
        _ => c.is_ascii_digit(),
    };
    name.is_some_and(|(database, time)| {
        !database.is_empty()
            && time.len() == BEFORE_TIME.len()
            && time.chars().zip(BEFORE_TIME.chars()).all(matches)
    })
}

/// Whether SQLite calls so what it puts next to a database.
#[must_use]
pub fn is_companion(name: &OsStr) -> bool {
    name != database_of(name)
}

/// The name of the database that a file of this name belongs to: itself, or what
/// is before one of SQLite's [`SUFFIXES`].
#[must_use]
pub fn database_of(name: &OsStr) -> &OsStr {
    use std::os::unix::ffi::OsStrExt;
    let bytes = name.as_bytes();
    let base = SUFFIXES
        .iter()
        .find_map(|suffix| bytes.strip_suffix(suffix.as_bytes()));
    OsStr::from_bytes(base.filter(|base| !base.is_empty()).unwrap_or(bytes))
}

/// The paths SQLite may use next to `database`, whether they exist or not.
pub fn companions(database: &Path) -> impl Iterator<Item = PathBuf> {
    SUFFIXES.iter().map(|suffix| sibling_path(database, suffix))
}

/// Our own directory.
#[must_use]
pub fn state(volume: &Path) -> PathBuf {
    volume.join(STATE)
}

/// Locked by the one `monolite` that uses the volume.
#[must_use]
pub fn lock(volume: &Path) -> PathBuf {
    state(volume).join("lock")
}

/// Where the running `monolite` listens for other ones on this machine.
#[must_use]
pub fn control_socket(volume: &Path) -> PathBuf {
    state(volume).join("control.sock")
}

/// Files of the processes that run now, of no use to the next run.
#[must_use]
pub fn run_files(volume: &Path) -> PathBuf {
    state(volume).join("run")
}

/// Locked by what changes the schema or the files of the databases.
#[must_use]
pub fn migration_lock(volume: &Path) -> PathBuf {
    state(volume).join("migrating.lock")
}

/// What is known of guarded migrations: the one under way, and the copies of
/// databases that earlier ones left, each in a directory of its own.
#[must_use]
pub fn migrations(volume: &Path) -> PathBuf {
    state(volume).join("migrating")
}

/// The note that a guarded migration is under way.
#[must_use]
pub fn migration_intent(volume: &Path) -> PathBuf {
    migrations(volume).join("intent.json")
}

/// The local snapshots of a database, which has the path `database` in the volume.
#[must_use]
pub fn snapshots(volume: &Path, database: &Path) -> PathBuf {
    state(volume).join("snapshots").join(database)
}

/// The copies that plans for a database are tried on.
#[must_use]
pub fn plans(volume: &Path, database: &Path) -> PathBuf {
    state(volume).join("plan").join(database)
}

/// Where a database is kept that was replaced, with commits that no replica has.
#[must_use]
pub fn kept(volume: &Path, database: &Path) -> PathBuf {
    state(volume).join("kept").join(database)
}

/// What the app's processes load so that their SQLite drivers wait their turn. Made again at each
/// start; read by users that the app may become.
#[must_use]
pub fn driver(volume: &Path) -> PathBuf {
    state(volume).join("driver")
}

/// What the continuous replication of the volume knows, in files that are called
/// as [`replica`] says.
#[must_use]
pub fn replica_state(volume: &Path) -> PathBuf {
    state(volume).join("replica")
}

/// As [`replica_state`], of backups to object storage, which are a writer of
/// their own.
#[must_use]
pub fn backup_state(volume: &Path) -> PathBuf {
    state(volume).join("backup")
}

/// What was read from files that were deleted or replaced while an app had them open:
/// a directory for each database and time.
#[must_use]
pub fn rescued(volume: &Path) -> PathBuf {
    state(volume).join("rescued")
}

/// The files in [`replica_state`] and [`backup_state`].
pub mod replica {
    /// The volume's own number.
    pub const NODE: &str = "node";
    /// Which databases the volume has, and which were deleted on purpose.
    pub const DATABASES: &str = "databases";
    /// The lease of each destination under which the volume was last known to be up
    /// to date with it.
    pub const EPOCHS: &str = "epochs";
    /// When each replica was last proven to be restorable.
    pub const VERIFIED: &str = "verified";
    /// The extension of what a replica holds of a database: a checksum a page.
    /// What else belongs to one replica of a database has the same name with
    /// another extension.
    pub const MAP: &str = "map";
    /// The extension of what was stored last, and what was to be stored after.
    pub const SENT: &str = "sent";
    /// The extension of which state a database was restored to.
    pub const RESTORED: &str = "restored";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_go_by_the_path_in_the_volume() {
        for (name, wanted) in [
            ("app.sqlite3", Role::Data),
            ("redis.sqlite3", Role::Data),
            ("cache.sqlite3", Role::Rebuilt),
            ("cache.sqlite3-wal", Role::Rebuilt),
            ("cache.sqlite3-blobs", Role::Rebuilt),
            ("pubsub.sqlite3-use", Role::Rebuilt),
            ("metrics.sqlite3-journal", Role::Rebuilt),
            ("cache.sqlite3-old", Role::Data),
            ("Cache.sqlite3", Role::Data),
            ("tenants/cache.sqlite3", Role::Data),
            (".monolite/lock", Role::State),
            ("a/.monolite/snapshots/app.sqlite3/x", Role::State),
            (".monolite-restoring-0123456789abcdef", Role::Temporary),
            (
                "a/.monolite-restoring-0123456789abcdef-wal",
                Role::Temporary,
            ),
            (".monolite-notes", Role::Data),
            ("app.sqlite3.before-20261130T154200Z", Role::Replaced),
            ("a/app.db.before-20261130T154200Z-wal", Role::Replaced),
            ("app.sqlite3.before-yesterday", Role::Data),
            ("app.sqlite3.before-20261130T154200Z.db", Role::Data),
            (".before-20261130T154200Z", Role::Data),
        ] {
            assert_eq!(role(Path::new(name)), wanted, "{name}");
        }
    }

    #[test]
    fn companions_keep_the_whole_name() {
        let all: Vec<_> = companions(Path::new("/d/a.db")).collect();
        let wanted = ["/d/a.db-wal", "/d/a.db-shm", "/d/a.db-journal"];
        assert_eq!(all, wanted.map(PathBuf::from));
        for companion in &all {
            let name = companion.file_name().unwrap();
            assert!(is_companion(name));
            assert_eq!(database_of(name), "a.db");
        }
        assert!(!is_companion(OsStr::new("a.db")));
        assert!(!is_companion(OsStr::new("-wal")), "of what?");
    }

    #[test]
    fn everything_of_ours_is_in_one_directory() {
        let (volume, database) = (Path::new("/data"), Path::new("a/b.db"));
        for path in [
            lock(volume),
            control_socket(volume),
            run_files(volume),
            migration_lock(volume),
            migration_intent(volume),
            snapshots(volume, database),
            plans(volume, database),
            driver(volume),
            kept(volume, database),
            replica_state(volume).join(replica::NODE),
            backup_state(volume),
            rescued(volume),
        ] {
            let name = path.strip_prefix(volume).unwrap();
            assert_eq!(role(name), Role::State, "{name:?}");
        }
        let of_b = snapshots(volume, database);
        assert_eq!(of_b, Path::new("/data/.monolite/snapshots/a/b.db"));
    }

    #[test]
    fn the_page_about_the_volume_names_all_of_it() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/volume.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (volume, database) = (Path::new(""), Path::new("DATABASE"));
        let paths = [
            lock(volume),
            control_socket(volume),
            run_files(volume),
            migration_lock(volume),
            migrations(volume),
            migration_intent(volume),
            snapshots(volume, database),
            plans(volume, database),
            driver(volume),
            kept(volume, database),
            replica_state(volume),
            backup_state(volume),
            rescued(volume),
        ];
        let state = state(volume);
        let paths = paths.iter().map(|path| path.strip_prefix(&state).unwrap());
        let names = [
            APP,
            REDIS,
            STATE,
            replica::NODE,
            replica::DATABASES,
            replica::EPOCHS,
            replica::VERIFIED,
        ];
        let extensions = [replica::MAP, replica::SENT, replica::RESTORED];
        let missing: Vec<String> = (paths.map(|path| path.display().to_string()))
            .chain(
                names
                    .iter()
                    .chain(&REBUILT)
                    .chain(&SIDE_FILES)
                    .map(|name| (*name).into()),
            )
            .chain(extensions.map(|extension| format!("*.{extension}")))
            .filter(|name| {
                !["`", "\n  "]
                    .iter()
                    .any(|before| page.contains(&format!("{before}{name}")))
            })
            .collect();
        assert_eq!(missing, [""; 0]);
    }
}
