//! What each table needs: created, dropped, altered or rebuilt.

use super::normal::{Known, NormalTable, statement};
use super::scratch::Scratch;
use super::wanted::{AppVirtual, Wanted, WantedTable};
use super::{Error, Result};
use crate::rebuild::needs_value;
use crate::schema::{Column, Generated, Table, TableKind};
use crate::sql::{
    ColumnText, ConstraintKind as Kind, TableText, TokenType as T, plain_name, same_name, tokens,
};

/// What each table needs, or an error if that is not allowed.
pub(super) fn plan(scratch: &mut Scratch, wanted: &Wanted) -> Result<Vec<TablePlan>> {
    let mut plans = Vec::new();
    let mut would_drop = Vec::new();
    let known = Known::of([&scratch.schema, &wanted.schema]);
    for table in &wanted.schema.tables {
        if table.kind == TableKind::Shadow {
            continue;
        }
        let Some(live) = scratch.schema.table(&table.name) else {
            if let Some(what) = scratch.has(&table.name).filter(|what| *what != "a view") {
                return Err(Error::OtherKind {
                    name: table.name.clone(),
                    what,
                });
            }
            plans.push(TablePlan::Create(TablePlan::text(wanted, table)));
            continue;
        };
        if live.kind != table.kind {
            return Err(Error::OtherKind {
                name: table.name.clone(),
                what: "a table of another kind",
            });
        }
        if table.kind == TableKind::Virtual {
            if statement(&live.sql, &known) == statement(&table.sql, &known) {
                continue;
            }
            if !wanted.allows_table(&table.name) {
                return Err(Error::Virtual {
                    table: table.name.clone(),
                });
            }
            plans.push(TablePlan::Replace {
                drop: format!("DROP TABLE {};", plain_name(&table.name)),
                create: TablePlan::text(wanted, table),
            });
            continue;
        }
        match TablePlan::change(wanted, live, table)? {
            Change::Nothing => {}
            Change::Of(plan) => plans.push(plan),
            Change::WouldDrop(columns) => would_drop.extend(columns),
        }
    }
    if !would_drop.is_empty() {
        return Err(Error::WouldDrop {
            columns: would_drop,
        });
    }
    let gone: Vec<String> = scratch
        .own_tables()
        .filter(|table| wanted.schema.table(&table.name).is_none())
        .map(|table| table.name.clone())
        .collect();
    for name in gone {
        if wanted.allows_table(&name) {
            plans.push(TablePlan::Drop(format!(
                "DROP TABLE {};",
                plain_name(&name)
            )));
        } else {
            scratch.notes.push(format!(
                "{name} is not in the wanted schema and is kept; --allow-loss table:{name}, or \
                 `-- monolite: allow table:{name}: the reason` in it, drops it with its rows; if it \
                 has another name now, write `-- was: {name}` before its CREATE TABLE"
            ));
        }
    }
    Ok(plans)
}

/// Runs the plans: new tables first, dropped ones last. Between them one change may need
/// another before it: a foreign key needs the key it refers to, and a key can go only after
/// the foreign keys to it. What fails is tried again after the others.
pub(super) fn change(scratch: &mut Scratch, mut plans: Vec<TablePlan>) -> Result<()> {
    plans.sort_by_key(TablePlan::order);
    while !plans.is_empty() {
        let (count, mut first, mut failed) = (plans.len(), None, Vec::new());
        for plan in plans {
            if let Err(error) = run(scratch, &plan) {
                failed.push(plan);
                first.get_or_insert(error);
            }
        }
        match first {
            Some(error) if failed.len() == count => return Err(error),
            _ => plans = failed,
        }
    }
    Ok(())
}

fn run(scratch: &mut Scratch, plan: &TablePlan) -> Result<()> {
    match plan {
        TablePlan::Create(sql) | TablePlan::Drop(sql) => scratch.run(sql.clone()),
        TablePlan::Rebuild(sql) => scratch.rebuild(sql.clone()),
        TablePlan::Replace { drop, create } => {
            scratch.run(drop.clone())?;
            scratch.run(create.clone())
        }
        TablePlan::Alter { alters, .. } if scratch.accepts(&alters.concat()) => {
            alters.iter().try_for_each(|sql| scratch.run(sql.clone()))
        }
        TablePlan::Alter { rebuild, .. } => scratch.rebuild(rebuild.clone()),
    }
}

