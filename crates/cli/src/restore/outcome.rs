//! What was restored, and how it is printed.

use std::path::PathBuf;

use monolite_replica::Restored;
use serde::Serialize;

use super::orders::Order;
use crate::{Failure, human, print, timestamp};

/// What came of it.
#[derive(Default)]
pub(super) struct Done {
    pub(super) lines: Vec<Line>,
    pub(super) failed: Vec<anyhow::Error>,
}

/// One database.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) database: String,
    pub(super) path: PathBuf,
    /// It was there, and was left.
    pub(super) skipped: bool,
    pub(super) from: Option<String>,
    pub(super) txid: Option<String>,
    pub(super) timestamp: Option<String>,
    /// Bytes of the database.
    pub(super) size: Option<u64>,
    pub(super) fetched_bytes: Option<u64>,
    pub(super) fetched_files: Option<usize>,
    pub(super) seconds: Option<f64>,
    /// By the checksum of the whole database.
    pub(super) proven: Option<bool>,
    /// Where the database is that was there.
    pub(super) kept: Option<PathBuf>,
    /// Files of the replica that are damaged; others were used instead.
    pub(super) damages: Vec<String>,
}

impl Line {
    pub(super) fn skipped(order: Order) -> Self {
        Self {
            database: order.database,
            path: order.out,
            skipped: true,
            from: None,
            txid: None,
            timestamp: None,
            size: None,
            fetched_bytes: None,
            fetched_files: None,
            seconds: None,
            proven: None,
            kept: None,
            damages: Vec::new(),
        }
    }

    pub(super) fn restored(order: Order, from: String, restored: &Restored, seconds: f64) -> Self {
        Self {
            skipped: false,
            from: Some(from),
            txid: Some(restored.txid.to_string()),
            timestamp: Some(timestamp::show(restored.timestamp_ms)),
            size: Some(u64::from(restored.pages) * u64::from(restored.page_size)),
            fetched_bytes: Some(restored.bytes),
            fetched_files: Some(restored.files),
            seconds: Some(seconds),
            proven: Some(restored.checksum.is_some()),
            kept: restored.kept.clone(),
            damages: restored.damages.clone(),
            ..Self::skipped(order)
        }
    }

    pub(super) fn shown(&self) -> String {
        let path = self.path.display();
        if self.skipped {
            return format!("{path}: it is there, and was left as it is (--overwrite replaces it)");
        }
        let size = human::size(self.size.unwrap_or(0));
        let mut text = format!("{path}: restored, {size}");
        if let (Some(txid), Some(timestamp)) = (&self.txid, &self.timestamp) {
            text += &format!(", transaction {txid} of {timestamp}");
        } else if let Some(timestamp) = &self.timestamp {
            text += &format!(" of {timestamp}");
        }
        if let Some(from) = &self.from {
            text += &format!(", from {from}");
        }
        if let Some(seconds) = self.seconds {
            text += &format!(" in {seconds:.1} s");
        }
        match self.proven {
            Some(true) => text += "; its checksum is right",
            Some(false) => text += "; its files are whole, and quick_check found nothing",
            None => {}
        }
        if let Some(kept) = &self.kept {
            text += &format!(
                "\n{path}: the database that was there is kept as {}; remove it when it is not needed",
                kept.display()
            );
        }
        text
    }
}

impl Done {
    pub(super) fn show(self, json: bool) -> Result<(), Failure> {
        match json {
            true => print::json(&self.lines)?,
            false => print::lines(self.lines.iter().map(Line::shown))?,
        }
        print::failures(self.failed)
    }
}
