//! The cached front page: fresh for everybody, always.

use axum::Router;
use axum::http::{Request, StatusCode};
use monolite::rusqlite::Connection;

use crate::{Blog, form_to, send};

async fn comments_on_2(router: Router) -> usize {
    let front = send(router, Request::get("/"), "").await.text;
    let start = front.find("data-count=\"2\">").expect("the post") + 15;
    let label = front[start..].split('<').next().unwrap();
    let count = label.split(' ').next().unwrap();
    if count == "No" {
        0
    } else {
        count.parse().unwrap()
    }
}

async fn comment(router: Router) -> usize {
    let request = form_to("/posts/2/comments", &[("accept", "application/json")]);
    let said = send(router, request, "name=a&body=b").await;
    assert_eq!(said.status, StatusCode::CREATED);
    said.json()["count"].as_u64().unwrap().try_into().unwrap()
}

#[tokio::test]
async fn it_is_rendered_once_for_every_edition() {
    let blog = Blog::new().await;
    let shows = async |from: &str| {
        blog.get("/")
            .await
            .shows(&format!("<dd id=\"from\">{from}, "))
    };
    shows("rendered").await;
    shows("cached").await;
    blog.get("/?before=6").await.hides("id=\"from\"");

    blog.post("/posts/4/comments", "name=a&body=b", &[]).await;
    let front = blog.get("/").await;
    front.shows("data-count=\"4\">1 comment<");
    front.shows(">rendered, ");
    shows("cached").await;
    blog.post("/posts", "title=Fresh&body=b", &[]).await;
    blog.get("/").await.shows("/posts/6-fresh");

    // Those that were rendered before are gone from the cache.
    let cached = blog.files().await.cache().stats().await.unwrap();
    assert_eq!(cached.entries, 1, "{cached:?}");

    // Whatever a shell does to it.
    let shell = Connection::open(blog.database()).unwrap();
    let run = |sql: &str| shell.execute_batch(sql).unwrap();
    shows("cached").await;
    run("INSERT INTO comment (post_id, name, body) VALUES (4, 'x', 'y')");
    blog.get("/").await.shows("data-count=\"4\">2 comments<");
    run("DELETE FROM comment WHERE post_id = 4");
    blog.get("/")
        .await
        .shows("data-count=\"4\">No comments yet<");
    run("UPDATE post SET title = 'Renamed' WHERE id = 6");
    blog.get("/").await.shows("/posts/6-renamed");
    run("DELETE FROM post WHERE id = 6");
    blog.get("/").await.hides("Renamed");
}

#[tokio::test]
async fn it_shows_one_s_own_comment_in_two_processes() {
    let blog = Blog::new().await;
    assert_eq!(comments_on_2(blog.app.router()).await, 0);
    let status = crate::process("front::other_process", blog.dir.path()).status();
    assert!(status.unwrap().success());
    assert_eq!(comments_on_2(blog.app.router()).await, 20);
}

#[tokio::test]
#[ignore = "run by it_shows_one_s_own_comment_in_two_processes, in a process of its own"]
async fn other_process() {
    let Some(data) = crate::data() else { return };
    let app = crate::open(&data).await;
    for n in 0..20 {
        assert_eq!(comments_on_2(app.router()).await, n);
        assert_eq!(comment(app.router()).await, n + 1);
    }
    assert_eq!(comments_on_2(app.router()).await, 20);
}

/// Two that write and read at once: a list that is rendered while the other
/// one comments must not stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_never_older_than_what_was_answered() {
    let blog = Blog::new().await;
    let again = blog.again().await;
    let talk = async |router: Router| {
        for _ in 0..40 {
            let said = comment(router.clone()).await;
            let shown = comments_on_2(router.clone()).await;
            assert!(shown >= said, "{shown} shown after {said} were answered");
        }
    };
    tokio::join!(
        talk(blog.app.router()),
        talk(again.router()),
        talk(again.router())
    );
    for router in [blog.app.router(), again.router()] {
        assert_eq!(comments_on_2(router).await, 120);
    }
}
