//! Views, triggers and indexes: dropped if they are not wanted, created if they are missing.

use super::normal::{Known, Object, identities, objects};
use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::sql::plain_name;

/// Drops objects that are not wanted, or not as they are. This comes first, so that they do
/// not hinder changes of tables; they hold no data.
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
        // Not those of an unwanted table that is kept.
        .filter(|is| !is.on.as_deref().is_some_and(kept))
        .collect();
    for object in gone {
        // DROP VIEW drops its triggers too.
        if scratch.has_object(object.kind, &object.name) {
            scratch.run(format!(
                "DROP {} {};",
                object.kind,
                plain_name(&object.name)
            ))?;
        }
    }
    Ok(())
}

/// Creates missing objects: indexes, then views, then triggers, with the text of the file.
pub(super) fn create_missing(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let known = Known::of([&scratch.schema, &wanted.schema]);
    let should = objects(&wanted.schema, &known);
    // Read once: a created object is not the same as another missing one.
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
