//! A table rebuilt by hand (create, copy, drop, rename): which statements copy all
//! rows of a table, with which columns, and where the rows are meanwhile.

use std::collections::BTreeSet;

use sqlite3_parser::ast::{
    As, Cmd, CreateTableBody, Distinctness, Expr, InsertBody, Literal, OneSelect, Operator,
    ResolveType, Select, SelectTable, Stmt, Upsert, UpsertDo,
};
use sqlite3_parser::lexer::sql::Parser;
use sqlite3_parser::{Bump, FallibleIterator};

use super::definition_text::{is_word, names_in};
use super::finding::Found;
use super::reads::names_read;
use super::row_changes::fills_null;
use super::rules::{DROP_COLUMN, Level};
use super::running_code::RunningCode;
use super::scratch_schema::ScratchSchema;
use super::tautology::{Scope, bare};
use crate::sql::{Statement, Token, TokenType, same_name, tokens, unquote_name};

/// A statement that copies all rows of one table into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowCopy {
    pub(super) from: String,
    pub(super) to: String,
    /// The columns that are written; `None`: all of them in order.
    into: Option<Vec<String>>,
    values: Vec<Value>,
    /// It leaves out rows in which a column is NULL.
    but_null: bool,
    /// It leaves out rows that are there already, by a key.
    but_twice: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// `*`
    All,
    Column(String),
    /// An expression, with the columns that it names.
    Expression(Vec<String>),
}

impl RowCopy {
    /// `None` if the statement may leave rows out, or reads other tables too.
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        let sql = &statement.sql;
        let bump = Bump::new();
        let Ok(Some(Cmd::Stmt(stmt))) = Parser::new(&bump, sql.as_bytes()).next() else {
            return None;
        };
        let (to, into, select, but_twice) = match &stmt {
            Stmt::Insert {
                with: None,
                or_conflict,
                tbl_name,
                columns,
                body: InsertBody::Select(select, upsert),
                ..
            } => {
                let ignores = match upsert {
                    None => false,
                    Some(upsert) if is_nothing(upsert) => true,
                    Some(_) => return None,
                };
                let ignores = match or_conflict {
                    Some(ResolveType::Replace) => return None,
                    Some(ResolveType::Ignore) => true,
                    _ => ignores,
                };
                let names = columns.as_ref();
                let into = names.map(|all| all.iter().map(|name| unquote_name(name.0)).collect());
                (tbl_name, into, select, ignores)
            }
            Stmt::CreateTable {
                tbl_name,
                body: CreateTableBody::AsSelect(select),
                ..
            } => (tbl_name, None, select, false),
            _ => return None,
        };
        let (from, but_null) = whole(select)?;
        Some(Self {
            from,
            to: unquote_name(to.name.0),
            into,
            values: values(sql)?,
            but_null,
            but_twice,
        })
    }

    /// The columns of `target` that get the value of the column of the same name in
    /// `source`, or an expression over it, in lower case; each with whether it is an expression that
    /// does more than to fill in NULLs.
    pub(super) fn kept(&self, source: &[String], target: &[String]) -> Vec<(String, bool)> {
        let values = self.values.iter().flat_map(|value| match value {
            Value::All => source.iter().cloned().map(Value::Column).collect(),
            other => vec![other.clone()],
        });
        let into = self.into.as_deref().unwrap_or(target);
        let pairs = into.iter().zip(values);
        let is_kept = |(column, value): &(&String, Value)| match value {
            Value::All => false,
            Value::Column(name) => name.eq_ignore_ascii_case(column),
            Value::Expression(names) => names.iter().any(|name| name.eq_ignore_ascii_case(column)),
        };
        let is_changed = |value: &Value| match value {
            Value::Expression(names) => names.first().is_none_or(|first| !fills_null(first)),
            _ => false,
        };
        pairs
            .filter(is_kept)
            .map(|(column, value)| (column.to_ascii_lowercase(), is_changed(&value)))
            .collect()
    }
}

/// The table, if the `SELECT` returns all of its rows, and whether it leaves out those in which a
/// column is NULL.
fn whole(select: &Select<'_>) -> Option<(String, bool)> {
    let is_one = select.with.is_none() && select.limit.is_none();
    let has_more = select
        .body
        .compounds
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let OneSelect::Select {
        distinctness: None | Some(Distinctness::All),
        from: Some(from),
        where_clause,
        group_by: None,
        having: None,
        ..
    } = &select.body.select
    else {
        return None;
    };
    let is_joined = from.joins.as_ref().is_some_and(|all| !all.is_empty());
    let Some(SelectTable::Table(name, alias, _)) = from.select else {
        return None;
    };
    let asked = match alias {
        Some(As::As(alias) | As::Elided(alias)) => Scope::called(alias),
        None => Scope::of(name),
    };
    let but_null = where_clause.as_ref().is_some_and(|of| is_only_not_null(of));
    let is_whole = but_null || asked.is_all(*where_clause);
    let is_whole = is_one && !has_more && !is_joined && is_whole;
    is_whole.then(|| (unquote_name(name.name.0), but_null))
}

