use std::collections::HashSet;

use super::normal::{Known, statement};
use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::schema::Schema;
use crate::sql::quote_name;

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

/// By what two are the same.
type Identity = (&'static str, String, Vec<String>);

fn objects(schema: &Schema, known: &Known) -> Vec<Object> {
    let triggers = schema.triggers.iter().map(|one| Object {
        kind: "TRIGGER",
        name: one.name.clone(),
        sql: one.sql.clone(),
        words: statement(&one.sql, known),
        on: Some(one.table.clone()),
    });
    let views = schema.views.iter().map(|one| Object {
        kind: "VIEW",
        name: one.name.clone(),
        sql: one.sql.clone(),
        words: statement(&one.sql, known),
        on: None,
    });
    let indexes = schema.indexes.iter().filter_map(|one| {
        Some(Object {
            kind: "INDEX",
            name: one.name.clone(),
            sql: one.sql.clone()?,
            words: statement(one.sql.as_deref()?, known),
            on: Some(one.table.clone()),
        })
    });
    triggers.chain(views).chain(indexes).collect()
}

impl Object {
    fn identity(&self) -> Identity {
        let name = self.name.to_ascii_lowercase();
        (self.kind, name, self.words.clone())
    }
}

fn identities(schema: &Schema, known: &Known) -> HashSet<Identity> {
    let all = objects(schema, known);
    all.iter().map(Object::identity).collect()
}

/// Views and triggers that both have, as [`Compiled`] calls them.
///
/// [`Compiled`]: crate::rebuild::Compiled
pub(super) fn unchanged(one: &Schema, other: &Schema) -> HashSet<String> {
    let known = Known::of([one, other]);
    let there = identities(one, &known);
    objects(other, &known)
        .iter()
        .filter(|object| there.contains(&object.identity()))
        .map(|object| format!("the {} {}", object.kind.to_ascii_lowercase(), object.name))
        .collect()
}

/// What hangs on tables and is not wanted any more, or not like that: it goes
/// first, so that it is not in the way. It holds no data.
pub(super) fn drop_changed(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let known = Known::of([&scratch.schema, &wanted.schema]);
    let should = identities(&wanted.schema, &known);
    let kept = |on: &str| {
        let is_table = scratch.schema.table(on).is_some();
        is_table && wanted.schema.table(on).is_none()
    };
    let gone: Vec<Object> = objects(&scratch.schema, &known)
        .into_iter()
        .filter(|is| !should.contains(&is.identity()))
        // Of a table that stays although it is not wanted.
        .filter(|is| !is.on.as_deref().is_some_and(kept))
        .collect();
    for object in gone {
        // A view takes its triggers along.
        if scratch.has_object(object.kind, &object.name) {
            scratch.run(format!("DROP {} {};", object.kind, plain(&object.name)))?;
        }
    }
    Ok(())
}

/// What is wanted and not there: indexes, then views, then triggers, as they are
/// in the file.
pub(super) fn create_missing(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let known = Known::of([&scratch.schema, &wanted.schema]);
    let should = objects(&wanted.schema, &known);
    // What is created here makes no other the same.
    let there = identities(&scratch.schema, &known);
    for kind in ["INDEX", "VIEW", "TRIGGER"] {
        let missing = should
            .iter()
            .filter(|one| one.kind == kind && !there.contains(&one.identity()));
        for object in missing {
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
