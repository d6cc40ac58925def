//! Writes the library and the hooks to a directory, and says which variables an app needs for them.
//!
//! Invariant: what a process loads was written by this user, whole, and is never changed: the name
//! of a file has the checksum of its content, and a file appears by a rename. A process that has the
//! library mapped keeps it, whatever is installed next to it.
//!
//! The directory may be entered by everybody and written by its owner alone: an app may change its
//! user before it loads the library, and an interpreter that cannot read a hook does not start.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use monolite_platform::durable;
use rustix::fs::StatVfsMountFlags;

use crate::counters::{self, Counters};

/// The library; empty where none can be built (not Linux, or 32 bits).
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lane.so"));
const RUBY: &[u8] = include_bytes!("hooks/monolite_lane.rb");
const PYTHON: &[u8] = include_bytes!("hooks/sitecustomize.py");
const NODE: &[u8] = include_bytes!("hooks/monolite-lane.cjs");

/// The variable that names the shared file to the library.
const FILE_VARIABLE: &str = "MONOLITE_DRIVER_FILE";

/// Why the lane cannot be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not Linux, or a processor with words of 32 bits.
    #[error("the driver lane works on 64-bit Linux only")]
    Unsupported,
    /// No directory will do; the reason is that of the first one.
    #[error("no directory for the driver lane: {0}: {1}")]
    NoDirectory(PathBuf, String),
    /// The shared file cannot be read or made.
    #[error("cannot share counters at {0}: {1}")]
    Counters(PathBuf, io::Error),
}

/// The lane, installed.
#[derive(Debug)]
pub struct Lane {
    dir: PathBuf,
    library: PathBuf,
    ruby: PathBuf,
    node: PathBuf,
    python: PathBuf,
    counters: PathBuf,
}

impl Lane {
    /// Writes everything to the directory `own`, which is made; or, if programs cannot be loaded from
    /// there, to one of this user's own in the directory for temporary files. Makes the shared file,
    /// empty.
    ///
    /// # Errors
    /// See [`Error`]: nothing was installed, and an app that is given no variables is not affected.
    pub fn install(own: &Path) -> Result<Self, Error> {
        if LIBRARY.is_empty() {
            return Err(Error::Unsupported);
        }
        let user = rustix::process::geteuid().as_raw();
        let name = format!(
            "monolite-driver-{user}-{:016x}",
            hash(own.as_os_str().as_bytes())
        );
        let temporary = std::env::temp_dir().join(name);
        Self::write(own).or_else(|first| {
            let refused = |_| Error::NoDirectory(own.into(), first.to_string());
            Self::write(&temporary).map_err(refused)
        })
    }

    fn write(dir: &Path) -> io::Result<Self> {
        let bytes = dir.as_os_str().as_bytes();
        if bytes
            .iter()
            .any(|byte| byte.is_ascii_whitespace() || *byte == b':')
        {
            return Err(io::Error::other(
                "its path has a blank or a colon, which LD_PRELOAD cannot hold",
            ));
        }
        make_directory(dir)?;
        let file = |prefix: &str, suffix: &str, content: &[u8]| {
            let path = dir.join(format!("{prefix}{:016x}{suffix}", hash(content)));
            put(&path, content).map(|()| path)
        };
        let library = file("lane-", ".so", LIBRARY)?;
        let ruby = file("lane-", ".rb", RUBY)?;
        let node = file("lane-", ".cjs", NODE)?;
        // Python asks for this name.
        let python = dir.join(format!("python-{:016x}", hash(PYTHON)));
        make_directory(&python)?;
        put(&python.join("sitecustomize.py"), PYTHON)?;
        sweep(dir, &[&library, &ruby, &node, &python]);
        let counters = counters::create(dir)?;
        Ok(Self {
            dir: dir.into(),
            library,
            ruby,
            node,
            python,
            counters,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What its processes count.
    ///
    /// # Errors
    /// The shared file was removed.
    pub fn counters(&self) -> Result<Counters, Error> {
        Counters::open(&self.counters)
            .map_err(|error| Error::Counters(self.counters.clone(), error))
    }

    /// Names and values to add to an environment of which `current` gives the values: what is set
    /// already stays, and ours is added.
    pub fn variables(
        &self,
        current: impl Fn(&str) -> Option<OsString>,
    ) -> Vec<(&'static str, OsString)> {
        let set = |name: &str| current(name).filter(|value| !value.is_empty());
        // An environment that has it already, of a `monolite run` within another.
        let after = |name: &'static str, separator: &str, option: &str, path: &Path| {
            let mut value = OsString::from(option);
            value.push(path);
            let value = match set(name) {
                Some(before) if contains(&before, &value) => before,
                Some(mut before) => {
                    before.push(separator);
                    before.push(&value);
                    before
                }
                None => value,
            };
            (name, value)
        };
        // Python imports the first `sitecustomize` it finds; ours imports the next one.
        let python = match set("PYTHONPATH") {
            Some(before) if contains(&before, self.python.as_os_str()) => before,
            Some(before) => {
                let mut path = self.python.clone().into_os_string();
                path.push(":");
                path.push(before);
                path
            }
            None => self.python.clone().into_os_string(),
        };
        vec![
            after("LD_PRELOAD", ":", "", &self.library),
            after("RUBYOPT", " ", "-r", &self.ruby),
            after("NODE_OPTIONS", " ", "--require=", &self.node),
            ("PYTHONPATH", python),
            (FILE_VARIABLE, self.counters.clone().into_os_string()),
        ]
    }
}

/// Removes the shared file: the processes that count in it are those of one run. The other files stay
/// for the next run, and for processes that outlive this one.
impl Drop for Lane {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.counters);
    }
}

