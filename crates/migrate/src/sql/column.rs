//! The text of a column's definition, split so that one part can be edited.

use std::ops::Range;

use super::comment::is_open;
use super::token::{Cursor, TokenType as T, tokens};
use super::{Constraint, ConstraintKind, Result};

/// The definition of one column. What is not edited stays as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnText {
    text: String,
    name: String,
    name_end: usize,
    type_span: Option<Range<usize>>,
    constraints: Vec<Constraint>,
}

impl ColumnText {
    /// Reads the definition of a column: from its name to its last word.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let tokens = tokens(text)?;
        let mut cursor = Cursor::new(text, &tokens);
        let (token, name) = cursor.want_name("the name of a column")?;
        let mut type_span: Option<Range<usize>> = None;
        while let Some(next) = cursor.peek().filter(|_| !cursor.at_constraint()) {
            let end = if next.kind == T::TK_LP {
                cursor.group()?.end
            } else {
                cursor.want_name("a type or a constraint")?.0.end
            };
            type_span = Some(type_span.map_or(next.start, |span| span.start)..end);
        }
        let mut constraints = Vec::new();
        while cursor.peek().is_some() {
            constraints.push(cursor.constraint()?);
        }
        let end = tokens.last().map_or(0, |token| token.end);
        let open = is_open(text.get(end..).unwrap_or_default());
        Ok(Self {
            name,
            name_end: token.end,
            type_span,
            constraints,
            text: format!("{text}{}", if open { "\n" } else { "" }),
        })
    }

    /// The whole definition.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its name, without quotes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type as it is written; empty without one.
    #[must_use]
    pub fn type_(&self) -> &str {
        self.part(self.type_span.as_ref())
    }

    /// Its constraints, in order.
    #[must_use]
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }

    /// The text of a constraint of this column, with its name.
    #[must_use]
    pub fn text_of(&self, constraint: &Constraint) -> &str {
        self.part(Some(&constraint.span))
    }

    /// Whether it has a constraint of this kind.
    #[must_use]
    pub fn has(&self, kind: ConstraintKind) -> bool {
        self.constraints.iter().any(|one| one.kind == kind)
    }

    fn part(&self, span: Option<&Range<usize>>) -> &str {
        span.and_then(|span| self.text.get(span.clone()))
            .unwrap_or_default()
    }

    /// Replaces the type; empty for none.
    ///
    /// # Errors
    /// When the result is not a valid column.
    pub fn set_type(&mut self, type_: &str) -> Result<()> {
        match self.type_span.clone() {
            Some(span) if type_.is_empty() => self.remove(span),
            Some(span) => self.replace(span, type_),
            None if type_.is_empty() => Ok(()),
            None => {
                let at = self.name_end;
                self.replace(at..at, &format!(" {type_}"))
            }
        }
    }

    /// Replaces the constraint of this kind, or adds it at the end; `None` removes it.
    ///
    /// # Errors
    /// When the result is not a valid column.
    pub fn set(&mut self, kind: ConstraintKind, text: Option<&str>) -> Result<()> {
        let mut old: Vec<_> = self
            .constraints
            .iter()
            .filter(|one| one.kind == kind)
            .map(|one| one.span.clone())
            .collect();
        if let Some(text) = text {
            match old.is_empty() {
                true => self.replace(self.text.len()..self.text.len(), &format!(" {text}"))?,
                false => self.replace(old.remove(0), text)?,
            }
            // Spans have moved; those after the first one are removed below.
            old = self
                .constraints
                .iter()
                .filter(|one| one.kind == kind)
                .map(|one| one.span.clone())
                .skip(1)
                .collect();
        }
        for span in old.into_iter().rev() {
            self.remove(span)?;
        }
        Ok(())
    }

    fn remove(&mut self, span: Range<usize>) -> Result<()> {
        let before = self.text.get(..span.start).unwrap_or_default();
        // A `--` comment before it would swallow what follows.
        let kept = match before.trim_end().rsplit('\n').next() {
            Some(line) if line.contains("--") => before,
            _ => before.trim_end_matches([' ', '\t']),
        };
        self.replace(kept.len()..span.end, "")
    }

    fn replace(&mut self, span: Range<usize>, with: &str) -> Result<()> {
        let mut text = self.text.clone();
        text.replace_range(span, with);
        *self = Self::parse(&text)?;
        Ok(())
    }
}
