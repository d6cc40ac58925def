//! The empty copy of the live schema on which a migration is tried.

use rusqlite::Connection;

use super::normal::{Known, NormalTable, statement, unchanged};
use super::wanted::{AppVirtual, Wanted, is_no_module};
use super::{Error, Result};
use crate::allowance::Allowance;
use crate::rebuild::{Compiled, Rebuild, broken_object};
use crate::schema::{Schema, Table, TableKind, stand_in_collations};
use crate::sql::same_name;

/// An empty copy of the live schema. Each statement runs on it when it is added to the
/// migration.
pub(super) struct Scratch {
    conn: Connection,
    pub(super) schema: Schema,
    pub(super) statements: Vec<String>,
    pub(super) notes: Vec<String>,
    /// Virtual tables that could not be copied, as only the app has their module.
    pub(super) app_virtual: Vec<AppVirtual>,
}

impl Scratch {
    pub(super) fn of(live: &Connection) -> Result<Self> {
        let conn =
            Connection::open_in_memory().map_err(Error::doing("open a database in memory"))?;
        conn.execute_batch("PRAGMA foreign_keys = OFF")
            .map_err(Error::doing("open a database in memory"))?;
        stand_in_collations(&conn).map_err(Error::doing("open a database in memory"))?;
        let schema = at_one_moment(live).map_err(Error::doing("read the live schema"))?;
        let mut app_virtual = Vec::new();
        let shadow = |table: &&Table| table.kind != TableKind::Shadow;
        let tables = schema
            .tables
            .iter()
            .filter(shadow)
            .map(|table| (&table.name, &table.sql));
        let indexes = schema
            .indexes
            .iter()
            .filter_map(|index| Some((&index.name, index.sql.as_ref()?)));
        let views = schema.views.iter().map(|view| (&view.name, &view.sql));
        let triggers = schema.triggers.iter().map(|one| (&one.name, &one.sql));
        for (name, sql) in tables.chain(indexes).chain(views).chain(triggers) {
            match conn.execute_batch(sql) {
                Err(error) if is_no_module(&error) => app_virtual.push(AppVirtual {
                    name: name.clone(),
                    sql: sql.clone(),
                    line: 0,
                    message: error.to_string(),
                }),
                made => made.map_err(Error::doing(format!(
                    "make {name} in an empty copy of the database"
                )))?,
            }
        }
        let mut scratch = Self {
            conn,
            schema: Schema::default(),
            statements: Vec::new(),
            notes: Vec::new(),
            app_virtual,
        };
        scratch.read()?;
        Ok(scratch)
    }

    fn read(&mut self) -> Result<()> {
        self.schema = Schema::read(&self.conn).map_err(Error::doing("read the copy's schema"))?;
        Ok(())
    }

    /// Whether SQLite accepts a statement; it is rolled back.
    pub(super) fn accepts(&self, sql: &str) -> bool {
        let tried = format!("SAVEPOINT tried; {sql}");
        let taken = self.conn.execute_batch(&tried).is_ok();
        let undone = self.conn.execute_batch("ROLLBACK TO tried; RELEASE tried");
        taken && undone.is_ok()
    }

    /// Adds a statement to the migration.
    pub(super) fn run(&mut self, sql: String) -> Result<()> {
        self.conn
            .execute_batch(&sql)
            .map_err(|source| Error::Sqlite {
                doing: format!("run on an empty copy: {sql}"),
                advice: broken_object(&source),
                source,
            })?;
        self.statements.push(sql);
        self.read()
    }

    /// Adds a `REBUILD TABLE`.
    pub(super) fn rebuild(&mut self, sql: String) -> Result<()> {
        // In a transaction, as in a file: a later statement may create the key that a foreign
        // key refers to.
        let rebuild = Rebuild::parse(&sql)?;
        let began = self.conn.execute_batch("BEGIN");
        began.map_err(Error::doing("begin a transaction"))?;
        let rebuilt = rebuild.run(&self.conn);
        let ended = self.conn.execute_batch("COMMIT");
        ended.map_err(Error::doing("end a transaction"))?;
        rebuilt?;
        self.statements.push(sql);
        self.read()
    }

