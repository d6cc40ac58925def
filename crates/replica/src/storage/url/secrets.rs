//! What must never be shown.

use std::fmt;

/// The secrets of one destination, to be removed from texts of other programs.
#[derive(Clone, Default)]
pub(in super::super) struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// What is shorter is in too many words.
const SHORTEST: usize = 4;

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.0.push(secret.into());
            let escaped: String = secret.bytes().map(escape).collect();
            self.0.push(escaped);
        }
    }

    /// A text without the secrets.
    pub(in super::super) fn redact(&self, text: &str) -> String {
        let without = |text: String, secret: &String| text.replace(secret, "***");
        self.0.iter().fold(text.into(), without)
    }
}

fn escape(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).into()
        }
        _ => format!("%{byte:02X}"),
    }
}
