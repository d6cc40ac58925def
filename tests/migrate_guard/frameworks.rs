//! The trap as people fall into it. Each is run without the guard, too, to
//! show that it is one.

use std::process::Command;

use monolite_testkit::provided;

use super::place::{Place, TRAP, ended, fixture, has};

/// Rails' own program in the fixture, on the volume's database.
fn rails(place: &Place, arguments: &[&str]) {
    let url = format!("sqlite3://{}", place.path("app.sqlite3").display());
    let output = Command::new(fixture("rails").join("bin/rails"))
        .args(arguments)
        .current_dir(fixture("rails"))
        .env("DATABASE_URL", url)
        .output()
        .expect("Rails, of Debian's ruby-rails and ruby-sqlite3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}{said}",
        String::from_utf8_lossy(&output.stdout)
    );
}

const TO_FIRST: &str = "VERSION=20260101000000";

fn rails_blog() -> Place {
    let place = Place::new();
    rails(&place, &["db:migrate", TO_FIRST]);
    place.sql(
        "INSERT INTO posts (title, subtitle) VALUES ('one', 'first'), ('two', NULL);
         INSERT INTO comments (post_id, body) VALUES (1, 'a'), (2, 'b'), (2, 'c');
         INSERT INTO bookmarks (post_id) VALUES (1), (2)",
    );
    place
}

#[test]
fn rails_change_column_loses_nothing() {
    let migrate = ["db:migrate:up", "VERSION=20260102000000"];
    let place = rails_blog();
    rails(&place, &migrate);
    assert_eq!(
        place.number("SELECT count(*) FROM comments"),
        0,
        "it is no trap any more"
    );

    let place = rails_blog();
    let command: Vec<&str> = ["bin/rails"].into_iter().chain(migrate).collect();
    let run = place.migrate(&fixture("rails"), &[], &command, "");
    let (code, output) = ended(run);
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "MakeTitlesLonger: migrated",
            "app.sqlite3 would have lost:",
            "  comments           ",
            "all 3 rows",
            "bookmarks.post_id",
            "all 2 values, NULL now",
            "trigger posts_are_logged on posts",
            "--allow-loss rows:comments=3,trigger:posts_are_logged,values:bookmarks.post_id=2",
            "put back as it was: app.sqlite3",
            "`bin/rails db:migrate:up` took away what nobody allowed",
        ],
    );
    assert_eq!(
        place.number("SELECT count(*) FROM comments JOIN posts ON posts.id = post_id"),
        3
    );
    assert_eq!(place.number("SELECT count(post_id) FROM bookmarks"), 2);
    let waits = "SELECT count(*) FROM schema_migrations WHERE version = '20260102000000'";
    assert_eq!(place.number(waits), 0, "it is not applied");
    place.sql("UPDATE posts SET title = 'new' WHERE id = 1");
    assert_eq!(
        place.number("SELECT count(*) FROM log"),
        1,
        "its trigger is there"
    );
}

#[test]
fn rails_remove_column_loses_nothing() {
    let place = rails_blog();
    let command = ["bin/rails", "db:migrate:up", "VERSION=20260103000000"];
    // The column is meant to go. The comments are not.
    let run = place.migrate(&fixture("rails"), &["--allow-loss", "posts"], &command, "");
    let (code, output) = ended(run);
    assert_eq!(code, 1, "{output}");
    has(&output, &["all 3 rows", "--allow-loss rows:comments"]);
    assert!(!output.contains("--allow-loss posts"), "{output}");
    assert_eq!(place.number("SELECT count(subtitle) FROM posts"), 1);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
}

#[test]
fn rails_without_the_trap_is_let_through() {
    let place = rails_blog();
    let command = ["bin/rails", "db:migrate:up", "VERSION=20260104000000"];
    let run = place.migrate(&fixture("rails"), &[], &command, "");
    let (code, output) = ended(run);
    assert_eq!(code, 0, "{output}");
    has(&output, &["no loss was found in 1 database"]);
    assert_eq!(place.number("SELECT count(*) FROM schema_migrations"), 2);
    assert!(place.kept().is_empty());
    // And back: rows of the bookkeeping go as they should, with an empty column.
    let command = ["bin/rails", "db:rollback"];
    let run = place.migrate(&fixture("rails"), &[], &command, "");
    let (code, output) = ended(run);
    // Rails removes a column by making the table anew.
    assert_eq!(code, 1, "{output}");
    assert_eq!(place.number("SELECT count(*) FROM schema_migrations"), 2);
}

/// One after the other, on tables with rows. Rails copies the whole table twice
/// for most of them.
#[test]
fn rails_ordinary_migrations_are_let_through() {
    let place = Place::new();
    let ordinary = "MIGRATIONS=db/ordinary";
    let version = |n: u32| format!("VERSION=202602{n:02}000000");
    let first = ["env", ordinary, "bin/rails", "db:migrate", &version(1)];
    let (code, output) = ended(place.migrate(&fixture("rails"), &[], &first, ""));
    assert_eq!(code, 0, "{output}");
    place.sql(
        "INSERT INTO makers (name) VALUES ('a'), ('b');
         INSERT INTO products (title, maker_id, created_at, updated_at)
           VALUES ('one', 1, 'x', 'x'), ('two', NULL, 'x', 'x'), ('three', 2, 'x', 'x');
         UPDATE products SET kind = 'cup', stock = 9 WHERE id = 2;
         INSERT INTO reviews (product_id, body) VALUES (1, 'good'), (2, 'bad');
         DELETE FROM products WHERE id = 3",
    );
    let mut notes = String::new();
    for n in 2..=12 {
        let version = version(n);
        let command = ["env", ordinary, "bin/rails", "db:migrate:up", &version];
        let (code, output) = ended(place.migrate(&fixture("rails"), &[], &command, ""));
        assert_eq!(code, 0, "{output}");
        has(&output, &["no loss was found in 1 database"]);
        notes += &output;
    }
    // What it did besides is told all the same.
    has(
        &notes,
        &[
            "app.sqlite3: products: it has no AUTOINCREMENT now",
            "app.sqlite3: index index_makers_on_name: it was dropped",
            "app.sqlite3: products: renamed to articles",
        ],
    );
    let rows = "SELECT count(*) FROM articles JOIN reviews ON reviews.product_id = articles.id
                WHERE name IN ('ONE', 'TWO') AND stock IN (3, 9)";
    assert_eq!(place.number(rows), 2);
    assert_eq!(place.number("SELECT pages FROM articles WHERE id = 1"), 100);
}

