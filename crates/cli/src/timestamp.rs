//! Points in time as people write them, and as they are shown.

use jiff::tz::TimeZone;
use jiff::{Zoned, civil};
use monolite_app::settings::parse_duration;

/// A time this far ahead, in milliseconds, is accepted: clocks differ.
const AHEAD_MS: i64 = 60_000;

/// A point in time that somebody named, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) i64);

impl std::str::FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &Zoned::now())
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show(self.0))
    }
}

/// In UTC and to the millisecond, so that it names the same time when it is
/// given back: `2026-11-21T14:30:05.250Z`.
pub(crate) fn show(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{ms} ms"),
    }
}

/// What `text` means at `now`, in the time zone of `now` unless it says one.
fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    let time = match text.strip_suffix("ago") {
        Some(long) => ago(long, now)?,
        None => absolute(text, now.time_zone()).ok_or_else(|| unknown(text))?,
    };
    let ms = time.as_millisecond();
    if ms > now.timestamp().as_millisecond() + AHEAD_MS {
        return Err(format!(
            "{} is yet to come; it is {} now",
            show(ms),
            show(now.timestamp().as_millisecond())
        ));
    }
    Ok(Timestamp(ms))
}

fn ago(long: &str, now: &Zoned) -> Result<jiff::Timestamp, String> {
    let long = long.trim();
    let duration = parse_duration(long)
        .map_err(|_| format!("`{long}` is no length of time; write `90m ago` or `2 days ago`"))?;
    let time = now.timestamp().checked_sub(duration);
    time.map_err(|_| format!("`{long} ago` is too long ago"))
}

fn absolute(text: &str, zone: &TimeZone) -> Option<jiff::Timestamp> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time);
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Some(zoned.timestamp());
    }
    let local: civil::DateTime = text.parse().ok()?;
    // An hour that comes twice, in autumn, is the first one.
    let zoned = local.to_zoned(zone.clone()).ok()?;
    Some(zoned.timestamp())
}

fn unknown(text: &str) -> String {
    if parse_duration(text).is_ok() {
        return format!("did you mean `{text} ago`?");
    }
    "it is no time; write 2026-11-21T14:30:00Z, `2026-11-21 14:30` (local time) or `1h ago`".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-21T15:00:00[Europe/Berlin]".parse().unwrap()
    }

    fn read(text: &str) -> String {
        match parse(text, &now()) {
            Ok(time) => time.to_string(),
            Err(error) => error,
        }
    }

    #[test]
    fn people_write_times_in_many_ways() {
        for (text, expected) in [
            ("2026-11-21T13:30:00Z", "2026-11-21T13:30:00.000Z"),
            ("2026-11-21T14:30:05.25+01:00", "2026-11-21T13:30:05.250Z"),
            ("2026-11-21 13:30:00Z", "2026-11-21T13:30:00.000Z"),
            (
                "2026-11-21T14:30[America/New_York]",
                "2026-11-21T19:30:00.000Z is yet to come; it is 2026-11-21T14:00:00.000Z now",
            ),
            // No zone: the machine's own.
            ("2026-11-21 14:30", "2026-11-21T13:30:00.000Z"),
            (" 2026-11-21T14:30:05 ", "2026-11-21T13:30:05.000Z"),
            ("2026-07-21 14:30", "2026-07-21T12:30:00.000Z"),
            ("2026-11-20", "2026-11-19T23:00:00.000Z"),
            ("1h ago", "2026-11-21T13:00:00.000Z"),
            ("2 days 30min ago", "2026-11-19T13:30:00.000Z"),
            ("90s ago", "2026-11-21T13:58:30.000Z"),
            ("0s ago", "2026-11-21T14:00:00.000Z"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let time = Timestamp(1_763_735_405_250);
        assert_eq!(parse(&time.to_string(), &now()), Ok(time));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read("1h"), "did you mean `1h ago`?");
        assert!(read("soon").contains("(local time)"), "{}", read("soon"));
        assert!(read("").starts_with("it is no time"));
        assert!(read("later ago").contains("`later` is no length of time"));
        assert!(read("30000 years ago").contains("is no length of time"));
        assert!(read("2026-11-21 15:02").contains("yet to come"));
        assert!(read("2026-02-30").starts_with("it is no time"));
    }
}
