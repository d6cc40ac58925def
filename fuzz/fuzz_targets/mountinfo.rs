//! The mount table, in whatever bytes the kernel or a sandbox's kernel gives it:
//! no line panics, and none hides the one after it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use monolite_platform::mountinfo::{covering, parse};

const GOOD: &[u8] = b"\n7 1 8:1 / /data rw - ext4 /dev/sda rw";

fuzz_target!(|bytes: &[u8]| {
    let mounts = parse(bytes);
    for mount in &mounts {
        assert!(mount.point.is_absolute() && !mount.filesystem.is_empty());
        assert!(covering(&mounts, &mount.point).is_some());
    }
    let more = parse(&[bytes, GOOD].concat());
    assert_eq!(more.last().map(|mount| mount.id), Some(7));
    assert!(covering(&more, Path::new("/data/app")).is_some());
});