/// `ON CONFLICT … DO NOTHING`, and nothing else.
fn is_nothing(upsert: &Upsert<'_>) -> bool {
    matches!(upsert.do_clause, UpsertDo::Nothing) && upsert.next.is_none()
}

/// `a IS NOT NULL AND b IS NOT NULL`.
fn is_only_not_null(condition: &Expr<'_>) -> bool {
    let mut left = vec![condition];
    while let Some(one) = left.pop() {
        match bare(one) {
            Expr::Binary(first, Operator::And, second) => left.extend([&**first, &**second]),
            Expr::NotNull(_) => {}
            Expr::Binary(_, Operator::IsNot, null)
                if matches!(bare(null), Expr::Literal(Literal::Null)) => {}
            _ => return false,
        }
    }
    true
}

/// The expressions between `SELECT` and `FROM`; `None` if one is an aggregate.
fn values(sql: &str) -> Option<Vec<Value>> {
    let all = tokens(sql).ok()?;
    let (mut depth, mut values, mut item) = (0_usize, Vec::new(), Vec::new());
    let mut is_inside = false;
    for token in all {
        match token.kind {
            TokenType::TK_SELECT if depth == 0 && !is_inside => {
                is_inside = true;
                continue;
            }
            TokenType::TK_ALL if is_inside && depth == 0 && item.is_empty() => continue,
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth = depth.saturating_sub(1),
            TokenType::TK_COMMA if is_inside && depth == 0 => {
                values.push(value(sql, &item)?);
                item.clear();
                continue;
            }
            TokenType::TK_FROM if is_inside && depth == 0 => break,
            _ => {}
        }
        if is_inside {
            item.push(token);
        }
    }
    values.push(value(sql, &item)?);
    Some(values)
}

fn value(sql: &str, item: &[Token]) -> Option<Value> {
    let item = without_alias(item);
    if is_aggregate(sql, item) {
        return None;
    }
    let name = |token: &Token| unquote_name(token.text(sql));
    let kinds: Vec<TokenType> = item.iter().map(|token| token.kind).collect();
    Some(match kinds.as_slice() {
        [.., TokenType::TK_STAR] if kinds.len() != 2 => Value::All,
        [_] | [_, TokenType::TK_DOT, _] | [_, TokenType::TK_DOT, _, TokenType::TK_DOT, _]
            if item.last().is_some_and(|last| is_word(sql, last)) =>
        {
            Value::Column(item.last().map(name)?)
        }
        _ => Value::Expression(names_in(sql, item)),
    })
}

fn without_alias(item: &[Token]) -> &[Token] {
    use TokenType::{TK_AS, TK_END, TK_FLOAT, TK_ID, TK_INTEGER, TK_NULL, TK_RP, TK_STRING};
    match item {
        [body @ .., as_, _] if as_.kind == TK_AS => body,
        [body @ .., alias]
            if [TK_ID, TK_STRING].contains(&alias.kind)
                && body.last().is_some_and(|before| {
                    let ends = [
                        TK_RP, TK_ID, TK_STRING, TK_INTEGER, TK_FLOAT, TK_NULL, TK_END,
                    ];
                    ends.contains(&before.kind)
                }) =>
        {
            body
        }
        _ => item,
    }
}

/// SQLite's aggregate functions; `max` and `min` are so with one argument only.
const AGGREGATES: [&str; 12] = [
    "avg",
    "count",
    "group_concat",
    "json_group_array",
    "json_group_object",
    "jsonb_group_array",
    "jsonb_group_object",
    "max",
    "min",
    "string_agg",
    "sum",
    "total",
];

fn is_aggregate(sql: &str, item: &[Token]) -> bool {
    if item.iter().any(|token| token.kind == TokenType::TK_OVER) {
        return false;
    }
    item.windows(2).enumerate().any(|(at, pair)| {
        let name = unquote_name(pair[0].text(sql)).to_ascii_lowercase();
        let is_call = pair[1].kind == TokenType::TK_LP && AGGREGATES.contains(&name.as_str());
        is_call && !(["max", "min"].contains(&name.as_str()) && has_comma(&item[at + 2..]))
    })
}

/// Whether there is a comma before the closing parenthesis.
fn has_comma(rest: &[Token]) -> bool {
    let mut depth = 0_usize;
    for token in rest {
        match token.kind {
            TokenType::TK_COMMA if depth == 0 => return true,
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP if depth == 0 => return false,
            TokenType::TK_RP => depth -= 1,
            _ => {}
        }
    }
    false
}

