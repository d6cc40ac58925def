//! Schemas nobody has thought of, rebuilt with nothing lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;

use corpus::{dump, query};
use monolite_migrate::diff::{Error, Options, diff};
use monolite_migrate::rebuild::{Rebuild, Rebuilt};
use monolite_migrate::sql::{Kind, TableText, quote_name, split};
use proptest::prelude::*;
use rusqlite::Connection;

/// One column, as it may be written.
#[derive(Debug, Clone)]
struct Column {
    name: usize,
    quotes: usize,
    type_: usize,
    not_null: bool,
    default: usize,
    check: bool,
    collate: bool,
    unique: bool,
    generated: u8,
    comment: usize,
    refers: bool,
}

#[derive(Debug, Clone)]
struct Table {
    columns: Vec<Column>,
    /// None, INTEGER PRIMARY KEY, AUTOINCREMENT, of the first column, of the
    /// first two.
    key: u8,
    without_rowid: bool,
    strict: bool,
    indexes: Vec<(usize, u8)>,
    rows: Vec<Vec<usize>>,
    trigger: bool,
}

const NAMES: [&str; 14] = [
    "a", "b", "title", "order", "gröẞe", "a b", "it's", "sel\"ect", "rowid", "oid", "t", "check(",
    "x,y", "--",
];
const TYPES: [&str; 5] = ["INTEGER", "TEXT", "REAL", "BLOB", "ANY"];
const DEFAULTS: [&str; 5] = ["", "1", "'a,('')'", "(1 + (2))", "x'00'"];
const COMMENTS: [&str; 5] = ["", " -- ,)(\n", " /* , */ ", "\n-- 'x\n", "\r\n\t"];
const VALUES: [&str; 12] = [
    "NULL",
    "0",
    "-1",
    "9223372036854775807",
    "1.5",
    "9e999",
    "''",
    "'x'",
    "'12'",
    "x'00ff'",
    "zeroblob(5000)",
    "'a''b'",
];

fn column() -> impl Strategy<Value = Column> {
    (
        (
            0..NAMES.len(),
            0..3_usize,
            0..TYPES.len(),
            any::<bool>(),
            0..DEFAULTS.len(),
        ),
        (
            prop::bool::weighted(0.2),
            prop::bool::weighted(0.2),
            prop::bool::weighted(0.15),
            0..12_u8,
        ),
        (0..COMMENTS.len(), prop::bool::weighted(0.2)),
    )
        .prop_map(
            |(
                (name, quotes, type_, not_null, default),
                (check, collate, unique, generated),
                (comment, refers),
            )| Column {
                name,
                quotes,
                type_,
                not_null,
                default,
                check,
                collate,
                unique,
                generated,
                comment,
                refers,
            },
        )
}

fn table() -> impl Strategy<Value = Table> {
    (
        prop::collection::vec(column(), 1..7),
        (
            0..5_u8,
            prop::bool::weighted(0.2),
            prop::bool::weighted(0.3),
            any::<bool>(),
        ),
        prop::collection::vec((0..7_usize, 0..5_u8), 0..4),
        prop::collection::vec(prop::collection::vec(0..VALUES.len(), 7), 0..20),
    )
        .prop_map(
            |(mut columns, (key, without_rowid, strict, trigger), indexes, rows)| {
                let mut seen = Vec::new();
                columns.retain(|column| {
                    let new = !seen.contains(&column.name);
                    seen.push(column.name);
                    new
                });
                Table {
                    columns,
                    key,
                    without_rowid,
                    strict,
                    indexes,
                    rows,
                    trigger,
                }
            },
        )
}

impl Column {
    fn name(&self) -> String {
        let name = NAMES[self.name];
        match self.quotes {
            0 if name.bytes().all(|byte| byte.is_ascii_lowercase()) && name != "order" => {
                name.to_owned()
            }
            1 if !name.contains(']') => format!("[{name}]"),
            2 => format!("`{name}`"),
            _ => quote_name(name),
        }
    }

    fn is_generated(&self, table: &Table) -> bool {
        self.generated < 2 && self.name != table.columns[0].name
    }

