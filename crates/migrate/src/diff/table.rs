use super::normal::NormalTable;
use super::objects::plain;
use super::wanted::{Wanted, WantedTable};
use super::{Error, Result};
use crate::rebuild::needs_value;
use crate::schema::{Column, Generated, Table};
use crate::sql::{
    ColumnText, ConstraintKind as Kind, TableText, TokenType as T, same_name, tokens,
};

/// What one table needs.
pub(super) enum Plan {
    Create(String),
    Drop(String),
    /// For a virtual table.
    Replace {
        drop: String,
        create: String,
    },
    /// We do it.
    Rebuild(String),
    /// SQLite does it, if it can.
    Alter {
        alters: Vec<String>,
        rebuild: String,
    },
}

/// What there is to do for one table.
pub(super) enum Change {
    Nothing,
    Of(Plan),
    /// These columns would go and may not.
    WouldDrop(Vec<String>),
}

impl Plan {
    /// When it runs.
    pub(super) fn turn(&self) -> u8 {
        match self {
            Self::Create(_) | Self::Replace { .. } => 0,
            Self::Rebuild(_) | Self::Alter { .. } => 1,
            Self::Drop(_) => 2,
        }
    }

    /// The statement that makes a table, as the file has it.
    pub(super) fn text(wanted: &Wanted, table: &Table) -> String {
        let own = wanted.table(&table.name).map(|one| one.text.as_str());
        let text = own.or_else(|| wanted.other("table", &table.name));
        text.map_or_else(|| format!("{};", table.sql), str::to_owned)
    }

    /// Renames have been done.
    pub(super) fn change(wanted: &Wanted, live: &Table, should: &Table) -> Result<Change> {
        let (is, to) = (NormalTable::of(&live.sql)?, NormalTable::of(&should.sql)?);
        let Some(file) = wanted.table(&should.name) else {
            return Ok(Change::Nothing);
        };
        if is == to || wanted.any_order && is.same_set(&to) {
            return Ok(Change::Nothing);
        }
        // The values of one that becomes generated go too.
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
            .map(|column| format!("{}.{column}", should.name))
            .filter(|column| !wanted.allows(column))
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

/// `DROP COLUMN` and `ADD COLUMN`, if these are all that is needed.
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
    let table = plain(&should.name);
    let mut alters: Vec<String> = gone
        .iter()
        .map(|column| format!("ALTER TABLE {table} DROP COLUMN {};", plain(column)))
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

/// Whether `ADD COLUMN` takes it in a table that has rows.
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
            clauses.push(format!("SET {} = {expression}", plain(&column.name)));
        } else if is_new && needs_value(column, should, live) {
            return Err(Error::NoValue {
                table: should.name.clone(),
                column: column.name.clone(),
            });
        }
    }
    for column in gone {
        clauses.push(format!("DROP COLUMN {}", plain(column)));
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
