//! The button that loses the volume: what the app itself does, without anybody
//! who brings the database back.

use axum::http::StatusCode;
use monolite_demo::Config;

use crate::{Blog, form_to, send};

#[tokio::test]
async fn there_is_no_button_without_a_replica() {
    let blog = Blog::new().await;
    for page in ["/", "/posts/5", "/new"] {
        blog.get(page).await.hides("Lose the volume");
    }
    let refused = blog.post("/lose", "", &[]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(blog.get("/lost").await.status, StatusCode::NOT_FOUND);
    assert!(blog.database().exists());
}

#[tokio::test]
async fn the_process_after_the_loss_tells_the_story() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("data"));
    std::fs::create_dir(&config.data).unwrap();
    config.replica = Some(dir.path().join("replica"));
    let database = config.data.join("app.sqlite3");
    let app = monolite_demo::app(config.clone()).await.unwrap();
    let get = axum::http::Request::get;
    for page in ["/", "/posts/5", "/new"] {
        let page = send(app.router(), get(page), "").await;
        assert_eq!(page.text.matches("id=\"lose\"").count(), 1);
        page.hides("<dt>Deleted</dt>");
    }
    let form = form_to("/lose", &[("origin", "http://evil.example")]);
    let refused = send(app.router(), form, "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(database.exists());

    // Somebody has a copy, as whoever brings it back.
    let copy = dir.path().join("copy");
    let conn = rusqlite::Connection::open(&database).unwrap();
    conn.execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    drop(conn);
    let answer = send(app.router(), form_to("/lose", &[]), "").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/lost");
    assert!(!database.exists() && !dir.path().join("data/app.sqlite3-wal").exists());
    // This one does not know how it ends.
    let round = send(app.router(), get("/lost"), "").await;
    assert_eq!(round.header("location"), "/lost");
    drop(app);

    std::fs::copy(&copy, &database).unwrap();
    let next = monolite_demo::app(config.clone()).await.unwrap();
    let told = send(next.router(), get("/lost"), "").await;
    assert_eq!(told.header("location"), "/#volume");
    let page = send(next.router(), get("/"), "").await;
    page.shows("Nothing was lost.");
    page.shows("<dd>5 posts, 2 comments</dd>");
    drop(next);

    // And if less comes back, that is told as well.
    let conn = rusqlite::Connection::open(&copy).unwrap();
    conn.execute_batch("DELETE FROM comment WHERE id = 1")
        .unwrap();
    drop(conn);
    let third = monolite_demo::app(config.clone()).await.unwrap();
    send(third.router(), get("/"), "")
        .await
        .shows("Nothing was lost.");
    send(third.router(), form_to("/lose", &[]), "").await;
    drop(third);
    std::fs::copy(&copy, &database).unwrap();
    let last = monolite_demo::app(config).await.unwrap();
    let page = send(last.router(), get("/"), "").await;
    page.shows("1 comment and 0 posts were lost.");
}
