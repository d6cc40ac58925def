//! Facts on standard output; whoever has read enough may close it.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::Failure;

/// Whether a JSON value was printed.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// An error as `{"error": "…"}`, unless a value was printed, which has it.
pub(crate) fn json_error(error: &anyhow::Error) {
    if !PRINTED.load(Ordering::Relaxed) {
        let error = serde_json::json!({ "error": with_causes(error) });
        // Whoever closed it reads the exit code.
        let _ = json_line(&error);
    }
}

/// One JSON value, for programs.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    PRINTED.store(true, Ordering::Relaxed);
    let text = serde_json::to_string_pretty(value)?;
    lines([text])
}

/// The same on one line, where other programs write lines, too.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    PRINTED.store(true, Ordering::Relaxed);
    lines([serde_json::to_string(value)?])
}

/// Lines for people.
pub(crate) fn lines(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = lines
        .into_iter()
        .try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether to colour what a person reads there (no-color.org).
pub(crate) fn in_colour(out: &impl IsTerminal) -> bool {
    out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints all errors, the last one as the verb's own; none is success.
pub(crate) fn failures(mut errors: Vec<anyhow::Error>) -> Result<(), Failure> {
    let Some(last) = errors.pop() else {
        return Ok(());
    };
    for error in errors {
        warning(&error);
    }
    Err(Failure::Error(last))
}

/// What does not end the verb, on standard error.
pub(crate) fn warning(error: &anyhow::Error) {
    eprintln!("monolite: {}", with_causes(error));
}

/// An error with its causes, each that is not in the words before it.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn nothing_is_repeated() {
        let error = anyhow!("disk full").context("cannot write x: disk full");
        assert_eq!(super::with_causes(&error), "cannot write x: disk full");
        let error = anyhow!("disk full").context("cannot write x");
        assert_eq!(super::with_causes(&error), "cannot write x: disk full");
    }
}
