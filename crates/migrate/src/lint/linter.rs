//! Goes through files, statement by statement.

use rusqlite::Connection;

use super::allow::Allowed;
use super::children::Children;
use super::ends::{Dropped, End};
use super::finding::{Finding, Found};
use super::known::Known;
use super::op::Op;
use super::rules::{FAILS, NOT_A_MIGRATION};
use super::shape::{Change, Shape};
use super::sizes::Sizes;
use super::world::World;
use super::{rows, work};
use crate::files::{File, first_words, why_refused};
use crate::schema::Schema;
use crate::sql::{Statement, split};

/// Judges files one after another, each by the schema as it is then.
///
/// With a database, what is destructive, slow or not additive is judged by what
/// is in it: a table that one of the files makes has no rows yet, and no code
/// knows it. Without one, all that the files before have made counts as there.
pub struct Linter<'c> {
    world: World,
    sizes: Sizes<'c>,
    known: Known,
    has_live: bool,
}

/// One statement that is judged.
struct Judged<'s> {
    statement: &'s Statement,
    allowed: Allowed,
    found: Vec<Found>,
    end: Option<End>,
}

impl<'c> Linter<'c> {
    /// Begins with the schema of `live`, which is read only, or with none.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub fn new(live: Option<&'c Connection>) -> rusqlite::Result<Self> {
        let world = World::new(live)?;
        // By the copy: a table whose module only the app has cannot be read.
        let known = Known::of(&world.schema()?);
        Ok(Self {
            world,
            sizes: Sizes::new(live),
            known,
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
                let found = Found::new(NOT_A_MIGRATION, error.to_string());
                return Ok(vec![finding(name, 1, String::new(), found, None)]);
            }
        };
        if statements.is_empty() {
            let found = Found::new(NOT_A_MIGRATION, "it holds no statement");
            return Ok(vec![finding(name, 1, String::new(), found, None)]);
        }
        if !self.has_live {
            self.known = Known::of(&self.world.schema()?);
        }
        let mut copied = Vec::new();
        let mut all = Vec::new();
        for statement in &statements {
            all.push(self.statement(statement, &mut copied)?);
        }
        let end = self.world.schema()?;
        let mut findings = Vec::new();
        for mut judged in all {
            if let Some(ended) = judged.end.take() {
                let found = ended.found(&end, &self.world, &mut self.known, &self.sizes);
                judged.found.extend(found);
            }
            findings.extend(judged.findings(name));
        }
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
        copied: &mut Vec<String>,
    ) -> rusqlite::Result<Judged<'s>> {
        let op = Op::of(statement);
        let before = self.world.schema()?;
        let mut judged = Judged {
            statement,
            allowed: Allowed::by(&statement.comments),
            found: Vec::new(),
            end: None,
        };
        if let Some(why) = why_refused(statement) {
            judged.found.push(Found::new(NOT_A_MIGRATION, why));
            return Ok(judged);
        }
        judged.found.extend(rows::found(
            &op,
            &statement.sql,
            &before,
            &self.known,
            &self.sizes,
        ));
        if let Op::Insert { from, .. } | Op::CreateTable { from, .. } = &op {
            copied.extend(from.iter().map(|from| from.to_ascii_lowercase()));
        }
        judged
            .found
            .extend(work::found(&op, &before, &self.known, &self.sizes));
        judged.end = self.end(&op, &before, copied);
        if let Some(why) = self.world.apply(statement, &op) {
            judged.found = vec![Found::new(FAILS, why)];
            judged.end = None;
            return Ok(judged);
        }
        let after = self.world.schema()?;
        if !judged.found.iter().any(|found| found.rule == FAILS) {
            let differences = self.differences(&op, &before, &after);
            judged.found.extend(differences);
        }
        self.follow(&op, &before, &after);
        Ok(judged)
    }

    fn end(&self, op: &Op, before: &Schema, copied: &[String]) -> Option<End> {
        Some(match op {
            Op::DropTable(name) => End::Table(Box::new(Dropped {
                table: before.table(name)?.clone(),
                known: self.known.table(name)?.clone(),
                children: Children::of(name, before, &self.known, &self.sizes),
                copied: copied.contains(&name.to_ascii_lowercase()),
                schema: before.clone(),
            })),
            Op::RenameTable { from, to } => End::Renamed {
                from: from.clone(),
                to: to.clone(),
                known: self.known.table(from)?.clone(),
            },
            Op::DropView(name) => End::View {
                // One that is new is nobody's loss.
                name: self.known.view(name)?.to_owned(),
                columns: self.world.columns(name),
            },
            Op::DropTrigger(name) => {
                let is = |one: &&crate::schema::Trigger| crate::sql::same_name(&one.name, name);
                let trigger = before.triggers.iter().find(is)?;
                // One on what nobody knows yet is nobody's loss.
                self.known.table(&trigger.table)?;
                End::Trigger {
                    name: trigger.name.clone(),
                    table: trigger.table.clone(),
                }
            }
            _ => return None,
        })
    }

    /// Each table that is known, before and after.
    fn differences(&self, op: &Op, before: &Schema, after: &Schema) -> Vec<Found> {
        let none: &[(String, String)] = &[];
        let mut found = Vec::new();
        for table in &before.tables {
            let Some(known) = self.known.table(&table.name) else {
                continue;
            };
            let (name, renames) = match op {
                Op::RenameTable { from, to } if crate::sql::same_name(from, &table.name) => {
                    (to, none)
                }
                Op::RenameColumns {
                    table: of, pairs, ..
                } if crate::sql::same_name(of, &table.name) => (&table.name, pairs.as_slice()),
                _ => (&table.name, none),
            };
            let Some(now) = after.table(name) else {
                continue;
            };
            let shape = |schema, table| Shape { schema, table };
            let table_rename = match op {
                Op::RenameTable { from, to } => Some((from.as_str(), to.as_str())),
                _ => None,
            };
            let change = Change {
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
    fn follow(&mut self, op: &Op, before: &Schema, after: &Schema) {
        match op {
            Op::RenameTable { from, to } => self.known.rename_table(from, to),
            Op::RenameColumns { table, pairs, .. } => {
                for (from, to) in pairs {
                    self.known.rename_column(table, from, to);
                }
            }
            Op::DropTable(name) => drop(self.known.drop_table(name)),
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
