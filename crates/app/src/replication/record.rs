//! The list of the databases that belong on the volume, kept on it: shows what is missing without
//! asking a replica, and what was deleted on purpose.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use monolite_platform::durable;
use monolite_volume::layout::replica::DATABASES;

/// Databases by their paths in the volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// They were on the volume when this was written.
    pub(super) here: BTreeSet<String>,
    /// They were deleted by the app, and are not to be restored.
    pub(super) deleted: BTreeSet<String>,
}

impl Record {
    /// What was written last; nothing on a new volume.
    pub(super) fn load(state: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(state.join(DATABASES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mut record = Self::default();
        for line in text.lines() {
            // Lines that a later version adds are ignored.
            match line.split_once('\t') {
                Some(("here", name)) => record.here.insert(name.into()),
                Some(("deleted", name)) => record.deleted.insert(name.into()),
                _ => false,
            };
        }
        Ok(record)
    }

    /// Writes it whole or not at all.
    pub(super) fn save(&self, state: &Path) -> io::Result<()> {
        std::fs::create_dir_all(state)?;
        let here = self.here.iter().map(|name| ("here", name));
        let deleted = self.deleted.iter().map(|name| ("deleted", name));
        // A name with a line break would be read as two names: it is left out.
        let lines = here.chain(deleted).filter(|(_, name)| !name.contains('\n'));
        let text: String = lines
            .map(|(what, name)| format!("{what}\t{name}\n"))
            .collect();
        durable::write(&state.join(DATABASES), text.as_bytes())
    }

    /// It is on the volume; answers whether that is new.
    pub(super) fn came(&mut self, name: &str) -> bool {
        let was_deleted = self.deleted.remove(name);
        self.here.insert(name.into()) || was_deleted
    }

    /// It was deleted on purpose.
    pub(super) fn was_deleted(&mut self, name: &str) {
        self.here.remove(name);
        self.deleted.insert(name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("replica");
        assert_eq!(Record::load(&state).unwrap(), Record::default());
        let mut record = Record::default();
        assert!(record.came("app.sqlite3") && record.came("tenants/a b.db"));
        record.was_deleted("tenants/a b.db");
        record.save(&state).unwrap();
        assert_eq!(Record::load(&state).unwrap(), record);
        assert!(record.came("tenants/a b.db") && !record.came("app.sqlite3"));
        assert!(record.deleted.is_empty());
    }
}
