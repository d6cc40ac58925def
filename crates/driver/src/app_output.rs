//! Looks in the app's output for SQLite's words for a lock that was not got in time.

/// What the drivers print: SQLite's message, and the name of its code.
const WORDS: [&[u8]; 2] = [b"database is locked", b"SQLITE_BUSY"];
/// The longest of them, less one: so much of the last bytes may belong to the next ones.
const KEPT: usize = 17;

/// Watches one stream of output, which comes in pieces.
#[derive(Debug, Default)]
pub struct LockedWatch {
    last: Vec<u8>,
    seen: bool,
}

impl LockedWatch {
    /// Takes the next piece. The words that were found in it, the first time only.
    pub fn look(&mut self, bytes: &[u8]) -> Option<&'static str> {
        if self.seen {
            return None;
        }
        // The piece alone first: most are long, and have no such words.
        let start = &bytes[..bytes.len().min(KEPT)];
        let border = [&self.last[..], start].concat();
        let found = WORDS
            .into_iter()
            .find(|word| has(bytes, word) || has(&border, word));
        let kept = match bytes.len() >= KEPT {
            true => bytes,
            false => &border,
        };
        self.last = kept[kept.len().saturating_sub(KEPT)..].to_vec();
        self.seen = found.is_some();
        found.and_then(|word| std::str::from_utf8(word).ok())
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_found_in_any_pieces_and_once() {
        let text =
            b"ActiveRecord::StatementInvalid (SQLite3::BusyException: database is locked)\nmore";
        for size in 1..text.len() {
            let mut watch = LockedWatch::default();
            let found: Vec<_> = text
                .chunks(size)
                .filter_map(|piece| watch.look(piece))
                .collect();
            assert_eq!(found, ["database is locked"], "in pieces of {size}");
            assert_eq!(watch.look(text), None);
        }
        let mut watch = LockedWatch::default();
        assert_eq!(watch.look(b"the database is fine; locked out"), None);
        assert_eq!(watch.look(b"SqliteError: SQLITE_BUSY"), Some("SQLITE_BUSY"));
    }
}
