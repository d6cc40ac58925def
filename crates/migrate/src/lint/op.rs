//! What a statement does to tables, read from its tree.

use sqlite3_parser::ast::{
    AlterTableBody, Cmd, ColumnConstraint, ColumnDefinition, CreateTableBody, Expr, InsertBody,
    Literal, Name, OneSelect, QualifiedName, ResolveType, Select, SelectTable, Set, Stmt,
    UnaryOperator, Upsert, UpsertDo,
};
use sqlite3_parser::lexer::sql::Parser;
use sqlite3_parser::{Bump, FallibleIterator};

use super::always::{Asked, bare};
use crate::sql::{Kind, Statement, unquote_name};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    DropTable(String),
    DropView(String),
    DropTrigger(String),
    RenameTable {
        from: String,
        to: String,
    },
    /// `REBUILD TABLE`, or `ALTER TABLE … RENAME COLUMN`.
    RenameColumns {
        table: String,
        pairs: Vec<(String, String)>,
        rebuild: bool,
    },
    AddColumn {
        table: String,
        column: String,
        needs_no_rows: Option<&'static str>,
    },
    DropColumn {
        table: String,
    },
    CreateTable {
        name: String,
        from: Vec<String>,
    },
    CreateIndex {
        table: String,
    },
    Delete {
        table: String,
        all: bool,
    },
    Update {
        table: String,
        columns: Vec<String>,
        all: bool,
        replaces: bool,
    },
    Insert {
        table: String,
        from: Vec<String>,
        replaces: bool,
        /// Columns that rows which are there get one value in.
        overwrites: Vec<String>,
    },
    Other {
        writes_rows: bool,
    },
}

impl Op {
    pub(super) fn of(statement: &Statement) -> Self {
        if statement.kind == Kind::Rebuild {
            return rebuild(&statement.sql);
        }
        let bump = Bump::new();
        match Parser::new(&bump, statement.sql.as_bytes()).next() {
            Ok(Some(Cmd::Stmt(stmt))) => of(&stmt),
            _ => Self::Other { writes_rows: false },
        }
    }

    /// Rows are written or read: on a copy without rows it tells nothing.
    pub(super) fn is_about_rows(&self) -> bool {
        match self {
            Self::Delete { .. } | Self::Update { .. } | Self::Insert { .. } => true,
            Self::Other { writes_rows } => *writes_rows,
            _ => false,
        }
    }
}

fn text(name: &Name<'_>) -> String {
    unquote_name(name.0)
}

fn of(stmt: &Stmt<'_>) -> Op {
    let table = |name: &QualifiedName<'_>| text(&name.name);
    match stmt {
        Stmt::DropTable { tbl_name, .. } => Op::DropTable(table(tbl_name)),
        Stmt::DropView { view_name, .. } => Op::DropView(table(view_name)),
        Stmt::DropTrigger { trigger_name, .. } => Op::DropTrigger(table(trigger_name)),
        Stmt::CreateIndex { tbl_name, .. } => Op::CreateIndex {
            table: text(tbl_name),
        },
        Stmt::CreateTable { tbl_name, body, .. } => Op::CreateTable {
            name: table(tbl_name),
            from: match body {
                CreateTableBody::AsSelect(select) => sources(select),
                CreateTableBody::ColumnsAndConstraints { .. } => Vec::new(),
            },
        },
        Stmt::AlterTable(name, body) => alter(table(name), body),
        Stmt::Delete {
            tbl_name,
            where_clause,
            limit,
            ..
        } => Op::Delete {
            table: table(tbl_name),
            all: Asked::of(tbl_name).is_all(where_clause.as_ref()) && limit.is_none(),
        },
        Stmt::Update {
            tbl_name,
            sets,
            from,
            where_clause,
            limit,
            or_conflict,
            ..
        } => {
            let asked = Asked::of(tbl_name).beside(from.is_some());
            Op::Update {
                table: table(tbl_name),
                columns: sets
                    .iter()
                    .filter(|set| !is_itself(set, &asked))
                    .flat_map(|set| set.col_names.iter().map(text))
                    .collect(),
                all: asked.is_all(where_clause.as_ref()) && limit.is_none(),
                replaces: *or_conflict == Some(ResolveType::Replace),
            }
        }
        Stmt::Insert {
            tbl_name,
            body,
            or_conflict,
            ..
        } => Op::Insert {
            table: table(tbl_name),
            from: match body {
                InsertBody::Select(select, _) => sources(select),
                InsertBody::DefaultValues => Vec::new(),
            },
            replaces: *or_conflict == Some(ResolveType::Replace),
            overwrites: match body {
                InsertBody::Select(select, Some(upsert)) if has_rows(select) => {
                    overwritten(upsert, &Asked::of(tbl_name))
                }
                _ => Vec::new(),
            },
        },
        Stmt::Select(_) => Op::Other { writes_rows: true },
        _ => Op::Other { writes_rows: false },
    }
}