/// Removes what other versions have left: nobody starts a program with it any more.
fn sweep(dir: &Path, keep: &[&Path]) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = ["lane-", "python-"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix));
        if is_ours && !keep.contains(&path.as_path()) {
            // One of the two does nothing.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn contains(text: &OsStr, part: &OsStr) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    text.windows(part.len()).any(|window| window == part)
}

/// Not secret, and the same in every process: for names.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Ours alone to write, everybody's to enter, and programs may be loaded from it.
fn make_directory(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(parent)?;
            DirBuilder::new().mode(0o755).create(dir)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let metadata = dir.symlink_metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || metadata.uid() != user {
        return Err(io::Error::other("it is another user's, or no directory"));
    }
    if metadata.permissions().mode() & 0o777 != 0o755 {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
    }
    if rustix::fs::statvfs(dir)?
        .f_flag
        .contains(StatVfsMountFlags::NOEXEC)
    {
        return Err(io::Error::other(
            "its filesystem is mounted noexec: no library can be loaded from it",
        ));
    }
    // Root's app may become another user, who has to get there.
    let closed = |of: Metadata| user == 0 && of.permissions().mode() & 0o001 == 0;
    match dir
        .ancestors()
        .skip(1)
        .find(|above| above.metadata().is_ok_and(closed))
    {
        Some(above) => Err(io::Error::other(format!(
            "another user, whom the app may become, cannot enter {}",
            above.display()
        ))),
        None => Ok(()),
    }
}

/// The name has the content's checksum: a file that is there with the right content is right.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    durable::write(path, content)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(lane: &Lane, name: &str, before: Option<&str>) -> String {
        let variables = lane.variables(|asked| before.filter(|_| asked == name).map(Into::into));
        let (_, value) = variables.into_iter().find(|(of, _)| *of == name).unwrap();
        value.into_string().unwrap()
    }

    #[test]
    fn what_is_set_stays_and_ours_is_added_once() {
        let state = tempfile::Builder::new()
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let lane = Lane::install(&state.path().join("driver")).unwrap();
        for (name, before, is_first) in [
            ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2", true),
            ("RUBYOPT", "-W0", true),
            ("NODE_OPTIONS", "--max-old-space-size=200", true),
            ("PYTHONPATH", "/srv/lib", false),
        ] {
            let ours = variable(&lane, name, None);
            let both = variable(&lane, name, Some(before));
            assert!(both.contains(&ours) && both.contains(before), "{both}");
            assert_eq!(both.starts_with(before), is_first, "{both}");
            assert_eq!(variable(&lane, name, Some(&both)), both, "added again");
        }
    }

    #[test]
    fn it_is_whole_for_all_to_read_and_survives_what_is_left() {
        let state = tempfile::Builder::new()
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let first = Lane::install(&state.path().join("driver")).unwrap();
        assert_eq!(first.dir(), state.path().join("driver"));
        std::fs::write(&first.library, "half").unwrap();
        std::fs::write(
            first.dir().join("lane-0123456789abcdef.so"),
            "of another version",
        )
        .unwrap();
        let second = Lane::install(&state.path().join("driver")).unwrap();
        assert_eq!(first.library, second.library);
        assert_eq!(std::fs::read(&second.library).unwrap(), LIBRARY);
        for path in [&second.library, &second.ruby, &second.node] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o644);
        }
        assert_eq!(std::fs::read_dir(second.dir()).unwrap().count(), 4);
        assert_eq!(second.dir().metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_path_that_the_variable_cannot_hold_is_left_for_the_temporary_one() {
        let parent = tempfile::Builder::new()
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        for name in ["my data", "a:b"] {
            let state = parent.path().join(name);
            let lane = Lane::install(&state).unwrap();
            assert!(
                lane.dir().starts_with(std::env::temp_dir()),
                "{:?}",
                lane.dir()
            );
            assert!(!state.exists());
            std::fs::remove_dir_all(lane.dir()).unwrap();
        }
    }

    #[test]
    fn another_users_directory_is_refused() {
        if rustix::process::geteuid().is_root() {
            let parent = tempfile::Builder::new()
                .permissions(PermissionsExt::from_mode(0o755))
                .tempdir()
                .unwrap();
            let dir = parent.path().join("driver");
            std::fs::create_dir(&dir).unwrap();
            std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
            assert!(Lane::write(&dir).is_err());
        }
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("driver");
        std::os::unix::fs::symlink("/tmp", &dir).unwrap();
        assert!(Lane::write(&dir).is_err());
    }
}
