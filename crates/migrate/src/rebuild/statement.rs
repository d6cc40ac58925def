//! What a rebuild is to do: as a statement (`REBUILD TABLE`), and built in Rust.

use rusqlite::Connection;

use super::column_names::Names;
use super::edit::{ColumnEdit, Edit};
use super::run::{self, CheckOrphans, Rebuilt, Step};
use super::{Error, Result};
use crate::schema::Table;
use crate::sql::{
    self, ConstraintKind as Kind, Cursor, TableText, TokenType as T, same_name, tokens,
};

/// A rebuild of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    pub(super) table: String,
    /// `CREATE TABLE …`; without it, the present definition with the edits.
    definition: Option<String>,
    edits: Vec<Edit>,
    pub(super) renames: Vec<(String, String)>,
    pub(super) sets: Vec<(String, String)>,
    pub(super) drops: Vec<String>,
    pub(super) threads: u32,
}

impl Rebuild {
    /// A rebuild of this table that changes nothing yet.
    #[must_use]
    pub fn table(name: impl Into<String>) -> Self {
        Self {
            table: name.into(),
            definition: None,
            edits: Vec::new(),
            renames: Vec::new(),
            sets: Vec::new(),
            drops: Vec::new(),
            threads: 0,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.table
    }

    /// Renamed columns, from and to.
    pub(crate) fn renames(&self) -> &[(String, String)] {
        &self.renames
    }

    /// Columns with the expressions they are set to.
    pub(crate) fn sets(&self) -> &[(String, String)] {
        &self.sets
    }

    /// The whole new definition, from the parenthesis on or from `CREATE TABLE` on.
    /// Every column of the table that is not in it must be renamed or dropped.
    #[must_use]
    pub fn definition(mut self, text: &str) -> Self {
        let text = text.trim().trim_end_matches(';');
        self.definition = Some(match text.starts_with('(') {
            true => format!("CREATE TABLE {} {text}", sql::quote_name(&self.table)),
            false => text.to_owned(),
        });
        self
    }

    /// Renames a column, in triggers, views, indexes and foreign keys too.
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.renames.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Computes a column's values: an expression over the old columns under their old
    /// names.
    #[must_use]
    pub fn set(mut self, column: &str, expression: &str) -> Self {
        self.sets.push((column.to_owned(), expression.to_owned()));
        self
    }

    /// Drops a column with its values.
    #[must_use]
    pub fn drop(mut self, column: &str) -> Self {
        self.drops.push(column.to_owned());
        self
    }

    /// The number of helper threads that sort while indexes are built. Default: 0.
    #[must_use]
    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    /// Changes the definition of one column.
    #[must_use]
    pub fn column(mut self, name: &str, edit: impl FnOnce(ColumnEdit) -> ColumnEdit) -> Self {
        let edit = edit(ColumnEdit::none());
        self.edits.push(Edit::Column(name.to_owned(), edit));
        self
    }

    /// Adds a column after the last one.
    #[must_use]
    pub fn add_column(mut self, definition: &str) -> Self {
        self.edits.push(Edit::AddColumn(definition.to_owned()));
        self
    }

    /// Makes the table `STRICT`, or not.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.edits.push(Edit::Strict(strict));
        self
    }

    /// Adds a foreign key: `FOREIGN KEY (user_id) REFERENCES users ON DELETE
    /// CASCADE`.
    #[must_use]
    pub fn foreign_key(mut self, constraint: &str) -> Self {
        self.edits.push(Edit::ForeignKey(constraint.to_owned()));
        self
    }

    /// Removes the foreign key of these columns.
    #[must_use]
    pub fn drop_foreign_key(mut self, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        self.edits.push(Edit::DropForeignKey(columns));
        self
    }

    /// Moves these columns to the front, in this order.
    #[must_use]
    pub fn order(mut self, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        self.edits.push(Edit::Order(columns));
        self
    }

    /// The new `CREATE TABLE`; `present` is the text of the table as it is.
    pub(super) fn wanted(&self, present: &str, names: &Names) -> Result<TableText> {
        let text = self.definition.as_deref().unwrap_or(present);
        let unread = |source| Error::Text {
            table: self.table.clone(),
            source,
        };
        let mut text = TableText::parse(text).map_err(unread)?;
        if self.definition.is_none() {
            // By its old name: another column may have that name now.
            let dropped = |now: &str| {
                let was = names.by_now(now).map_or(now, |name| &name.was);
                self.drops.iter().any(|drop| same_name(drop, was))
            };
            let is_dropped = |item: &sql::Item| item.column.as_deref().is_some_and(dropped);
            while let Some(at) = text.items.iter().position(is_dropped) {
                text.remove(at);
            }
        }
        for edit in &self.edits {
            if !edit.apply(&mut text).map_err(unread)? {
                return Err(Error::clause(&self.table, edit.misses()));
            }
        }
        Ok(text)
    }