/// `x = x`
fn is_itself(set: &Set<'_>, asked: &Asked) -> bool {
    let mut names = set.col_names.iter();
    match (names.next(), names.next()) {
        (Some(one), None) => asked.is_column(&set.expr, &text(one)),
        _ => false,
    }
}

/// Of tables, and not of VALUES.
fn has_rows(select: &Select<'_>) -> bool {
    matches!(&select.body.select, OneSelect::Select { from: Some(_), .. })
}

/// The columns that every row on whose key another falls gets one value in.
fn overwritten(upsert: &Upsert<'_>, asked: &Asked) -> Vec<String> {
    let UpsertDo::Set { sets, where_clause } = &upsert.do_clause else {
        return Vec::new();
    };
    let constant = sets
        .iter()
        .filter(|set| matches!(bare(&set.expr), Expr::Literal(_)));
    match asked.is_all(where_clause.as_ref()) {
        true => constant
            .flat_map(|set| set.col_names.iter().map(text))
            .collect(),
        false => Vec::new(),
    }
}

fn alter(table: String, body: &AlterTableBody<'_>) -> Op {
    match body {
        AlterTableBody::RenameTo(to) => Op::RenameTable {
            from: table,
            to: text(to),
        },
        AlterTableBody::RenameColumn { old, new } => Op::RenameColumns {
            table,
            pairs: vec![(text(old), text(new))],
            rebuild: false,
        },
        AlterTableBody::AddColumn(column) => Op::AddColumn {
            table,
            column: text(&column.col_name),
            needs_no_rows: needs_no_rows(column),
        },
        AlterTableBody::DropColumn(_) => Op::DropColumn { table },
        _ => Op::Other { writes_rows: false },
    }
}

/// Why SQLite adds such a column to an empty table only.
fn needs_no_rows(column: &ColumnDefinition<'_>) -> Option<&'static str> {
    let (mut not_null, mut default) = (false, None);
    for constraint in column.constraints {
        match &constraint.constraint {
            ColumnConstraint::NotNull { nullable, .. } => not_null = !nullable,
            ColumnConstraint::Default(expr) => default = Some(expr),
            ColumnConstraint::Generated { typ, .. } => {
                return typ
                    .as_ref()
                    .filter(|typ| typ.0.eq_ignore_ascii_case("stored"))
                    .map(|_| "a STORED generated column; make it VIRTUAL, or use REBUILD TABLE");
            }
            _ => {}
        }
    }
    match default {
        Some(expr) if !is_constant(expr) => {
            Some("a column whose default is not a constant; use REBUILD TABLE")
        }
        None | Some(Expr::Literal(Literal::Null)) if not_null => {
            Some("a NOT NULL column without a default; give it one, or use REBUILD TABLE")
        }
        _ => None,
    }
}

fn is_constant(expr: &Expr<'_>) -> bool {
    let expr = match bare(expr) {
        Expr::Unary(UnaryOperator::Negative | UnaryOperator::Positive, expr) => bare(expr),
        expr => expr,
    };
    match expr {
        Expr::Literal(literal) => !matches!(
            literal,
            Literal::CurrentDate | Literal::CurrentTime | Literal::CurrentTimestamp
        ),
        // TRUE, FALSE, and a word taken for a string.
        Expr::Id(_) | Expr::Name(_) => true,
        _ => false,
    }
}

/// The tables that rows come from, sorted. No recursion: there may be many
/// selects in selects.
fn sources(select: &Select<'_>) -> Vec<String> {
    let mut all = Vec::new();
    let (mut selects, mut clauses) = (vec![select], Vec::new());
    loop {
        if let Some(select) = selects.pop() {
            let compounds = select.body.compounds.iter().flatten();
            let each = std::iter::once(&select.body.select).chain(compounds.map(|one| &one.select));
            clauses.extend(each.filter_map(|one| match one {
                OneSelect::Select { from, .. } => from.as_ref(),
                OneSelect::Values(_) => None,
            }));
        } else if let Some(from) = clauses.pop() {
            let joined = from.joins.iter().flatten().map(|join| &join.table);
            for table in from.select.into_iter().chain(joined) {
                match table {
                    SelectTable::Table(name, ..) => all.push(text(&name.name)),
                    SelectTable::Select(select, _) => selects.push(select),
                    SelectTable::Sub(from, _) => clauses.push(from),
                    SelectTable::TableCall(..) => {}
                }
            }
        } else {
            all.sort_unstable();
            return all;
        }
    }
}

mod rebuild;
#[cfg(test)]
mod tests;

use self::rebuild::rebuild;
pub(super) use self::rebuild::rebuild_sets;