    /// The tables that the wanted schema has to have.
    pub(super) fn own_tables(&self) -> impl Iterator<Item = &Table> {
        let ours = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.starts_with("_monolite_") || name.starts_with("_litestream_")
        };
        self.schema
            .tables
            .iter()
            .filter(move |table| table.kind != TableKind::Shadow && !ours(&table.name))
    }

    /// Which views, triggers and full-text indexes work.
    pub(super) fn compiled(&self) -> Result<Compiled> {
        Compiled::all(&self.conn, &self.schema).map_err(Error::doing("compile views and triggers"))
    }

    /// What may stop working: views and triggers of the wanted schema that do not work there,
    /// if the file changes them or they need something that only the app has.
    pub(super) fn meant(&self, wanted: &mut Wanted) -> Compiled {
        let same = unchanged(&self.schema, &wanted.schema);
        std::mem::take(&mut wanted.compiled)
            .failing_where(|what, message| !same.contains(what) || is_of_the_app(message))
    }

    /// Checks that all that worked before still works, except `meant`.
    pub(super) fn unbroken(&self, before: &[Compiled], meant: &Compiled) -> Result<()> {
        let now = self.compiled()?;
        let mut broken = before
            .iter()
            .filter_map(|before| before.broken(&now, meant));
        match broken.next() {
            None => Ok(()),
            Some((what, message)) => Err(Error::Breaks { what, message }),
        }
    }

    /// Checks that the copy has the wanted schema.
    pub(super) fn prove(&self, wanted: &Wanted) -> Result<()> {
        let differs = |what: String| Err(Error::Differs(what));
        let known = Known::of([&self.schema, &wanted.schema]);
        for table in &wanted.schema.tables {
            let same = match self.schema.table(&table.name) {
                Some(is) if table.kind == TableKind::Ordinary => {
                    let (is, should) = (NormalTable::of(&is.sql)?, NormalTable::of(&table.sql)?);
                    is == should || wanted.any_order && is.same_set(&should)
                }
                Some(is) => statement(&is.sql, &known) == statement(&table.sql, &known),
                None => false,
            };
            if !same {
                return differs(format!("the table {} would differ", table.name));
            }
        }
        let texts = |schema: &Schema| -> Vec<(String, Vec<String>)> {
            let of_wanted = |table: &str| {
                wanted.schema.table(table).is_some() || wanted.schema.view(table).is_some()
            };
            let views = schema.views.iter().map(|one| (&one.name, &one.sql));
            let triggers = schema.triggers.iter().filter(|one| of_wanted(&one.table));
            let indexes = schema.indexes.iter().filter(|one| of_wanted(&one.table));
            let mut all: Vec<_> = views
                .chain(triggers.map(|one| (&one.name, &one.sql)))
                .chain(indexes.filter_map(|one| Some((&one.name, one.sql.as_ref()?))))
                .map(|(name, sql)| (name.to_ascii_lowercase(), statement(sql, &known)))
                .collect();
            all.sort();
            all
        };
        let (is, should) = (texts(&self.schema), texts(&wanted.schema));
        let mut unlike = is
            .iter()
            .filter(|one| !should.contains(one))
            .chain(should.iter().filter(|one| !is.contains(one)));
        match unlike.next() {
            Some((name, _)) => differs(format!("{name} would differ")),
            None => Ok(()),
        }
    }

    /// Whether there is a view, trigger or index of this name.
    pub(super) fn has_object(&self, kind: &str, name: &str) -> bool {
        let schema = &self.schema;
        match kind {
            "VIEW" => schema.view(name).is_some(),
            "TRIGGER" => schema.trigger(name).is_some(),
            _ => schema.index(name).is_some(),
        }
    }

    /// Whether there is a `table` or `table.column` of this name; either may have dots.
    pub(super) fn has_what(&self, what: &str) -> bool {
        let what = Allowance::new(what);
        let mut app_virtual = self.app_virtual.iter();
        what.is_known("", &self.schema) || app_virtual.any(|one| same_name(&one.name, what.name()))
    }

    /// The kind of the table, view or index of this name, if there is one.
    pub(super) fn has(&self, name: &str) -> Option<&'static str> {
        let schema = &self.schema;
        if schema.table(name).is_some() {
            Some("a table")
        } else if schema.view(name).is_some() {
            Some("a view")
        } else if schema.index(name).is_some() {
            Some("an index")
        } else {
            None
        }
    }
}

/// Whether SQLite's message is about something that only the app has.
fn is_of_the_app(message: &str) -> bool {
    ["no such function", "no such module", "no such collation"]
        .iter()
        .any(|missing| message.contains(missing))
}

/// The schema read within one transaction.
fn at_one_moment(live: &Connection) -> rusqlite::Result<Schema> {
    if !live.is_autocommit() {
        return Schema::read(live);
    }
    live.execute_batch("BEGIN")?;
    let schema = Schema::read(live);
    live.execute_batch("ROLLBACK")?;
    schema
}
