//! Goes through files, statement by statement.

use std::rc::Rc;

use rusqlite::Connection;

use super::allow::Allowed;
use super::children::Children;
use super::definition_text::body;
use super::drops::{Dropped, FileEnd, Removed};
use super::effect::Effect;
use super::file_state::{Bodies, FileState, not_made, refusing};
use super::finding::{Finding, Found};
use super::manual_rebuild::CopiedRows;
use super::manual_rebuild::RowCopy;
use super::rules::{DROP_UNIQUE, FAILS, NEW_UNIQUE, NOT_A_MIGRATION, Rule};
use super::running_code::RunningCode;
use super::scratch_schema::ScratchSchema;
use super::slow_ops::TableSizes;
use super::table_change::{TableChange, TableIn};
use super::{row_changes, slow_ops};
use crate::files::{File, Refusals, first_words};
use crate::schema::{Schema, Trigger};
use crate::sql::{Error, Statement, same_name, split};

/// Judges files one after another, each by the schema as it is then.
///
/// With a database, what is destructive, slow or not additive is judged by what
/// is in it: a table that one of the files makes has no rows yet, and no code
/// knows it. Without one, all that the files before have made counts as there.
pub struct Linter<'c> {
    world: ScratchSchema,
    sizes: TableSizes<'c>,
    known: RunningCode,
    refusals: Refusals,
    /// As it is now.
    schema: Rc<Schema>,
    has_live: bool,
}

/// One statement that is judged.
struct Judged<'s> {
    statement: &'s Statement,
    allowed: Allowed,
    found: Vec<Found>,
    end: Option<Removed>,
}