    /// Reads `REBUILD TABLE name (…) … RENAME COLUMN … SET … DROP COLUMN …`.
    ///
    /// # Errors
    /// When it is not one, or its clauses contradict each other.
    pub fn parse(sql: &str) -> Result<Self> {
        let mut table = String::from("a table");
        let read = read(sql, &mut table).map_err(|source| Error::Text { table, source })?;
        read.check()?;
        Ok(read)
    }

    /// Checks that need no database.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::clause(&self.table, what));
        for (at, (from, to)) in self.renames.iter().enumerate() {
            let others = self.renames.iter().skip(at + 1);
            if let Some((_, other)) = others
                .clone()
                .find(|(other, into)| same_name(other, from) || same_name(into, to))
            {
                return refuse(format!(
                    "{from} is renamed to {to}, and something to {other}"
                ));
            }
            if self.drops.iter().any(|drop| same_name(drop, from)) {
                return refuse(format!("{from} is renamed and dropped"));
            }
        }
        for (at, (column, _)) in self.sets.iter().enumerate() {
            if self
                .sets
                .iter()
                .skip(at + 1)
                .any(|(other, _)| same_name(other, column))
            {
                return refuse(format!("{column} is SET twice"));
            }
        }
        for (column, expression) in &self.sets {
            let read = tokens(expression).map_err(|source| Error::Text {
                table: self.table.clone(),
                source,
            })?;
            if read.is_empty() || read.iter().any(|token| token.kind == T::TK_SEMI) {
                return refuse(format!("SET {column} takes one expression"));
            }
            if let Some(token) = read.iter().find(|token| token.kind == T::TK_VARIABLE) {
                return refuse(format!(
                    "SET {column} has the parameter {}, and no value for it",
                    token.text(expression)
                ));
            }
        }
        let Some(definition) = &self.definition else {
            return Ok(());
        };
        let text = TableText::parse(definition).map_err(|source| Error::Text {
            table: self.table.clone(),
            source,
        })?;
        if !same_name(text.name(), &self.table) {
            return refuse(format!(
                "its definition is of {}; ALTER TABLE {} RENAME TO {} renames a table",
                text.name(),
                self.table,
                text.name()
            ));
        }
        let targets = self.renames.iter().map(|(_, to)| to);
        for column in targets.chain(self.sets.iter().map(|(column, _)| column)) {
            if !text.columns().any(|name| same_name(name, column)) {
                return refuse(format!("{column} is not in the new definition"));
            }
        }
        Ok(())
    }

    /// Whether values or rowids may change: not by a new default, constraint or
    /// collation.
    pub(super) fn may_change_values(&self, old: &Table) -> bool {
        if !(self.renames.is_empty() && self.sets.is_empty() && self.drops.is_empty()) {
            return true;
        }
        let facts = || {
            let wanted = self.wanted(&old.sql, &Names::of(old)).ok()?;
            let (was, is) = (TableText::parse(&old.sql).ok()?, wanted);
            Some((facts(&was).ok()?, facts(&is).ok()?))
        };
        // A text that does not parse is refused when the rebuild runs.
        facts().is_none_or(|(was, is)| was != is)
    }

    /// Rebuilds the table: in a transaction of its own or, if the caller has begun one
    /// with foreign keys off, within that. Other connections can read meanwhile (in
    /// WAL mode also during the commit); writers wait.
    ///
    /// # Errors
    /// When the rebuild is refused or fails; the database and `PRAGMA foreign_keys`
    /// are then as they were.
    pub fn run(&self, conn: &Connection) -> Result<Rebuilt> {
        self.run_with(conn, &mut |_| {})
    }

    /// The same, with calls of `progress`.
    ///
    /// # Errors
    /// As [`Rebuild::run`].
    pub fn run_with(
        &self,
        conn: &Connection,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Rebuilt> {
        run::run(self, conn, CheckOrphans::Yes, progress)
    }

    /// The same without a check for rows without a parent: the caller does that before
    /// the commit.
    pub(crate) fn run_without_orphan_check(&self, conn: &Connection) -> Result<Rebuilt> {
        run::run(self, conn, CheckOrphans::No, &mut |_| {})
    }
}

