//! The key of the encryption.

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;

use super::error::StorageError;

/// The key that a destination's files are encrypted with: 32 bytes.
///
/// Never shown, also not by `Debug`.
#[derive(Clone)]
pub struct Key(XChaCha20Poly1305);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a key: 64 hexadecimal digits, or 32 bytes in base64. Space around
    /// it is ignored, as a file's last line break.
    ///
    /// # Errors
    /// It is neither. The message does not repeat what was given.
    ///
    /// ```
    /// use monolite_replica::Key;
    /// assert!(Key::parse(&"0f".repeat(32)).is_ok());
    /// assert!(Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").is_ok());
    /// assert!(Key::parse("secret").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let text = text.trim();
        let bytes = from_hex(text).or_else(|| from_base64(text));
        match bytes.map(<[u8; 32]>::try_from) {
            Some(Ok(bytes)) => Ok(Self(XChaCha20Poly1305::new(&bytes.into()))),
            _ => Err(StorageError::setting(
                "the encryption key",
                format!(
                    "it must be 32 bytes as 64 hexadecimal digits or in base64; this has {} \
                     characters. Make one with `openssl rand -hex 32`",
                    text.chars().count()
                ),
            )),
        }
    }

    pub(super) fn cipher(&self) -> &XChaCha20Poly1305 {
        &self.0
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

/// Either alphabet, with or without padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(six)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_the_forms_that_tools_write() {
        let bytes: Vec<u8> = (0..32).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(from_hex(&hex), Some(bytes.clone()));
        assert_eq!(from_hex(&hex.to_uppercase()), Some(bytes.clone()));
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(from_base64(base64), Some(bytes));
        assert_eq!(from_base64("-_8="), from_base64("+/8"));
        assert_eq!(from_base64("+/8="), Some(vec![0xfb, 0xff]));
        for good in [hex.clone(), format!("  {hex}\n"), base64.into()] {
            assert!(Key::parse(&good).is_ok(), "{good}");
        }
        let secret = "s3cret-that-nobody-should-ever-see";
        for bad in ["", secret, &hex[1..], &format!("{hex}0"), "é"] {
            let text = Key::parse(bad).unwrap_err().to_string();
            assert!(text.contains("openssl rand -hex 32"), "{text}");
            assert!(bad.is_empty() || !text.contains(bad), "{text}");
        }
    }
}
