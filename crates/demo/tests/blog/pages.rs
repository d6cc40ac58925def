use axum::http::StatusCode;

use crate::Blog;

const JSON: (&str, &str) = ("accept", "application/json");

#[tokio::test]
async fn the_front_page_is_seeded_once() {
    let blog = Blog::new().await;
    let front = blog.get("/").await;
    assert_eq!(front.status, StatusCode::OK);
    front.shows("You are looking at one process and one file");
    front.shows("runs on Monolite");
    assert_eq!(front.text.matches("<article").count(), 5);
    // Newest first, with their counts.
    let order = ["/posts/5-you-", "/posts/4-open-", "/posts/3-pull-"].map(|p| front.text.find(p));
    assert!(order.is_sorted() && order[0].is_some(), "{order:?}");
    front.shows("data-count=\"5\">1 comment<");
    front.shows("data-count=\"4\">No comments yet<");

    let again = blog.again().await;
    let front = crate::send(again.router(), axum::http::Request::get("/"), "").await;
    assert_eq!(front.text.matches("<article").count(), 5);
}

#[tokio::test]
async fn nothing_comes_from_elsewhere() {
    let blog = Blog::new().await;
    let front = blog.get("/").await;
    let policy = front.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(front.header("x-content-type-options"), "nosniff");
    for (path, kind) in [
        ("/style.css", "text/css"),
        ("/app.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        let asset = blog.get(path).await;
        assert!(asset.header("content-type").starts_with(kind), "{path}");
        assert_eq!(asset.header("cache-control"), "no-cache");
        asset.hides("url(http");
        asset.hides("@import");
        asset.hides("https://");
    }
    for page in ["/", "/new", "/posts/5", "/nowhere"] {
        let page = blog.get(page).await;
        page.hides("https://");
        page.hides("http://");
        // The policy would refuse both.
        page.hides(" style=");
        page.hides("<script>");
    }
    let start = front.text.find("/app.js?").unwrap();
    let href = front.text[start..].split('"').next().unwrap();
    let script = blog.get(href).await;
    assert!(script.header("cache-control").ends_with("immutable"));
}

#[tokio::test]
async fn a_comment_by_form_comes_back_to_its_anchor() {
    let blog = Blog::new().await;
    let form = "name=Ada&body=One%0D%0Atwo";
    let said = blog.post("/posts/4/comments", form, &[]).await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
    let target = said.header("location");
    assert_eq!(target, "/posts/4-open-a-second-window#comment-3");
    let page = blog.get("/posts/4-open-a-second-window").await;
    page.shows("id=\"comment-3\"");
    page.shows("<bdi>Ada</bdi>");
    page.shows("One\ntwo");
    page.shows(">1 comment<");
    blog.get("/").await.shows("data-count=\"4\">1 comment<");
}

#[tokio::test]
async fn a_comment_by_script_is_answered_in_json() {
    let blog = Blog::new().await;
    let said = blog
        .post("/posts/4/comments", "name=Ada&body=Hi", &[JSON])
        .await;
    assert_eq!(said.status, StatusCode::CREATED);
    let said = said.json();
    assert_eq!(
        (&said["id"], &said["post"], &said["count"]),
        (&3.into(), &4.into(), &1.into())
    );
    assert!(said["html"].as_str().unwrap().contains("<bdi>Ada</bdi>"));

    let refused = blog
        .post("/posts/4/comments", "name=&body=Hi", &[JSON])
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let errors = &refused.json()["errors"];
    assert!(errors["name"].is_string() && errors["body"].is_null());

    let nowhere = blog
        .post("/posts/99/comments", "name=a&body=b", &[JSON])
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(nowhere.json()["error"].is_string());
}

#[tokio::test]
async fn a_post_is_published_at_its_words() {
    let blog = Blog::new().await;
    let written = blog
        .post("/posts", "title=Hello,+World!&body=Text", &[])
        .await;
    assert_eq!(written.status, StatusCode::SEE_OTHER);
    assert_eq!(written.header("location"), "/posts/6-hello-world");
    blog.get("/posts/6-hello-world")
        .await
        .shows("<h1 dir=\"auto\">Hello, World!</h1>");
    blog.get("/posts/6").await.shows("Text");
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let blog = Blog::new().await;
    for n in 0..55 {
        let form = format!("name=n&body=say-{n}.");
        blog.post("/posts/2/comments", &form, &[]).await;
        blog.post("/posts", &format!("title=post-{n}.&body=b"), &[])
            .await;
    }
    let page = blog.get("/posts/2").await;
    page.shows("say-54.");
    page.shows("say-5.");
    page.hides("say-4.");
    let start = page.text.find("?before=").unwrap();
    let query = page.text[start..].split('#').next().unwrap();
    let older = blog.get(&format!("/posts/2{query}")).await;
    older.shows("say-4.");
    older.shows("say-0.");
    older.hides("say-5.");
    older.hides("?before=");

    let front = blog.get("/").await;
    assert_eq!(front.text.matches("<article").count(), 20);
    front.shows("/?before=41");
    assert_eq!(
        blog.get("/?before=41")
            .await
            .text
            .matches("<article")
            .count(),
        20
    );
    let list = blog.get_as("/posts/2/comments?after=4", "*/*").await.json();
    let ids: Vec<_> = list["comments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].as_i64())
        .collect();
    assert_eq!(ids, (5..55).map(Some).collect::<Vec<_>>());
    assert_eq!(list["more"], true);
    let html = blog.get_as("/posts/2/comments", "text/html").await;
    assert_eq!(html.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn health_is_a_read() {
    let blog = Blog::new().await;
    let up = blog.get("/up").await;
    assert_eq!((up.status, &*up.text), (StatusCode::OK, "ok"));
}
