use super::normal::statement;
use super::objects::plain;
use super::scratch::Scratch;
use super::table::Plan;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::schema::TableKind;

/// Tables and columns get their new names first: SQLite carries them into
/// triggers, views, indexes and foreign keys.
pub(super) fn rename(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    for table in &wanted.tables {
        if let Some(was) = &table.annotations.was {
            let missing = scratch.schema.table(&table.name).is_none();
            let there = scratch.schema.table(was).is_some();
            match (missing, there) {
                (true, true) => {
                    let sql = format!(
                        "ALTER TABLE {} RENAME TO {};",
                        plain(was),
                        plain(&table.name)
                    );
                    scratch.run(sql)?;
                }
                (true, false) => {
                    return Err(Error::Annotation {
                        annotation: format!("was: {was}"),
                        missing: format!("table {was}"),
                    });
                }
                // Done already: the comment may stay.
                (false, _) => {}
            }
        }
        let Some(live) = scratch.schema.table(&table.name).cloned() else {
            continue;
        };
        for (column, was) in &table.annotations.columns {
            let is_wanted = wanted
                .schema
                .table(&table.name)
                .is_some_and(|table| table.column(was).is_some());
            let (there, missing) = (live.column(was).is_some(), live.column(column).is_none());
            // One whose name is taken is renamed by the rebuild.
            if there && missing && !is_wanted {
                scratch.run(format!(
                    "ALTER TABLE {} RENAME COLUMN {} TO {};",
                    plain(&table.name),
                    plain(was),
                    plain(column)
                ))?;
            } else if !there && missing {
                return Err(Error::Annotation {
                    annotation: format!("was: {was}"),
                    missing: format!("column {}.{was}", table.name),
                });
            }
        }
    }
    Ok(())
}

/// What each table needs; and whether it may.
pub(super) fn plan(scratch: &mut Scratch, wanted: &Wanted) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    let mut would_drop = Vec::new();
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
            if statement(&live.sql) == statement(&table.sql) {
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
            Ok(plan) => plans.extend(plan),
            Err(columns) => would_drop.extend(columns),
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
