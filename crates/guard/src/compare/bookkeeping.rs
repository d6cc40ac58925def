//! Where tools keep which migrations were applied. Rows there come and go with
//! the migrations themselves, so that only the loss of all of them is one.

use monolite_migrate::schema::Table;

/// The tables, and columns that they have; for names that an app's own table
/// may well have, sets of which one is there.
const KNOWN: &[(&str, &[&[&str]])] = &[
    ("schema_migrations", &[&["version"], &["id"]]),
    ("ar_internal_metadata", &[&["key", "value"]]),
    ("django_migrations", &[&["app", "name"]]),
    (
        "migrations",
        &[
            &["migration", "batch"],
            &["timestamp", "name"],
            &["name", "run_on"],
            &["version", "apply_time"],
            &["version", "class", "batch"],
        ],
    ),
    ("alembic_version", &[]),
    ("knex_migrations", &[]),
    ("knex_migrations_lock", &[]),
    ("sequelizemeta", &[]),
    ("_prisma_migrations", &[]),
    ("__drizzle_migrations", &[]),
    ("mikro_orm_migrations", &[]),
    ("typeorm_migrations", &[]),
    ("migrations_lock", &[&["is_locked"], &["locked"], &["lock"]]),
    ("phinxlog", &[]),
    ("doctrine_migration_versions", &[]),
    ("flyway_schema_history", &[]),
    ("goose_db_version", &[]),
    ("gorp_migrations", &[]),
    ("_sqlx_migrations", &[]),
    ("refinery_schema_history", &[]),
    ("__diesel_schema_migrations", &[]),
    ("seaql_migrations", &[]),
    ("__efmigrationshistory", &[]),
    ("_monolite_migration", &[]),
];

pub(super) fn is(table: &Table) -> bool {
    let has = |columns: &&[&str]| columns.iter().all(|name| table.column(name).is_some());
    KNOWN.iter().any(|(name, columns)| {
        name.eq_ignore_ascii_case(&table.name) && (columns.is_empty() || columns.iter().any(has))
    })
}
