//! What one file has done so far, and findings that need to know it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::definition_text::body;
use super::effect::Effect;
use super::finding::{Found, Loses};
use super::manual_rebuild::CopiedRows;
use super::rules::{DEMANDS_MORE, NOT_MADE};
use super::running_code::RunningCode;
use super::scratch_schema::ScratchSchema;
use crate::allowance::LossKind;
use crate::schema::{Schema, Trigger};
use crate::sql::{Statement, TokenType, tokens};

/// What one file has done so far.
pub(super) struct FileState {
    pub(super) at_start: Rc<Schema>,
    pub(super) copied_rows: CopiedRows,
    /// Temporary objects, each with the number of the statement that created it.
    pub(super) temporary: Vec<(String, usize)>,
    pub(super) bodies: Bodies,
}

/// Comparable bodies of triggers by their texts, so that none is computed twice.
#[derive(Default)]
pub(super) struct Bodies(HashMap<String, Rc<str>>);

impl Bodies {
    fn of(&mut self, sql: &str) -> Rc<str> {
        if let Some(known) = self.0.get(sql) {
            return Rc::clone(known);
        }
        let new: Rc<str> = body(sql).into();
        self.0.insert(sql.to_owned(), Rc::clone(&new));
        new
    }
}

impl FileState {
    /// Keeps track of copied rows.
    pub(super) fn follow(&mut self, effect: &Effect) {
        match effect {
            Effect::RenameTable { from, to } => self.copied_rows.renamed(from, to),
            Effect::DropTable(name) => self.copied_rows.emptied(name),
            Effect::Delete { table, all: true } => self.copied_rows.emptied(table),
            Effect::Update {
                table,
                columns,
                all: true,
                ..
            } => self.copied_rows.overwritten(table, columns),
            _ => {}
        }
    }
}

/// New triggers that may refuse rows of the running code (they `RAISE`).
pub(super) fn refusing(
    before: &Schema,
    after: &Schema,
    state: &mut FileState,
    known: &RunningCode,
) -> Vec<Found> {
    let FileState {
        at_start, bodies, ..
    } = state;
    let there = || before.triggers.iter().chain(&at_start.triggers);
    // There may be hundreds of triggers, and few are new: texts are compared first,
    // bodies only where the text differs.
    let texts: HashSet<&str> = there().map(|one| one.sql.as_str()).collect();
    let raises = |one: &&Trigger| {
        let words = tokens(&one.sql).unwrap_or_default();
        words.iter().any(|word| word.kind == TokenType::TK_RAISE)
    };
    let mut new: Vec<&Trigger> = (after.triggers.iter())
        .filter(|one| !texts.contains(one.sql.as_str()))
        .filter(|one| known.table(&one.table).is_some())
        .filter(raises)
        .collect();
    if !new.is_empty() {
        let there: HashSet<_> = there().map(|one| bodies.of(&one.sql)).collect();
        new.retain(|one| !there.contains(&bodies.of(&one.sql)));
    }
    let found = new.into_iter().map(|one| {
        let what = format!(
            "{} gets the trigger {}, which refuses rows",
            one.table, one.name
        );
        Found::new(DEMANDS_MORE, what).loses([Loses::of(LossKind::Constraint, &one.table)])
    });
    found.collect()
}

/// `CREATE TABLE IF NOT EXISTS` of a table that exists with other columns.
pub(super) fn not_made(effect: &Effect, statement: &Statement, before: &Schema) -> Option<Found> {
    let Effect::CreateTable { name, .. } = effect else {
        return None;
    };
    let there = before.table(name)?;
    let made = ScratchSchema::new(None).ok()?;
    made.make(&statement.sql)?;
    let made = made.schema().ok()?;
    let made = made.table(name)?;
    (made.columns != there.columns).then(|| {
        let what = format!("{name} is there already with other columns, and stays as it is");
        Found::new(NOT_MADE, what)
    })
}
