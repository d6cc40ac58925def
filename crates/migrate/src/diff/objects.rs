use super::normal::statement;
use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::schema::Schema;
use crate::sql::{quote_name, same_name};

/// A view, trigger or index.
#[derive(Debug, Clone)]
struct Object {
    kind: &'static str,
    name: String,
    sql: String,
    /// The same, whatever its spelling.
    words: Vec<String>,
    /// The table it is on.
    on: Option<String>,
}

fn objects(schema: &Schema) -> Vec<Object> {
    let triggers = schema.triggers.iter().map(|one| Object {
        kind: "TRIGGER",
        name: one.name.clone(),
        sql: one.sql.clone(),
        words: statement(&one.sql, schema),
        on: Some(one.table.clone()),
    });
    let views = schema.views.iter().map(|one| Object {
        kind: "VIEW",
        name: one.name.clone(),
        sql: one.sql.clone(),
        words: statement(&one.sql, schema),
        on: None,
    });
    let indexes = schema.indexes.iter().filter_map(|one| {
        Some(Object {
            kind: "INDEX",
            name: one.name.clone(),
            sql: one.sql.clone()?,
            words: statement(one.sql.as_deref()?, schema),
            on: Some(one.table.clone()),
        })
    });
    triggers.chain(views).chain(indexes).collect()
}

fn same(one: &Object, other: &Object) -> bool {
    one.kind == other.kind && same_name(&one.name, &other.name) && one.words == other.words
}

/// What hangs on tables and is not wanted any more, or not like that: it goes
/// first, so that it is not in the way. It holds no data.
pub(super) fn drop_changed(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let should = objects(&wanted.schema);
    let kept = |on: &str| {
        let is_table = scratch.schema.table(on).is_some();
        is_table && wanted.schema.table(on).is_none()
    };
    let gone: Vec<Object> = objects(&scratch.schema)
        .into_iter()
        .filter(|is| !should.iter().any(|one| same(one, is)))
        // Of a table that stays although it is not wanted.
        .filter(|is| !is.on.as_deref().is_some_and(kept))
        .collect();
    for object in gone {
        // A view takes its triggers along.
        let there = objects(&scratch.schema)
            .iter()
            .any(|one| same(one, &object));
        if there {
            scratch.run(format!("DROP {} {};", object.kind, plain(&object.name)))?;
        }
    }
    Ok(())
}

/// What is wanted and not there: indexes, then views, then triggers, as they are
/// in the file.
pub(super) fn create_missing(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let should = objects(&wanted.schema);
    for kind in ["INDEX", "VIEW", "TRIGGER"] {
        for object in should.iter().filter(|one| one.kind == kind) {
            if objects(&scratch.schema).iter().any(|one| same(one, object)) {
                continue;
            }
            if kind != "TRIGGER"
                && let Some(what) = scratch.has(&object.name)
            {
                return Err(Error::OtherKind {
                    name: object.name.clone(),
                    what,
                });
            }
            let text = wanted.other(object.kind, &object.name);
            let text = text.map_or_else(|| format!("{};", object.sql), str::to_owned);
            scratch.run(text)?;
        }
    }
    Ok(())
}

/// A name as a person writes it: quoted only if it must be.
pub(super) fn plain(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit());
    let is_id = crate::sql::tokens(name).is_ok_and(
        |all| matches!(all.as_slice(), [one] if one.kind == crate::sql::TokenType::TK_ID),
    );
    if bare && is_id {
        name.to_owned()
    } else {
        quote_name(name)
    }
}
