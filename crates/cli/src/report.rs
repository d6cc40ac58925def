//! Shows what was found on a volume.

use std::io::{self, Write};

use monolite_volume::{Finding, Level};

/// Writes findings, one line each, with the reason and what to do below those that did not pass.
pub(crate) fn findings(found: &[Finding], colour: bool, mut to: impl Write) -> io::Result<()> {
    for finding in found {
        let (mark, paint) = match finding.level {
            Level::Pass => ("ok  ", "32"),
            Level::Warn => ("warn", "33"),
            Level::Fail => ("FAIL", "31"),
        };
        let (on, off) = if colour {
            (format!("\x1b[{paint}m"), "\x1b[0m")
        } else {
            (String::new(), "")
        };
        writeln!(
            to,
            "{on}{mark}{off}  {:<10}  {}",
            finding.name, finding.what
        )?;
        if finding.level != Level::Pass {
            writeln!(to, "      why   {}", finding.why)?;
            writeln!(to, "      fix   {}", finding.remedy)?;
        }
    }
    Ok(())
}
