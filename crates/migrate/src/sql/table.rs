//! The text of a `CREATE TABLE`, split into its columns and constraints, so that one
//! of them can be edited and the rest stays byte for byte.

use super::comment::{comments, comments_of_gap, is_open, on_same_line};
use super::token::{Cursor, Token, TokenType as T, is_name, line_of, tokens};
use super::{ColumnText, Constraint, Error, Result, unquote_name};

/// A `CREATE TABLE … (…) …`, split at its commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableText {
    /// Up to and including the opening parenthesis.
    pub head: String,
    /// Columns, then constraints of the table.
    pub items: Vec<Item>,
    /// From the closing parenthesis to the end.
    pub tail: String,
    name: String,
    options: Options,
}

impl TableText {
    /// Reads `CREATE [TEMP] TABLE [IF NOT EXISTS] [schema.]name (…) …`, as it is
    /// in `sqlite_schema` or in a file.
    ///
    /// # Errors
    /// When it is not one, or one made by `AS SELECT`.
    pub fn parse(text: &str) -> Result<Self> {
        let tokens = tokens(text)?;
        let mut cursor = Cursor::new(text, &tokens);
        cursor.want_word("CREATE")?;
        let _ = cursor.take(T::TK_TEMP);
        cursor.want_word("TABLE")?;
        if cursor.take(T::TK_IF).is_some() {
            cursor.want_word("NOT")?;
            cursor.want_word("EXISTS")?;
        }
        let (table, _) = Self::named(&mut cursor)?;
        let _ = cursor.take(T::TK_SEMI);
        match cursor.peek() {
            None => Ok(table),
            Some(_) => Err(cursor.expected("the end")),
        }
    }

    /// Reads from the table's name on. Returns also where the text ends: behind the
    /// last option, where the cursor then is, if more follows.
    pub(crate) fn named(cursor: &mut Cursor<'_>) -> Result<(Self, usize)> {
        let (_, mut name) = cursor.want_name("the name of a table")?;
        if cursor.take(T::TK_DOT).is_some() {
            name = cursor.want_name("the name of a table")?.1;
        }
        let open = cursor.peek();
        let first = cursor.at + 1;
        let close = cursor.group()?;
        let inside = cursor.tokens.get(first..cursor.at - 1).unwrap_or_default();
        let open_end = open.map_or(0, |open| open.end);
        let options = cursor.table_options()?;
        let end = match cursor.peek() {
            None => cursor.text.len(),
            Some(_) => cursor
                .at
                .checked_sub(1)
                .and_then(|at| cursor.tokens.get(at))
                .map_or(close.end, |token| token.end),
        };
        let part = |start: usize, end: usize| {
            let part = cursor.text.get(start..end).unwrap_or_default();
            part.to_owned()
        };
        let table = Self {
            head: part(0, open_end),
            items: items(cursor.text, inside, open_end, close.start)?,
            tail: part(close.start, end),
            name,
            options,
        };
        Ok((table, end))
    }

