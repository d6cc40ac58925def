//! The files that a process has mapped into its memory: its program, its libraries, and what it reads
//! through `mmap`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::process::Pid;

/// A file that is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MappedFile {
    /// Its path, as the process sees it. That of a file that was deleted ends in ` (deleted)`.
    pub path: PathBuf,
    /// Some of it is code.
    pub is_code: bool,
}

/// The files that `pid` has mapped, each once, by path.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn files(pid: Pid) -> io::Result<Vec<MappedFile>> {
    let maps = std::fs::read(format!("/proc/{}/maps", pid.as_raw_nonzero()))?;
    Ok(parse(&String::from_utf8_lossy(&maps)))
}

/// `FROM-TO PERMISSIONS OFFSET DEVICE INODE    PATH`, a line a piece.
fn parse(maps: &str) -> Vec<MappedFile> {
    let mut found = BTreeMap::new();
    for line in maps.lines() {
        let Some((head, path)) = line.find('/').and_then(|at| line.split_at_checked(at)) else {
            continue;
        };
        let permissions = head.split_whitespace().nth(1).unwrap_or_default();
        *found.entry(path.to_owned()).or_insert(false) |= permissions.contains('x');
    }
    let file = |(path, is_code): (String, bool)| MappedFile {
        path: path.into(),
        is_code,
    };
    found.into_iter().map(file).collect()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_mapped_and_is_code() {
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        let files = files(rustix::process::getpid()).unwrap();
        let program = files.iter().find(|file| file.path == own).unwrap();
        assert!(program.is_code);
        assert!(files.iter().all(|file| file.path.is_absolute()));
    }

    #[test]
    fn pieces_of_a_file_are_one() {
        let maps = "7f00-7f10 r--p 00000000 08:01 7    /lib/a b.so\n\
                    7f10-7f20 r-xp 00000000 08:01 7    /lib/a b.so\n\
                    7f20-7f30 rw-s 00000000 08:01 8    /d/app.db (deleted)\n\
                    7f30-7f40 rw-p 00000000 00:00 0 \n\
                    7f40-7f50 rw-p 00000000 00:00 0    [heap]\n";
        let expected = [("/d/app.db (deleted)", false), ("/lib/a b.so", true)];
        let expected = expected.map(|(path, is_code)| MappedFile {
            path: path.into(),
            is_code,
        });
        assert_eq!(parse(maps), expected);
    }
}
