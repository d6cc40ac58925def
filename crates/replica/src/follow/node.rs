//! Which volume this is: a random number that is kept on it, and what tells the
//! volume from a copy of it.
//!
//! A copy (`cp -a`, a restored file backup) holds the number of its original. The
//! file next to it says which directory it was written in, by inode and time of
//! birth, and on which host. A copy differs in the directory; it counts as one
//! only if the host differs too, or if the original still exists at its path on
//! this machine, because some file systems give a directory another inode after
//! each mount. A copy of a whole disk cannot be told from a disk that was moved.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use monolite_platform::durable;
use monolite_volume::layout::replica::NODE;

use crate::error::{Error, Result};

/// Characters of a host's name that are kept.
const HOST_CHARS_MAX: usize = 255;

/// The volume's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The volume's number; never 0, which means that the writer is not known.
    pub(super) id: u64,
    /// Tells this directory from every copy of it, as far as the system can.
    pub(super) directory: String,
    /// The number of the volume that this one is a copy of.
    pub(super) copied_from: Option<u64>,
}

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    id: Option<u64>,
    directory: Option<String>,
    host: Option<String>,
    path: Option<PathBuf>,
}

impl Identity {
    /// Reads the identity of the volume with this state directory, or makes one. One
    /// that cannot be read is made again: what was sent proves itself in other ways.
    pub(super) fn of(state: &Path, host: &str) -> Result<Self> {
        std::fs::create_dir_all(state).map_err(|error| Error::file(state, error))?;
        let path = state.join(NODE);
        let at = |error| Error::file(&path, error);
        let written = match std::fs::read(&path) {
            Ok(bytes) => Written::parse(&String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Written::default(),
            Err(error) => return Err(at(error)),
        };
        let directory = directory(state).map_err(|error| Error::file(state, error))?;
        let copied_from = written
            .id
            .filter(|_| written.is_of_another(&directory, host));
        let identity = Self {
            id: match (written.id, copied_from) {
                (Some(id), None) => id,
                _ => fastrand::u64(1..),
            },
            directory,
            copied_from,
        };
        // A copy becomes a volume of its own only once it is known that it may.
        if copied_from.is_none() && !written.is(&identity, state, host) {
            identity.write(state, host)?;
        }
        Ok(identity)
    }

    /// Makes a copy a volume of its own, for good. What its original had sent is
    /// forgotten, unless the copy goes on in its place.
    pub(super) fn settle(&self, state: &Path, host: &str, in_its_place: bool) -> Result<()> {
        if self.copied_from.is_none() {
            return Ok(());
        }
        if !in_its_place {
            use monolite_volume::layout::replica::{MAP, RESTORED, SENT};
            let entries = std::fs::read_dir(state).map_err(|error| Error::file(state, error))?;
            for entry in entries.flatten() {
                let path = entry.path();
                let extension = path.extension().and_then(|extension| extension.to_str());
                if extension.is_some_and(|it| [MAP, RESTORED, SENT].contains(&it)) {
                    std::fs::remove_file(&path).map_err(|error| Error::file(&path, error))?;
                }
            }
            durable::sync_directory(state).map_err(|error| Error::file(state, error))?;
        }
        self.write(state, host)
    }

    fn write(&self, state: &Path, host: &str) -> Result<()> {
        let path = state.join(NODE);
        let text = format!(
            "{:016x}\ndirectory {}\nhost {}\npath {}\n",
            self.id,
            self.directory,
            one_line(host),
            absolute(state).display(),
        );
        durable::write(&path, text.as_bytes()).map_err(|error| Error::file(&path, error))
    }
}

impl Written {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let id = lines.next().unwrap_or_default().trim();
        let id = u64::from_str_radix(id, 16).ok().filter(|id| *id > 0);
        let mut written = Self {
            id,
            ..Self::default()
        };
        for line in lines {
            // Lines that a later version adds are passed over.
            match line.split_once(' ') {
                Some(("directory", text)) => written.directory = Some(text.into()),
                Some(("host", text)) => written.host = Some(text.into()),
                Some(("path", text)) => written.path = Some(text.into()),
                _ => {}
            }
        }
        written
    }

