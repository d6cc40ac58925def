//! Migrations of many kinds, on tables with many kinds of keys and values: what people mean to do,
//! and what nobody means. No innocent one is refused, and no certain loss is let through.

use std::fmt::Write as _;

use monolite_guard::{Depth, Report};

use super::pair::{Pair, shown};

/// Values of each kind of migration.
const SEEDS: u64 = 6;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one<'o, T>(&mut self, of: &'o [T]) -> &'o T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const WORDS: [&str; 16] = [
    "amber", "birch", "cedar", "Delta", "ember", "fjord", "grove", "Heath", "islet", "jetty",
    "knoll", "Lagoon", "mårsh", "nörd", "ocean", "prairie",
];
const KINDS: [&str; 3] = ["draft", "published", "withdrawn"];

/// A database, and what its tables look like.
struct World {
    sql: String,
    rows: u64,
    /// The key of `people`, as it is declared.
    key: &'static str,
    /// After the columns of `people`.
    tail: &'static str,
    /// What a note says of its person.
    refers: &'static str,
    is_text_key: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (key, tail, is_text_key) = [
            ("id INTEGER PRIMARY KEY", "", false),
            ("id INTEGER PRIMARY KEY AUTOINCREMENT", "", false),
            ("id TEXT PRIMARY KEY NOT NULL", "", true),
            ("id TEXT PRIMARY KEY", " WITHOUT ROWID", true),
        ][usize::try_from(seed % 4).unwrap()];
        let refers = *random.one(&[
            " REFERENCES people (id) ON DELETE CASCADE",
            " REFERENCES people ON DELETE SET NULL",
            " REFERENCES people",
            "",
        ]);
        let rows = 6 + random.below(40);
        let mut world = Self {
            sql: String::new(),
            rows,
            key,
            tail,
            refers,
            is_text_key,
        };
        let people = world.people("people", "");
        let notes = world.notes("notes");
        let mut sql = format!(
            "{people} {notes}
             CREATE INDEX notes_by_person ON notes (person_id);
             CREATE TABLE tagged (person TEXT, tag TEXT);
             CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0);
             CREATE TABLE empty (id INTEGER PRIMARY KEY, x TEXT);
             CREATE TABLE votes (no INTEGER PRIMARY KEY, note INTEGER);
             CREATE TABLE claims (no INTEGER PRIMARY KEY, note INTEGER);
             CREATE TABLE events (id INTEGER PRIMARY KEY, what TEXT);
             CREATE TABLE accounts (id INTEGER PRIMARY KEY, label TEXT);
             CREATE TABLE secrets (account INTEGER PRIMARY KEY REFERENCES accounts, hash TEXT);
             CREATE TABLE countries (code TEXT PRIMARY KEY, name TEXT);
             CREATE TABLE enrolled (s INTEGER, c INTEGER, remark TEXT, PRIMARY KEY (s, c));
             CREATE TABLE schema_migrations (version TEXT PRIMARY KEY);
             INSERT INTO schema_migrations VALUES ('1'), ('2');
             CREATE VIEW names AS SELECT name FROM people;
             CREATE TABLE log (what TEXT);
             CREATE TRIGGER watch AFTER UPDATE OF email ON people BEGIN INSERT INTO log VALUES (new.email); END;"
        );
        for n in 1..=rows {
            let id = world.id(n);
            let (first, last) = (*random.one(&WORDS), *random.one(&WORDS));
            let kind = KINDS[usize::try_from(n % 3).unwrap()];
            let bio = match n % 7 {
                0 => "NULL".into(),
                _ => format!(
                    "'likes {} and {}'",
                    random.one(&WORDS),
                    random.next() % 1000
                ),
            };
            let nick = match n % 4 {
                0 => "NULL",
                1 => "''",
                _ => "' '",
            };
            let cents = random.below(100_000) + 101;
            let _ = write!(
                sql,
                "INSERT INTO people VALUES ({id}, '{first} {last}', '{last}{n}@Example.org', {bio}, '{kind}',
                   {}.{:02}, '2026-{:02}-{:02} {:02}:{:02}:{:02}', '{}', '0{}{n:03}', {nick}, {}, {}, {});",
                cents / 100, cents % 100,
                1 + n % 12, 1 + random.below(28), random.below(24), random.below(60), 1 + random.below(59),
                n * 3 + 1000, random.below(89999) + 10000,
                n % 2, (1_u64 << 60) + random.below(1 << 50) * 2 + 1, random.below(100_000) * 100 + 1 + n,
            );
            let _ = write!(
                sql,
                "INSERT INTO notes VALUES ({n}, {}, 'note {} {n}', {}); INSERT INTO tagged VALUES ({id}, '{first}');",
                world.id(1 + random.below(rows)),
                random.one(&WORDS),
                1 + n % 5
            );
            let _ = write!(
                sql,
                "INSERT INTO counters VALUES ('{first}{n}', {});",
                n % 4 + 1
            );
            let (account, vote) = (n * 3 + 2, 1 + n % 3);
            let _ = write!(
                sql,
                "INSERT INTO votes VALUES ({n} + 1000, {vote}); INSERT INTO claims VALUES ({n} + 1000, {n});
                 INSERT INTO events VALUES ({n}, '{kind} {vote}');
                 INSERT INTO accounts VALUES ({account}, 'account {n}');
                 INSERT INTO secrets VALUES ({account}, 'hash of {account}');
                 INSERT INTO countries VALUES ('c{n:03}', 'country {n}');
                 INSERT INTO enrolled VALUES ({vote}, {n}, 'remark {n}');"
            );
        }
        world.sql = sql;
        world
    }

    fn id(&self, n: u64) -> String {
        match self.is_text_key {
            true => format!("'k{n:03}'"),
            false => n.to_string(),
        }
    }

    fn people(&self, name: &str, more: &str) -> String {
        self.people_with(name, "email TEXT NOT NULL UNIQUE", more)
    }

    fn people_with(&self, name: &str, email: &str, more: &str) -> String {
        format!(
            "CREATE TABLE {name} ({}, name TEXT NOT NULL, {email}, bio TEXT,\x20\
             kind TEXT NOT NULL CHECK (kind <> ''), price REAL NOT NULL, at TEXT NOT NULL, digits TEXT,\x20\
             phone TEXT, nick TEXT, flag INTEGER NOT NULL DEFAULT 0, big INTEGER, millis INTEGER{more}){};",
            self.key, self.tail
        )
    }

    fn notes(&self, name: &str) -> String {
        format!(
            "CREATE TABLE {name} (id INTEGER PRIMARY KEY, person_id {}{}, body TEXT, n INTEGER);",
            if self.is_text_key { "TEXT" } else { "INTEGER" },
            self.refers
        )
    }

    /// `people` made again: by these columns of the new one from these terms of the old one.
    fn rebuilt(&self, table: &str, columns: &str, terms: &str) -> String {
        format!(
            "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; {table}
             INSERT INTO fresh ({columns}) SELECT {terms} FROM people; DROP TABLE people;
             ALTER TABLE fresh RENAME TO people; {TRIGGER}"
        )
    }

    /// As [`rebuilt`](Self::rebuilt), with one column's declaration and term replaced.
    fn with(&self, from: &str, to: &str, column: &str, term: &str) -> String {
        let table = self.people("fresh", "");
        assert!(table.contains(from), "{from}");
        let all: Vec<&str> = COLUMNS.split(", ").collect();
        let terms: Vec<&str> = all
            .iter()
            .map(|name| if *name == column { term } else { name })
            .collect();
        self.rebuilt(&table.replace(from, to), COLUMNS, &terms.join(", "))
    }

    /// Without a column, after `first` was done.
    fn without(&self, column: &str, more: &str, first: &str) -> String {
        let table = self.people("fresh", more);
        let declared = table
            .split(", ")
            .find(|part| part.trim_start().starts_with(&format!("{column} ")))
            .unwrap();
        let table = table.replace(&format!("{declared}, "), "");
        let all: Vec<&str> = COLUMNS.split(", ").filter(|name| *name != column).collect();
        let names = more
            .split(", ")
            .filter_map(|part| part.split_whitespace().next());
        let all: Vec<&str> = all.into_iter().chain(names).collect();
        format!(
            "{first}; {}",
            self.rebuilt(&table, &all.join(", "), &all.join(", "))
        )
    }
}

