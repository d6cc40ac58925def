//! Where tools keep which migrations were applied. Rows there come and go with the migrations
//! themselves: only the table can be lost.

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
    ("migration", &[&["name", "app_name", "ran_on"]]),
    ("migrations_lock", &[&["is_locked"], &["locked"], &["lock"]]),
    ("schema_version", &[&["version"], &["installed_rank"]]),
    ("schema_info", &[&["version"]]),
    ("aerich", &[&["version", "app"]]),
    ("alembic_version", &[]),
    ("atlas_schema_revisions", &[]),
    ("databasechangelog", &[]),
    ("databasechangeloglock", &[]),
    ("doctrine_migration_versions", &[]),
    ("flyway_schema_history", &[]),
    ("goose_db_version", &[]),
    ("gorp_migrations", &[]),
    ("knex_migrations", &[]),
    ("knex_migrations_lock", &[]),
    ("kysely_migration", &[]),
    ("kysely_migration_lock", &[]),
    ("migratehistory", &[]),
    ("mikro_orm_migrations", &[]),
    ("phinxlog", &[]),
    ("refinery_schema_history", &[]),
    ("seaql_migrations", &[]),
    ("sequelizemeta", &[]),
    ("typeorm_migrations", &[]),
    ("yoyo_lock", &[]),
    ("__diesel_schema_migrations", &[]),
    ("__drizzle_migrations", &[]),
    ("__efmigrationshistory", &[]),
    ("_monolite_migration", &[]),
    ("_prisma_migrations", &[]),
    ("_sqlx_migrations", &[]),
    ("_yoyo_log", &[]),
    ("_yoyo_migration", &[]),
    ("_yoyo_version", &[]),
];

pub(super) fn is(table: &Table) -> bool {
    let has = |columns: &&[&str]| columns.iter().all(|name| table.column(name).is_some());
    KNOWN.iter().any(|(name, columns)| {
        name.eq_ignore_ascii_case(&table.name) && (columns.is_empty() || columns.iter().any(has))
    })
}
