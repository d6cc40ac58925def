//! What one file has done so far, and what shows only against that.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::carried::Carried;
use super::finding::Found;
use super::known::Known;
use super::op::Op;
use super::rules::{NEW_CHECK, NOT_MADE};
use super::texts::body;
use super::world::World;
use crate::schema::{Schema, Trigger};
use crate::sql::{Error, Statement, TokenType, tokens};

/// What one file has done so far.
pub(super) struct Course {
    pub(super) at_start: Rc<Schema>,
    pub(super) carried: Carried,
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

impl Course {
    /// Where copied rows are, and what becomes of them.
    pub(super) fn follow(&mut self, op: &Op) {
        match op {
            Op::RenameTable { from, to } => self.carried.renamed(from, to),
            Op::DropTable(name) => self.carried.emptied(name),
            Op::Delete { table, all: true } => self.carried.emptied(table),
            Op::Update {
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
    course: &mut Course,
    known: &Known,
) -> Vec<Found> {
    let Course {
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
pub(super) fn not_made(op: &Op, statement: &Statement, before: &Schema) -> Option<Found> {
    let Op::CreateTable { name, .. } = op else {
        return None;
    };
    let there = before.table(name)?;
    let made = World::new(None).ok()?;
    made.make(&statement.sql)?;
    let made = made.schema().ok()?;
    let made = made.table(name)?;
    (made.columns != there.columns).then(|| {
        let what = format!("{name} is there already with other columns, and stays as it is");
        Found::new(NOT_MADE, what)
    })
}

/// On which line a text cannot be read, and why not.
pub(super) fn place(error: &Error) -> (usize, String) {
    match error {
        Error::Token { line, what, .. } => (*line, what.clone()),
        Error::UnfinishedTrigger { line } => (*line, "this trigger has no END".into()),
        Error::Expected {
            line,
            wanted,
            place,
        } => (*line, format!("{wanted} is expected {place}")),
    }
}
