//! Lint for migration files: which data they delete or change, what code has to keep to, and how
//! long writers wait.
//!
//! Statements are parsed with SQLite's grammar and applied, one after another,
//! to an empty copy of the schema in memory, so that each is judged by the schema
//! at that point. The database itself is only read, and is optional.
//!
//! ```
//! use monolite_migrate::lint::Linter;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let db = rusqlite::Connection::open_in_memory()?;
//! db.execute_batch(
//!     "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
//!      CREATE TABLE comment (post_id REFERENCES post ON DELETE CASCADE);
//!      INSERT INTO post VALUES (1, 'a', 'b'); INSERT INTO comment VALUES (1);",
//! )?;
//! let found = Linter::new(Some(&db))?.file("0002_drop.sql", "DROP TABLE post;")?;
//! let names: Vec<_> = found.iter().map(|finding| finding.rule.name).collect();
//! assert_eq!(names, ["drop-table", "orphans"]);
//! assert!(found[1].what.contains("1 row of comment"));
//! # Ok(()) }
//! ```
//!
//! A comment at the statement allows what is lost, with the reason: `-- monolite: allow
//! column:posts.body: replaced by text in 0007`.

mod allow;
mod children;
mod definition_text;
mod drops;
mod effect;
mod file_state;
mod finding;
mod linter;
mod manual_rebuild;
mod reads;
mod row_changes;
mod rules;
mod running_code;
mod scratch_schema;
mod slow_ops;
mod table_change;
mod tautology;

pub use allow::allowances;
pub(crate) use allow::allowed_names;
pub use finding::Finding;
pub use linter::Linter;
pub use rules::{Level, RULES, Rule, rule};
