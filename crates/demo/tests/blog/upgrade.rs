//! A blog of an older version.

use monolite::rusqlite::Connection;

use crate::background::told;
use crate::live::Stream;
use crate::{Blog, until};

#[tokio::test]
async fn a_blog_of_version_1_keeps_what_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let old = Connection::open(dir.path().join("app.sqlite3")).unwrap();
    old.execute_batch(include_str!("../../src/schema/1.sql"))
        .unwrap();
    old.execute_batch(
        "PRAGMA journal_mode = WAL;
         INSERT INTO post (id, title, body) VALUES (7, 'Mine', 'Text');
         INSERT INTO comment (id, post_id, name, body) VALUES (11, 7, 'Ada', 'First'), (12, 7, 'Bob', 'Second');",
    )
    .unwrap();
    let rows = |conn: &Connection| -> Vec<String> {
        let sql = "SELECT json_array(id, created_ms, comments, title, body) FROM post
            UNION ALL SELECT json_array(id, post_id, created_ms, name, body) FROM comment";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let before = rows(&old);
    drop(old);

    let blog = Blog::at(dir).await;
    let conn = Connection::open(blog.database()).unwrap();
    assert_eq!(rows(&conn), before);
    let version: i64 = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);
    let front = blog.get("/").await;
    assert_eq!(front.text.matches("<article").count(), 1);
    front.shows("data-count=\"7\">2 comments<");

    // And everything works as in a new one; the old comments make no noise.
    let mut stream = Stream::open(&blog, "", None).await;
    stream.named("hello").await;
    blog.post("/posts/7/comments", "name=Eve&body=Third", &[])
        .await;
    let said = stream.named("comment").await.data;
    assert_eq!((&said["id"], &said["count"]), (&13.into(), &3.into()));
    until(&blog.files().await, told(13)).await;
    blog.get("/").await.shows(">1, last in ");

    // A second start changes nothing.
    let before = rows(&conn);
    let _again = blog.again().await;
    assert_eq!(rows(&conn), before);
}
