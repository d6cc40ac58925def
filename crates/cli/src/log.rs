//! Monolite's own log, on standard error; the app's output is not touched.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

use crate::settings::LogFormat;

/// Begins to log. `MONOLITE_LOG_LEVEL` may be error, warn, info, debug, trace.
pub(crate) fn start(format: LogFormat) -> anyhow::Result<()> {
    let level = match std::env::var("MONOLITE_LOG_LEVEL") {
        Err(_) => LevelFilter::INFO,
        Ok(level) => level.parse().map_err(|_| {
            anyhow::anyhow!(
                "MONOLITE_LOG_LEVEL is `{level}`; it is one of error, warn, info, debug, trace, off"
            )
        })?,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .compact()
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
