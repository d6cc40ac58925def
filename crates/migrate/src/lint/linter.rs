//! Runs the rules over files, statement by statement.

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
use super::rules::{DEMANDS_MORE, DROP_DEFINITION, FAILS, Level, NOT_A_MIGRATION, Rule};
use super::running_code::RunningCode;
use super::scratch_schema::ScratchSchema;
use super::slow_ops::TableSizes;
use super::table_change::{TableChange, TableIn};
use super::{row_changes, slow_ops};
use crate::files::{File, Refusals, first_words};
use crate::schema::{Schema, Trigger};
use crate::sql::{Error, Statement, same_name, split};

/// Checks files in order, each against the schema that the files before it leave.
///
/// With a database, only its own tables count as in use: a table that one of the
/// files creates has no rows yet, and no running code knows it. Without one, the
/// tables of all files before count as in use.
pub struct Linter<'c> {
    scratch: ScratchSchema,
    sizes: TableSizes<'c>,
    known: RunningCode,
    refusals: Refusals,
    /// After the last statement.
    schema: Rc<Schema>,
    has_live: bool,
    /// What is allowed in all files.
    allowed: Vec<String>,
    is_rolling: bool,
}

/// One statement, with what was found so far.
struct Judged<'s> {
    statement: &'s Statement,
    allowed: Allowed,
    found: Vec<Found>,
    end: Option<Removed>,
}

