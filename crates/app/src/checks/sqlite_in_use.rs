//! Which SQLite the processes have loaded that have a database of the volume open, and whether they
//! read it through `mmap`; where none has, the libraries that an app here would load.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use monolite_platform::mapped;
use monolite_platform::process::{self, Inode, Named, Pid};
use monolite_volume::Finding;

use super::sqlite_build::Build;
use super::{pass, warn};

const NAME: &str = "sqlite";
const WHY: &str = "before 3.51.3, two connections that write and reset the log of a WAL database at the same moment can damage it";
const FIX: &str = "give the app SQLite 3.51.3 or newer (the image's package, or the driver's own build), and have it loaded";
/// Of Debian, Alpine and others, and of what was built there.
const LIBRARY_DIRS: [&str; 5] = ["/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib", "/lib64"];
/// What drivers of Node build for themselves, in the app's directory.
const OWN_LIBRARIES: [&str; 1] = ["node_modules/better-sqlite3/build/Release/better_sqlite3.node"];

pub(super) fn inspect(databases: &[PathBuf], app_dir: &Path) -> Vec<Finding> {
    let users = users(databases);
    if users.is_empty() {
        return vec![installed(app_dir)];
    }
    let mut builds: BTreeMap<PathBuf, Option<Build>> = BTreeMap::new();
    let mut old = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut through_mmap = BTreeSet::new();
    for pid in &users {
        let files = mapped::files(*pid).unwrap_or_default();
        for file in &files {
            if databases.contains(&file.path) {
                through_mmap.insert(Named(*pid).to_string());
            }
        }
        for path in candidates(*pid, &files) {
            let build = builds
                .entry(path.clone())
                .or_insert_with(|| Build::of(&path));
            if let Some(build) = build {
                let text = format!("{} has {build} from {}", Named(*pid), path.display());
                let list = if build.has_wal_reset_bug() {
                    &mut old
                } else {
                    &mut seen
                };
                list.insert(text);
            }
        }
    }
    let text = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join("; ");
    let mut findings = vec![match (old.is_empty(), seen.is_empty()) {
        (false, _) => warn(NAME, WHY, text(old), FIX),
        (true, false) => pass(NAME, WHY, text(seen)),
        (true, true) => warn(
            NAME,
            WHY,
            "which SQLite the app has does not show: it is in none of the files that its processes have loaded, or those may not be read",
            "run check as the user that the app runs as; or ask the app (`SELECT sqlite_version()`): it should be 3.51.3 or newer",
        ),
    }];
    if !through_mmap.is_empty() {
        findings.push(warn(
            "mmap",
            "an error of reading is a crash of the app then, and a stray write of the app can damage the file",
            format!("reads a database through mmap (mmap_size > 0): {}", text(through_mmap)),
            "set `PRAGMA mmap_size = 0` in the app's connections",
        ));
    }
    findings
}

/// The processes that have one of the databases open, other than `monolite`.
fn users(databases: &[PathBuf]) -> HashSet<Pid> {
    let inodes: BTreeSet<Inode> = databases
        .iter()
        .filter_map(|path| Inode::of(path))
        .collect();
    let own = Inode::of("/proc/self/exe".as_ref());
    let is_one = |file: &process::OpenFile| {
        file.path().is_absolute() && file.inode().is_some_and(|inode| inodes.contains(&inode))
    };
    let open = process::open_elsewhere(is_one).unwrap_or_default();
    let pids = open.into_iter().map(|file| file.pid);
    pids.filter(|pid| {
        let program = PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        Inode::of(&program) != own && process::is_of_this_user_and_container(*pid)
    })
    .collect()
}

/// The files of a process that may hold SQLite: those that are called so, else its program.
fn candidates(pid: Pid, files: &[mapped::MappedFile]) -> Vec<PathBuf> {
    let is_sqlite = |file: &&mapped::MappedFile| {
        let name = file.path.file_name().unwrap_or_default();
        file.is_code && name.to_string_lossy().to_lowercase().contains("sqlite")
    };
    let called_so: Vec<PathBuf> = files
        .iter()
        .filter(is_sqlite)
        .map(|file| file.path.clone())
        .collect();
    // A driver called so may be linked to a library that has another name, or hold it itself.
    match called_so.iter().any(|path| Build::of(path).is_some()) {
        true => called_so,
        false => std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()))
            .into_iter()
            .collect(),
    }
}

/// No process shows which one it has.
fn installed(app_dir: &Path) -> Finding {
    let own = OWN_LIBRARIES.map(|library| app_dir.join(library));
    let own = own
        .iter()
        .find_map(|path| Some((Build::of(path)?, path.clone())));
    let found = own.or_else(|| {
        system_libraries()
            .into_iter()
            .find_map(|path| Some((Build::of(&path)?, path)))
    });
    let Some((build, path)) = found else {
        return pass(
            NAME,
            WHY,
            "no process has a database open, and no library of SQLite is installed here",
        );
    };
    let what = format!(
        "no process has a database open; {build} is in {}",
        path.display()
    );
    match build.has_wal_reset_bug() {
        true => warn(NAME, WHY, format!("{what}, if the app uses that"), FIX),
        false => pass(NAME, WHY, what),
    }
}

fn system_libraries() -> Vec<PathBuf> {
    let is_library = |path: &Path| path.file_name() == Some(OsStr::new("libsqlite3.so.0"));
    let entries = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for dir in LIBRARY_DIRS {
        for path in entries(dir.as_ref()) {
            if is_library(&path) {
                found.push(path);
            } else if path.to_string_lossy().ends_with("-linux-gnu") {
                found.extend(entries(&path).into_iter().filter(|path| is_library(path)));
            }
        }
    }
    found
}
