//! The mount a path lies on, from `/proc/self/mountinfo`.
//!
//! Invariant: any bytes are a table; a line that is not in the kernel's format
//! is left out and hides no other.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of mountinfo, as far as it is used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount's number in this table.
    pub id: u64,
    /// Where it is mounted, as this process sees it.
    pub point: PathBuf,
    /// For example `ext4` or `fuse.sshfs`.
    pub filesystem: String,
    /// For example `/dev/sda1` or `server:/export`.
    pub source: String,
}

/// The mount that holds `path`, which exists. `None` where the system does not
/// say: not Linux, or `/proc` is not mounted.
#[must_use]
pub fn of(path: &Path) -> Option<Mount> {
    let mounts = parse(&std::fs::read("/proc/self/mountinfo").ok()?);
    // The id is exact even where mounts hide each other; without it (before
    // Linux 5.8, or a sandbox's kernel) the path has to do.
    if let Some(id) = mount_id(path)
        && let Some(mount) = mounts.iter().rfind(|mount| mount.id == id)
    {
        return Some(mount.clone());
    }
    let path = std::fs::canonicalize(path).ok()?;
    covering(&mounts, &path).cloned()
}

/// Whether a file can be renamed from one directory to the other: both are of one
/// mount, which is more than being of one filesystem. Where the system does not
/// name mounts, their filesystems are compared; if one of them cannot be looked
/// at, the answer is yes, and the renaming says what is wrong.
#[must_use]
pub fn is_same_mount(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(first), Ok(second)) = (one.metadata(), other.metadata()) else {
        return true;
    };
    match (mount_id(one), mount_id(other)) {
        (Some(one), Some(other)) => one == other,
        _ => first.dev() == second.dev(),
    }
}

#[cfg(target_os = "linux")]
fn mount_id(path: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let is_known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    is_known.then_some(stat.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn mount_id(_path: &Path) -> Option<u64> {
    None
}

/// The mount with the longest mount point above `path`; of equals the later,
/// which hides the earlier.
#[must_use]
pub fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// Reads a table; lines that are not in its format are left out.
#[must_use]
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/sda1 rw`, with any
/// number of optional fields before the dash.
fn parse_line(line: &[u8]) -> Option<Mount> {
    // Exactly one space each: the source may be empty.
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    // Parent, device, root.
    let point = unescape(fields.nth(3)?);
    // Options.
    fields.next()?;
    fields.find(|field| *field == b"-")?;
    let filesystem = unescape(fields.next()?);
    let source = unescape(fields.next().unwrap_or_default());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if filesystem.is_empty() || !point.starts_with(b"/") {
        return None;
    }
    Some(Mount {
        id,
        point: OsString::from_vec(point).into(),
        filesystem: text(filesystem),
        source: text(source),
    })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'\\'
            && let Some((&[a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'], after)) =
                after.split_first_chunk()
        {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 27 0:40 / /data rw - tmpfs  rw
32 27 8:1 /vol /data rw,nosuid master:1 propagate_from:2 - xfs /dev/sdb1 rw
33 27 8:1 / /with\\040space\\134x rw - fuse.sshfs me@host:/a\\040b rw
not a mount at all
34 27
";

    #[test]
    fn fields_escapes_and_broken_lines() {
        let mounts = parse(TABLE.as_bytes());
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[2].source, "");
        assert_eq!(mounts[3].id, 32);
        assert_eq!(mounts[3].filesystem, "xfs");
        assert_eq!(mounts[4].point, Path::new("/with space\\x"));
        assert_eq!(mounts[4].source, "me@host:/a b");
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(br"a\04"), br"a\04");
        assert_eq!(unescape(br"\777\08z\"), br"\777\08z\");
        assert_eq!(unescape(br"\303\244"), "ä".as_bytes());
    }

    #[test]
    fn the_longest_and_latest_mount_covers() {
        let mounts = parse(TABLE.as_bytes());
        let id = |path: &str| covering(&mounts, Path::new(path)).unwrap().id;
        assert_eq!(id("/"), 27);
        assert_eq!(id("/data"), 32);
        assert_eq!(id("/data/a/b"), 32);
        assert_eq!(id("/database"), 27);
        assert_eq!(id("/proc/self"), 22);
        assert!(covering(&[], Path::new("/")).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_real_table_by_id_and_by_path_agree() {
        for path in ["/", "/proc", "/dev/shm"] {
            let mount = of(Path::new(path)).unwrap();
            assert_eq!(mount.point, Path::new(path));
            let table = std::fs::read("/proc/self/mountinfo").unwrap();
            let mounts = parse(&table);
            let covering = covering(&mounts, Path::new(path)).unwrap();
            assert_eq!(covering.filesystem, mount.filesystem);
        }
        assert_eq!(of(Path::new("/dev/shm")).unwrap().filesystem, "tmpfs");
    }

    #[test]
    fn a_name_that_is_no_text_stays_as_it_is() {
        use std::os::unix::ffi::OsStrExt;
        let mounts = parse(b"7 1 8:1 / /\xff rw - ext4 /dev/sda rw");
        assert_eq!(mounts[0].point.as_os_str().as_bytes(), b"/\xff");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_filesystem_may_be_two_mounts() {
        let (proc, root) = (Path::new("/proc"), Path::new("/"));
        assert!(is_same_mount(proc, &proc.join("self")));
        assert!(!is_same_mount(proc, root));
        assert!(is_same_mount(proc, Path::new("/not/there")));
    }

    proptest! {
        #[test]
        fn whatever_a_line_is_the_next_is_read(table in proptest::collection::vec(any::<u8>(), 0..300)) {
            let good = b"\n7 1 8:1 / /data rw - ext4 /dev/sda rw";
            let mounts = parse(&[table.as_slice(), good].concat());
            prop_assert_eq!(mounts.last().map(|mount| mount.id), Some(7));
            prop_assert!(covering(&mounts, Path::new("/data")).is_some());
        }

        #[test]
        fn no_line_of_the_right_shape_hides_another(
            id in any::<u64>(),
            fields in proptest::collection::vec(r"[a-z0-7/\\:,-]{0,12}", 0..14),
        ) {
            let line = format!("{id} {}\n7 1 8:1 / /data rw - ext4 /dev/sda rw", fields.join(" "));
            let mounts = parse(line.as_bytes());
            prop_assert!(mounts.iter().all(|mount| mount.point.is_absolute()));
            prop_assert_eq!(mounts.last().map(|mount| mount.id), Some(7));
        }

        #[test]
        fn what_the_kernel_escapes_comes_back(path in "/[a-z0-9 \t\n\\\\ä]{0,30}") {
            let escaped = path
                .replace('\\', r"\134")
                .replace(' ', r"\040")
                .replace('\t', r"\011")
                .replace('\n', r"\012");
            let mounts = parse(format!("7 1 8:1 / {escaped} rw - ext4 /dev/sda rw").as_bytes());
            prop_assert_eq!(mounts.len(), 1);
            prop_assert_eq!(&mounts[0].point, Path::new(&path));
        }
    }
}
