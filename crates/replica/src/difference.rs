//! How a database differs from the newest state of its replica, for people who have to
//! decide which of the two is right.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use monolite_ltx::Txid;
use monolite_platform::shell::quote;

/// A database on the volume, and a newest state of its replica that this volume is not
/// known to have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Pages that differ.
    pub pages: usize,
    /// The newest state of the replica.
    pub txid: Txid,
    /// When that was, in milliseconds since 1970.
    pub stored_ms: i64,
    /// When the database was last written to, in milliseconds since 1970; `None`: that is
    /// not known.
    pub written_ms: Option<i64>,
    /// Whether the writer left its number, as Monolite does and Litestream does not.
    pub is_numbered: bool,
    /// The volume.
    pub volume: PathBuf,
    /// The database's path in it.
    pub database: String,
    /// The destination, as it is given on a command line.
    pub destination: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pages, txid) = (self.pages, self.txid);
        let writer = match self.is_numbered {
            true => "by another volume, or by a copy of this one",
            false => "by Litestream, from another database or an earlier one",
        };
        let stored = instant(self.stored_ms);
        write!(
            f,
            "the replica's newest state, transaction {txid} of {stored}, was written {writer}, and \
             {pages} pages here differ from it"
        )?;
        let is_newer = self.written_ms.is_some_and(|ms| ms > self.stored_ms);
        if let Some(written_ms) = self.written_ms {
            let written = instant(written_ms);
            let which = if is_newer { "later" } else { "earlier" };
            write!(
                f,
                "; the database here was last written at {written}, which is {which}"
            )?;
        }
        let keep = "go on from what is here with --take-over (what the replica holds stays \
                    restorable by --timestamp)";
        let fetch = format!(
            "fetch the replica's state with `monolite restore {} --overwrite --data {} --replica \
             {}` (what is here is kept next to it)",
            quote(&self.database),
            quote(&self.volume.to_string_lossy()),
            quote(&self.destination),
        );
        match is_newer {
            true => write!(f, ". Either {keep}, or {fetch}"),
            false => write!(f, ". Either {fetch}, or {keep}"),
        }
    }
}

fn instant(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.0}"),
        Err(_) => "an unknown time".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_newer_is_advised_first() {
        let mut difference = Difference {
            pages: 34,
            txid: Txid(8),
            stored_ms: 1_772_366_400_000,
            written_ms: Some(1_772_366_403_000),
            is_numbered: false,
            volume: "/data".into(),
            database: "app.sqlite3".into(),
            destination: "s3://b/p?endpoint=http://h".into(),
        };
        let text = difference.to_string();
        assert!(
            text.contains("34 pages here differ")
                && text.contains("2026-03-01T12:00:03Z, which is later"),
            "{text}"
        );
        assert!(
            text.contains("monolite restore app.sqlite3 --overwrite --data /data --replica 's3://b/p?endpoint=http://h'"),
            "{text}"
        );
        let first = |text: &str| text.find("--take-over") < text.find("--overwrite");
        assert!(first(&text));
        difference.written_ms = Some(1_772_366_300_000);
        assert!(!first(&difference.to_string()));
    }
}
