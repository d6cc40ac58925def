//! Why SQLite refuses something, and what that means for a comparison.

use crate::report::{Kind, Loss};

/// Why SQLite did not do something.
pub(super) enum Trouble {
    /// The file is damaged.
    Damage,
    /// It does not take the statement: the app has functions of its own, say,
    /// which the database is well without.
    Statement,
    Other,
}

impl Trouble {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        // SQLite's own one is behind more than one of rusqlite's.
        let own = std::error::Error::source(error)
            .and_then(|own| own.downcast_ref::<rusqlite::ffi::Error>());
        match own.map(|own| own.code) {
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Damage,
            Some(Code::Unknown) => Self::Statement,
            _ => Self::Other,
        }
    }
}

/// That one table cannot be read.
pub(super) fn unreadable(table: &str, error: &rusqlite::Error) -> Loss {
    let what = format!("it cannot be read: {error}");
    Loss::new(Kind::Damage, Some(table), None).saying(what)
}
