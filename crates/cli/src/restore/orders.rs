//! Which databases are restored to which files, and whether they may be replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use monolite_guard::ExclusiveLock;
use monolite_platform::path::with_suffix;
use monolite_replica::{Existing, Target};
use monolite_volume::Lock;

use crate::migrate::migration_lock;
use crate::selection::Selection;
use crate::{Failure, replication};

/// What was asked for, for all databases.
pub(super) struct How {
    pub(super) target: Target,
    pub(super) overwrite: bool,
    pub(super) if_missing: bool,
    pub(super) all: bool,
    pub(super) output: Option<PathBuf>,
}

/// A database to be restored.
pub(super) struct Order {
    pub(super) database: String,
    pub(super) out: PathBuf,
    /// A file that exists may be replaced.
    pub(super) overwrite: bool,
    /// What is replaced is kept: it is on the volume.
    pub(super) keep: bool,
    /// The file exists, and is left as it is.
    pub(super) skip: bool,
}

impl Order {
    pub(super) fn existing(&self) -> Existing {
        match (self.overwrite, self.keep) {
            (false, _) => Existing::Refuse,
            (true, false) => Existing::Replace,
            (true, true) => Existing::Keep,
        }
    }
}

/// All of them.
pub(super) struct Orders {
    pub(super) all: Vec<Order>,
    /// Of the volume, if any of them is there.
    _lock: Option<Lock>,
    /// No migration is to be put back over any of them.
    _turn: Option<ExclusiveLock>,
}

/// Decides before anything is done.
pub(super) fn orders<'n>(
    names: impl Iterator<Item = &'n str>,
    selection: &Selection,
    volume: &Path,
    how: &How,
) -> Result<Orders, Failure> {
    let names: Vec<&str> = names.collect();
    let outs = outs(&names, volume, how.output.as_deref())?;
    // Whoever names nothing wants what is missing.
    let leave =
        how.if_missing || (*selection == Selection::All && !how.all && how.output.is_none());
    let mut all = Vec::new();
    for (name, out) in names.iter().zip(outs) {
        let there = is_there(&out);
        if there && !leave && !how.overwrite {
            let out = out.display();
            return Err(Failure::Error(anyhow!(
                "{out} exists already; nothing was restored. Give --overwrite to replace it, or -o for another file"
            )));
        }
        all.push(Order {
            database: (*name).into(),
            skip: there && leave,
            // A file without a byte is no database yet.
            overwrite: how.overwrite || !there,
            keep: there && is_within(&out, volume),
            out,
        });
    }
    let in_volume = |order: &Order| !order.skip && is_within(&order.out, volume);
    let is_here = all.iter().any(in_volume);
    let turn = match is_here {
        true => migration_lock(volume, "monolite restore", Duration::ZERO)?,
        false => None,
    };
    let lock = match is_here {
        true => Some(replication::lock(volume, "restore")?),
        false => None,
    };
    Ok(Orders {
        all,
        _lock: lock,
        _turn: turn,
    })
}

/// By where its directory really is.
fn is_within(out: &Path, volume: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let out = std::path::absolute(out).unwrap_or_else(|_| out.into());
    let dirs = out.ancestors().skip(1);
    let dir = dirs.map(real).find(Option::is_some).flatten();
    out.starts_with(volume)
        || dir.is_some_and(|dir| real(volume).is_some_and(|v| dir.starts_with(v)))
}

fn outs(names: &[&str], volume: &Path, output: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let Some(output) = output else {
        if volume.is_dir() {
            return Ok(names.iter().map(|name| volume.join(name)).collect());
        }
        return Err(Failure::Error(anyhow!(
            "there is no directory {}; name the volume with --data, or a file with -o",
            volume.display()
        )));
    };
    let is_directory = output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/");
    match names {
        _ if is_directory => Ok(names.iter().map(|name| output.join(name)).collect()),
        _ if output == Path::new("-") => Err(Failure::Usage(anyhow!(
            "a database is restored to a file, not to standard output; name one with -o"
        ))),
        [_] => Ok(vec![output.into()]),
        _ => Err(Failure::Usage(anyhow!(
            "there are {} databases; name one of {}, or give a directory with -o {}/",
            names.len(),
            names.join(", "),
            output.display()
        ))),
    }
}

/// An empty file is no database, unless all of it is in its WAL.
fn is_there(out: &Path) -> bool {
    let bytes = |path: &Path| std::fs::metadata(path).map(|of| of.len());
    let has_log = |suffix: &str| bytes(&with_suffix(out, suffix)).is_ok_and(|bytes| bytes > 0);
    match std::fs::metadata(out) {
        Ok(file) if file.is_file() && file.len() == 0 => has_log("-wal") || has_log("-journal"),
        Ok(_) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_no_database_unless_its_log_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        assert!(!is_there(&path));
        std::fs::write(&path, "").unwrap();
        assert!(!is_there(&path));
        std::fs::write(dir.path().join("app.sqlite3-wal"), "x").unwrap();
        assert!(is_there(&path));
        assert!(is_there(dir.path()), "a directory is in the way");
    }

    #[test]
    fn several_databases_need_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let outs =
            |names: &[&str], to: Option<&str>| outs(names, dir.path(), to.map(Path::new)).ok();
        let paths = |all: &[&str]| Some(all.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(outs(&["a"], Some("b")), paths(&["b"]));
        assert_eq!(
            outs(&["a", "t/b"], Some("new/")),
            paths(&["new/a", "new/t/b"])
        );
        assert_eq!(outs(&["a", "b"], Some("new")), None);
        assert_eq!(outs(&["a"], Some("-")), None);
        assert_eq!(outs(&["a"], None), Some(vec![dir.path().join("a")]));
    }
}