/// Virtual tables whose module only the app has must be the same in both schemas.
pub(super) fn compare_app_virtual(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    for should in &wanted.app_virtual {
        match AppVirtual::find(&scratch.app_virtual, &should.name) {
            Some(is) if is.words() == should.words() => {}
            Some(_) => {
                return Err(Error::Virtual {
                    table: should.name.clone(),
                });
            }
            None => {
                return Err(Error::Module {
                    line: should.line,
                    table: should.name.clone(),
                    message: should.message.clone(),
                });
            }
        }
    }
    for is in &scratch.app_virtual {
        if AppVirtual::find(&wanted.app_virtual, &is.name).is_none() {
            scratch.notes.push(format!(
                "{} is not in the wanted schema and is kept; only the app has its module, and can drop it",
                is.name
            ));
        }
    }
    Ok(())
}

/// What one table needs.
pub(super) enum TablePlan {
    Create(String),
    Drop(String),
    /// For a virtual table.
    Replace {
        drop: String,
        create: String,
    },
    /// `REBUILD TABLE`.
    Rebuild(String),
    /// `ALTER TABLE` if SQLite accepts it, otherwise the rebuild.
    Alter {
        alters: Vec<String>,
        rebuild: String,
    },
}

/// What is to be done for one table.
enum Change {
    Nothing,
    Of(TablePlan),
    /// These columns would be dropped, which is not allowed.
    WouldDrop(Vec<String>),
}

impl TablePlan {
    /// Plans run in ascending order.
    fn order(&self) -> u8 {
        match self {
            Self::Create(_) | Self::Replace { .. } => 0,
            Self::Rebuild(_) | Self::Alter { .. } => 1,
            Self::Drop(_) => 2,
        }
    }

    /// The statement that creates a table, as written in the file.
    fn text(wanted: &Wanted, table: &Table) -> String {
        let own = wanted.table(&table.name).map(|one| one.text.as_str());
        let text = own.or_else(|| wanted.other("table", &table.name));
        text.map_or_else(|| format!("{};", table.sql), str::to_owned)
    }

    /// The change from `live` to `should`, after the renames.
    fn change(wanted: &Wanted, live: &Table, should: &Table) -> Result<Change> {
        let (is, to) = (NormalTable::of(&live.sql)?, NormalTable::of(&should.sql)?);
        let Some(file) = wanted.table(&should.name) else {
            return Ok(Change::Nothing);
        };
        if is == to || wanted.any_order && is.same_set(&to) {
            return Ok(Change::Nothing);
        }
        // A column that becomes generated loses its values too.
        let loses = |column: &Column| match should.column(&column.name) {
            None => true,
            Some(to) => to.generated != Generated::No && column.generated == Generated::No,
        };
        let gone: Vec<&str> = live
            .columns
            .iter()
            .filter(|column| loses(column))
            .map(|column| column.name.as_str())
            .collect();
        let refused: Vec<String> = gone
            .iter()
            .filter(|column| !wanted.allows_column(&should.name, column))
            .map(|column| format!("{}.{column}", should.name))
            .collect();
        if !refused.is_empty() {
            return Ok(Change::WouldDrop(refused));
        }
        let rebuild = rebuild(file, live, should, &gone)?;
        Ok(Change::Of(match alters(wanted, &is, &to, should, &gone)? {
            Some(alters) if !alters.is_empty() => Self::Alter { alters, rebuild },
            _ => Self::Rebuild(rebuild),
        }))
    }
}