fn python() -> String {
    let python = provided("MONOLITE_TEST_DJANGO").join("bin/python");
    python.display().to_string()
}

fn django(place: &Place, to: &str) {
    let url = format!("sqlite:///{}", place.path("app.sqlite3").display());
    let output = Command::new(python())
        .args(["manage.py", "migrate", "shop", to])
        .current_dir(fixture("django_trap"))
        .env("DATABASE_URL", url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn guarded_django(place: &Place, options: &[&str], to: &str) -> (i32, String) {
    let python = python();
    let command = [python.as_str(), "manage.py", "migrate", "shop", to];
    ended(place.migrate(&fixture("django_trap"), options, &command, ""))
}

fn django_shop() -> Place {
    let place = Place::new();
    django(&place, "0001");
    place.sql(
        "INSERT INTO shop_customer (email) VALUES ('a@x'), ('b@x'), ('a@x');
         INSERT INTO shop_order (customer_id, total) VALUES (1, 10), (2, 20), (3, 30), (3, 40);
         INSERT INTO lists VALUES (1, 'one'); INSERT INTO items VALUES (1, 1), (2, 1)",
    );
    place
}

#[test]
fn django_deletes_nothing_that_points_to_what_it_deletes() {
    let place = django_shop();
    django(&place, "0002");
    assert_eq!(
        place.number("SELECT count(*) FROM shop_order"),
        2,
        "it is no trap any more"
    );

    let place = django_shop();
    // That customers go is meant; that their orders go is not.
    let (code, output) = guarded_django(&place, &["--allow-loss", "shop_customer"], "0002");
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "Applying shop.0002_one_row_each... OK",
            "shop_order",
            "2 of 4 rows",
        ],
    );
    assert_eq!(place.number("SELECT sum(total) FROM shop_order"), 100);
    assert_eq!(place.number("SELECT count(*) FROM shop_customer"), 3);
    assert_eq!(
        place.number("SELECT count(*) FROM django_migrations WHERE app = 'shop'"),
        1
    );
    // Until somebody says so.
    let options = ["--allow-loss", "shop_customer,shop_order"];
    let (code, output) = guarded_django(&place, &options, "0002");
    assert_eq!(code, 0, "{output}");
    has(&output, &["lost, as was allowed: shop_order, 2 of 4 rows"]);
}

#[test]
fn django_keeps_what_it_does_not_know_of() {
    let place = django_shop();
    place.sql(
        "DELETE FROM shop_order WHERE customer_id = 3; DELETE FROM shop_customer WHERE id = 3",
    );
    django(&place, "0002");
    let (code, output) = guarded_django(&place, &[], "0003");
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &["trigger customers_are_audited", "index customers_by_email"],
    );
    let there = "SELECT count(*) FROM sqlite_schema WHERE name IN ('customers_are_audited', 'customers_by_email')";
    assert_eq!(place.number(there), 2);
    django(&place, "0003");
    assert_eq!(place.number(there), 0, "it is no trap any more");
}

#[test]
fn django_making_a_table_anew_is_let_through() {
    let place = django_shop();
    // The newest row, too, so that the count begins anew with the table.
    place.sql(
        "DELETE FROM shop_order WHERE customer_id = 3; DELETE FROM shop_customer WHERE id = 3;
         DROP TRIGGER customers_are_audited; DROP INDEX customers_by_email",
    );
    django(&place, "0002");
    let (code, output) = guarded_django(&place, &[], "0003");
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &["app.sqlite3: shop_customer: its AUTOINCREMENT had counted to 3, and is at 2 now"],
    );
}

#[test]
fn django_rebuilding_by_hand_loses_nothing() {
    let place = django_shop();
    place.sql(
        "DELETE FROM shop_order WHERE customer_id = 3; DELETE FROM shop_customer WHERE id = 3",
    );
    django(&place, "0003");
    let (code, output) = guarded_django(&place, &[], "0004");
    assert_eq!(code, 1, "{output}");
    has(&output, &["items", "all 2 rows", "put back as it was"]);
    assert_eq!(place.number("SELECT count(*) FROM items"), 2);
    django(&place, "0004");
    assert_eq!(
        place.number("SELECT count(*) FROM items"),
        0,
        "it is no trap any more"
    );
}

#[test]
fn plain_sql_loses_nothing() {
    let place = Place::with_blog();
    place.sql(TRAP);
    assert_eq!(
        place.number("SELECT count(*) FROM comments"),
        0,
        "it is no trap any more"
    );

    let place = Place::with_blog();
    let (code, output) = place.guarded(&[], TRAP);
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "app.sqlite3 would have lost:",
            "  comments  all 3 rows",
            "ran\n",
            "If that is meant: --allow-loss rows:comments",
            "put back as it was: app.sqlite3",
        ],
    );
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    let (code, output) = place.guarded(&["--allow-loss", "rows:comments"], TRAP);
    assert_eq!(code, 0, "{output}");
    assert_eq!(place.number("SELECT count(*) FROM comments"), 0);
}
