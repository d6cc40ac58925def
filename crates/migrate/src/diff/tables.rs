use super::normal::{Known, statement};
use super::objects::plain;
use super::scratch::Scratch;
use super::table::{Change, Plan};
use super::wanted::Wanted;
use super::{Error, Result};
use crate::schema::TableKind;

/// What each table needs; and whether it may.
pub(super) fn plan(scratch: &mut Scratch, wanted: &Wanted) -> Result<Vec<Plan>> {
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
            plans.push(Plan::Create(Plan::text(wanted, table)));
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
            if !wanted.allows(&table.name) {
                return Err(Error::Virtual {
                    table: table.name.clone(),
                });
            }
            plans.push(Plan::Replace {
                drop: format!("DROP TABLE {};", plain(&table.name)),
                create: Plan::text(wanted, table),
            });
            continue;
        }
        match Plan::change(wanted, live, table)? {
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
        if wanted.allows(&name) {
            plans.push(Plan::Drop(format!("DROP TABLE {};", plain(&name))));
        } else {
            scratch.notes.push(format!(
                "{name} is not in the wanted schema and stays; --allow-drop {name}, or `-- monolite: \
                 drop {name}` in it, drops it with its rows"
            ));
        }
    }
    Ok(plans)
}

/// New tables first, dropped ones last. Between them one change may have to wait
/// for another: a foreign key for the key it names, a key to go for the foreign
/// keys that name it.
pub(super) fn change(scratch: &mut Scratch, mut plans: Vec<Plan>) -> Result<()> {
    plans.sort_by_key(Plan::turn);
    while !plans.is_empty() {
        let (count, mut first, mut waiting) = (plans.len(), None, Vec::new());
        for plan in plans {
            if let Err(error) = run(scratch, &plan) {
                waiting.push(plan);
                first.get_or_insert(error);
            }
        }
        match first {
            Some(error) if waiting.len() == count => return Err(error),
            _ => plans = waiting,
        }
    }
    Ok(())
}

fn run(scratch: &mut Scratch, plan: &Plan) -> Result<()> {
    match plan {
        Plan::Create(sql) | Plan::Drop(sql) => scratch.run(sql.clone()),
        Plan::Rebuild(sql) => scratch.rebuild(sql.clone()),
        Plan::Replace { drop, create } => {
            scratch.run(drop.clone())?;
            scratch.run(create.clone())
        }
        Plan::Alter { alters, .. } if scratch.takes(&alters.concat()) => {
            alters.iter().try_for_each(|sql| scratch.run(sql.clone()))
        }
        Plan::Alter { rebuild, .. } => scratch.rebuild(rebuild.clone()),
    }
}
