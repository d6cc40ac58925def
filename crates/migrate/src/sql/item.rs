use super::comment::{beside, comments_of_gap};
use super::token::{Cursor, Token, TokenType as T, tokens};
use super::{Error, Result};

/// One entry between the parentheses of a table, with its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Spaces and comments before it.
    pub before: String,
    /// From its first word to its last.
    pub body: String,
    /// Spaces and comments up to the comma, or the closing parenthesis.
    pub after: String,
    /// The comment beside the comma, on its line.
    pub trailing: String,
    /// The column's name without quotes; `None` for constraints of the table.
    pub column: Option<String>,
}

impl Item {
    /// What the comments around and in it say.
    #[must_use]
    pub fn comments(&self) -> Vec<String> {
        let inside = match tokens(&self.body) {
            Ok(tokens) => super::comment::comments(&self.body, &tokens),
            Err(_) => Vec::new(),
        };
        let around = [&self.before, &self.after, &self.trailing];
        let mut all: Vec<String> = around
            .iter()
            .flat_map(|gap| comments_of_gap(gap, 0, 1))
            .map(|comment| comment.text)
            .collect();
        all.extend(inside.into_iter().map(|comment| comment.text));
        all
    }
}

/// Cuts what stands between the parentheses.
pub(super) fn items(text: &str, inside: &[Token], start: usize, end: usize) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut begin = start;
    for part in commas(inside) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else {
            let empty = Cursor::new(text, inside);
            return Err(empty.expected("a column or a constraint between two commas"));
        };
        let text_of = |start: usize, end: usize| {
            let part = text.get(start..end).unwrap_or_default();
            part.to_owned()
        };
        // The comma behind it, or the closing parenthesis.
        let stop = inside
            .iter()
            .find(|token| token.start >= last.end)
            .map_or(end, |token| token.start);
        let next = inside
            .iter()
            .find(|token| token.start > stop)
            .map_or(end, |token| token.start);
        let comma = usize::from(stop < end);
        let beside = match comma {
            1 => beside(text.get(stop + 1..next).unwrap_or_default()),
            _ => 0,
        };
        items.push(Item {
            before: text_of(begin, first.start),
            body: text_of(first.start, last.end),
            after: text_of(last.end, stop),
            trailing: text_of(stop + comma, stop + comma + beside),
            column: column_name(text, first)?,
        });
        begin = stop + comma + beside;
    }
    Ok(items)
}

fn column_name(text: &str, first: &Token) -> Result<Option<String>> {
    let constraint = matches!(
        first.kind,
        T::TK_CONSTRAINT | T::TK_PRIMARY | T::TK_UNIQUE | T::TK_CHECK | T::TK_FOREIGN
    );
    if constraint {
        return Ok(None);
    }
    if !super::token::is_name(first.kind) {
        return Err(Error::Expected {
            line: super::token::line_of(text, first.start),
            wanted: "the name of a column".to_owned(),
            place: format!("before {:?}", first.text(text)),
        });
    }
    Ok(Some(super::unquote_name(first.text(text))))
}

/// The parts between the commas that are in no parentheses.
fn commas(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    tokens
        .split(|token| {
            match token.kind {
                T::TK_LP => depth += 1,
                T::TK_RP => depth = depth.saturating_sub(1),
                _ => {}
            }
            token.kind == T::TK_COMMA && depth == 0
        })
        .collect()
}
