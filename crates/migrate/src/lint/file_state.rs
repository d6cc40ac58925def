//! What one file has done so far, and what shows only against that.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::definition_text::body;
use super::effect::Effect;
use super::finding::Found;
use super::manual_rebuild::CopiedRows;
use super::rules::{NEW_CHECK, NOT_MADE};
use super::running_code::RunningCode;
use super::scratch_schema::ScratchSchema;
use crate::schema::{Schema, Trigger};
use crate::sql::{Statement, TokenType, tokens};

/// What one file has done so far.
pub(super) struct FileState {
    pub(super) at_start: Rc<Schema>,
    pub(super) carried: CopiedRows,
    /// What is temporary, and of which statement.
    pub(super) temporary: Vec<(String, usize)>,
    pub(super) bodies: Bodies,
}

/// Of triggers, by their texts, so that none is read twice.
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
    /// Where copied rows are, and what becomes of them.
    pub(super) fn follow(&mut self, op: &Effect) {
        match op {
            Effect::RenameTable { from, to } => self.carried.renamed(from, to),
            Effect::DropTable(name) => self.carried.emptied(name),
            Effect::Delete { table, all: true } => self.carried.emptied(table),
            Effect::Update {
                table,
                columns,
                all: true,
                ..
            } => self.carried.overwritten(table, columns),
            _ => {}
        }
    }
}

/// New triggers that refuse rows of code that does not know them.
pub(super) fn refusing(
    before: &Schema,
    after: &Schema,
    course: &mut FileState,
    known: &RunningCode,
) -> Vec<Found> {
    let FileState {
        at_start, bodies, ..
    } = course;
    let there = || before.triggers.iter().chain(&at_start.triggers);
    // There may be hundreds, and hardly ever is one new: what is read is not
    // compared before it has to be.
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
        Found::new(NEW_CHECK, what)
    });
    found.collect()
}

/// `IF NOT EXISTS`, of a table that is there and is another one.
pub(super) fn not_made(op: &Effect, statement: &Statement, before: &Schema) -> Option<Found> {
    let Effect::CreateTable { name, .. } = op else {
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
