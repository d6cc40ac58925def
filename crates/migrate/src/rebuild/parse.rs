use super::{Error, Rebuild, Result};
use crate::sql::{self, Cursor, TableText, TokenType as T, tokens};

impl Rebuild {
    /// Reads `REBUILD TABLE name (…) … RENAME COLUMN … SET … DROP COLUMN …`.
    ///
    /// # Errors
    /// When it is not one, or when its parts contradict each other.
    pub fn parse(sql: &str) -> Result<Self> {
        let mut table = String::from("a table");
        let read = read(sql, &mut table).map_err(|source| Error::Text { table, source })?;
        read.check()?;
        Ok(read)
    }

    /// What can be known before the database is looked at.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::clause(&self.table, what));
        let same = sql::same_name;
        for (at, (from, to)) in self.renames.iter().enumerate() {
            let others = self.renames.iter().skip(at + 1);
            if let Some((_, other)) = others
                .clone()
                .find(|(other, into)| same(other, from) || same(into, to))
            {
                return refuse(format!(
                    "{from} is renamed to {to}, and something to {other}"
                ));
            }
            if self.drops.iter().any(|drop| same(drop, from)) {
                return refuse(format!("{from} is renamed and dropped"));
            }
        }
        for (at, (column, _)) in self.sets.iter().enumerate() {
            if self
                .sets
                .iter()
                .skip(at + 1)
                .any(|(other, _)| same(other, column))
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
                    "SET {column} has the parameter {}, and nothing gives it a value",
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
        if !same(text.name(), &self.table) {
            return refuse(format!(
                "its definition is of {}; ALTER TABLE {} RENAME TO {} renames a table",
                text.name(),
                self.table,
                text.name()
            ));
        }
        let targets = self.renames.iter().map(|(_, to)| to);
        for column in targets.chain(self.sets.iter().map(|(column, _)| column)) {
            if !text.columns().any(|name| same(name, column)) {
                return refuse(format!("{column} is not in the new definition"));
            }
        }
        Ok(())
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

/// `, column = …` goes on with a SET.
fn is_assignment(cursor: &Cursor<'_>) -> bool {
    let before = cursor
        .at
        .checked_sub(1)
        .and_then(|at| cursor.tokens.get(at));
    before.is_some_and(|token| token.kind == T::TK_COMMA) && cursor.kind_by(1) == Some(T::TK_EQ)
}

/// Up to the next clause. Neither a comma, nor `DROP` or `SET`, nor a name
/// followed by `COLUMN` can stand in an expression outside of parentheses.
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
