//! One migration file.

use sha2::{Digest, Sha256};

use super::error::{Error, Result};

/// A file with its number, its name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    version: u32,
    name: String,
    text: String,
    checksum: String,
}

impl File {
    /// `name` is the file's name, such as `0001_add_posts.sql`.
    ///
    /// # Errors
    /// [`Error::Misnamed`]; [`Error::Nul`].
    pub fn new(name: &str, text: &str) -> Result<Self> {
        let misnamed = || Error::Misnamed { file: name.into() };
        let stem = name.strip_suffix(".sql").ok_or_else(misnamed)?;
        let (number, words) = stem.split_once('_').ok_or_else(misnamed)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let version = match number.parse() {
            Ok(version) if is_number && version > 0 => version,
            _ => return Err(misnamed()),
        };
        if words.is_empty() || words.chars().any(char::is_control) {
            return Err(misnamed());
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        no_nul(name, text)?;
        // Line ends, which editors and version control change, do not count as an edit.
        let checksum = checksum(&text.replace("\r\n", "\n"));
        Ok(Self {
            version,
            name: stem.into(),
            text: text.into(),
            checksum,
        })
    }

    /// Its number.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its name without `.sql`, such as `0001_add_posts`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name, such as `0001_add_posts.sql`.
    pub fn file_name(&self) -> String {
        format!("{}.sql", self.name)
    }

    /// Its text, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is as `migrate new` began it: nobody has written anything into it yet.
    pub(super) fn is_as_begun(&self) -> bool {
        let text = self.text.trim();
        text.replace("\r\n", "\n") == begun(&self.name).trim()
    }

    /// SHA-256 of its text with `\n` line ends, in hexadecimal digits.
    pub fn checksum(&self) -> &str {
        &self.checksum
    }
}

/// The text that a new file begins with; `stem` is its name without `.sql`.
pub(super) fn begun(stem: &str) -> String {
    format!(
        "-- {stem}: applied once, in one transaction, and never edited after that.\n\
         -- A column's type, NOT NULL, DEFAULT, CHECK or foreign key is changed by REBUILD TABLE.\n\n"
    )
}

/// The text of an SQL file; `name` is used in errors.
///
/// # Errors
/// [`Error::NotUtf8`]; [`Error::Nul`].
pub fn text_of(name: &str, bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let ends = before.iter().filter(|byte| **byte == b'\n');
        Error::NotUtf8 {
            file: name.into(),
            line: 1 + ends.count(),
        }
    })?;
    no_nul(name, &text)?;
    Ok(text)
}

fn no_nul(name: &str, text: &str) -> Result<()> {
    match text.find('\0') {
        None => Ok(()),
        Some(at) => Err(Error::Nul {
            file: name.into(),
            line: 1 + text[..at].matches('\n').count(),
        }),
    }
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_number_and_words() {
        let file = File::new("0012_add_posts.sql", "").unwrap();
        assert_eq!((file.version(), file.name()), (12, "0012_add_posts"));
        assert_eq!(file.file_name(), "0012_add_posts.sql");
        assert!(File::new("1_é.sql", "").is_ok());
        for wrong in [
            "add_posts.sql",
            "0001.sql",
            "0001_.sql",
            "_x.sql",
            "0000_x.sql",
            "+1_x.sql",
            "0001_x.SQL",
            "0001_x",
            "99999999999_x.sql",
            "0001-x.sql",
            "0001_a\nb.sql",
        ] {
            let error = File::new(wrong, "").unwrap_err();
            assert!(matches!(error, Error::Misnamed { .. }), "{wrong}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_text_whatever_the_ends_of_its_lines() {
        let of = |text: &str| File::new("1_a.sql", text).unwrap().checksum().to_owned();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of("abc"), abc);
        assert_eq!(of("\u{feff}a\r\nb\n"), of("a\nb\n"));
        assert_ne!(of("a b"), of("a  b"));
        // The text that runs keeps its line ends: a string may contain them.
        let file = File::new("1_a.sql", "\u{feff}SELECT 'a\r\nb'").unwrap();
        assert_eq!(file.text(), "SELECT 'a\r\nb'");
    }

    #[test]
    fn a_nul_character_would_end_the_file_for_sqlite() {
        let error = File::new("1_a.sql", "SELECT 1;\n\0DROP TABLE x;").unwrap_err();
        assert!(matches!(error, Error::Nul { line: 2, .. }));
    }
}