    fn text(&self, table: &Table) -> String {
        let name = self.name();
        let type_ = TYPES[self.type_];
        let comment = COMMENTS[self.comment];
        let mut text = format!("{name}{comment} {type_}");
        if self.is_generated(table) {
            let kind = ["VIRTUAL", "STORED"][usize::from(self.generated)];
            let of = table.columns[0].name();
            return match table.strict {
                true => format!("{name}{comment} ANY GENERATED ALWAYS AS ({of} || 'g,)') {kind}"),
                false => format!("{text} AS ({of} || 'g,)') {kind}"),
            };
        }
        if self.not_null {
            text += " NOT NULL";
        }
        if !DEFAULTS[self.default].is_empty() {
            text += &format!(" DEFAULT{comment} {}", DEFAULTS[self.default]);
        }
        if self.check {
            text += &format!(" CHECK ({name} <> '),(' OR t.{name} IS NULL)");
        }
        if self.collate {
            text += " COLLATE NOCASE";
        }
        if self.unique {
            text += " UNIQUE ON CONFLICT IGNORE";
        }
        if self.refers {
            text += " REFERENCES parent ON DELETE CASCADE";
        }
        text
    }
}

impl Table {
    fn text(&self) -> String {
        let mut items: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.text(self))
            .collect();
        let autoincrement = self.key == 2;
        let key = self.key;
        if key == 1 || autoincrement {
            let word = if autoincrement && !self.without_rowid {
                " AUTOINCREMENT"
            } else {
                ""
            };
            items.insert(0, format!("id INTEGER PRIMARY KEY{word}"));
        } else if key == 4 || self.without_rowid {
            items.push(format!("PRIMARY KEY ({})", self.columns[0].name()));
        } else if key == 3 {
            let names: Vec<String> = self
                .columns
                .iter()
                .filter(|one| !one.is_generated(self))
                .take(2)
                .map(Column::name)
                .collect();
            items.push(format!("CONSTRAINT k UNIQUE ({})", names.join(", ")));
        }
        let tail = match (self.without_rowid, self.strict) {
            (true, true) => " WITHOUT ROWID, STRICT",
            (true, false) => " WITHOUT ROWID",
            (false, true) => " STRICT",
            (false, false) => "",
        };
        format!("CREATE TABLE t ({}){tail}", items.join(", "))
    }

    /// The statements that make it, without rows.
    fn ddl(&self) -> String {
        let mut ddl = format!(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);\nCREATE TABLE child (t REFERENCES t ON DELETE CASCADE);\n{};\n",
            self.text()
        );
        for (at, (column, kind)) in self.indexes.iter().enumerate() {
            let name = self.columns[column % self.columns.len()].name();
            ddl += &match kind {
                0 => format!("CREATE INDEX i{at} ON t ({name});\n"),
                1 => format!(
                    "CREATE INDEX i{at} ON t ({name} COLLATE NOCASE DESC) WHERE {name} IS NOT NULL;\n"
                ),
                2 => format!("CREATE INDEX i{at} ON t (lower({name}), {name});\n"),
                3 => format!("CREATE INDEX i{at} ON t ({name}) WHERE t.{name} > 'a';\n"),
                _ => format!("CREATE INDEX i{at} ON t (typeof({name}));\n"),
            };
        }
        if self.trigger {
            ddl += "CREATE TRIGGER tr AFTER UPDATE ON t BEGIN DELETE FROM parent WHERE id IN (SELECT count(*) FROM t) AND 'END;' = ''; END;\nCREATE VIEW v AS SELECT * FROM t;\n";
        }
        ddl
    }

    fn database(&self) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        conn.execute_batch(&self.ddl())
            .unwrap_or_else(|error| panic!("{}: {error}", self.ddl()));
        let own: Vec<&Column> = self
            .columns
            .iter()
            .filter(|one| !one.is_generated(self))
            .collect();
        let names: Vec<String> = own.iter().map(|one| one.name()).collect();
        for row in &self.rows {
            let values: Vec<&str> = (0..own.len()).map(|at| VALUES[row[at]]).collect();
            // What does not fit is not there.
            let _ = conn.execute(
                &format!(
                    "INSERT OR IGNORE INTO t ({}) VALUES ({})",
                    names.join(", "),
                    values.join(", ")
                ),
                [],
            );
        }
        // A table without rowids has none to choose by.
        let _ = conn.execute_batch("DELETE FROM t WHERE _rowid_ % 3 = 0");
        conn.execute_batch("INSERT INTO child VALUES (NULL), (77), ('x'); ANALYZE")
            .unwrap();
        conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        conn
    }
}

