//! What kind of thing a filesystem is, by the name the kernel gives it.

/// As far as it matters to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Gone at a restart: memory, or made up by the kernel.
    Memory,
    /// A container's writable layer: gone with the container.
    Layer,
    /// Another machine's, the host's, or another program's files: locks and
    /// shared memory are not the kernel's own.
    Remote,
    /// A disk of this machine.
    Disk,
    /// Not known here.
    Unknown,
}

const MEMORY: &[&str] = &[
    "tmpfs",
    "ramfs",
    "devtmpfs",
    "rootfs",
    "hugetlbfs",
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "debugfs",
    "tracefs",
    "configfs",
    "securityfs",
    "mqueue",
    "bpf",
    "pstore",
    "efivarfs",
    "fusectl",
    "binfmt_misc",
];

const LAYER: &[&str] = &[
    "overlay",
    "overlayfs",
    "aufs",
    "unionfs",
    "fuse-overlayfs",
    "fuse.fuse-overlayfs",
];

const REMOTE: &[&str] = &[
    "nfs",
    "nfs3",
    "nfs4",
    "cifs",
    "smb",
    "smb2",
    "smb3",
    "smbfs",
    "ncpfs",
    "afpfs",
    "webdav",
    "9p",
    "virtiofs",
    "vboxsf",
    "vmhgfs",
    "prl_fs",
    "drvfs",
    "wslfs",
    "lxfs",
    "fakeowner",
    "osxfs",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "coda",
    "beegfs",
    "gpfs",
    "orangefs",
    "pvfs2",
    "panfs",
    "wekafs",
    "fuse",
    "fuseblk",
];

const DISK: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs",
    "reiser4", "nilfs2", "apfs", "hfs", "hfsplus", "ufs", "ffs", "ntfs3", "vfat", "msdos", "exfat",
    "ubifs", "jffs2", "ecryptfs", "squashfs", "erofs", "iso9660", "udf",
];

impl Kind {
    pub(crate) fn of(filesystem: &str) -> Self {
        // Layers first: one of them is a FUSE filesystem, too.
        if LAYER.contains(&filesystem) {
            Self::Layer
        } else if REMOTE.contains(&filesystem) || filesystem.starts_with("fuse.") {
            Self::Remote
        } else if MEMORY.contains(&filesystem) {
            Self::Memory
        } else if DISK.contains(&filesystem) {
            Self::Disk
        } else {
            Self::Unknown
        }
    }
}

/// Whether it is served by a program (FUSE): true of one kind of layer as well.
pub(crate) fn is_fuse(filesystem: &str) -> bool {
    matches!(filesystem, "fuse" | "fuseblk" | "fuse-overlayfs") || filesystem.starts_with("fuse.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (filesystem, kind) in [
            ("tmpfs", Kind::Memory),
            ("proc", Kind::Memory),
            ("overlay", Kind::Layer),
            ("fuse.fuse-overlayfs", Kind::Layer),
            ("nfs4", Kind::Remote),
            ("virtiofs", Kind::Remote),
            ("fuse.sshfs", Kind::Remote),
            ("fuseblk", Kind::Remote),
            ("ext4", Kind::Disk),
            ("zfs", Kind::Disk),
            ("newfs9000", Kind::Unknown),
            ("", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(filesystem), kind, "{filesystem}");
        }
        assert!(is_fuse("fuse.fuse-overlayfs") && is_fuse("fuseblk"));
        assert!(!is_fuse("fusectl") && !is_fuse("ext4"));
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut all = [MEMORY, LAYER, REMOTE, DISK].concat();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