/// `DROP COLUMN` and `ADD COLUMN`, if nothing else is needed.
fn alters(
    wanted: &Wanted,
    is: &NormalTable,
    to: &NormalTable,
    should: &Table,
    gone: &[&str],
) -> Result<Option<Vec<String>>> {
    if is.constraints != to.constraints || is.options != to.options {
        return Ok(None);
    }
    let stay: Vec<_> = is
        .columns
        .iter()
        .filter(|column| !gone.iter().any(|name| same_name(name, &column.name)))
        .collect();
    let known: Vec<_> = to
        .columns
        .iter()
        .filter(|one| is.column(&one.name).is_some())
        .collect();
    let unchanged = stay.len() == known.len() && stay.iter().all(|one| known.contains(one));
    let at_end = to.columns.iter().take(stay.len()).eq(stay.iter().copied());
    if !unchanged || !(at_end || wanted.any_order) {
        return Ok(None);
    }
    let table = plain_name(&should.name);
    let mut alters: Vec<String> = gone
        .iter()
        .map(|column| format!("ALTER TABLE {table} DROP COLUMN {};", plain_name(column)))
        .collect();
    let text = TableText::parse(&should.sql)?;
    for column in to
        .columns
        .iter()
        .filter(|one| is.column(&one.name).is_none())
    {
        let Some(definition) = text.column(&column.name).filter(can_be_added) else {
            return Ok(None);
        };
        let filled = wanted.table(&should.name).is_some_and(|file| {
            let mut sets = file.annotations.sets.iter();
            sets.any(|(set, _)| same_name(set, &column.name))
        });
        if filled {
            return Ok(None);
        }
        let definition = super::annotation::without(definition.text());
        alters.push(format!("ALTER TABLE {table} ADD COLUMN {definition};"));
    }
    Ok(Some(alters))
}

/// Whether `ADD COLUMN` accepts the column in a table with rows.
fn can_be_added(column: &ColumnText) -> bool {
    let default = column
        .constraints()
        .iter()
        .find(|one| one.kind == Kind::Default);
    let words = default.map(|default| {
        let text = column.text_of(default);
        let kinds = tokens(text).unwrap_or_default();
        let value = kinds
            .iter()
            .skip_while(|token| token.kind != T::TK_DEFAULT)
            .nth(1)
            .copied();
        value.map(|value| (value.kind, value.is_word(text, "NULL")))
    });
    let value = words.flatten();
    let constant = !matches!(value, Some((T::TK_LP | T::TK_CTIME_KW, _)));
    let is_null = value.is_none_or(|(_, is_null)| is_null);
    let stored = column.constraints().iter().any(|one| {
        one.kind == Kind::Generated && column.text_of(one).to_ascii_uppercase().ends_with("STORED")
    });
    let fills = !column.has(Kind::NotNull) || !is_null || column.has(Kind::Generated);
    let refers_to_nothing = !column.has(Kind::References) || is_null;
    let plain = !column.has(Kind::PrimaryKey) && !column.has(Kind::Unique);
    plain && constant && !stored && fills && refers_to_nothing
}

fn rebuild(file: &WantedTable, live: &Table, should: &Table, gone: &[&str]) -> Result<String> {
    let text = file.text.trim_end().trim_end_matches(';').trim_end();
    let all = tokens(text)?;
    // From the name on, without a schema and IF NOT EXISTS.
    let open = all
        .iter()
        .position(|token| token.kind == T::TK_LP)
        .unwrap_or(0);
    let name = open.checked_sub(1).and_then(|at| all.get(at));
    let from = name.map_or(0, |token| token.start);
    let mut clauses = Vec::new();
    for column in &should.columns {
        let set = file
            .annotations
            .sets
            .iter()
            .find(|(set, _)| same_name(set, &column.name));
        let is_new = live.column(&column.name).is_none();
        if let (true, Some((_, expression))) = (is_new, set) {
            clauses.push(format!("SET {} = {expression}", plain_name(&column.name)));
        } else if is_new && needs_value(column, should, live) {
            return Err(Error::NoValue {
                table: should.name.clone(),
                column: column.name.clone(),
            });
        }
    }
    for column in gone {
        clauses.push(format!("DROP COLUMN {}", plain_name(column)));
    }
    let clauses: String = clauses
        .iter()
        .map(|clause| format!("\n  {clause}"))
        .collect();
    Ok(format!(
        "REBUILD TABLE {}{clauses};",
        text.get(from..).unwrap_or_default()
    ))
}
