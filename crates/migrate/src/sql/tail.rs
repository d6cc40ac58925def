use super::Result;
use super::token::{Cursor, TokenType as T};

/// What may stand behind the closing parenthesis of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) strict: bool,
    pub(crate) without_rowid: bool,
}

impl Cursor<'_> {
    /// Passes `STRICT` and `WITHOUT ROWID`, in any order.
    pub(crate) fn table_options(&mut self) -> Result<Options> {
        let mut options = Options::default();
        loop {
            if self.take_word("STRICT").is_some() {
                options.strict = true;
            } else if self.kind() == Some(T::TK_WITHOUT) {
                self.next();
                self.want_word("ROWID")?;
                options.without_rowid = true;
            } else {
                return Ok(options);
            }
            // A comma, if another option follows; else it is not ours.
            let follows = self.kind() == Some(T::TK_COMMA)
                && self.peek_by(1).is_some_and(|token| {
                    token.kind == T::TK_WITHOUT || token.is_word(self.text, "STRICT")
                });
            if !follows {
                return Ok(options);
            }
            self.next();
        }
    }
}
