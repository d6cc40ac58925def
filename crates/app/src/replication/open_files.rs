//! Which processes have a deleted file open.

use std::path::Path;

use monolite_platform::process;

/// Whether another process than this one has the deleted file open that had this name: an app that
/// deletes a database on purpose has closed it before. True where the system does not say.
pub(super) fn is_open_elsewhere(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return true;
    };
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let path = folder.join(name);
    let open = process::open_elsewhere(|file| file.was_deleted_from(&path));
    open.map_or(true, |files| !files.is_empty())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_deleted_file_is_open_as_long_as_a_process_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        std::fs::write(&path, "x").unwrap();
        let mut reader = Command::new("cat")
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(std::fs::File::open(&path).unwrap())
            .spawn()
            .unwrap();
        assert!(!is_open_elsewhere(&path), "it is not deleted yet");
        std::fs::remove_file(&path).unwrap();
        assert!(is_open_elsewhere(&path));
        reader.kill().unwrap();
        reader.wait().unwrap();
        let _own = std::fs::File::open(dir.path()).unwrap();
        assert!(!is_open_elsewhere(&path));
    }
}
