//! What may be dropped.

use monolite_migrate::diff::{Error, Options, diff};
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
            && said.contains("--allow-drop posts.name --allow-drop posts.price")
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
        "CREATE TABLE other (a); -- monolite: drop posts",
        &Options::default(),
    )
    .unwrap();
    assert_eq!(
        found.sql,
        "DROP VIEW v;\nCREATE TABLE other (a);\nDROP TABLE posts;"
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
fn what_may_be_dropped_has_to_be_there() {
    let wanted = "-- was: posts\nCREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, -- was: name\n count INT);";
    for name in ["nosuch.col", "posts.nosuch", "post", "articles.", ".price"] {
        let said = diff(
            &database(POSTS),
            wanted,
            &options(&["articles.price", name]),
        )
        .unwrap_err();
        assert!(
            matches!(said, Error::NothingToDrop { .. }),
            "{name}: {said}"
        );
        assert!(said.to_string().contains(name), "{said}");
    }
    // By its name before or after, in any case.
    let known = options(&["Articles.Price", "posts", "posts.name"]);
    diff(&database(POSTS), wanted, &known).unwrap();
}