fn run(conn: &Connection, rebuild: &Rebuild) -> Rebuilt {
    rebuild
        .run(conn)
        .unwrap_or_else(|error| panic!("{error}\n{}", query(conn, "SELECT sql FROM sqlite_schema")))
}

fn text(conn: &Connection) -> String {
    conn.query_row(
        "SELECT sql FROM sqlite_schema WHERE name = 't'",
        [],
        |row| row.get(0),
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn as_it_is(table in table()) {
        let conn = table.database();
        let before = dump(&conn);
        run(&conn, &Rebuild::table("t"));
        prop_assert_eq!(&dump(&conn), &before);
        // A text that was cut is the same when it is put together.
        let sql = text(&conn);
        prop_assert_eq!(TableText::parse(&sql).unwrap().to_string(), sql);
    }

    #[test]
    fn a_column_more_and_one_less(table in table(), after_all in any::<bool>()) {
        let conn = table.database();
        conn.execute_batch("DROP VIEW IF EXISTS v").unwrap();
        let (before, sql) = (dump(&conn), text(&conn));
        let with = if after_all {
            Rebuild::table("t").add_column("more TEXT NOT NULL DEFAULT 'm' CHECK (more <> '')")
        } else {
            Rebuild::table("t").add_column("more INT").set("more", "length(1)").order(&["more"])
        };
        run(&conn, &with);
        let count: i64 = conn.query_row("SELECT count(*) FROM t WHERE more IS NULL", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(count, 0);
        run(&conn, &Rebuild::table("t").drop("more"));
        run(&conn, &Rebuild::table("t").definition(&sql));
        prop_assert_eq!(dump(&conn), before);
    }

    #[test]
    fn every_name_swapped_and_back(table in table()) {
        let conn = table.database();
        conn.execute_batch("DROP VIEW IF EXISTS v").unwrap();
        let before = dump(&conn);
        let [first, .., last] = table.columns.as_slice() else { return Ok(()) };
        let (first, last) = (NAMES[first.name], NAMES[last.name]);
        let swap = Rebuild::table("t").rename(first, last).rename(last, first);
        let of = |name: &str| query(&conn, &format!("SELECT quote(t.{}) FROM t ORDER BY 1", quote_name(name)));
        let (firsts, lasts) = (of(first), of(last));
        run(&conn, &swap);
        prop_assert_eq!((of(last), of(first)), (firsts, lasts));
        run(&conn, &swap);
        // SQLite quotes what it renames.
        let rows = |dump: &str| dump.split_once("\n== ").map(|(_, rows)| rows.to_owned());
        prop_assert_eq!(rows(&dump(&conn)), rows(&before));
    }

    #[test]
    fn from_one_to_another(from in table(), to in table(), any_order in any::<bool>()) {
        let conn = from.database();
        let all = "SELECT 't.' || name FROM pragma_table_xinfo('t')";
        let mut columns = conn.prepare(all).unwrap();
        let allow_drop = columns.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
        let options = Options::new().allow_loss(allow_drop).any_order(any_order);
        let wanted = to.ddl();
        let found = match diff(&conn, &wanted, &options) {
            Err(Error::NoValue { .. }) => return Ok(()),
            found => found.unwrap_or_else(|error| panic!("{}\n{wanted}\n{error}", from.ddl())),
        };
        // Rows need not fit another table; the empty one must become it.
        let empty = Connection::open_in_memory().unwrap();
        empty.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        empty.execute_batch(&from.ddl()).unwrap();
        empty.execute_batch("BEGIN").unwrap();
        for statement in split(&found.sql).unwrap() {
            match statement.kind {
                Kind::Sqlite => empty.execute_batch(&statement.sql).unwrap(),
                Kind::Rebuild => drop(Rebuild::parse(&statement.sql).unwrap().run(&empty).unwrap()),
            }
        }
        empty.execute_batch("COMMIT").unwrap();
        let is = Connection::open_in_memory().unwrap();
        is.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        is.execute_batch(&wanted).unwrap();
        let facts = |conn: &Connection| {
            let order = if any_order { "name" } else { "cid" };
            let cid = if any_order { "0" } else { "cid" };
            [
                format!("SELECT {cid}, lower(name), type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo('t') ORDER BY {order}"),
                "SELECT \"table\", \"from\", on_delete FROM pragma_foreign_key_list('t') ORDER BY 2".to_owned(),
                "SELECT il.\"unique\", il.origin, il.partial, group_concat(coalesce(ii.name, 'x') || ii.\"desc\" || ii.coll) AS c FROM pragma_index_list('t') il, pragma_index_xinfo(il.name) ii WHERE ii.key GROUP BY il.name ORDER BY 1, 2, 3, 4".to_owned(),
                "SELECT name, tbl_name FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY 1".to_owned(),
                "SELECT wr, strict FROM pragma_table_list('t')".to_owned(),
            ].map(|sql| query(conn, &sql)).concat()
        };
        prop_assert_eq!(facts(&empty), facts(&is), "{}", found.sql);
        let nothing = Options::new().any_order(any_order);
        prop_assert_eq!(diff(&empty, &wanted, &nothing).unwrap().sql, "");
    }

    #[test]
    fn a_rename_and_a_value_said_by_comments(table in table(), strict in any::<bool>()) {
        let conn = table.database();
        conn.execute_batch("DROP VIEW IF EXISTS v").unwrap();
        let own = table.columns.iter().rfind(|one| !one.is_generated(&table));
        let name = NAMES[own.unwrap().name];
        let model = Connection::open_in_memory().unwrap();
        model.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        model.execute_batch(&table.ddl()).unwrap();
        model.execute_batch(&format!("DROP VIEW IF EXISTS v; ALTER TABLE t RENAME COLUMN {} TO renamed", quote_name(name))).unwrap();
        let mut wanted = TableText::parse(&text(&model)).unwrap();
        let item = wanted.items.iter_mut().find(|item| item.column.as_deref() == Some("renamed")).unwrap();
        item.after.insert_str(0, &format!(" /* was: {} */", quote_name(name)));
        wanted.add_column("fresh INT /* set: length('seven') + 2 */ NOT NULL").unwrap();
        let more_strict = strict && !table.strict && table.columns.len() == 1;
        if more_strict {
            wanted.set_strict(true).unwrap();
        }
        let others = "SELECT group_concat(sql || ';', char(10)) FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 't' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid";
        let others: String = model.query_row(others, [], |row| row.get(0)).unwrap();
        let (tables, rest): (Vec<&str>, Vec<&str>) = others.split_inclusive(";\n").partition(|one| one.starts_with("CREATE TABLE"));
        let wanted = format!("{}\n{wanted};\n{}", tables.concat(), rest.concat());
        let values = |conn: &Connection, of: &str| query(conn, &format!("SELECT quote(t.{}) FROM t ORDER BY 1", quote_name(of)));
        let before = values(&conn, name);
        let found = diff(&conn, &wanted, &Options::default()).unwrap_or_else(|error| panic!("{wanted}\n{error}"));
        conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").unwrap();
        for statement in split(&found.sql).unwrap() {
            let done = match statement.kind {
                Kind::Sqlite => conn.execute_batch(&statement.sql).map_err(|error| error.to_string()),
                Kind::Rebuild => Rebuild::parse(&statement.sql).unwrap().run(&conn).map(drop).map_err(|error| error.to_string()),
            };
            // Rows need not be of the types of a STRICT table.
            if more_strict && done.is_err() {
                return Ok(());
            }
            prop_assert_eq!(done, Ok(()), "{}", found.sql);
        }
        conn.execute_batch("COMMIT").unwrap();
        prop_assert_eq!(values(&conn, "renamed"), before, "{}", found.sql);
        prop_assert_eq!(query(&conn, "SELECT count(*) FROM t WHERE fresh <> 7"), "Integer(0)|\n");
        prop_assert_eq!(query(&conn, "PRAGMA integrity_check"), "ok|\n");
        prop_assert_eq!(diff(&conn, &wanted, &Options::default()).unwrap().sql, "");
    }
}
