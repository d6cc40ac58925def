//! Whether a deleted file is still in use.

use std::ffi::OsString;
use std::path::Path;

/// Whether another process than this one has the file open that had this name.
/// Who deletes a database on purpose has closed it before. True where the
/// system does not tell.
pub(super) fn by_others(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return true;
    };
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let mut wanted = OsString::from(folder.join(name));
    wanted.push(" (deleted)");
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    let own = std::process::id().to_string();
    let others = processes.flatten().filter(|process| {
        let pid = process.file_name();
        let pid = pid.as_encoded_bytes();
        pid.iter().all(u8::is_ascii_digit) && pid != own.as_bytes()
    });
    // Those of other users do not show theirs.
    let files = others
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flat_map(Iterator::flatten);
    let mut targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.any(|target| target.as_os_str() == wanted)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_deleted_file_is_open_as_long_as_somebody_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        std::fs::write(&path, "x").unwrap();
        let mut reader = Command::new("cat")
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(std::fs::File::open(&path).unwrap())
            .spawn()
            .unwrap();
        assert!(!by_others(&path), "it is not deleted yet");
        std::fs::remove_file(&path).unwrap();
        assert!(by_others(&path));
        reader.kill().unwrap();
        reader.wait().unwrap();
        let _own = std::fs::File::open(dir.path()).unwrap();
        assert!(!by_others(&path));
    }
}