fn read(sql: &str, table: &mut String) -> sql::Result<Rebuild> {
    let tokens = tokens(sql)?;
    let mut cursor = Cursor::new(sql, &tokens);
    cursor.want_word("REBUILD")?;
    cursor.want_word("TABLE")?;
    if cursor.kind_by(1) == Some(T::TK_DOT) {
        let (_, schema) = cursor.clone().want_name("main")?;
        if !sql::same_name(&schema, "main") {
            return Err(cursor.expected("main"));
        }
        cursor.at += 2;
    }
    let begin = cursor.peek().map_or(sql.len(), |token| token.start);
    let (_, name) = cursor.clone().want_name("the name of a table")?;
    table.clone_from(&name);
    let (_, end) = TableText::named(&mut cursor)?;
    let text = sql.get(begin..end).unwrap_or_default().trim_end();
    let mut rebuild = Rebuild::table(name);
    rebuild.definition = Some(format!("CREATE TABLE {text}"));
    while cursor.peek().is_some() {
        clause(&mut cursor, &mut rebuild)?;
        if cursor.take(T::TK_COMMA).is_some() {
            continue;
        }
        if cursor.take(T::TK_SEMI).is_some() && cursor.peek().is_some() {
            return Err(cursor.expected("the end"));
        }
    }
    Ok(rebuild)
}

fn clause(cursor: &mut Cursor<'_>, rebuild: &mut Rebuild) -> sql::Result<()> {
    if cursor.kind() == Some(T::TK_SEMI) {
        return Ok(());
    }
    if cursor.take_word("RENAME").is_some() {
        cursor.want_word("COLUMN")?;
        let (_, from) = cursor.want_name("the name of a column")?;
        cursor.want_word("TO")?;
        let (_, to) = cursor.want_name("the new name of the column")?;
        rebuild.renames.push((from, to));
    } else if cursor.take_word("DROP").is_some() {
        cursor.want_word("COLUMN")?;
        let (_, column) = cursor.want_name("the name of a column")?;
        rebuild.drops.push(column);
    } else if cursor.take_word("SET").is_some() || is_assignment(cursor) {
        let (_, column) = cursor.want_name("the name of a column")?;
        if cursor.take(T::TK_EQ).is_none() {
            return Err(cursor.expected("="));
        }
        let expression = expression(cursor)?;
        rebuild.sets.push((column, expression));
    } else {
        return Err(cursor.expected("RENAME COLUMN, SET, DROP COLUMN or the end"));
    }
    Ok(())
}

/// Whether `, column = …` continues a `SET`.
fn is_assignment(cursor: &Cursor<'_>) -> bool {
    let before = cursor
        .at
        .checked_sub(1)
        .and_then(|at| cursor.tokens.get(at));
    before.is_some_and(|token| token.kind == T::TK_COMMA) && cursor.kind_by(1) == Some(T::TK_EQ)
}

/// Up to the next clause. An expression has no comma, `DROP`, `SET` or `RENAME COLUMN`
/// outside of parentheses.
fn expression(cursor: &mut Cursor<'_>) -> sql::Result<String> {
    let begin = cursor.peek().map_or(cursor.text.len(), |token| token.start);
    let mut end = begin;
    while let Some(token) = cursor.peek() {
        let renames = cursor.is_word("RENAME") && cursor.kind_by(1) == Some(T::TK_COLUMNKW);
        let ends = matches!(
            token.kind,
            T::TK_COMMA | T::TK_SEMI | T::TK_DROP | T::TK_SET | T::TK_RP
        );
        if renames || ends {
            break;
        }
        end = match token.kind {
            T::TK_LP => cursor.group()?.end,
            _ => cursor.next().map_or(end, |token| token.end),
        };
    }
    if begin == end {
        return Err(cursor.expected("an expression"));
    }
    Ok(cursor.text.get(begin..end).unwrap_or_default().to_owned())
}

/// What values and rowids depend on: columns in order with their types, expressions of
/// generated columns, keys, and the kind of table.
fn facts(text: &TableText) -> sql::Result<(Vec<String>, (bool, bool))> {
    let decides = |kind: Kind| matches!(kind, Kind::PrimaryKey | Kind::Generated);
    let mut facts = Vec::new();
    for name in text.columns() {
        facts.push(name.to_ascii_lowercase());
        let Some(column) = text.column(name) else {
            continue;
        };
        facts.push(column.type_().to_ascii_lowercase());
        let own = column.constraints().iter().filter(|one| decides(one.kind));
        facts.extend(own.map(|one| column.text_of(one).to_owned()));
    }
    let all = text.constraints()?.into_iter();
    facts.extend(
        all.filter(|(_, one)| decides(one.kind))
            .map(|(text, _)| text),
    );
    Ok((facts, (text.is_strict(), text.is_without_rowid())))
}