impl<'c> Linter<'c> {
    /// Begins with the schema of `live`, which is only read, or with an empty one.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub fn new(live: Option<&'c Connection>) -> rusqlite::Result<Self> {
        Self::by(live, true)
    }

    /// The same without counting rows, which takes minutes in large tables: slow
    /// statements are not found, and findings give no numbers of rows.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub fn uncounted(live: &'c Connection) -> rusqlite::Result<Self> {
        Self::by(Some(live), false)
    }

    fn by(live: Option<&'c Connection>, counts: bool) -> rusqlite::Result<Self> {
        let scratch = ScratchSchema::new(live)?;
        // Of the copy: it leaves out what needs modules that only the app has.
        let schema = Rc::new(scratch.schema()?);
        let known = RunningCode::of(&schema);
        Ok(Self {
            scratch,
            sizes: TableSizes::new(live, counts),
            known,
            refusals: Refusals::new()?,
            schema,
            has_live: live.is_some(),
            allowed: Vec::new(),
            is_rolling: false,
        })
    }

    /// What is meant to be lost, whichever file takes it, as `--allow-loss` has it. Default: nothing.
    #[must_use]
    pub fn allow(mut self, names: &[String]) -> Self {
        self.allowed.extend(names.iter().cloned());
        self
    }

    /// Code of the release before still runs while the files are applied, and after that: what only
    /// breaks such code is an error, too. Default: the app is started after them.
    #[must_use]
    pub fn rolling(mut self, is_rolling: bool) -> Self {
        self.is_rolling = is_rolling;
        self
    }

    /// The findings of a file, in order of lines. From then on the file counts as
    /// applied.
    ///
    /// # Errors
    /// The schema in memory cannot be read.
    pub fn file(&mut self, name: &str, text: &str) -> rusqlite::Result<Vec<Finding>> {
        let statements = match split(text) {
            Ok(statements) => statements,
            Err(error) => {
                let (line, what) = line_and_reason(&error);
                let found = Found::new(NOT_A_MIGRATION, what);
                return Ok(vec![self.finding(name, line, String::new(), found, None)]);
            }
        };
        if !self.has_live {
            self.known = RunningCode::of(&self.schema);
        }
        let mut state = FileState {
            at_start: Rc::clone(&self.schema),
            copied_rows: CopiedRows::default(),
            temporary: Vec::new(),
            bodies: Bodies::default(),
        };
        let mut all = Vec::new();
        for (at, statement) in statements.iter().enumerate() {
            all.push(self.statement(statement, at, &mut state)?);
        }
        for (what, at) in &state.temporary {
            if let Some(judged) = all.get_mut(*at) {
                let what =
                    format!("leaves the temporary {what} behind; drop it at the end of the file");
                judged.found.push(Found::new(NOT_A_MIGRATION, what));
            }
        }
        let end = FileEnd {
            schema: &self.schema,
            scratch: &self.scratch,
            copied_rows: &state.copied_rows,
        };
        for judged in &mut all {
            if let Some(ended) = judged.end.take() {
                let found = ended.found(&end, &mut self.known, &self.sizes);
                judged.found.extend(found);
            }
        }
        cancel_recreated(&mut all);
        self.scratch.forget_temporary();
        let mut findings: Vec<Finding> = all
            .into_iter()
            .flat_map(|judged| self.findings(judged, name))
            .collect();
        findings.sort_by_key(|finding| finding.line);
        Ok(findings)
    }

    /// Applies a file without reporting findings.
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
        state: &mut FileState,
    ) -> rusqlite::Result<Judged<'s>> {
        let effect = Effect::of(statement);
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
            &effect,
            &statement.sql,
            &before,
            &self.known,
            &state.copied_rows,
            &self.sizes,
        ));
        judged
            .found
            .extend(slow_ops::found(&effect, &before, &self.known, &self.sizes));
        judged.end = self.end(&effect, &before, state);
        let copy = match &effect {
            Effect::Insert { from, .. } | Effect::CreateTable { from, .. } if !from.is_empty() => {
                state.copied_rows.copied(from);
                RowCopy::of(statement).map(|copy| (self.scratch.readable(&copy.from), copy))
            }
            _ => None,
        };
        if let Some(why) = self.scratch.apply(statement, &effect) {
            let is_unknown = is_of_the_app(&why);
            let fails = Found::new(FAILS, why);
            let fails = match is_unknown {
                true => fails.level(Level::Warning).instead(
                    "nothing, if the app applies the file; `monolite migrate up` has only SQLite's own",
                ),
                false => fails,
            };
            if !is_unknown || !effect.is_about_rows() {
                judged.found = vec![fails];
                judged.end = None;
                return Ok(judged);
            }
            judged.found.push(fails);
        }
        let target = match &effect {
            Effect::Insert { table, .. } | Effect::Update { table, .. } => Some(table),
            Effect::CreateTable { name, from } if !from.is_empty() => Some(name),
            _ => None,
        };
        if let Some(target) = target {
            let copied = &mut state.copied_rows;
            copied.read_by(&statement.sql, target, &self.known);
        }
        if let Some((source, copy)) = copy {
            state
                .copied_rows
                .copy(&copy, &source, &self.scratch, &self.known);
        }
        state.follow(&effect);
        // It was only compiled: the copy has no rows.
        if effect.is_about_rows() {
            return Ok(judged);
        }
        self.schema = Rc::new(self.scratch.schema()?);
        let after = Rc::clone(&self.schema);
        if !judged.found.iter().any(|found| found.rule == FAILS) {
            let differences = self.differences(&effect, &before, &after).into_iter();
            let differences = differences.map(|found| state.copied_rows.softened(found));
            judged.found.extend(differences);
            let refusing = refusing(&before, &after, state, &self.known);
            judged.found.extend(refusing);
            judged.found.extend(not_made(&effect, statement, &before));
        }
        self.follow(&effect, &before, &after);
        let temporary = self.scratch.temporary()?;
        state.temporary.retain(|(what, _)| temporary.contains(what));
        for what in temporary {
            if !state.temporary.iter().any(|(known, _)| *known == what) {
                state.temporary.push((what, at));
            }
        }
        Ok(judged)
    }

    fn end(&self, effect: &Effect, before: &Schema, state: &FileState) -> Option<Removed> {
        let (copied_rows, at_start) = (&state.copied_rows, &state.at_start);
        Some(match effect {
            Effect::DropTable(name) => Removed::Table(Box::new(Dropped {
                table: before.table(name)?.clone(),
                known: self.known.table(name)?.clone(),
                children: Children::of(name, before, &self.known, &self.sizes),
                copied: copied_rows.is_partly(name),
                renamed: self.known.renamed(),
                schema: before.clone(),
            })),
            Effect::RenameTable { from, to } => Removed::Renamed {
                from: from.clone(),
                to: to.clone(),
                known: self.known.table(from)?.clone(),
            },
            Effect::DropView(name) => Removed::View {
                // Not for one that the running code does not know.
                name: self.known.view(name)?.to_owned(),
                columns: self.scratch.columns(name),
                body: body(&before.view(name)?.sql),
            },
            Effect::DropTrigger(name) => {
                let is = |one: &&Trigger| same_name(&one.name, name);
                let trigger = before.triggers.iter().find(is)?;
                // Not for one that the file itself created.
                at_start.triggers.iter().find(is)?;
                // Nor for one on a table that the running code does not know.
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

    /// How each table that the running code knows changes by this statement.
    fn differences(&self, effect: &Effect, before: &Schema, after: &Schema) -> Vec<Found> {
        let none: &[(String, String)] = &[];
        let mut found = Vec::new();
        for table in &before.tables {
            let Some(known) = self.known.table(&table.name) else {
                continue;
            };
            let (name, renames) = match effect {
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
            let table_renames = match effect {
                Effect::RenameTable { from, to } => vec![(from.clone(), to.clone())],
                _ => Vec::new(),
            };
            let change = TableChange {
                known,
                old: shape(before, table),
                new: shape(after, now),
                renames,
                table_renames: &table_renames,
            };
            found.extend(change.found());
        }
        found
    }

    /// Renames and removes what the running code knows as the statement does.
    fn follow(&mut self, effect: &Effect, before: &Schema, after: &Schema) {
        match effect {
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

/// Removes the findings of objects that are dropped and created again in the same
/// file, under any name.
fn cancel_recreated(all: &mut [Judged<'_>]) {
    let about = |rule: &'static Rule, all: &[Judged<'_>]| -> Vec<String> {
        let found = all.iter().flat_map(|judged| &judged.found);
        let found = found.filter(|found| found.rule == rule);
        found.filter_map(|found| found.about.clone()).collect()
    };
    let (gone, new) = (about(DROP_DEFINITION, all), about(DEMANDS_MORE, all));
    let is_recreated = |what: &Option<String>| {
        what.as_ref()
            .is_some_and(|what| gone.contains(what) && new.contains(what))
    };
    for judged in all {
        judged.found.retain(|found| !is_recreated(&found.about));
    }
}

impl Linter<'_> {
    fn findings(&self, judged: Judged<'_>, file: &str) -> Vec<Finding> {
        let words = first_words(&judged.statement.sql);
        let line = judged.statement.line;
        let mut all = Vec::new();
        for found in judged.found {
            let reason = judged.allowed.reason(&found, &self.allowed);
            all.push(self.finding(file, line, words.clone(), found, reason));
        }
        for (line, found) in judged.allowed.wrong {
            all.push(self.finding(file, line, words.clone(), found, None));
        }
        all
    }

    fn finding(
        &self,
        file: &str,
        line: usize,
        statement: String,
        found: Found,
        allowed: Option<String>,
    ) -> Finding {
        let level = match self.is_rolling {
            true => found.rule.rolling,
            false => found.rule.level,
        };
        Finding {
            rule: found.rule,
            level: found.level.unwrap_or(level),
            file: file.into(),
            line,
            statement,
            instead: found.advice(),
            is_by_name: !found.is_forgotten,
            allow: found.allowance(),
            what: found.what,
            allowed,
        }
    }
}

/// Whether SQLite's message is about what only the app may have.
fn is_of_the_app(message: &str) -> bool {
    let words = ["no such function", "no such module", "no such collation"];
    words.iter().any(|words| message.contains(words))
}

/// The line of an error, and what is wrong there.
fn line_and_reason(error: &Error) -> (usize, String) {
    match error {
        Error::Token { line, what, .. } => (*line, what.clone()),
        Error::UnfinishedTrigger { line } => (*line, "this trigger has no END".into()),
        Error::Expected {
            line,
            wanted,
            position,
        } => (*line, format!("{wanted} is expected {position}")),
        Error::Nesting { line, max, .. } => (
            *line,
            format!("more than {max} parentheses are open here, which SQLite cannot read"),
        ),
    }
}
