//! The rules: their names, levels and texts.

use serde::Serialize;

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For information.
    Note,
    /// May lose data or break the running version of the app.
    Warning,
    /// Will lose data or break the running version of the app, unless a comment
    /// allows it.
    Error,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name, as used in `allow` comments.
    pub name: &'static str,
    /// How severe a finding is.
    pub level: Level,
    /// What it finds.
    pub when: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

macro_rules! rules {
    ($($constant:ident, $name:literal, $level:ident, $when:literal, $instead:literal;)*) => {
        $(pub(super) const $constant: &Rule = &Rule {
            name: $name,
            level: Level::$level,
            when: $when,
            instead: $instead,
        };)*

        /// All rules, in the order in which `docs/migrations.md` lists them.
        pub const RULES: &[&Rule] = &[$($constant),*];
    };
}

rules! {
    // Data that is lost.
    DROP_TABLE, "drop-table", Error,
        "a table is dropped, with its rows",
        "first deploy code that does not use it; drop it in a later migration, when nobody misses it";
    DROP_COLUMN, "drop-column", Error,
        "a column is dropped, with its values",
        "first deploy code that neither reads nor writes it; drop it in a later migration";
    DELETE_ALL, "delete-all", Error,
        "DELETE without WHERE",
        "say which rows with WHERE, or allow it by name";
    UPDATE_ALL, "update-all", Error,
        "UPDATE without WHERE, or SET of a REBUILD TABLE, of a column that was there before: every row loses its value",
        "write into a new column, deploy code that reads it, and drop the old one later";
    REPLACE_CASCADES, "replace-cascades", Error,
        "INSERT OR REPLACE or UPDATE OR REPLACE of a table with ON DELETE CASCADE or SET NULL children: a row that is replaced is deleted first, and its children with it",
        "INSERT … ON CONFLICT (…) DO UPDATE SET …";
    // The cascade trap.
    CASCADE_TRAP, "cascade-trap", Error,
        "DROP TABLE of a table with ON DELETE CASCADE, SET NULL or SET DEFAULT children, by itself or as part of create, copy, drop, rename: where foreign keys are on, it deletes or empties the children's rows, and a PRAGMA in the transaction does not help",
        "REBUILD TABLE, which keeps children, indexes, triggers and rowids";
    HAND_REBUILD, "hand-rebuild", Warning,
        "a table is rebuilt by hand: created anew, copied, dropped, renamed",
        "REBUILD TABLE, which keeps indexes, triggers, views, rowids and the AUTOINCREMENT counter";
    ORPHANS, "orphans", Error,
        "a table is dropped that rows of another refer to",
        "drop the foreign key first (REBUILD TABLE of the other), or delete its rows";
    // Changes that the running version of the app does not expect.
    RENAME_TABLE, "rename-table", Error,
        "a table is renamed: code that still runs looks for the old name",
        "create a view of the old name, or a new table that both are written to; drop the old one later";
    RENAME_COLUMN, "rename-column", Error,
        "a column is renamed: code that still runs looks for the old name",
        "add the new column, have code write both, backfill, read the new one, drop the old one later";
    DROP_VIEW, "drop-view", Error,
        "a view is dropped and not made again with its columns",
        "first deploy code that does not read it";
    CHANGED_VIEW, "changed-view", Warning,
        "a view is made again with another text: code that still runs may read other rows or values from it",
        "a view of another name, for code that knows it";
    DROP_TRIGGER, "drop-trigger", Warning,
        "a trigger is dropped and not made again as it was: what it did is not done any more for code that still runs",
        "first deploy code that does not need it";
    NOT_NULL, "not-null", Error,
        "a column without a default becomes NOT NULL, or such a column is added: INSERTs of code that still runs fail",
        "give it a DEFAULT; or add it without NOT NULL, deploy code that writes it, backfill, and make it NOT NULL in a later REBUILD TABLE";
    NO_MORE_NULL, "no-more-null", Warning,
        "a column with a default becomes NOT NULL: code that still writes NULL into it fails",
        "first deploy code that writes none";
    NOW_GENERATED, "now-generated", Error,
        "a column becomes a generated one: code that still writes it fails",
        "add a generated column of another name, deploy code that reads it, drop the old one later";
    NEW_CHECK, "new-check", Warning,
        "a CHECK, or a trigger that refuses rows, is added: code that still runs may write what it refuses",
        "first deploy code that keeps to it, mend the rows that do not, add it then";
    NEW_UNIQUE, "new-unique", Warning,
        "UNIQUE is demanded of a table that is there: code that still runs may write duplicates, and rows that are there may be some",
        "first deploy code that writes none, merge the duplicates, add it then";
    DROP_UNIQUE, "drop-unique", Warning,
        "a UNIQUE index or constraint is dropped: ON CONFLICT clauses that name its columns fail",
        "first deploy code without such a clause";
    NEW_FOREIGN_KEY, "new-foreign-key", Warning,
        "a foreign key is added to a table that is there: code that still runs may write rows without a parent",
        "first deploy code that keeps to it, mend the rows that do not, add it then";
    DROP_CONSTRAINT, "drop-constraint", Warning,
        "a foreign key, a CHECK or STRICT goes, or what a foreign key does to the children changes: what kept rows right does not any more",
        "keep it in the definition, or change code first that relies on it";
    CHANGED_TYPE, "changed-type", Warning,
        "a column's type changes: code that still runs may read or write another one",
        "add a column of the new type, have code write both, backfill, drop the old one later";
    CHANGED_KEY, "changed-key", Warning,
        "the primary key changes, or numbers that AUTOINCREMENT has given are given again",
        "add a UNIQUE index, deploy code that uses it, change the key later";
    CHANGED_COLLATION, "changed-collation", Warning,
        "a column's collation changes: comparisons and UNIQUE answer otherwise",
        "COLLATE in the queries or in a new index";
    MADE_STRICT, "made-strict", Warning,
        "a table becomes STRICT: code that still runs may write values of other types",
        "first deploy code that writes the declared types; look with SELECT … WHERE typeof(…)";
    DROPPED_DEFAULT, "dropped-default", Warning,
        "a column loses its default: INSERTs that leave it out fail, or write NULL",
        "first deploy code that always writes it";
    REORDERED_COLUMNS, "reordered-columns", Warning,
        "columns change their places: INSERT without a list of columns, and code that reads by position, take one for the other",
        "add columns at the end; name columns in code";
    NOT_MADE, "not-made", Warning,
        "CREATE TABLE IF NOT EXISTS of a table that is there with other columns: nothing is done",
        "REBUILD TABLE, or ALTER TABLE, or another name";
    // Statements for which writers wait.
    SLOW_INDEX, "slow-index", Warning,
        "an index on so many rows that writers wait longer than a second",
        "apply it when few write; `monolite run` holds requests meanwhile, `monolite migrate plan` measures it";
    SLOW_REBUILD, "slow-rebuild", Warning,
        "a table of so many rows is rebuilt, or rewritten by DROP COLUMN, that writers wait longer than a second",
        "add a column instead, and backfill it from a job, or apply it when few write; `monolite migrate plan` measures it";
    SLOW_CHANGE, "slow-change", Warning,
        "one statement writes so many rows that writers wait longer than a second",
        "do it from a job, some thousand rows at a time by their keys, each in a transaction of its own";
    // For information, and statements that fail.
    REBUILDS, "rebuilds", Note,
        "a table is rebuilt: all of its rows are copied",
        "nothing, if it is meant";
    FAILS, "fails", Error,
        "SQLite refuses the statement, by the schema as it is then",
        "mend the statement";
    NOT_A_MIGRATION, "not-a-migration", Error,
        "`monolite migrate up` would not run the file: it does not parse, a statement would end the transaction, or something temporary is left behind",
        "mend the statement";
    // Errors in `allow` comments.
    ALLOW_UNKNOWN, "allow-unknown", Error,
        "`-- monolite: allow …` names no rule",
        "name one of the rules of docs/migrations.md";
    ALLOW_WITHOUT_REASON, "allow-without-reason", Error,
        "`-- monolite: allow …` without a reason",
        "say why, after a colon: `-- monolite: allow drop-column: replaced by title in 0007`";
    ALLOW_UNUSED, "allow-unused", Warning,
        "`-- monolite: allow …` of what is not found in its statement",
        "remove it";
}

/// The rule of a name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.name == name)
}
