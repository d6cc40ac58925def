//! The rules: their names, levels and texts.

use serde::Serialize;

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For information.
    Note,
    /// May lose data, or needs code of the same release.
    Warning,
    /// Loses data, or fails, unless a comment allows it.
    Error,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// How severe a finding is, if nothing says otherwise.
    pub level: Level,
    /// How severe it is where code of the release before still runs while the files are applied.
    pub rolling: Level,
    /// What it finds.
    pub when: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

macro_rules! rules {
    ($($constant:ident, $name:literal, $level:ident, $rolling:ident, $when:literal, $instead:literal;)*) => {
        $(pub(super) const $constant: &Rule = &Rule {
            name: $name,
            level: Level::$level,
            rolling: Level::$rolling,
            when: $when,
            instead: $instead,
        };)*

        /// All rules, in the order in which `docs/migrations.md` lists them.
        pub const RULES: &[&Rule] = &[$($constant),*];
    };
}

rules! {
    // Data that is lost.
    DROP_TABLE, "drop-table", Error, Error,
        "a table is dropped with its rows, or made again with some of them",
        "first deploy code that does not use it; drop it in a later migration, when nobody misses it";
    DROP_COLUMN, "drop-column", Error, Error,
        "a column is dropped with its values, or left out by a rebuild by hand; a warning if a statement before it copies them",
        "first deploy code that neither reads nor writes it; drop it in a later migration";
    DELETE_ALL, "delete-all", Error, Error,
        "DELETE without WHERE, or with one that holds for every row",
        "say which rows with WHERE, or allow it";
    UPDATE_ALL, "update-all", Error, Error,
        "every row of a column that was there before gets another value, by UPDATE, by SET of a REBUILD TABLE or by a copy by hand; a warning if the value is computed from the old one, or was copied before",
        "write into a new column, and drop the old one in a later migration";
    REPLACE_CASCADES, "replace-cascades", Error, Error,
        "INSERT OR REPLACE or UPDATE OR REPLACE of a table with ON DELETE CASCADE or SET NULL children: a row that is replaced is deleted first, and its children with it",
        "INSERT … ON CONFLICT (…) DO UPDATE SET …";
    NEW_KEYS, "new-keys", Error, Error,
        "a table is rebuilt by hand without its key, to which other tables refer: rows of these belong to others then",
        "copy the key, too; REBUILD TABLE does";
    ORPHANS, "orphans", Error, Error,
        "a table is dropped that rows of another refer to, or renamed away from its foreign keys",
        "drop the foreign key first (REBUILD TABLE of the other), or delete its rows; REBUILD TABLE keeps them";
    // What a definition does no more.
    DROP_DEFINITION, "drop-definition", Warning, Warning,
        "a view, a trigger, a UNIQUE, a CHECK, a foreign key or what it does, STRICT or a default is dropped or becomes another one; an error if it is only forgotten by a rebuild by hand",
        "nothing, if no code relies on it";
    // What code of the release before does not expect.
    RENAMES, "renames", Warning, Error,
        "a table or a column is renamed: code of the release before looks for the old name",
        "add the new one, have code write both, backfill, read the new one, drop the old one later";
    DEMANDS_MORE, "demands-more", Warning, Error,
        "NOT NULL, CHECK, UNIQUE, a foreign key, STRICT, a refusing trigger or a generated column is demanded of a table that is there: rows or code of the release before may not keep to it",
        "first deploy code that keeps to it, correct the rows that do not, demand it then";
    CHANGES, "changes", Warning, Warning,
        "a column gets a type of another affinity, another collation or another position, or a table another key: values, comparisons or code may change",
        "add a column, have code write both, backfill, drop the old one later";
    NOT_MADE, "not-made", Warning, Warning,
        "CREATE TABLE IF NOT EXISTS of a table that is there with other columns: nothing is done",
        "REBUILD TABLE, or ALTER TABLE, or another name";
    SLOW, "slow", Warning, Warning,
        "a statement writes so many rows that writers wait longer than a second",
        "apply it when few write (`monolite run` holds requests meanwhile, `monolite migrate up --dry-run` measures it), or do it from a job, some thousand rows at a time";
    // Statements that fail.
    FAILS, "fails", Error, Error,
        "SQLite refuses the statement, by the schema as it is then; a warning if only a function or module is unknown",
        "correct or remove the statement";
    NOT_A_MIGRATION, "not-a-migration", Error, Error,
        "`monolite migrate up` does not run the file: it does not parse, a statement would end the transaction, or something temporary is left behind",
        "correct or remove the statement";
    ALLOW_WRONG, "allow-wrong", Error, Error,
        "`-- monolite: allow …` names nothing that can be lost, or gives no reason",
        "name what is lost as it is reported, and why, after a colon: `-- monolite: allow column:posts.body: replaced by text in 0007`";
}

/// The rule of a name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.name == name)
}
