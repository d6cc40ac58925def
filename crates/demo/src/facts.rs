//! What is under the page: true numbers, read when asked.

use std::time::{Duration, Instant};

use monolite::Result;
use monolite::rusqlite::Connection;
use monolite::store::Stats;
use serde::Serialize;

/// What does not change while the process runs.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) process: u32,
    pub(crate) file: String,
    pub(crate) sqlite: &'static str,
    pub(crate) started: Instant,
}

/// What the file says, from one snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) posts: i64,
    pub(crate) comments: i64,
    pub(crate) newest_post: i64,
    pub(crate) bytes: i64,
}

/// Both, in words; the field names are the `data-fact` names on the page.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) process: u32,
    pub(crate) up: String,
    pub(crate) file: String,
    pub(crate) size: String,
    pub(crate) sqlite: &'static str,
    pub(crate) posts: String,
    pub(crate) comments: String,
    pub(crate) writes: String,
    pub(crate) readers: usize,
    pub(crate) newest_post: i64,
}

impl Counts {
    pub(crate) fn read(conn: &Connection) -> Result<Self> {
        let mut statement = conn.prepare_cached(
            "SELECT count(*), ifnull(sum(comments), 0), ifnull(max(id), 0),
                    (SELECT page_count * page_size
                     FROM pragma_page_count(), pragma_page_size())
             FROM post",
        )?;
        let counts = statement.query_row([], |row| {
            Ok(Self {
                posts: row.get(0)?,
                comments: row.get(1)?,
                newest_post: row.get(2)?,
                bytes: row.get(3)?,
            })
        })?;
        Ok(counts)
    }
}

impl Facts {
    pub(crate) fn new(origin: &Origin, counts: Counts, stats: Stats, readers: usize) -> Self {
        Self {
            process: origin.process,
            up: up(origin.started.elapsed().as_secs()),
            file: origin.file.clone(),
            size: size(counts.bytes),
            sqlite: origin.sqlite,
            posts: grouped(counts.posts),
            comments: grouped(counts.comments),
            writes: format!(
                "{} in {}",
                plural(stats.writes, "write"),
                plural(stats.transactions, "commit")
            ),
            readers,
            newest_post: counts.newest_post,
        }
    }
}

fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!(
        "{} {noun}{s}",
        grouped(count.try_into().unwrap_or(i64::MAX))
    )
}

/// As `12,345`.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "−" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: i64) -> String {
    match bytes {
        ..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// As `41 µs`, `2 ms` or `1.5 s`; no finer than it was measured.
pub(crate) fn took(time: Duration) -> String {
    match time.as_micros() {
        0 => "under 1 ms".into(),
        micros @ 1..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => up(time.as_secs()),
    }
}

fn up(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(plural(1, "write"), "1 write");
        assert_eq!(size(53_248), "53 kB");
        assert_eq!(size(12_340_000), "12.3 MB");
        assert_eq!(up(3_700), "1 h");
        assert_eq!(took(Duration::from_millis(0)), "under 1 ms");
        assert_eq!(took(Duration::from_micros(999)), "999 µs");
        assert_eq!(took(Duration::from_millis(1_540)), "1.5 s");
        assert_eq!(took(Duration::from_secs(150)), "2 min");
    }
}
