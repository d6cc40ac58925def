//! The effect of a statement on the schema and on rows, from its syntax tree.

use sqlite3_parser::ast::{
    AlterTableBody, Cmd, ColumnConstraint, ColumnDefinition, CreateTableBody, Expr, InsertBody,
    Literal, Name, OneSelect, QualifiedName, ResolveType, Select, SelectTable, Set, Stmt,
    UnaryOperator, Upsert, UpsertDo,
};
use sqlite3_parser::lexer::sql::Parser;
use sqlite3_parser::{Bump, FallibleIterator};

use super::definition_text::names_in;
use super::tautology::{Scope, bare};
use crate::rebuild::Rebuild;
use crate::sql::{Kind, Statement, tokens, unquote_name};

/// The effect of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
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
        /// Columns that an upsert sets to a constant in every row it hits.
        overwrites: Vec<String>,
    },
    Other {
        writes_rows: bool,
    },
}

impl Effect {
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

    /// Whether it writes or reads rows: on a copy without rows that shows nothing.
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

fn of(stmt: &Stmt<'_>) -> Effect {
    let table = |name: &QualifiedName<'_>| text(&name.name);
    match stmt {
        Stmt::DropTable { tbl_name, .. } => Effect::DropTable(table(tbl_name)),
        Stmt::DropView { view_name, .. } => Effect::DropView(table(view_name)),
        Stmt::DropTrigger { trigger_name, .. } => Effect::DropTrigger(table(trigger_name)),
        Stmt::CreateIndex { tbl_name, .. } => Effect::CreateIndex {
            table: text(tbl_name),
        },
        Stmt::CreateTable { tbl_name, body, .. } => Effect::CreateTable {
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
        } => Effect::Delete {
            table: table(tbl_name),
            all: Scope::of(tbl_name).is_all(where_clause.as_ref()) && limit.is_none(),
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
            let asked = Scope::of(tbl_name).with_other_tables(from.is_some());
            Effect::Update {
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
        } => Effect::Insert {
            table: table(tbl_name),
            from: match body {
                InsertBody::Select(select, _) => sources(select),
                InsertBody::DefaultValues => Vec::new(),
            },
            replaces: *or_conflict == Some(ResolveType::Replace),
            overwrites: match body {
                InsertBody::Select(select, Some(upsert)) if has_rows(select) => {
                    overwritten(upsert, &Scope::of(tbl_name))
                }
                _ => Vec::new(),
            },
        },
        Stmt::Select(_) => Effect::Other { writes_rows: true },
        _ => Effect::Other { writes_rows: false },
    }
}

/// `SET x = x`.
fn is_itself(set: &Set<'_>, asked: &Scope) -> bool {
    let mut names = set.col_names.iter();
    match (names.next(), names.next()) {
        (Some(one), None) => asked.is_column(&set.expr, &text(one)),
        _ => false,
    }
}

/// Whether the rows come from tables, not from `VALUES`.
fn has_rows(select: &Select<'_>) -> bool {
    matches!(&select.body.select, OneSelect::Select { from: Some(_), .. })
}

/// The columns that `ON CONFLICT DO UPDATE` sets to a constant in every existing
/// row with the same key.
fn overwritten(upsert: &Upsert<'_>, asked: &Scope) -> Vec<String> {
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

fn alter(table: String, body: &AlterTableBody<'_>) -> Effect {
    match body {
        AlterTableBody::RenameTo(to) => Effect::RenameTable {
            from: table,
            to: text(to),
        },
        AlterTableBody::RenameColumn { old, new } => Effect::RenameColumns {
            table,
            pairs: vec![(text(old), text(new))],
            rebuild: false,
        },
        AlterTableBody::AddColumn(column) => Effect::AddColumn {
            table,
            column: text(&column.col_name),
            needs_no_rows: needs_no_rows(column),
        },
        AlterTableBody::DropColumn(_) => Effect::DropColumn { table },
        _ => Effect::Other { writes_rows: false },
    }
}

/// Why SQLite adds such a column only to an empty table.
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
        // TRUE, FALSE, and a bare word, which is a string here.
        Expr::Id(_) | Expr::Name(_) => true,
        _ => false,
    }
}

/// The tables that a `SELECT` reads, sorted. Without recursion, as subqueries may
/// be nested deeply.
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

/// The effect of `REBUILD TABLE`. One that does not parse is refused by `Refusals`.
fn rebuild(sql: &str) -> Effect {
    match Rebuild::parse(sql) {
        Ok(rebuild) => Effect::RenameColumns {
            table: rebuild.name().to_owned(),
            pairs: rebuild.renames().to_vec(),
            rebuild: true,
        },
        Err(_) => Effect::Other { writes_rows: false },
    }
}

/// The columns that a rebuild sets, with the names in their expressions.
pub(super) fn rebuild_sets(sql: &str) -> Vec<(String, Vec<String>)> {
    let Ok(rebuild) = Rebuild::parse(sql) else {
        return Vec::new();
    };
    let names = |expression: &str| names_in(expression, &tokens(expression).unwrap_or_default());
    let sets = rebuild.sets().iter();
    sets.map(|(column, to)| (column.clone(), names(to)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(sql: &str) -> Effect {
        Effect::of(&crate::sql::split(sql).unwrap()[0])
    }

    #[test]
    fn what_statements_do() {
        let name = |name: &str| name.to_owned();
        assert_eq!(
            effect("DROP TABLE IF EXISTS main.\"a \"\"b\""),
            Effect::DropTable(name("a \"b"))
        );
        assert_eq!(
            effect("ALTER TABLE [x y] RENAME COLUMN `a` TO 'b'"),
            Effect::RenameColumns {
                table: name("x y"),
                pairs: vec![(name("a"), name("b"))],
                rebuild: false
            }
        );
        assert_eq!(
            effect(
                "REBUILD TABLE \"t\" (rename TEXT, b, c, e) STRICT RENAME COLUMN a TO \"b\" SET c = (SELECT rename FROM x) RENAME COLUMN d TO e DROP COLUMN f;"
            ),
            Effect::RenameColumns {
                table: name("t"),
                pairs: vec![(name("a"), name("b")), (name("d"), name("e"))],
                rebuild: true,
            }
        );
        assert_eq!(
            effect(
                "INSERT OR REPLACE INTO a SELECT * FROM b JOIN (SELECT * FROM c UNION SELECT * FROM d), e"
            ),
            Effect::Insert {
                table: name("a"),
                from: ["b", "c", "d", "e"].map(name).to_vec(),
                replaces: true,
                overwrites: Vec::new(),
            }
        );
        assert!(matches!(
            effect("REPLACE INTO a VALUES (1)"),
            Effect::Insert { replaces: true, .. }
        ));
    }

    #[test]
    fn a_condition_that_always_holds_is_none() {
        for sql in [
            "DELETE FROM t",
            "DELETE FROM t WHERE 1",
            "DELETE FROM t WHERE 1 = 1",
            "DELETE FROM t WHERE (true)",
            "DELETE FROM t WHERE a = a",
            "DELETE FROM t WHERE NOT 0",
            "DELETE FROM t WHERE NOT (1 <> 1)",
            "DELETE FROM t WHERE 1 = 1 OR id = 3",
            "DELETE FROM t WHERE (t.a = a) AND 2",
            "DELETE FROM t WHERE EXISTS (SELECT 1)",
            "DELETE FROM t WHERE id IN (SELECT id FROM t)",
            "DELETE FROM t AS u WHERE NOT id NOT IN (SELECT x.id FROM t AS x WHERE 1)",
        ] {
            assert!(
                matches!(effect(sql), Effect::Delete { all: true, .. }),
                "{sql}"
            );
        }
        for sql in [
            "DELETE FROM t WHERE 0",
            "DELETE FROM t WHERE a",
            "DELETE FROM t WHERE a = b",
            "DELETE FROM t AS u WHERE t.a = u.a",
            "DELETE FROM t WHERE 1 AND id = 3",
            "DELETE FROM t WHERE NOT 1 OR id = 3",
            "DELETE FROM t WHERE EXISTS (SELECT 1 FROM x)",
            "DELETE FROM t WHERE EXISTS (SELECT 1 WHERE 0)",
            "DELETE FROM t WHERE id NOT IN (SELECT id FROM t)",
            "DELETE FROM t WHERE id IN (SELECT id FROM u)",
            "DELETE FROM t WHERE id IN (SELECT other FROM t)",
            "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE old)",
            "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT 5)",
        ] {
            assert!(
                matches!(effect(sql), Effect::Delete { all: false, .. }),
                "{sql}"
            );
        }
    }

    #[test]
    fn columns_that_only_an_empty_table_takes() {
        for (column, is_refused) in [
            ("x", false),
            ("x NOT NULL", true),
            ("x NOT NULL DEFAULT NULL", true),
            ("x NOT NULL DEFAULT 0", false),
            ("x NOT NULL DEFAULT -1", false),
            ("x DEFAULT CURRENT_TIMESTAMP", true),
            ("x DEFAULT (datetime())", true),
            ("x DEFAULT (1)", false),
            ("x DEFAULT true", false),
            ("x AS (y) STORED", true),
            ("x AS (y)", false),
            ("x NULL", false),
        ] {
            let Effect::AddColumn { needs_no_rows, .. } =
                effect(&format!("ALTER TABLE t ADD {column}"))
            else {
                unreachable!("{column}");
            };
            assert_eq!(needs_no_rows.is_some(), is_refused, "{column}");
            // SQLite itself says the same.
            let db = rusqlite::Connection::open_in_memory().unwrap();
            db.execute_batch("CREATE TABLE t (y); INSERT INTO t VALUES (1)")
                .unwrap();
            let refused = db
                .execute_batch(&format!("ALTER TABLE t ADD {column}"))
                .is_err();
            assert_eq!(refused, is_refused, "{column}");
        }
    }

    #[test]
    fn a_column_set_to_itself_is_not_changed() {
        let Effect::Update { columns, all, .. } =
            effect("UPDATE t AS u SET a = a, b = (u.b), c = \"C\", d = e, f = x.f FROM x WHERE 1")
        else {
            unreachable!("an UPDATE");
        };
        assert_eq!(
            (columns, all),
            (["d", "f"].map(str::to_owned).to_vec(), true)
        );
    }

    #[test]
    fn what_a_rebuild_sets() {
        let sets = rebuild_sets(
            "REBUILD TABLE t (a TEXT, b, \"SET\" DEFAULT (1)) SET a = NULL, b = coalesce(b, (SELECT c)) DROP COLUMN x",
        );
        let set = |(column, names): &(String, Vec<String>)| {
            (column.clone(), names.iter().any(|name| name == column))
        };
        let sets: Vec<_> = sets.iter().map(set).collect();
        assert_eq!(sets, [("a".to_owned(), false), ("b".to_owned(), true)]);
    }

    #[test]
    fn the_deepest_nesting_that_is_split_is_read_in_a_small_stack() {
        let (open, close) = ("(".repeat(2_500), ")".repeat(2_500));
        let texts = [
            format!("DELETE FROM t WHERE {open}1{close}"),
            format!("CREATE VIEW v AS SELECT {open}1{close}"),
            format!("INSERT INTO t SELECT * FROM {open}t{close}"),
            format!("UPDATE t SET a = {}1{close}", "abs(".repeat(2_500)),
        ];
        let read = move || {
            for text in &texts {
                effect(text);
                let statement = &crate::sql::split(text).unwrap()[0];
                crate::lint::manual_rebuild::RowCopy::of(statement);
            }
        };
        let small = std::thread::Builder::new().stack_size(512 << 10);
        small.spawn(read).unwrap().join().unwrap();
    }
}
