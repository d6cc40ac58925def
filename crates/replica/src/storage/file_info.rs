//! A file of a replica, and what it is called where.

use monolite_ltx::{FileName, Txid};

/// The suffix of encrypted files: no other program takes them for its own.
const SEALED: &str = ".sealed";
/// The level of snapshots, the highest there is.
pub const SNAPSHOT_LEVEL: u8 = 9;

/// One file of a replica, as a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its level: 0 what a sync sent, 1 to 8 compacted, 9 snapshots.
    pub level: u8,
    /// The first state it leads to.
    pub min: Txid,
    /// The last state it leads to.
    pub max: Txid,
    /// Its stored size in bytes; encrypted, a little more than its content.
    pub size: u64,
    /// When it was stored, in milliseconds since 1970 by the provider's clock;
    /// of one just put, by this machine's. In a local folder, the time of its
    /// content.
    pub stored_ms: i64,
    /// Whether it is encrypted.
    pub sealed: bool,
}

impl FileInfo {
    /// Its name, without the folder of its level.
    #[must_use]
    pub fn name(&self) -> String {
        let (min, max) = (self.min, self.max);
        let suffix = if self.sealed { SEALED } else { "" };
        format!("{}{suffix}", FileName { min, max })
    }
}

/// How levels are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In a bucket: `0009/`.
    Objects,
    /// In a local folder: `ltx/9/`.
    Folder,
}

impl Layout {
    /// The folder of a level, in the one of a database.
    pub(super) fn level(self, level: u8) -> String {
        match self {
            Self::Objects => format!("{level:04x}"),
            Self::Folder => format!("ltx/{level}"),
        }
    }

    /// The level whose folder this is.
    pub(super) fn parse_level(self, folder: &str) -> Option<u8> {
        let digit = match self {
            Self::Objects => folder.strip_prefix("000")?,
            Self::Folder => folder.strip_prefix("ltx/")?,
        };
        let level = u8::try_from(digit.parse::<char>().ok()?.to_digit(10)?).ok()?;
        Some(level)
    }

    /// The key of a file, in the folder of its database.
    pub(super) fn key(self, file: &FileInfo) -> String {
        format!("{}/{}", self.level(file.level), file.name())
    }

    /// The file whose key this is, in the folder of its database; `None` for
    /// what is none of a replica's files.
    pub(super) fn parse(self, key: &str, size: u64, stored_ms: i64) -> Option<FileInfo> {
        let (folder, name) = key.rsplit_once('/')?;
        let level = self.parse_level(folder)?;
        let (name, sealed) = match name.strip_suffix(SEALED) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let FileName { min, max } = name.parse().ok()?;
        Some(FileInfo {
            level,
            min,
            max,
            size,
            stored_ms,
            sealed,
        })
    }
}

/// `a/b`, where either may be empty.
pub(super) fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.into(),
        (_, true) => folder.into(),
        _ => format!("{folder}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(level: u8, sealed: bool) -> FileInfo {
        FileInfo {
            level,
            min: Txid(0x10),
            max: Txid(0xff),
            size: 7,
            stored_ms: 8,
            sealed,
        }
    }

    #[test]
    fn keys_are_litestreams() {
        let name = "0000000000000010-00000000000000ff.ltx";
        let plain = file(9, false);
        assert_eq!(Layout::Objects.key(&plain), format!("0009/{name}"));
        assert_eq!(Layout::Folder.key(&plain), format!("ltx/9/{name}"));
        let sealed = file(0, true);
        assert_eq!(Layout::Objects.key(&sealed), format!("0000/{name}.sealed"));
        assert_eq!(Layout::Folder.key(&sealed), format!("ltx/0/{name}.sealed"));
    }

    #[test]
    fn a_key_reads_back_and_nothing_else_does() {
        for layout in [Layout::Objects, Layout::Folder] {
            for level in 0..=9 {
                for sealed in [false, true] {
                    let file = file(level, sealed);
                    assert_eq!(layout.parse(&layout.key(&file), 7, 8), Some(file));
                }
            }
        }
        let name = file(0, false).name();
        for wrong in [
            name.clone(),
            format!("000a/{name}"),
            format!("0/{name}"),
            format!("x/0000/{name}"),
            format!("ltx/0/{name}"),
            format!("0000/{name}.tmp"),
            format!("0000/.{name}"),
            format!("0000/{name}.sealed.sealed"),
            "0000/".into(),
        ] {
            assert_eq!(Layout::Objects.parse(&wrong, 7, 8), None, "{wrong}");
        }
        assert_eq!(Layout::Folder.parse(&format!("ltx/00/{name}"), 7, 8), None);
    }

    #[test]
    fn joined_names_have_no_empty_part() {
        assert_eq!(join("", "b"), "b");
        assert_eq!(join("a", ""), "a");
        assert_eq!(join("a", "b"), "a/b");
    }
}
