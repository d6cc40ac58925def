use axum::http::StatusCode;
use monolite::rusqlite::Connection;
use monolite_demo::{Config, Error};

use crate::Blog;

const JSON: (&str, &str) = ("accept", "application/json");

#[tokio::test]
async fn markup_of_visitors_stays_text() {
    let blog = Blog::new().await;
    let evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27%3E%3Cimg%20src%3Dx%20onerror%3D1%3E";
    let form = format!("name=%3Ci%3Eme&body={evil}%0A%0A%20%20%20%20{evil}%0A%0A%60{evil}%60");
    let said = blog.post("/posts/1/comments", &form, &[JSON]).await.json();
    let title = blog
        .post("/posts", &format!("title={evil}&body={evil}"), &[])
        .await;
    // Shown again in the form, too.
    let refused = blog
        .post(
            "/posts/1/comments",
            &format!("name=%22%3E{evil}&body="),
            &[],
        )
        .await;
    let texts = [
        said["html"].as_str().unwrap().to_owned(),
        blog.get("/posts/1").await.text,
        blog.get(title.header("location")).await.text,
        blog.get("/").await.text,
        refused.text,
    ];
    for text in texts {
        assert!(
            !text.contains("<script>") && !text.contains("<img"),
            "{text}"
        );
        assert!(!text.contains("<i>me") && !text.contains("\"'>"), "{text}");
        assert!(text.contains("script&"), "{text}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_shown_and_the_text_kept() {
    let blog = Blog::new().await;
    let form = format!("name={}&body=%0AKeep+me", "n".repeat(41));
    let refused = blog.post("/posts/2/comments", &form, &[]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.shows("At most 40 characters, please; this is 41.");
    refused.shows("Keep me</textarea>");
    refused.shows(&"n".repeat(41));

    let refused = blog.post("/posts", "title=+&body=Keep+me", &[]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.shows("A post needs a title.");
    refused.shows("Keep me</textarea>");

    let missing = blog.post("/posts/2/comments", "", &[]).await;
    missing.shows("Please sign with a name.");
    missing.shows("Write something first.");
    blog.get("/posts/2").await.shows("No comments yet");
}

#[tokio::test]
async fn other_sites_cannot_send_our_forms() {
    let blog = Blog::new().await;
    for header in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let refused = blog
            .post("/posts/2/comments", "name=a&body=b", &[header])
            .await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{header:?}");
        refused.shows("another site");
        let refused = blog.post("/posts", "title=a&body=b", &[header]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{header:?}");
    }
    let ours = ("origin", "https://blog.example");
    let said = blog
        .post("/posts/2/comments", "name=a&body=b", &[ours])
        .await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn failures_look_like_pages() {
    let blog = Blog::new().await;
    for path in [
        "/nowhere",
        "/posts/99",
        "/posts/x",
        "/posts/%ff",
        "/posts/1x",
        "/posts/99/comments",
    ] {
        let answer = blog.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        answer.shows("Nothing stands here");
        answer.shows("runs on Monolite");
        assert!(answer.header("content-security-policy").contains("'none'"));
    }
    let wrong = blog.post("/live", "", &[]).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    wrong.shows("That does not work here");
    let large = format!("name=a&body={}", "x".repeat(65 << 10));
    let large = blog.post("/posts/2/comments", &large, &[]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    large.shows("That is a lot");
    let plain = [("content-type", "text/plain")];
    let odd = crate::send(
        blog.app.router(),
        axum::http::Request::post("/posts").header(plain[0].0, plain[0].1),
        "title=a",
    );
    assert_eq!(odd.await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("app.sqlite3");
    let conn = Connection::open(&database).unwrap();
    conn.execute_batch("CREATE TABLE users (id)").unwrap();
    let before = std::fs::read(&database).unwrap();
    let config = Config::new(dir.path());
    let error = monolite_demo::app(config.clone()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Foreign { table, .. } if table == "users"),
        "{error}"
    );
    assert_eq!(std::fs::read(&database).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    conn.execute_batch("DROP TABLE users; PRAGMA user_version = 7")
        .unwrap();
    let error = monolite_demo::app(config.clone()).await.unwrap_err();
    assert!(matches!(&error, Error::Newer { found: 7, .. }), "{error}");

    // A table of our second version in a file of the first is none of ours.
    conn.execute_batch("CREATE TABLE notification (id); PRAGMA user_version = 1")
        .unwrap();
    let error = monolite_demo::app(config).await.unwrap_err();
    assert!(matches!(&error, Error::Foreign { .. }), "{error}");

    let data = dir.path().join("missing");
    let error = monolite_demo::app(Config::new(data)).await.unwrap_err();
    assert!(error.to_string().contains("is not a directory"), "{error}");
}
