//! The table on the screen and the file beside it.

use anyhow::Context;
use serde::Serialize;

use crate::place;

#[derive(Serialize)]
pub(crate) struct Row {
    case: String,
    unit: &'static str,
    ours: f64,
    peer_name: Option<String>,
    peer: Option<f64>,
    /// `ours / peer`.
    ratio: Option<f64>,
    /// What was promised; on the screen only.
    #[serde(skip)]
    wanted: &'static str,
}

impl Row {
    /// Says what the number should be.
    pub(crate) fn wanted(&mut self, wanted: &'static str) {
        self.wanted = wanted;
    }
}

pub(crate) struct Report {
    name: &'static str,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        let rows = Vec::new();
        Self { name, rows }
    }

    /// A number beside that of a peer.
    pub(crate) fn versus(
        &mut self,
        case: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer_name: impl Into<String>,
        peer: f64,
    ) -> &mut Row {
        let ratio = ours / peer;
        self.push(Row {
            case: case.into(),
            unit,
            ours,
            peer_name: Some(peer_name.into()),
            peer: Some(peer),
            // Nothing per nothing, and an added time below zero, mean nothing.
            ratio: (ratio.is_finite() && peer > 0.0).then_some(ratio),
            wanted: "",
        })
    }

    /// A number without a peer.
    pub(crate) fn alone(
        &mut self,
        case: impl Into<String>,
        unit: &'static str,
        ours: f64,
    ) -> &mut Row {
        self.push(Row {
            case: case.into(),
            unit,
            ours,
            peer_name: None,
            peer: None,
            ratio: None,
            wanted: "",
        })
    }

    fn push(&mut self, row: Row) -> &mut Row {
        self.rows.push(row);
        self.rows.last_mut().unwrap()
    }

    pub(crate) fn print(&self) {
        let width = self.rows.iter().map(|row| row.case.chars().count()).max();
        let width = width.unwrap_or(4);
        println!(
            "{:width$}  {:10} {:>11} {:>11} {:>7}  {:28} wanted",
            "case", "unit", "ours", "peer", "ratio", "peer is"
        );
        for row in &self.rows {
            println!(
                "{:width$}  {:10} {:>11} {:>11} {:>7}  {:28} {}",
                row.case,
                row.unit,
                short(Some(row.ours)),
                short(row.peer),
                row.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
                row.peer_name.as_deref().unwrap_or("-"),
                row.wanted,
            );
        }
    }

    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = place::results().join(format!("{}.json", self.name));
        std::fs::create_dir_all(place::results())?;
        let json = serde_json::to_string_pretty(&self.rows)?;
        std::fs::write(&path, json + "\n").with_context(|| format!("write {}", path.display()))?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }
}

/// A number as a table has room for.
pub(crate) fn short(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.abs() >= 100.0 || value == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}
