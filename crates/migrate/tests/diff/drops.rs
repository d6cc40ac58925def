//! What may be dropped.

use monolite_migrate::diff::{Options, diff};
use rusqlite::Connection;

use crate::common::{POSTS, options};
use crate::corpus::database;

#[test]
fn nothing_is_dropped_unasked() {
    let conn = database(POSTS);
    let wanted = "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT, count INT);";
    let said = diff(&conn, wanted, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("posts.name, posts.price would be dropped")
            && said.contains("--allow-loss column:posts.name --allow-loss column:posts.price")
            && said.contains("-- was: name"),
        "{said}"
    );
    let found = diff(&conn, "CREATE TABLE other (a);", &Options::default()).unwrap();
    assert_eq!(found.sql, "DROP VIEW v;\nCREATE TABLE other (a);");
    assert!(
        found.notes[0].contains("posts is not in the wanted schema and is kept"),
        "{:?}",
        found.notes
    );
    let found = diff(
        &conn,
        "CREATE TABLE other (a); -- monolite: allow posts: as meant",
        &Options::default(),
    )
    .unwrap();
    assert_eq!(
        found.sql,
        "DROP VIEW v;\nCREATE TABLE other (a);\n\
         -- monolite: allow table:posts: as the schema file says\nDROP TABLE posts;"
    );
}

#[test]
fn an_empty_file_is_a_mistake() {
    let conn = database(POSTS);
    for file in ["", "  -- nothing\n", "PRAGMA foreign_keys = ON;"] {
        let said = diff(&conn, file, &Options::default()).unwrap_err();
        assert!(said.to_string().contains("is empty"), "{file}: {said}");
    }
    let empty = Connection::open_in_memory().unwrap();
    assert!(diff(&empty, "", &Options::default()).unwrap().is_empty());
}

#[test]
fn a_name_of_nothing_is_reported() {
    let wanted = "-- was: posts\nCREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, -- was: name\n count INT);";
    for name in ["nosuch.col", "posts.nosuch", "post", "articles.", ".price"] {
        let allow = options(&["articles.price", name]);
        let found = diff(&database(POSTS), wanted, &allow).unwrap();
        let said = format!("--allow-loss {name} names nothing that is there");
        assert!(found.notes.contains(&said), "{:?}", found.notes);
    }
    // By its name before or after, in any case.
    let known = options(&["Articles.Price", "posts", "posts.name"]);
    diff(&database(POSTS), wanted, &known).unwrap();
}