const COLUMNS: &str =
    "id, name, email, bio, kind, price, at, digits, phone, nick, flag, big, millis";
const TRIGGER: &str = "CREATE TRIGGER watch AFTER UPDATE OF email ON people BEGIN INSERT INTO log VALUES (new.email); END;";
const FIRST: &str = "substr(name, 1, instr(name, ' ') - 1)";
const LAST: &str = "substr(name, instr(name, ' ') + 1)";
const CODE: &str = "CASE kind WHEN 'draft' THEN 0 WHEN 'published' THEN 1 ELSE 2 END";

type Kind = (&'static str, fn(&World) -> String);

fn added(column: &str, sql: &str) -> String {
    format!("ALTER TABLE people ADD COLUMN {column}; {sql}")
}

/// What people mean to do.
const INNOCENT: &[Kind] = &[
    ("nothing", |_| String::new()),
    ("a column", |_| added("more TEXT", "")),
    ("a column with a default", |_| {
        added("more INTEGER NOT NULL DEFAULT 7", "")
    }),
    ("a column from another", |_| {
        added("handle TEXT", "UPDATE people SET handle = lower(name)")
    }),
    ("a generated column", |_| {
        added("low TEXT AS (lower(name))", "")
    }),
    ("an index", |_| "CREATE INDEX i ON people (name)".into()),
    ("a unique index", |_| {
        "CREATE UNIQUE INDEX i ON people (lower(email))".into()
    }),
    ("a new table", |_| {
        "CREATE TABLE fresh (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO fresh VALUES (1, 'x')"
            .into()
    }),
    ("a view and a trigger", |_| {
        "CREATE VIEW v AS SELECT * FROM people; CREATE TRIGGER g AFTER INSERT ON notes BEGIN SELECT 1; END".into()
    }),
    ("full text", |_| {
        "CREATE VIRTUAL TABLE search USING fts5 (body); INSERT INTO search (rowid, body) SELECT id, body FROM notes".into()
    }),
    ("rows come", |w| {
        format!("INSERT INTO notes VALUES (9000, {}, 'new', 1)", w.id(1))
    }),
    ("vacuum", |_| "VACUUM".into()),
    ("a renamed column", |_| {
        "ALTER TABLE people RENAME COLUMN bio TO about".into()
    }),
    ("a renamed and written column", |_| {
        "ALTER TABLE people RENAME COLUMN email TO address; UPDATE people SET address = lower(address)".into()
    }),
    ("a renamed table", |_| {
        "ALTER TABLE people RENAME TO persons".into()
    }),
    ("a renamed table and column", |_| {
        "ALTER TABLE notes RENAME TO memos; ALTER TABLE memos RENAME COLUMN body TO text".into()
    }),
    ("rebuilt", |w| {
        w.rebuilt(&w.people("fresh", ""), COLUMNS, COLUMNS)
    }),
    ("rebuilt in another order", |w| {
        let table = w
            .people("fresh", "")
            .replace("name TEXT NOT NULL, ", "")
            .replace("bio TEXT,", "bio TEXT, name TEXT NOT NULL,");
        w.rebuilt(&table, COLUMNS, COLUMNS)
    }),
    ("rebuilt without rowid", |w| {
        let table = w
            .people("fresh", "")
            .replace(" WITHOUT ROWID", "")
            .replace("AUTOINCREMENT", "")
            .replace(");", ") WITHOUT ROWID;");
        w.rebuilt(&table, COLUMNS, COLUMNS)
    }),
    ("a varchar", |w| {
        w.with("name TEXT", "name VARCHAR(200)", "name", "name")
    }),
    ("not null", |w| {
        w.with(
            "bio TEXT",
            "bio TEXT NOT NULL DEFAULT ''",
            "bio",
            "coalesce(bio, '')",
        )
    }),
    ("a check more", |w| {
        w.with(
            "phone TEXT",
            "phone TEXT CHECK (length(phone) > 1)",
            "phone",
            "phone",
        )
    }),
    ("another check", |w| {
        w.with(
            "CHECK (kind <> '')",
            "CHECK (kind IN ('draft', 'published', 'withdrawn'))",
            "kind",
            "kind",
        )
    }),
    ("numbers as text", |w| {
        w.with(
            "flag INTEGER NOT NULL DEFAULT 0",
            "flag TEXT NOT NULL",
            "flag",
            "CAST(flag AS TEXT)",
        )
    }),
    ("digits as numbers", |w| {
        w.with(
            "digits TEXT",
            "digits INTEGER",
            "digits",
            "CAST(digits AS INTEGER)",
        )
    }),
    ("prices as text", |w| {
        w.with("price REAL", "price TEXT", "price", "price")
    }),
    ("prices as numeric", |w| {
        w.with("price REAL", "price NUMERIC", "price", "price")
    }),
    ("texts as blobs", |w| {
        w.with("bio TEXT", "bio BLOB", "bio", "CAST(bio AS BLOB)")
    }),
    ("prices in cents, in place", |w| {
        w.with(
            "price REAL",
            "price INTEGER",
            "price",
            "CAST(round(price * 100) AS INTEGER)",
        )
    }),
    ("prices in cents", |w| {
        w.without("price", ", cents INTEGER", "ALTER TABLE people ADD COLUMN cents INTEGER; UPDATE people SET cents = CAST(round(price * 100) AS INTEGER)")
    }),
    ("times as numbers, in place", |w| {
        w.with(
            "at TEXT",
            "at INTEGER",
            "at",
            "CAST(strftime('%s', at) AS INTEGER)",
        )
    }),
    ("times as numbers", |w| {
        w.without("at", ", at_s INTEGER", "ALTER TABLE people ADD COLUMN at_s INTEGER; UPDATE people SET at_s = strftime('%s', at)")
    }),
    ("times with a T", |_| {
        "UPDATE people SET at = replace(at, ' ', 'T') || 'Z'".into()
    }),
    ("dates turned around", |_| {
        "UPDATE people SET at = substr(at, 9, 2) || '.' || substr(at, 6, 2) || '.' || substr(at, 1, 4) || substr(at, 11)".into()
    }),
    ("small letters", |_| {
        "UPDATE people SET email = lower(email)".into()
    }),
    ("capitals", |_| {
        "UPDATE people SET name = upper(name)".into()
    }),
    ("trimmed", |_| {
        "UPDATE people SET bio = ' ' || bio; UPDATE people SET bio = trim(bio), name = trim(name)"
            .into()
    }),
    ("phones without zeros are kept", |_| {
        "UPDATE people SET phone = '+49 ' || phone".into()
    }),
    ("phones with signs", |_| {
        "UPDATE people SET phone = substr(phone, 1, 3) || '-' || substr(phone, 4)".into()
    }),
    ("a prefix for all", |_| {
        "UPDATE people SET bio = 'about: ' || bio".into()
    }),
    ("a suffix less for all", |_| {
        "UPDATE people SET email = replace(email, '@Example.org', '')".into()
    }),
    ("blank to NULL", |_| {
        "UPDATE people SET nick = NULL WHERE trim(nick) = ''".into()
    }),
    ("NULL to a value", |_| {
        "UPDATE people SET nick = 'none yet' WHERE nick IS NULL OR trim(nick) = ''".into()
    }),
    ("NULL to the name", |_| {
        "UPDATE people SET nick = name WHERE nick IS NULL OR trim(nick) = ''".into()
    }),
    ("a code for a kind, in place", |w| {
        w.with(
            "kind TEXT NOT NULL CHECK (kind <> '')",
            "kind INTEGER NOT NULL CHECK (kind >= 0)",
            "kind",
            CODE,
        )
    }),
    ("a code for a kind", |w| {
        let code =
            format!("ALTER TABLE people ADD COLUMN code INTEGER; UPDATE people SET code = {CODE}");
        w.without("kind", ", code INTEGER", &code)
    }),
    ("other words for kinds", |_| {
        "UPDATE people SET kind = CASE kind WHEN 'draft' THEN 'new' WHEN 'published' THEN 'public' ELSE 'gone' END".into()
    }),
    ("two kinds into one", |_| {
        "UPDATE people SET kind = 'published' WHERE kind = 'withdrawn'".into()
    }),
    ("yes and no", |w| {
        w.with(
            "flag INTEGER NOT NULL DEFAULT 0",
            "flag TEXT NOT NULL DEFAULT 'no'",
            "flag",
            "CASE flag WHEN 1 THEN 'yes' ELSE 'no' END",
        )
    }),
    ("a flag for some", |_| {
        "UPDATE people SET flag = 1 WHERE rowid_of IS NULL".replace("rowid_of", "bio")
    }),
    ("a name in two", |w| {
        w.without("name", ", first TEXT, last TEXT", &format!(
        "DROP VIEW names; ALTER TABLE people ADD COLUMN first TEXT; ALTER TABLE people ADD COLUMN last TEXT; UPDATE people SET first = {FIRST}, last = {LAST}"))
    }),
    ("a name in two, in place", |_| {
        added(
            "last TEXT",
            &format!("UPDATE people SET last = {LAST}, name = {FIRST}"),
        )
    }),
    ("two in one", |w| {
        w.without("bio", ", about TEXT",
        "ALTER TABLE people ADD COLUMN about TEXT; UPDATE people SET about = name || ': ' || coalesce(bio, '')")
    }),
    ("columns in JSON", |w| {
        w.without("digits", ", meta TEXT",
        "ALTER TABLE people ADD COLUMN meta TEXT; UPDATE people SET meta = json_object('digits', digits, 'bio', bio)")
    }),
    ("a table split", |w| {
        w.without("bio", "",
        "CREATE TABLE profiles (person_id PRIMARY KEY REFERENCES people, bio TEXT); INSERT INTO profiles SELECT id, bio FROM people")
    }),
    ("a table split with its own key", |w| {
        w.without("phone", "",
        "CREATE TABLE phones (id INTEGER PRIMARY KEY, person REFERENCES people, number TEXT); INSERT INTO phones (person, number) SELECT id, phone FROM people")
    }),
    ("a lookup table", |w| {
        w.without("kind", ", kind_id INTEGER REFERENCES kinds",
        "CREATE TABLE kinds (id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO kinds (name) SELECT DISTINCT kind FROM people;
         ALTER TABLE people ADD COLUMN kind_id INTEGER; UPDATE people SET kind_id = (SELECT id FROM kinds WHERE name = kind)")
    }),
    ("a lookup table for what is unique", |w| {
        w.without("bio", ", bio_id INTEGER REFERENCES bios",
        "CREATE TABLE bios (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO bios (text) SELECT bio FROM people WHERE bio NOT NULL;
         ALTER TABLE people ADD COLUMN bio_id INTEGER; UPDATE people SET bio_id = (SELECT b.id FROM bios b WHERE b.text = bio)")
    }),
    ("a flag as a table", |w| {
        w.without("flag", "",
        "CREATE TABLE favourites (person_id PRIMARY KEY); INSERT INTO favourites SELECT id FROM people WHERE flag = 1")
    }),
    ("an archive", |_| {
        "CREATE TABLE old_notes AS SELECT * FROM notes WHERE n > 2; DELETE FROM notes WHERE n > 2"
            .into()
    }),
    ("an archive of all", |_| {
        "CREATE TABLE old_notes (id INTEGER PRIMARY KEY, person_id, body TEXT, n INTEGER, archived_at TEXT);
         INSERT INTO old_notes SELECT *, 'today' FROM notes; DELETE FROM notes".into()
    }),
    ("a table moved into another", |_| {
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, type TEXT, person_id, text TEXT, n INTEGER);
         INSERT INTO entries (type, person_id, text, n) SELECT 'note', person_id, body, n FROM notes; DROP TABLE notes".into()
    }),
    ("a join table", |_| {
        "CREATE TABLE people_notes (person_id, note_id INTEGER REFERENCES notes);
         INSERT INTO people_notes SELECT person_id, id FROM notes;
         PRAGMA foreign_keys = OFF; CREATE TABLE fresh (id INTEGER PRIMARY KEY, body TEXT, n INTEGER);
         INSERT INTO fresh SELECT id, body, n FROM notes; DROP TABLE notes; ALTER TABLE fresh RENAME TO notes".into()
    }),
    ("other keys, followed", |w| {
        let typed = w.people("fresh", "").replace(w.key, "id TEXT PRIMARY KEY");
        let notes = w.notes("n2").replace("person_id INTEGER", "person_id TEXT");
        format!(
            "PRAGMA foreign_keys = OFF; CREATE TABLE ids AS SELECT id AS old, lower(hex(randomblob(16))) AS new FROM people;
             {typed} INSERT INTO fresh SELECT (SELECT new FROM ids WHERE old = id), name, email, bio, kind, price, at, digits, phone, nick, flag, big, millis FROM people;
             {notes} INSERT INTO n2 SELECT id, (SELECT new FROM ids WHERE old = person_id), body, n FROM notes;
             DROP TABLE people; DROP TABLE notes; DROP VIEW names; ALTER TABLE fresh RENAME TO people; ALTER TABLE n2 RENAME TO notes;
             CREATE INDEX notes_by_person ON notes (person_id); CREATE VIEW names AS SELECT name FROM people; {TRIGGER} DROP TABLE ids"
        ).replace("(SELECT new FROM ids WHERE old = id), name", if w.is_text_key { "id, name" } else { "(SELECT new FROM ids WHERE old = id), name" })
         .replace("(SELECT new FROM ids WHERE old = person_id)", if w.is_text_key { "person_id" } else { "(SELECT new FROM ids WHERE old = person_id)" })
    }),
    ("keys moved up, followed", |w| {
        match w.is_text_key {
        true => String::new(),
        false => "PRAGMA foreign_keys = OFF; UPDATE people SET id = id + 100000; UPDATE notes SET person_id = person_id + 100000".into(),
    }
    }),
    ("keys of notes, to which nothing refers", |_| {
        "UPDATE notes SET id = id + 100000".into()
    }),
    ("keys to which keys refer, followed", |_| {
        "PRAGMA foreign_keys = OFF; UPDATE accounts SET id = id + 100000; UPDATE secrets SET account = account + 100000".into()
    }),
    ("no key, in another order", |_| {
        "CREATE TABLE fresh (person TEXT, tag TEXT); INSERT INTO fresh SELECT * FROM tagged ORDER BY tag DESC, person; DROP TABLE tagged; ALTER TABLE fresh RENAME TO tagged".into()
    }),
    ("unique in small letters", |w| {
        w.rebuilt(
            &w.people_with("fresh", "email TEXT NOT NULL", ""),
            COLUMNS,
            COLUMNS,
        ) + "CREATE UNIQUE INDEX e ON people (lower(email))"
    }),
    ("unique by an index", |w| {
        w.rebuilt(
            &w.people_with("fresh", "email TEXT NOT NULL", ""),
            COLUMNS,
            COLUMNS,
        ) + "CREATE UNIQUE INDEX e ON people (email)"
    }),
    ("an index dropped by its name", |_| {
        "DROP INDEX notes_by_person".into()
    }),
    ("a trigger dropped by its name", |_| {
        "DROP TRIGGER watch".into()
    }),
    ("a view dropped by its name", |_| "DROP VIEW names".into()),
    ("another view", |_| {
        "DROP VIEW names; CREATE VIEW names AS SELECT name, email FROM people".into()
    }),
    ("an empty table dropped", |_| "DROP TABLE empty".into()),
    ("an empty column dropped", |w| {
        w.without("nick", "", "UPDATE people SET nick = NULL")
    }),
    ("a copy dropped", |w| {
        w.without(
            "bio",
            ", about TEXT",
            "ALTER TABLE people ADD COLUMN about TEXT; UPDATE people SET about = bio",
        )
    }),
    ("a foreign key more", |_| {
        "PRAGMA foreign_keys = OFF; CREATE TABLE fresh (person TEXT REFERENCES people, tag TEXT);
         INSERT INTO fresh SELECT * FROM tagged; DROP TABLE tagged; ALTER TABLE fresh RENAME TO tagged".into()
    }),
    ("a rollback of bookkeeping", |_| {
        "DELETE FROM schema_migrations WHERE version = '2'".into()
    }),
    ("a rollback of all bookkeeping", |_| {
        "DELETE FROM schema_migrations".into()
    }),
    ("counters counted", |_| {
        "UPDATE counters SET n = n + 1".into()
    }),
    ("one person corrected", |w| {
        format!(
            "UPDATE people SET bio = 'Other', phone = '12' WHERE id = {}",
            w.id(2)
        )
    }),
    ("one price corrected", |w| {
        format!("UPDATE people SET price = 10 WHERE id = {}", w.id(3))
    }),
    ("hashed", |_| {
        "UPDATE people SET phone = hex('salt' || phone)".into()
    }),
    ("positions changed", |_| "UPDATE notes SET n = 6 - n".into()),
    ("times set", |_| {
        added("updated_at TEXT", "UPDATE people SET updated_at = at")
    }),
    ("spaces in numbers", |_| {
        "UPDATE people SET digits = ' ' || digits; UPDATE people SET digits = trim(digits)".into()
    }),
];

/// What nobody means: the way it is found, at least one of these.
const LOSSES: &[Kind] = &[
    ("the trap", |w| {
        let sql = w
            .rebuilt(&w.people("fresh", ""), COLUMNS, COLUMNS)
            .replace("foreign_keys = OFF", "foreign_keys = ON");
        let sql = sql.replace(
            "legacy_alter_table = ON;",
            "legacy_alter_table = ON; BEGIN;",
        ) + "COMMIT";
        match w.refers.contains("ON DELETE") {
            true => sql,
            false => "DELETE FROM notes".into(),
        }
    }),
    ("all rows", |_| "DELETE FROM notes".into()),
    ("some rows", |_| "DELETE FROM notes WHERE n = 2".into()),
    ("one row", |_| "DELETE FROM notes WHERE id = 3".into()),
    ("a table", |_| "DROP TABLE notes".into()),
    ("a table made again", |w| {
        format!("DROP TABLE notes; {}", w.notes("notes"))
    }),
    ("a column", |w| w.without("bio", "", "")),
    ("a column dropped and added", |_| {
        "ALTER TABLE people DROP COLUMN bio; ALTER TABLE people ADD COLUMN bio TEXT".into()
    }),
    ("a column renamed by hand, without its values", |_| {
        "ALTER TABLE people DROP COLUMN bio; ALTER TABLE people ADD COLUMN about TEXT".into()
    }),
    ("NULL for all", |_| "UPDATE people SET bio = NULL".into()),
    ("NULL for some", |w| {
        format!(
            "UPDATE people SET phone = NULL WHERE id > {}",
            w.id(w.rows / 2)
        )
    }),
    ("empty for all", |_| "UPDATE people SET bio = ''".into()),
    ("empty for some", |_| {
        "UPDATE people SET phone = '' WHERE flag = 1".into()
    }),
    ("one text for all", |_| "UPDATE people SET bio = 'x'".into()),
    ("one time for all", |_| {
        "UPDATE people SET at = CURRENT_TIMESTAMP".into()
    }),
    ("one number for all", |_| {
        "UPDATE people SET price = 0".into()
    }),
    ("one kind for all", |_| {
        "UPDATE people SET kind = 'draft'".into()
    }),
    ("a flag for all", |_| "UPDATE people SET flag = 1".into()),
    ("one text for half", |w| {
        format!("UPDATE people SET phone = 'x' WHERE id <> {}", w.id(1))
    }),
    ("cut to five", |_| {
        "UPDATE people SET name = substr(name, 1, 5)".into()
    }),
    ("cut in a rebuild", |w| {
        w.with("bio TEXT", "bio VARCHAR(9)", "bio", "substr(bio, 1, 9)")
    }),
    ("the first word", |_| {
        format!("UPDATE people SET name = {FIRST}")
    }),
    ("a date of a time", |_| {
        "UPDATE people SET at = date(at)".into()
    }),
    ("text to a number", |w| {
        w.with("bio TEXT", "bio INTEGER", "bio", "CAST(bio AS INTEGER)")
    }),
    ("names to numbers", |w| {
        w.with("name TEXT", "name INTEGER", "name", "CAST(name AS INTEGER)")
    }),
    ("zeros at the beginning", |w| {
        w.with("phone TEXT", "phone INTEGER", "phone", "phone")
    }),
    ("prices to whole ones", |w| {
        w.with(
            "price REAL",
            "price INTEGER",
            "price",
            "CAST(price AS INTEGER)",
        )
    }),
    ("prices rounded", |_| {
        "UPDATE people SET price = round(price)".into()
    }),
    ("prices rounded to one digit", |_| {
        "UPDATE people SET price = round(price, 1)".into()
    }),
    ("whole numbers divided", |_| {
        "UPDATE people SET millis = millis / 100".into()
    }),
    ("milliseconds to seconds", |_| {
        "UPDATE people SET millis = millis / 1000".into()
    }),
    ("large numbers as REAL", |w| {
        w.with("big INTEGER", "big REAL", "big", "big")
    }),
    ("large numbers as REAL, by a cast", |_| {
        "UPDATE people SET big = CAST(CAST(big AS REAL) AS INTEGER)".into()
    }),
    ("keys left out", |w| match w.is_text_key {
        true => "UPDATE people SET bio = NULL".into(),
        false => {
            let rest = COLUMNS.replace("id, ", "");
            let sql = w.rebuilt(&w.people("fresh", ""), &rest, &rest);
            sql.replace("FROM people;", "FROM people ORDER BY id DESC;")
        }
    }),
    ("keys moved up", |w| match w.is_text_key {
        true => "PRAGMA foreign_keys = OFF; UPDATE people SET id = 'x' || id".into(),
        false => "PRAGMA foreign_keys = OFF; UPDATE people SET id = id + 100000".into(),
    }),
    ("keys by one, in place", |w| match w.is_text_key {
        true => "UPDATE people SET bio = ''".into(),
        false => {
            "PRAGMA foreign_keys = OFF; UPDATE people SET id = -id; UPDATE people SET id = 1 - id"
                .into()
        }
    }),
    ("two columns crossed by their order", |w| {
        let columns = COLUMNS.replace("name, email", "email, name");
        w.rebuilt(
            &w.people_with("fresh", "email TEXT NOT NULL", ""),
            &columns,
            COLUMNS,
        ) + "CREATE INDEX e ON people (email)"
    }),
    ("three columns in a circle", |_| {
        "UPDATE people SET digits = phone, phone = email, email = digits".into()
    }),
    ("two columns crossed", |_| {
        "UPDATE people SET bio = phone, phone = bio WHERE bio NOT NULL".into()
    }),
    ("another column over it", |_| {
        "UPDATE people SET bio = name".into()
    }),
    ("shifted by one", |_| {
        "UPDATE people SET phone = digits, digits = at, at = name".into()
    }),
    ("children to one parent", |w| {
        format!("UPDATE notes SET person_id = {}", w.id(1))
    }),
    ("values to the next row", |w| {
        format!(
        "CREATE TABLE c AS SELECT row_number() OVER (ORDER BY id) AS r, id, email FROM people;
         UPDATE people SET email = 'tmp' || id;
         UPDATE people SET email = (SELECT o.email FROM c AS own JOIN c AS o ON o.r = own.r % {} + 1 WHERE own.id = people.id); DROP TABLE c", w.rows)
    }),
    ("other rows under the keys", |_| {
        "UPDATE people SET name = 'N ' || hex(randomblob(3)), email = hex(randomblob(5)), bio = hex(randomblob(4)), kind = hex(randomblob(2)),
         at = hex(randomblob(7)), digits = hex(randomblob(5)), phone = hex(randomblob(6)), price = random(), flag = random(), big = random(), millis = random()".into()
    }),
    ("a copy that ignores", |w| {
        format!("PRAGMA foreign_keys = OFF; CREATE TABLE fresh (id INTEGER PRIMARY KEY, person_id{}, body TEXT, n INTEGER UNIQUE);
         INSERT OR IGNORE INTO fresh SELECT * FROM notes; DROP TABLE notes; ALTER TABLE fresh RENAME TO notes", w.refers)
    }),
    ("a copy with a limit", |w| {
        w.rebuilt(&w.people("fresh", ""), COLUMNS, COLUMNS)
            .replace("FROM people;", "FROM people LIMIT 3;")
    }),
    ("a copy with a join", |w| {
        format!(
            "{} INSERT INTO fresh SELECT n.* FROM notes n JOIN people p ON p.id = n.person_id AND p.flag = 1; DROP TABLE notes; ALTER TABLE fresh RENAME TO notes",
            w.notes("fresh")
        )
    }),
    ("duplicates of what has no key", |_| {
        "INSERT INTO tagged SELECT * FROM tagged LIMIT 0; CREATE TABLE fresh AS SELECT DISTINCT tag, '' AS person FROM tagged; DROP TABLE tagged; ALTER TABLE fresh RENAME TO tagged".into()
    }),
    ("unique in a rebuild", |w| {
        w.rebuilt(
            &w.people_with("fresh", "email TEXT NOT NULL", ""),
            COLUMNS,
            COLUMNS,
        )
    }),
    ("a check in a rebuild", |w| {
        w.with(" CHECK (kind <> '')", "", "kind", "kind")
    }),
    ("a trigger in a rebuild", |w| {
        w.rebuilt(&w.people("fresh", ""), COLUMNS, COLUMNS)
            .replace(TRIGGER, "")
    }),
    ("an index in a rebuild", |w| {
        format!(
            "PRAGMA foreign_keys = OFF; {} INSERT INTO fresh SELECT * FROM notes; DROP TABLE notes; ALTER TABLE fresh RENAME TO notes",
            w.notes("fresh")
        )
    }),
    ("all keys, as by CREATE TABLE AS", |_| {
        "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; CREATE TABLE fresh AS SELECT * FROM people; DROP TABLE people; ALTER TABLE fresh RENAME TO people".into()
    }),
    ("a foreign key in a rebuild", |w| match w.refers {
        "" => "UPDATE people SET phone = ''".into(),
        _ => format!(
            "PRAGMA foreign_keys = OFF; {} INSERT INTO fresh SELECT * FROM notes; DROP TABLE notes; ALTER TABLE fresh RENAME TO notes; CREATE INDEX notes_by_person ON notes (person_id)",
            w.notes("fresh").replace(w.refers, "")
        ),
    }),
    ("rows that refer to nothing", |w| match w.refers {
        "" => "DELETE FROM people WHERE flag = 1".into(),
        _ => "PRAGMA foreign_keys = OFF; UPDATE notes SET person_id = 'none' WHERE n = 1".into(),
    }),
    ("an archive with less", |_| {
        "CREATE TABLE old AS SELECT * FROM notes WHERE n > 3; DELETE FROM notes WHERE n > 2".into()
    }),
    ("an archive without a column", |_| {
        "CREATE TABLE old AS SELECT id, person_id, n FROM notes WHERE n > 2; DELETE FROM notes WHERE n > 2".into()
    }),
    ("a split of other rows", |w| {
        w.without("bio", "",
        "CREATE TABLE profiles (person_id PRIMARY KEY, bio TEXT); INSERT INTO profiles SELECT id, bio FROM people WHERE flag = 1")
    }),
    ("a split to the wrong rows", |w| {
        w.without("phone", "",
        "CREATE TABLE phones (person_id, phone TEXT); INSERT INTO phones SELECT (SELECT max(id) FROM people), phone FROM people")
    }),
    ("a lookup of one", |w| {
        w.without("kind", ", kind_id INTEGER",
        "CREATE TABLE kinds (id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO kinds (name) SELECT DISTINCT kind FROM people;
         ALTER TABLE people ADD COLUMN kind_id INTEGER; UPDATE people SET kind_id = 1")
    }),
    ("a code for some", |w| {
        w.without("kind", ", code INTEGER",
        "ALTER TABLE people ADD COLUMN code INTEGER; UPDATE people SET code = CASE kind WHEN 'draft' THEN 0 ELSE 1 END")
    }),
    ("two in one, without the second", |w| {
        w.without(
            "bio",
            ", about TEXT",
            "ALTER TABLE people ADD COLUMN about TEXT; UPDATE people SET about = name || ': '",
        )
    }),
    ("a name in one", |w| {
        w.without("name", ", first TEXT", &format!(
        "DROP VIEW names; ALTER TABLE people ADD COLUMN first TEXT; UPDATE people SET first = {FIRST}"))
    }),
    ("JSON without it", |w| {
        w.without("digits", ", meta TEXT",
        "ALTER TABLE people ADD COLUMN meta TEXT; UPDATE people SET meta = json_object('bio', bio)")
    }),
    ("a unique column, for a random one", |w| {
        w.without(
            "phone",
            ", uuid TEXT",
            "ALTER TABLE people ADD COLUMN uuid TEXT; UPDATE people SET uuid = hex(randomblob(16))",
        )
    }),
    ("other keys, not followed", |w| match w.is_text_key {
        true => "DELETE FROM people WHERE flag = 0".into(),
        false => {
            let typed = w.people("fresh", "").replace(w.key, "id TEXT PRIMARY KEY");
            w.rebuilt(
                &typed,
                COLUMNS,
                &COLUMNS.replacen("id,", "hex(randomblob(16)),", 1),
            )
        }
    }),
    ("counters set to nothing", |_| {
        "UPDATE counters SET n = 0".into()
    }),
    ("a flag, with a new table of settings", |w| {
        w.without("flag", "", "CREATE TABLE settings (id INTEGER PRIMARY KEY, theme TEXT); INSERT INTO settings (theme) SELECT 'dark'")
    }),
    ("a flag, with a table of as many rows as were set", |w| {
        w.without("flag", "", "CREATE TABLE slots (no INTEGER PRIMARY KEY, label TEXT); INSERT INTO slots (label) SELECT 'slot' FROM people WHERE flag = 1")
    }),
    ("a flag, with a new column of nothing", |w| {
        w.without("flag", "", "CREATE TABLE plans (no INTEGER PRIMARY KEY, label TEXT, person_id); INSERT INTO plans (label) VALUES ('free'), ('paid')")
    }),
    ("a flag, with some of those that had it", |w| {
        w.without("flag", "",
        "CREATE TABLE favourites (person_id PRIMARY KEY); INSERT INTO favourites SELECT id FROM people WHERE flag = 1 AND id <> (SELECT max(id) FROM people WHERE flag = 1)")
    }),
    ("votes, of which the posts are there", |_| {
        "INSERT INTO notes (body) VALUES ('new'); DROP TABLE votes".into()
    }),
    ("one claim for each, of which the posts are there", |_| {
        "INSERT INTO notes (body) VALUES ('new'); DELETE FROM claims".into()
    }),
    ("events, of which the kinds are there", |_| {
        "CREATE TABLE kinds_of (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO kinds_of (what) SELECT DISTINCT what FROM events; DELETE FROM events WHERE id > 4".into()
    }),
    ("a table of events, of which the kinds are there", |_| {
        "CREATE TABLE kinds_of (what TEXT PRIMARY KEY); INSERT INTO kinds_of SELECT DISTINCT what FROM events; DROP TABLE events".into()
    }),
    ("secrets of others", |_| {
        "PRAGMA foreign_keys = OFF; CREATE TABLE c (account INTEGER PRIMARY KEY REFERENCES accounts, hash TEXT);
         INSERT INTO c SELECT account, lead(hash, 1, (SELECT hash FROM secrets ORDER BY account LIMIT 1)) OVER (ORDER BY account) FROM secrets;
         DROP TABLE secrets; ALTER TABLE c RENAME TO secrets".into()
    }),
    ("secrets numbered again", |_| {
        "PRAGMA foreign_keys = OFF; CREATE TABLE c (account INTEGER PRIMARY KEY REFERENCES accounts, hash TEXT);
         INSERT INTO c (hash) SELECT hash FROM secrets; DROP TABLE secrets; ALTER TABLE c RENAME TO secrets".into()
    }),
    ("keys to which keys refer, followed by others", |_| {
        "PRAGMA foreign_keys = OFF; UPDATE accounts SET id = id + 100000;
         CREATE TABLE c (account INTEGER PRIMARY KEY REFERENCES accounts, hash TEXT);
         INSERT INTO c SELECT account + 100000, lead(hash, 1, (SELECT hash FROM secrets ORDER BY account LIMIT 1)) OVER (ORDER BY account) FROM secrets;
         DROP TABLE secrets; ALTER TABLE c RENAME TO secrets".into()
    }),
    ("names of other countries", |_| {
        "CREATE TABLE c (code TEXT PRIMARY KEY, name TEXT);
         INSERT INTO c SELECT code, lead(name, 1, (SELECT name FROM countries ORDER BY code LIMIT 1)) OVER (ORDER BY code) FROM countries;
         DROP TABLE countries; ALTER TABLE c RENAME TO countries".into()
    }),
    ("remarks on other courses", |_| {
        "CREATE TABLE c (s INTEGER, c INTEGER, remark TEXT, PRIMARY KEY (s, c));
         INSERT INTO c SELECT s, c, lead(remark, 1, (SELECT remark FROM enrolled ORDER BY s, c LIMIT 1)) OVER (ORDER BY s, c) FROM enrolled;
         DROP TABLE enrolled; ALTER TABLE c RENAME TO enrolled".into()
    }),
    ("keys of texts, made numbers", |w| match w.is_text_key {
        true => w.rebuilt(
            &w.people("fresh", "")
                .replace(w.key, "id INTEGER PRIMARY KEY")
                .replace(" WITHOUT ROWID", ""),
            &COLUMNS.replace("id, ", ""),
            &COLUMNS.replace("id, ", ""),
        ),
        false => "UPDATE people SET bio = ''".into(),
    }),
];

fn judged(world: &World, sql: &str) -> Report {
    let pair = Pair::new(&format!(
        "PRAGMA foreign_keys = OFF; BEGIN; {} COMMIT;",
        world.sql
    ));
    let run = pair
        .open()
        .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}"));
    assert!(run.is_ok(), "{run:?}: {sql}");
    pair.report(Depth::Quick)
}

/// Of each kind, with other keys and values each time: those that are judged wrong.
fn wrong(kinds: &[Kind], expect_loss: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, (name, sql)) in kinds.iter().enumerate() {
        for seed in 0..SEEDS {
            let world = World::new(seed + 4 * (at as u64));
            let sql = sql(&world);
            let report = judged(&world, &sql);
            if report.losses.is_empty() == expect_loss {
                let losses: Vec<String> = report
                    .losses
                    .iter()
                    .map(|loss| format!("{} ({})", shown(loss), loss.detail))
                    .collect();
                wrong.push(format!(
                    "{name} [{seed}; {}{}]: {losses:?}\n  {:?}\n  {sql}",
                    world.key, world.refers, report.notes
                ));
            }
        }
    }
    wrong
}

#[test]
fn no_innocent_migration_is_refused() {
    let wrong = wrong(INNOCENT, false);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        INNOCENT.len() as u64 * SEEDS,
        wrong.join("\n")
    );
}

#[test]
fn every_certain_loss_is_found() {
    let wrong = wrong(LOSSES, true);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        LOSSES.len() as u64 * SEEDS,
        wrong.join("\n")
    );
}