/// Which tables hold copies of the rows of tables in use.
#[derive(Debug, Default)]
pub(super) struct CopiedRows {
    all: Vec<CopyOf>,
    /// Tables of which some rows were copied, by present name in lower case.
    partly: BTreeSet<String>,
    reads: Vec<Read>,
}

/// A column whose values a statement has copied, all of them or some.
#[derive(Debug)]
struct Read {
    /// Its table, by its name in the database, and its name, in lower case.
    table: String,
    column: String,
    /// The table they were written to, by its present name.
    to: String,
}

/// All rows of one table, held by another.
#[derive(Debug)]
struct CopyOf {
    /// The table that holds them, by its present name.
    table: String,
    /// The table they come from, by its name in the database.
    of: String,
    /// The columns whose values were copied, in lower case.
    columns: BTreeSet<String>,
    /// Those of them that an expression has changed.
    changed: BTreeSet<String>,
    but_null: bool,
}

impl CopiedRows {
    /// A statement copies rows of these tables, maybe not all of them.
    pub(super) fn copied(&mut self, from: &[String]) {
        let names = from.iter().map(|from| from.to_ascii_lowercase());
        self.partly.extend(names);
    }

    /// A statement that writes to `to` read columns of these tables.
    pub(super) fn read_by(&mut self, sql: &str, to: &str, known: &RunningCode) {
        let Some((names, is_all)) = names_read(sql) else {
            return;
        };
        for (table, of) in known.tables().filter(|(table, _)| names.contains(*table)) {
            let columns = of.columns().filter(|column| match names.contains(*column) {
                true => true,
                false => is_all && !same_name(table, to),
            });
            for column in columns {
                self.reads.push(Read {
                    table: of.name.to_ascii_lowercase(),
                    column: column.into(),
                    to: to.into(),
                });
            }
        }
    }

    /// Whether values of the column of a table, by its name in the database, were copied.
    pub(super) fn is_read(&self, table: &str, column: &str) -> bool {
        self.is_read_for(table, column, &|_| true)
    }

    /// Whether they were copied to another table than `not`, by its present name.
    pub(super) fn is_read_elsewhere(&self, table: &str, column: &str, not: &str) -> bool {
        self.is_read_for(table, column, &|to| !same_name(to, not))
    }

    fn is_read_for(&self, table: &str, column: &str, to: &dyn Fn(&str) -> bool) -> bool {
        let mut reads = self.reads.iter();
        reads.any(|read| {
            same_name(&read.table, table) && same_name(&read.column, column) && to(&read.to)
        })
    }

    /// The dropping of a column is only a warning if its values were copied before.
    pub(super) fn softened(&self, found: Found) -> Found {
        let is_copied = found.rule == DROP_COLUMN
            && found
                .lost_column()
                .is_some_and(|(table, column)| self.is_read(table, column));
        match is_copied {
            false => found,
            true => {
                let mut found = found.level(Level::Warning);
                found.what += "; a statement before it copies them";
                found
            }
        }
    }

    /// A statement copied all rows of a table. `source`: the columns of that table
    /// before the statement.
    pub(super) fn copy(
        &mut self,
        copy: &RowCopy,
        source: &[String],
        scratch: &ScratchSchema,
        known: &RunningCode,
    ) {
        // Where the key is the whole row, only copies of rows are left out.
        if copy.but_twice && !scratch.is_all_key(&copy.to) {
            return;
        }
        let kept = copy.kept(source, &scratch.writable(&copy.to));
        let mut changed: BTreeSet<String> = (kept.iter().filter(|(_, is)| *is))
            .map(|(column, _)| column.clone())
            .collect();
        let mut but_null = copy.but_null || copy.but_twice;
        let (of, has) = match known.table(&copy.from) {
            Some(known) => (known.name.clone(), None),
            None => match self
                .all
                .iter()
                .find(|one| same_name(&one.table, &copy.from))
            {
                Some(one) => {
                    changed.extend(one.changed.iter().cloned());
                    but_null |= one.but_null;
                    (one.of.clone(), Some(one.columns.clone()))
                }
                None => return,
            },
        };
        let is_there = |column: &String| has.as_ref().is_none_or(|has| has.contains(column));
        self.all.push(CopyOf {
            table: copy.to.clone(),
            of,
            columns: kept
                .into_iter()
                .map(|(name, _)| name)
                .filter(is_there)
                .collect(),
            changed,
            but_null,
        });
    }

    /// All rows of `table` were deleted, or it was dropped.
    pub(super) fn emptied(&mut self, table: &str) {
        self.all.retain(|one| !same_name(&one.table, table));
    }

