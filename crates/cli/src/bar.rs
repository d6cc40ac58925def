//! Progress on a terminal, and nothing in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use monolite_replica::Progress;

/// How often a bar without news is drawn again.
const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    what: String,
}

impl Bar {
    /// `what` is being done something to, as in `app.sqlite3`.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style(SPINNER));
        let what = what.into();
        Self { bar, what }
    }

    /// Says what is being done, where nothing says how far it is.
    pub(crate) fn say(&self, step: &str) {
        self.bar.set_style(style(SPINNER));
        self.bar.set_message(format!("{}: {step}", self.what));
        self.bar.enable_steady_tick(TICK);
    }
}

impl Bar {
    /// Shows how far it is, of `total` bytes; with 0 of 0, only that something is done.
    pub(crate) fn show(&self, step: &str, bytes: u64, total: u64) {
        if total == 0 {
            if self.bar.length().is_some() {
                self.bar.unset_length();
                self.bar.set_style(style(SPINNER));
            }
            return;
        }
        if self.bar.length() != Some(total) {
            self.bar.set_message(format!("{}: {step}", self.what));
            self.bar.set_length(total);
            self.bar.set_style(style(BAR));
            self.bar.reset_eta();
        }
        self.bar.set_position(bytes);
    }
}

const SPINNER: &str = "{spinner} {wide_msg} {elapsed}";
const BAR: &str = "{msg} [{wide_bar}] {bytes} of {total_bytes}, {eta} left";

fn style(template: &str) -> ProgressStyle {
    // One that is not understood would only look plain.
    let style = ProgressStyle::with_template(template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl Progress for Bar {
    fn begin(&self, step: &'static str, total: Option<u64>) {
        self.say(step);
        match total {
            None => self.bar.unset_length(),
            Some(total) => {
                // Before it is drawn as a bar.
                self.bar.set_length(total);
                self.bar.set_position(0);
                self.bar.set_style(style(BAR));
                self.bar.reset_eta();
            }
        }
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