impl<'c> Linter<'c> {
    /// Begins with the schema of `live`, which is read only, or with none.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub fn new(live: Option<&'c Connection>) -> rusqlite::Result<Self> {
        Self::by(live, true)
    }

    /// The same without reading any table through, which takes minutes where
    /// there are many rows: what takes long is not found, and how many rows a
    /// finding is about is not told.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub fn uncounted(live: &'c Connection) -> rusqlite::Result<Self> {
        Self::by(Some(live), false)
    }

    fn by(live: Option<&'c Connection>, counts: bool) -> rusqlite::Result<Self> {
        let world = ScratchSchema::new(live)?;
        // By the copy: a table whose module only the app has cannot be read.
        let schema = Rc::new(world.schema()?);
        let known = RunningCode::of(&schema);
        Ok(Self {
            world,
            sizes: TableSizes::new(live, counts),
            known,
            refusals: Refusals::new()?,
            schema,
            has_live: live.is_some(),
        })
    }

    /// What is to be said of a file, by line; then it counts as applied.
    ///
    /// # Errors
    /// The schema in memory cannot be read.
    pub fn file(&mut self, name: &str, text: &str) -> rusqlite::Result<Vec<Finding>> {
        let statements = match split(text) {
            Ok(statements) => statements,
            Err(error) => {
                let (line, what) = line_and_reason(&error);
                let found = Found::new(NOT_A_MIGRATION, what);
                return Ok(vec![finding(name, line, String::new(), found, None)]);
            }
        };
        if statements.is_empty() {
            let found = Found::new(NOT_A_MIGRATION, "it holds no statement");
            return Ok(vec![finding(name, 1, String::new(), found, None)]);
        }
        if !self.has_live {
            self.known = RunningCode::of(&self.schema);
        }
        let mut course = FileState {
            at_start: Rc::clone(&self.schema),
            carried: CopiedRows::default(),
            temporary: Vec::new(),
            bodies: Bodies::default(),
        };
        let mut all = Vec::new();
        for (at, statement) in statements.iter().enumerate() {
            all.push(self.statement(statement, at, &mut course)?);
        }
        for (what, at) in &course.temporary {
            if let Some(judged) = all.get_mut(*at) {
                let what =
                    format!("leaves the temporary {what} behind; drop it at the end of the file");
                judged.found.push(Found::new(NOT_A_MIGRATION, what));
            }
        }
        let end = FileEnd {
            schema: &self.schema,
            world: &self.world,
            carried: &course.carried,
        };
        for judged in &mut all {
            if let Some(ended) = judged.end.take() {
                let found = ended.found(&end, &mut self.known, &self.sizes);
                judged.found.extend(found);
            }
        }
        undone(&mut all);
        self.world.forget_temporary();
        let mut findings: Vec<Finding> = all
            .into_iter()
            .flat_map(|judged| judged.findings(name))
            .collect();
        findings.sort_by_key(|finding| finding.line);
        Ok(findings)
    }

    /// Applies a file that is not judged.
    ///
    /// # Errors
    /// As [`Linter::file`].
    pub fn apply(&mut self, file: &File) -> rusqlite::Result<()> {
        self.file(file.name(), file.text()).map(drop)
    }

    fn statement<'s>(
        &mut self,
        statement: &'s Statement,
        at: usize,
        course: &mut FileState,
    ) -> rusqlite::Result<Judged<'s>> {
        let op = Effect::of(statement);
        let before = Rc::clone(&self.schema);
        let mut judged = Judged {
            statement,
            allowed: Allowed::by(&statement.comments),
            found: Vec::new(),
            end: None,
        };
        if let Some(why) = self.refusals.why(statement) {
            judged.found.push(Found::new(NOT_A_MIGRATION, why));
            return Ok(judged);
        }
        judged.found.extend(row_changes::found(
            &op,
            &statement.sql,
            &before,
            &self.known,
            &self.sizes,
        ));
        judged
            .found
            .extend(slow_ops::found(&op, &before, &self.known, &self.sizes));
        judged.end = self.end(&op, &before, course);
        let copy = match &op {
            Effect::Insert { from, .. } | Effect::CreateTable { from, .. } if !from.is_empty() => {
                course.carried.copied(from);
                RowCopy::of(statement).map(|copy| (self.world.readable(&copy.from), copy))
            }
            _ => None,
        };
        if let Some(why) = self.world.apply(statement, &op) {
            judged.found = vec![Found::new(FAILS, why)];
            judged.end = None;
            return Ok(judged);
        }
        if let Some((source, copy)) = copy {
            course
                .carried
                .copy(&copy, &source, &self.world, &self.known);
        }
        course.follow(&op);
        // Compiled only, for there are no rows.
        if op.is_about_rows() {
            return Ok(judged);
        }
        self.schema = Rc::new(self.world.schema()?);
        let after = Rc::clone(&self.schema);
        if !judged.found.iter().any(|found| found.rule == FAILS) {
            let differences = self.differences(&op, &before, &after);
            judged.found.extend(differences);
            let refusing = refusing(&before, &after, course, &self.known);
            judged.found.extend(refusing);
            judged.found.extend(not_made(&op, statement, &before));
        }
        self.follow(&op, &before, &after);
        let temporary = self.world.temporary()?;
        course
            .temporary
            .retain(|(what, _)| temporary.contains(what));
        for what in temporary {
            if !course.temporary.iter().any(|(known, _)| *known == what) {
                course.temporary.push((what, at));
            }
        }
        Ok(judged)
    }

    fn end(&self, op: &Effect, before: &Schema, course: &FileState) -> Option<Removed> {
        let (carried, at_start) = (&course.carried, &course.at_start);
        Some(match op {
            Effect::DropTable(name) => Removed::Table(Box::new(Dropped {
                table: before.table(name)?.clone(),
                known: self.known.table(name)?.clone(),
                children: Children::of(name, before, &self.known, &self.sizes),
                copied: carried.is_partly(name),
                schema: before.clone(),
            })),
            Effect::RenameTable { from, to } => Removed::Renamed {
                from: from.clone(),
                to: to.clone(),
                known: self.known.table(from)?.clone(),
            },
            Effect::DropView(name) => Removed::View {
                // One that is new is nobody's loss.
                name: self.known.view(name)?.to_owned(),
                columns: self.world.columns(name),
                body: body(&before.view(name)?.sql),
            },
            Effect::DropTrigger(name) => {
                let is = |one: &&Trigger| same_name(&one.name, name);
                let trigger = before.triggers.iter().find(is)?;
                // So is one that the file itself has made.
                at_start.triggers.iter().find(is)?;
                // One on what nobody knows yet is nobody's loss.
                self.known.table(&trigger.table)?;
                Removed::Trigger {
                    name: trigger.name.clone(),
                    table: trigger.table.clone(),
                    body: body(&trigger.sql),
                }
            }
            _ => return None,
        })
    }

    /// Each table that is known, before and after.
    fn differences(&self, op: &Effect, before: &Schema, after: &Schema) -> Vec<Found> {
        let none: &[(String, String)] = &[];
        let mut found = Vec::new();
        for table in &before.tables {
            let Some(known) = self.known.table(&table.name) else {
                continue;
            };
            let (name, renames) = match op {
                Effect::RenameTable { from, to } if same_name(from, &table.name) => (to, none),
                Effect::RenameColumns {
                    table: of, pairs, ..
                } if same_name(of, &table.name) => (&table.name, pairs.as_slice()),
                _ => (&table.name, none),
            };
            let Some(now) = after.table(name) else {
                continue;
            };
            let shape = |schema, table| TableIn { schema, table };
            let table_rename = match op {
                Effect::RenameTable { from, to } => Some((from.as_str(), to.as_str())),
                _ => None,
            };
            let change = TableChange {
                known,
                old: shape(before, table),
                new: shape(after, now),
                renames,
                table_rename,
            };
            found.extend(change.found());
        }
        found
    }

    /// What is known goes by other names now.
    fn follow(&mut self, op: &Effect, before: &Schema, after: &Schema) {
        match op {
            Effect::RenameTable { from, to } => self.known.rename_table(from, to),
            Effect::RenameColumns { table, pairs, .. } => {
                for (from, to) in pairs {
                    self.known.rename_column(table, from, to);
                }
            }
            Effect::DropTable(name) => drop(self.known.drop_table(name)),
            _ => {}
        }
        for table in &before.tables {
            let Some(now) = after.table(&table.name) else {
                continue;
            };
            for column in &table.columns {
                if now.column(&column.name).is_none() {
                    self.known.drop_column(&table.name, &column.name);
                }
            }
        }
    }
}