    /// Whether the file was written on another volume, and came here in a copy.
    fn is_of_another(&self, here: &str, host: &str) -> bool {
        let Some(directory) = &self.directory else {
            // Written by an earlier version.
            return false;
        };
        if directory == here {
            return false;
        }
        let is_other_host = self.host.as_deref().is_some_and(|it| it != one_line(host));
        let original = self.path.as_deref();
        is_other_host
            || original.is_some_and(|path| self::directory(path).is_ok_and(|it| it == *directory))
    }

    fn is(&self, identity: &Identity, state: &Path, host: &str) -> bool {
        self.id == Some(identity.id)
            && self.directory.as_deref() == Some(&identity.directory)
            && self.host.as_deref() == Some(&one_line(host))
            && self.path.as_deref() == Some(&absolute(state))
    }
}

/// Tells a directory from a copy of it: inode, and time of birth where the file
/// system knows it. Device numbers change with each mount.
fn directory(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    let born = metadata.created().ok();
    let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |born| born.as_nanos());
    Ok(format!("{:x}-{born:x}", metadata.ino()))
}

fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

fn one_line(host: &str) -> String {
    let printable = host.chars().filter(|c| !c.is_control());
    printable.take(HOST_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    #[test]
    fn a_volume_keeps_its_number_wherever_it_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let first = Identity::of(&here, "a").unwrap();
        assert!(first.id > 0 && first.copied_from.is_none());
        assert_eq!(Identity::of(&here, "a").unwrap(), first);
        // A container with another name, and a volume at another path.
        assert_eq!(Identity::of(&here, "b").unwrap(), first);
        std::fs::rename(&here, &there).unwrap();
        assert_eq!(Identity::of(&there, "c").unwrap(), first);
    }

    #[test]
    fn a_copy_is_known_by_its_host_or_by_its_original() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let first = Identity::of(&here, "prod").unwrap();
        std::fs::write(here.join("app-1.sent"), "x").unwrap();
        std::fs::write(here.join("databases"), "x").unwrap();
        copy(&here, &there);
        for host in ["prod", "staging"] {
            let copied = Identity::of(&there, host).unwrap();
            assert_eq!(copied.copied_from, Some(first.id), "{host}");
            assert_ne!(copied.id, first.id);
        }
        // Also after the original is gone, on another host. On the same one it may
        // be the volume itself, on a file system that numbers its files again.
        std::fs::rename(&here, dir.path().join("gone")).unwrap();
        assert!(
            Identity::of(&there, "staging")
                .unwrap()
                .copied_from
                .is_some()
        );
        std::fs::rename(dir.path().join("gone"), &here).unwrap();

        let copied = Identity::of(&there, "staging").unwrap();
        copied.settle(&there, "staging", false).unwrap();
        let settled = Identity::of(&there, "staging").unwrap();
        assert_eq!((settled.id, settled.copied_from), (copied.id, None));
        assert!(!there.join("app-1.sent").exists() && there.join("databases").exists());
        assert_eq!(Identity::of(&here, "prod").unwrap(), first);
    }

    #[test]
    fn a_restored_backup_of_the_same_host_is_the_volume_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let first = Identity::of(&here, "a").unwrap();
        copy(&here, &there);
        std::fs::remove_dir_all(&here).unwrap();
        copy(&there, &here);
        let again = Identity::of(&here, "a").unwrap();
        assert_eq!((again.id, again.copied_from), (first.id, None));
    }

    #[test]
    fn an_old_or_a_damaged_file_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NODE);
        std::fs::write(&path, "00000000000000ff\n").unwrap();
        let old = Identity::of(dir.path(), "a").unwrap();
        assert_eq!((old.id, old.copied_from), (255, None));
        for damaged in [&b""[..], b"\xff\xfe", b"none\n", b"0\n"] {
            std::fs::write(&path, damaged).unwrap();
            let made = Identity::of(dir.path(), "a").unwrap();
            assert_eq!(Identity::of(dir.path(), "a").unwrap(), made);
        }
    }
}