    /// All values of these columns were overwritten.
    pub(super) fn overwritten(&mut self, table: &str, columns: &[String]) {
        let all = self.all.iter_mut();
        for one in all.filter(|one| same_name(&one.table, table)) {
            let is_other = |column: &String| !columns.iter().any(|gone| same_name(gone, column));
            one.columns.retain(is_other);
        }
    }

    /// A table was renamed.
    pub(super) fn renamed(&mut self, from: &str, to: &str) {
        let all = self.all.iter_mut();
        all.filter(|one| same_name(&one.table, from))
            .for_each(|one| to.clone_into(&mut one.table));
        let reads = self.reads.iter_mut();
        reads
            .filter(|one| same_name(&one.to, from))
            .for_each(|one| to.clone_into(&mut one.to));
        if self.partly.remove(&from.to_ascii_lowercase()) {
            self.partly.insert(to.to_ascii_lowercase());
        }
    }

    /// Whether some rows of `table`, by its present name, were copied.
    pub(super) fn is_partly(&self, table: &str) -> bool {
        self.partly.contains(&table.to_ascii_lowercase())
    }

    /// If `table` holds all rows of `of`: the columns that were copied.
    pub(super) fn columns(&self, table: &str, of: &str) -> Option<&BTreeSet<String>> {
        self.best(table, of).map(|one| &one.columns)
    }

    /// The columns that were changed on the way, and whether rows with NULL were left out.
    pub(super) fn changed(&self, table: &str, of: &str) -> (Vec<&str>, bool) {
        let Some(one) = self.best(table, of) else {
            return (Vec::new(), false);
        };
        (
            one.changed.iter().map(String::as_str).collect(),
            one.but_null,
        )
    }

    fn best(&self, table: &str, of: &str) -> Option<&CopyOf> {
        let all = self.all.iter();
        let those = all.filter(|one| same_name(&one.table, table) && same_name(&one.of, of));
        those.max_by_key(|one| one.columns.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sql: &str) -> Option<Vec<String>> {
        let copy = RowCopy::of(&crate::sql::split(sql).unwrap()[0])?;
        let columns = ["k", "v"].map(str::to_owned);
        Some(
            copy.kept(&columns, &columns)
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
        )
    }

    #[test]
    fn columns_keep_their_values_or_not() {
        for (sql, columns) in [
            ("INSERT INTO n SELECT * FROM kv", &["k", "v"][..]),
            ("INSERT INTO n SELECT kv.* FROM kv WHERE 1", &["k", "v"]),
            (
                "INSERT INTO n (v, k) SELECT \"v\", main.kv.k FROM kv ORDER BY k",
                &["v", "k"],
            ),
            ("INSERT INTO n SELECT v, k FROM kv", &[]),
            ("INSERT INTO n (k) SELECT k FROM kv", &["k"]),
            (
                "INSERT INTO n SELECT k, coalesce(v, '') AS w FROM kv",
                &["k", "v"],
            ),
            (
                "INSERT INTO n SELECT k, CASE WHEN k THEN max(v, 1) END w FROM kv",
                &["k", "v"],
            ),
            ("INSERT INTO n SELECT k AS v, NULL FROM kv", &["k"]),
            ("INSERT INTO n SELECT k, k || 'v' FROM kv", &["k"]),
            (
                "INSERT INTO n SELECT k, sum(v) OVER (ORDER BY k) FROM kv",
                &["k", "v"],
            ),
            ("CREATE TEMP TABLE n AS SELECT * FROM kv", &["k", "v"]),
        ] {
            assert_eq!(kept(sql).unwrap(), columns, "{sql}");
        }
    }

    #[test]
    fn some_rows_are_not_all() {
        for sql in [
            "INSERT INTO n SELECT * FROM kv LIMIT 0",
            "INSERT INTO n SELECT * FROM kv WHERE k = 'zz'",
            "INSERT INTO n SELECT DISTINCT * FROM kv",
            "INSERT INTO n SELECT * FROM kv GROUP BY k",
            "INSERT INTO n SELECT kv.* FROM kv JOIN x USING (k)",
            "INSERT INTO n SELECT * FROM kv, x",
            "INSERT INTO n SELECT * FROM kv EXCEPT SELECT * FROM x",
            "INSERT INTO n SELECT * FROM (SELECT * FROM kv)",
            "INSERT INTO n SELECT max(k), v FROM kv",
            "INSERT OR REPLACE INTO n SELECT * FROM kv",
            "INSERT INTO n SELECT * FROM kv WHERE 1 ON CONFLICT DO UPDATE SET v = 1",
            "INSERT INTO n VALUES (1, 2)",
            "DELETE FROM kv",
        ] {
            assert_eq!(kept(sql), None, "{sql}");
        }
    }
}