/// What is dropped and made again, under whatever name, is neither gone nor new.
fn undone(all: &mut [Judged<'_>]) {
    let about = |rule: &'static Rule, all: &[Judged<'_>]| -> Vec<String> {
        let found = all.iter().flat_map(|judged| &judged.found);
        let found = found.filter(|found| found.rule == rule);
        found.filter_map(|found| found.about.clone()).collect()
    };
    let (gone, new) = (about(DROP_UNIQUE, all), about(NEW_UNIQUE, all));
    let is_undone = |what: &Option<String>| {
        what.as_ref()
            .is_some_and(|what| gone.contains(what) && new.contains(what))
    };
    for judged in all {
        judged.found.retain(|found| !is_undone(&found.about));
    }
}

impl Judged<'_> {
    fn findings(mut self, file: &str) -> Vec<Finding> {
        let words = first_words(&self.statement.sql);
        let line = self.statement.line;
        let mut all = Vec::new();
        for found in self.found {
            let reason = self.allowed.reason(found.rule);
            all.push(finding(file, line, words.clone(), found, reason));
        }
        let unused: Vec<_> = self.allowed.unused().collect();
        for (line, found) in self.allowed.wrong.into_iter().chain(unused) {
            all.push(finding(file, line, words.clone(), found, None));
        }
        all
    }
}

fn finding(
    file: &str,
    line: usize,
    statement: String,
    found: Found,
    allowed: Option<String>,
) -> Finding {
    Finding {
        rule: found.rule,
        level: found.rule.level,
        file: file.into(),
        line,
        statement,
        what: found.what,
        instead: found.rule.instead,
        allowed,
    }
}

/// On which line a text cannot be read, and why not.
fn line_and_reason(error: &Error) -> (usize, String) {
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
