//! Constraints of columns and tables, as text.

use std::ops::Range;

use super::Result;
use super::token::{Cursor, TokenType as T, tokens};

/// The kind of a constraint of a column or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// `PRIMARY KEY`.
    PrimaryKey,
    /// `NOT NULL`.
    NotNull,
    /// `NULL`, which has no effect.
    Null,
    /// `UNIQUE`.
    Unique,
    /// `CHECK (…)`.
    Check,
    /// `DEFAULT …`.
    Default,
    /// `COLLATE …`.
    Collate,
    /// `REFERENCES …`, or `FOREIGN KEY (…) REFERENCES …` of a table.
    References,
    /// `GENERATED ALWAYS AS (…)`, `AS (…)`.
    Generated,
    /// `CONSTRAINT name` and nothing after it.
    Nothing,
}

/// One constraint, by its bytes in the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Its kind.
    pub kind: ConstraintKind,
    /// The name after `CONSTRAINT`, without quotes.
    pub name: Option<String>,
    /// Its bytes, with `CONSTRAINT name`.
    pub span: Range<usize>,
    /// Its bytes without that.
    pub body: Range<usize>,
}

/// The constraints in one entry of a table: SQLite allows several without a comma
/// between them.
pub(crate) fn constraints_of(text: &str) -> Result<Vec<Constraint>> {
    let tokens = tokens(text)?;
    let mut cursor = Cursor::new(text, &tokens);
    let mut all = Vec::new();
    while cursor.peek().is_some() {
        all.push(cursor.constraint()?);
    }
    Ok(all)
}

impl Cursor<'_> {
    /// Whether a constraint begins here.
    pub(crate) fn at_constraint(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                T::TK_CONSTRAINT
                    | T::TK_PRIMARY
                    | T::TK_NOT
                    | T::TK_NULL
                    | T::TK_UNIQUE
                    | T::TK_CHECK
                    | T::TK_DEFAULT
                    | T::TK_COLLATE
                    | T::TK_REFERENCES
                    | T::TK_FOREIGN
                    | T::TK_GENERATED
                    | T::TK_AS
                    | T::TK_DEFERRABLE
            )
        )
    }

    /// Reads one constraint.
    pub(crate) fn constraint(&mut self) -> Result<Constraint> {
        let start = self.peek().map_or(self.text.len(), |token| token.start);
        let mut name = None;
        if self.take(T::TK_CONSTRAINT).is_some() {
            name = Some(self.want_name("the name of a constraint")?.1);
        }
        let body = self.peek().map_or(self.text.len(), |token| token.start);
        let begun = self.at;
        let kind =
            if name.is_some() && !self.at_constraint() || self.kind() == Some(T::TK_CONSTRAINT) {
                ConstraintKind::Nothing
            } else {
                self.constraint_body()?
            };
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let end = last.map_or(start, |token| token.end);
        let body = if self.at == begun { end } else { body };
        Ok(Constraint {
            kind,
            name,
            span: start..end,
            body: body..end,
        })
    }

    fn constraint_body(&mut self) -> Result<ConstraintKind> {
        let Some(token) = self.next() else {
            return Err(self.expected("a constraint"));
        };
        Ok(match token.kind {
            T::TK_PRIMARY => {
                self.want_word("KEY")?;
                if self.kind() == Some(T::TK_LP) {
                    self.group()?;
                }
                let _ = self.take(T::TK_ASC).or_else(|| self.take(T::TK_DESC));
                self.on_conflict()?;
                let _ = self.take(T::TK_AUTOINCR);
                ConstraintKind::PrimaryKey
            }
            T::TK_NOT if self.kind() == Some(T::TK_DEFERRABLE) => {
                self.next();
                self.initially();
                ConstraintKind::References
            }
            T::TK_DEFERRABLE => {
                self.initially();
                ConstraintKind::References
            }
            T::TK_NOT => {
                self.want_word("NULL")?;
                self.on_conflict()?;
                ConstraintKind::NotNull
            }
            T::TK_NULL => {
                self.on_conflict()?;
                ConstraintKind::Null
            }
            T::TK_UNIQUE => {
                if self.kind() == Some(T::TK_LP) {
                    self.group()?;
                }
                self.on_conflict()?;
                ConstraintKind::Unique
            }
            T::TK_CHECK => {
                self.group()?;
                self.on_conflict()?;
                ConstraintKind::Check
            }
            T::TK_DEFAULT => {
                self.default()?;
                ConstraintKind::Default
            }
            T::TK_COLLATE => {
                self.next();
                ConstraintKind::Collate
            }
            T::TK_REFERENCES => {
                self.references()?;
                ConstraintKind::References
            }
            T::TK_FOREIGN => {
                self.want_word("KEY")?;
                self.group()?;
                self.want_word("REFERENCES")?;
                self.references()?;
                ConstraintKind::References
            }
            T::TK_GENERATED | T::TK_AS => {
                if token.kind == T::TK_GENERATED {
                    self.want_word("ALWAYS")?;
                    self.want_word("AS")?;
                }
                self.group()?;
                let _ = self
                    .take_word("STORED")
                    .or_else(|| self.take_word("VIRTUAL"));
                ConstraintKind::Generated
            }
            _ => {
                self.at -= 1;
                return Err(self.expected("a constraint"));
            }
        })
    }

    fn on_conflict(&mut self) -> Result<()> {
        if self.kind() == Some(T::TK_ON) && self.kind_by(1) == Some(T::TK_CONFLICT) {
            self.at += 2;
            if self.next().is_none() {
                return Err(self.expected("what to do on a conflict"));
            }
        }
        Ok(())
    }

    fn default(&mut self) -> Result<()> {
        match self.kind() {
            Some(T::TK_LP) => drop(self.group()?),
            Some(T::TK_PLUS | T::TK_MINUS) => self.at += 2,
            Some(_) => self.at += 1,
            None => return Err(self.expected("a default")),
        }
        Ok(())
    }

    /// After `REFERENCES`.
    fn references(&mut self) -> Result<()> {
        self.want_name("the name of a table")?;
        if self.kind() == Some(T::TK_LP) {
            self.group()?;
        }
        loop {
            match (self.kind(), self.kind_by(1)) {
                (Some(T::TK_ON), Some(T::TK_DELETE | T::TK_UPDATE | T::TK_INSERT)) => {
                    self.at += 2;
                    // SET NULL, SET DEFAULT, NO ACTION; or one word.
                    if matches!(self.kind(), Some(T::TK_SET | T::TK_NO)) {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                (Some(T::TK_MATCH), _) => self.at += 2,
                (Some(T::TK_NOT), Some(T::TK_DEFERRABLE)) => {
                    self.at += 2;
                    self.initially();
                }
                (Some(T::TK_DEFERRABLE), _) => {
                    self.at += 1;
                    self.initially();
                }
                _ => return Ok(()),
            }
        }
    }

    fn initially(&mut self) {
        if self.take(T::TK_INITIALLY).is_some() {
            self.at += 1;
        }
    }
}
