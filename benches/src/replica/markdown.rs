//! The result file as the table of `docs/benchmarks.md`.

use anyhow::Context;
use serde::Deserialize;

use crate::place;

#[derive(Deserialize)]
struct Row {
    case: String,
    unit: String,
    ours: f64,
    peer_name: Option<String>,
    peer: Option<f64>,
    ratio: Option<f64>,
}

pub(super) fn print(name: &str) -> anyhow::Result<()> {
    let path = place::results().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("read {}", path.display()))?;
    let rows: Vec<Row> = serde_json::from_str(&text)?;
    println!("\n| case | unit | ours | peer | | ratio |\n|---|---|---:|---|---:|---:|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {} | {} |",
            row.case,
            row.unit,
            number(row.ours),
            row.peer_name.as_deref().unwrap_or("–"),
            row.peer.map(number).unwrap_or_default(),
            row.ratio
                .map(|ratio| format!("{ratio:.2}"))
                .unwrap_or_default(),
        );
    }
    Ok(())
}

/// Two digits after the point for small ones, commas in large ones.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        text.insert(0, '-');
    }
    text
}