    /// The table's name, without quotes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends with `STRICT`.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.options.strict
    }

    /// Whether it ends with `WITHOUT ROWID`.
    #[must_use]
    pub fn is_without_rowid(&self) -> bool {
        self.options.without_rowid
    }

    /// The names of its columns, without quotes, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| item.column.as_deref())
    }

    /// The definition of a column; the case of its name does not matter.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<ColumnText> {
        let item = self.items.iter().find(|item| is_column(item, name))?;
        ColumnText::parse(&item.body).ok()
    }

    /// Replaces the definition of a column; `false` if there is no such column.
    pub fn set_column(&mut self, name: &str, column: &ColumnText) -> bool {
        let item = self.items.iter_mut().find(|item| is_column(item, name));
        let Some(item) = item else { return false };
        column.text().clone_into(&mut item.body);
        item.column = Some(column.name().to_owned());
        true
    }

    /// The constraints of the table, with the text each was read from.
    ///
    /// # Errors
    /// When one is not a constraint.
    pub fn constraints(&self) -> Result<Vec<(String, Constraint)>> {
        let mut all = Vec::new();
        for item in self.items.iter().filter(|item| item.column.is_none()) {
            for constraint in super::constraints_of(&item.body)? {
                let text = item.body.get(constraint.span.clone());
                all.push((text.unwrap_or_default().to_owned(), constraint));
            }
        }
        Ok(all)
    }

    /// Adds a column after the last one.
    ///
    /// # Errors
    /// When the text is not a column.
    pub fn add_column(&mut self, text: &str) -> Result<()> {
        let column = ColumnText::parse(text)?;
        let at = self.items.iter().rposition(|item| item.column.is_some());
        let at = at.map_or(0, |at| at + 1);
        self.insert(at, column.text(), Some(column.name().to_owned()));
        Ok(())
    }

    /// Adds a constraint of the table, last.
    pub fn add_constraint(&mut self, text: &str) {
        self.insert(self.items.len(), text, None);
    }

    fn insert(&mut self, at: usize, text: &str, column: Option<String>) {
        let like = self.items.get(at.saturating_sub(1));
        // Indented like the entry before.
        let before = like.map_or(String::new(), |item| match item.before.rfind('\n') {
            Some(line) => item.before.get(line..).unwrap_or_default().to_owned(),
            None => " ".to_owned(),
        });
        let mut item = Item {
            before,
            body: text.to_owned(),
            after: String::new(),
            trailing: String::new(),
            column,
        };
        if at == self.items.len()
            && let Some(last) = self.items.last_mut()
        {
            // A comment on the line of the last entry stays on that line, after the
            // new comma.
            let cut = on_same_line(&last.after);
            let rest = last.after.split_off(cut);
            last.trailing = std::mem::take(&mut last.after);
            item.after = rest;
        }
        self.items.insert(at, item);
        self.end_line_comments();
    }

    /// Removes an entry and its own comments.
    pub fn remove(&mut self, at: usize) {
        if at >= self.items.len() {
            return;
        }
        let removed = self.items.remove(at);
        if at == 0
            && let Some(first) = self.items.first_mut()
        {
            // A comment on the line of the parenthesis belongs to the table.
            let cut = on_same_line(&removed.before);
            let head = removed.before.get(..cut).unwrap_or_default();
            if !head.trim().is_empty() {
                first.before.insert_str(0, head);
            }
        }
        if at == self.items.len()
            && let Some(last) = self.items.last_mut()
        {
            // Its comma goes; comments before the parenthesis stay.
            let cut = on_same_line(&removed.after);
            last.after.push_str(&std::mem::take(&mut last.trailing));
            last.after
                .push_str(removed.after.get(cut..).unwrap_or_default());
        }
        self.end_line_comments();
    }

    /// Adds a line end after each `--` comment that would swallow what now follows.
    pub(crate) fn end_line_comments(&mut self) {
        let mut open = false;
        for item in &mut self.items {
            if open && !item.before.starts_with(['\n', '\r']) {
                item.before.insert(0, '\n');
            }
            for gap in [&mut item.before, &mut item.after] {
                if is_open(gap) {
                    gap.push('\n');
                }
            }
            open = is_open(&item.trailing);
        }
    }

    /// Adds or removes `STRICT` at the end.
    ///
    /// # Errors
    /// When the end cannot be read.
    pub fn set_strict(&mut self, strict: bool) -> Result<()> {
        if strict == self.options.strict {
            return Ok(());
        }
        self.options.strict = strict;
        if strict {
            let read = tokens(&self.tail)?;
            let end = read.last().map_or(self.tail.len(), |token| token.end);
            let word = if self.options.without_rowid {
                ", STRICT"
            } else {
                " STRICT"
            };
            self.tail.insert_str(end, word);
            return Ok(());
        }
        let read = tokens(&self.tail)?;
        let word = read
            .iter()
            .position(|token| token.is_word(&self.tail, "STRICT"));
        if let Some(at) = word {
            let is_comma = |at: usize| read.get(at).is_some_and(|token| token.kind == T::TK_COMMA);
            // With the comma after it, or else the one before.
            let (from, to) = match (is_comma(at + 1), at.checked_sub(1).is_some_and(is_comma)) {
                (true, _) => (at, at + 1),
                (false, true) => (at - 1, at),
                (false, false) => (at, at),
            };
            let start = read.get(from).map_or(0, |token| token.start);
            let end = read.get(to).map_or(start, |token| token.end);
            let kept = self.tail.get(..start).unwrap_or_default();
            let space = kept.len() - kept.trim_end_matches([' ', '\t']).len();
            self.tail.replace_range(start - space..end, "");
        }
        Ok(())
    }
}

impl std::fmt::Display for TableText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.head)?;
        for (index, item) in self.items.iter().enumerate() {
            f.write_str(&item.before)?;
            f.write_str(&item.body)?;
            f.write_str(&item.after)?;
            if index + 1 < self.items.len() {
                f.write_str(",")?;
                f.write_str(&item.trailing)?;
            }
        }
        f.write_str(&self.tail)
    }
}

fn is_column(item: &Item, name: &str) -> bool {
    item.column
        .as_deref()
        .is_some_and(|column| super::same_name(column, name))
}

/// One column or constraint between the parentheses, with the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Spaces and comments before it.
    pub before: String,
    /// From its first word to its last.
    pub body: String,
    /// Spaces and comments up to the comma, or the closing parenthesis.
    pub after: String,
    /// A comment after the comma on the same line.
    pub trailing: String,
    /// The column's name without quotes; `None` for constraints of the table.
    pub column: Option<String>,
}

impl Item {
    /// The texts of the comments around and in it.
    #[must_use]
    pub fn comments(&self) -> Vec<String> {
        let inside = match tokens(&self.body) {
            Ok(tokens) => comments(&self.body, &tokens),
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

/// Splits the text between the parentheses at its commas.
fn items(text: &str, inside: &[Token], start: usize, end: usize) -> Result<Vec<Item>> {
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
        // The comma after it, or the closing parenthesis.
        let stop = inside
            .iter()
            .find(|token| token.start >= last.end)
            .map_or(end, |token| token.start);
        let next = inside
            .iter()
            .find(|token| token.start > stop)
            .map_or(end, |token| token.start);
        let comma = usize::from(stop < end);
        let trailing = match comma {
            1 => on_same_line(text.get(stop + 1..next).unwrap_or_default()),
            _ => 0,
        };
        items.push(Item {
            before: text_of(begin, first.start),
            body: text_of(first.start, last.end),
            after: text_of(last.end, stop),
            trailing: text_of(stop + comma, stop + comma + trailing),
            column: column_name(text, first)?,
        });
        begin = stop + comma + trailing;
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
    if !is_name(first.kind) {
        return Err(Error::Expected {
            line: line_of(text, first.start),
            wanted: "the name of a column".to_owned(),
            position: format!("before {:?}", first.text(text)),
        });
    }
    Ok(Some(unquote_name(first.text(text))))
}

/// The parts between commas outside of inner parentheses.
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

/// The options after the closing parenthesis of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Options {
    strict: bool,
    without_rowid: bool,
}

impl Cursor<'_> {
    /// Reads `STRICT` and `WITHOUT ROWID`, in any order.
    fn table_options(&mut self) -> Result<Options> {
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
            // A comma belongs to the options only if another one follows.
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
