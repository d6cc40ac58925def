//! Is another `monolite` at work here.

use crate::directory::Target;
use crate::finding::{Check, Finding};
use crate::lock::{holder, remedy};

const CHECK: Check = Check {
    name: "in-use",
    why: "two on one volume replicate and migrate over each other: writes would be lost",
};

pub(crate) fn inspect(target: &Target) -> Finding {
    let dir = target.dir.display();
    match holder(&target.dir) {
        Ok(None) => CHECK.pass(format!("no other monolite uses {dir}")),
        Ok(Some(holder)) => CHECK.fail(
            format!("{dir} is in use by {holder}"),
            remedy(&holder, &target.dir),
        ),
        Err(error) => CHECK.warn(
            format!("cannot tell whether {dir} is in use: {error}"),
            "run this as the user that monolite runs as",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    #[test]
    fn a_lock_that_cannot_be_read_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".monolite"), b"").unwrap();
        let target = Target {
            dir: dir.path().to_owned(),
            existing: dir.path().to_owned(),
        };
        let finding = inspect(&target);
        assert_eq!(finding.level, Level::Warn);
        assert!(!finding.remedy.is_empty());
    }
}
