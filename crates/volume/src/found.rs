//! Are all databases of the directory found.

use std::path::Path;

use crate::discover::Found;
use crate::finding::{Check, Finding};

const CHECK: Check = Check {
    name: "found",
    why: "a database that is not found is not replicated",
};

pub(crate) fn inspect(dir: &Path, found: &Found) -> Finding {
    let databases = match found.databases.len() {
        0 => "no database".to_owned(),
        1 => "1 database".to_owned(),
        more => format!("{more} databases"),
    };
    let (dir, left_out) = (dir.display(), &found.left_out);
    if let Some(link) = found.links.first() {
        return CHECK.warn(
            format!(
                "{databases} found in {dir}, and {} that {} out of it (first: {})",
                found.links.len(),
                if found.links.len() == 1 {
                    "link leads"
                } else {
                    "links lead"
                },
                link.display()
            ),
            "move the database here: what lies elsewhere is not replicated",
        );
    }
    match left_out.is_cut() {
        false => CHECK.pass(format!("{databases} found in {dir}")),
        true => CHECK.warn(
            format!(
                "{databases} found in {dir}, which was not looked through to its end: {left_out}"
            ),
            "keep files that are no databases in a directory of their own, outside of this one",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::walk::LEVELS_MAX;

    #[test]
    fn what_was_not_looked_at_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.db"), b"").unwrap();
        let finding = || inspect(dir.path(), &crate::discover::by_name(dir.path()).unwrap());
        assert_eq!(finding().level, Level::Pass);
        assert!(finding().what.starts_with("1 database found"));
        let other = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("b.db"), other.path().join("b.db"));
        std::fs::write(&real, b"").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(finding().level, Level::Warn);
        assert!(finding().what.contains("b.db)"), "{:?}", finding());
        std::fs::remove_file(link).unwrap();
        let deep = dir.path().join("d/".repeat(LEVELS_MAX));
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(finding().level, Level::Warn);
        assert!(finding().what.contains("more than 32 deep"));
    }
}
