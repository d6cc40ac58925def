use std::process::Command;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use monolite_demo::Config;
use monolite_store::rusqlite::Connection;
use monolite_store::{Options, Store};
use tower::ServiceExt;

use crate::Blog;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open `/live`.
struct Stream {
    body: BodyDataStream,
    text: String,
}

#[derive(Debug)]
struct Event {
    name: String,
    id: Option<i64>,
    data: serde_json::Value,
}

impl Stream {
    async fn open(blog: &Blog, query: &str, last_event_id: Option<i64>) -> Self {
        let mut request = Request::get(format!("/live{query}"));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = blog.app.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = block.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(n, _)| *n == name).map(|(_, value)| value)
                };
                let event = Event {
                    name: field("event").unwrap_or_default().into(),
                    id: field("id").map(|id| id.parse().unwrap()),
                    data: serde_json::from_str(field("data").unwrap_or("null")).unwrap_or_default(),
                };
                self.text = rest.into();
                return Some(event);
            }
            let next = tokio::time::timeout(PATIENCE, self.body.next());
            let bytes = next.await.expect("an event").transpose().unwrap()?;
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn named(&mut self, name: &str) -> Event {
        loop {
            let event = self.event().await.expect("the stream goes on");
            if event.name == name {
                return event;
            }
        }
    }

    /// The ids of the next comments, up to `last`.
    async fn ids_to(&mut self, last: i64) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.last() != Some(&last) {
            ids.push(self.named("comment").await.id.unwrap());
        }
        ids
    }
}

fn insert(conn: &Connection, body: &str) -> monolite_store::Result<()> {
    conn.execute(
        "INSERT INTO comment (post_id, name, body) VALUES (2, 'x', ?1)",
        [body],
    )?;
    Ok(())
}

#[tokio::test]
async fn a_comment_arrives_in_other_pages() {
    let blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    blog.post("/posts/2/comments", "name=Ada&body=%3Cb%3E", &[])
        .await;
    let event = stream.named("comment").await;
    assert_eq!(event.id, Some(3));
    assert_eq!(event.data["post"], 2);
    assert_eq!(event.data["id"], 3);
    assert_eq!(event.data["count"], 1);
    let html = event.data["html"].as_str().unwrap();
    assert!(html.contains("Ada") && !html.contains("<b>"), "{html}");
}

#[tokio::test]
async fn so_does_one_by_another_store_or_a_plain_connection() {
    let blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    let store = Store::open(blog.database(), Options::default()).unwrap();
    store.write(|tx| insert(tx, "store")).await.unwrap();
    assert_eq!(stream.named("comment").await.data["body"], "store");
    insert(&Connection::open(blog.database()).unwrap(), "plain").unwrap();
    assert_eq!(stream.named("comment").await.data["body"], "plain");
}

#[tokio::test]
async fn so_does_one_by_another_process() {
    let blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "live::other_process", "--ignored"])
        .env("DEMO_DATABASE", blog.database())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let event = stream.named("comment").await;
    assert_eq!(
        (&event.data["name"], &event.data["count"]),
        (&"other".into(), &1.into())
    );
}

#[tokio::test]
#[ignore = "run by so_does_one_by_another_process, in a process of its own"]
async fn other_process() {
    let Some(database) = std::env::var_os("DEMO_DATABASE") else {
        return;
    };
    let config = Config {
        database: database.into(),
    };
    let app = monolite_demo::app(config).await.unwrap();
    let request = crate::form_to("/posts/2/comments", &[]);
    let said = crate::send(app.router(), request, "name=other&body=hi").await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_stream_resumes_where_it_was_lost() {
    let blog = Blog::new().await;
    for n in 3..=8 {
        let form = format!("name=n&body={n}");
        blog.post("/posts/2/comments", &form, &[]).await;
    }
    let mut stream = Stream::open(&blog, "?after=1", Some(5)).await;
    assert_eq!(stream.ids_to(8).await, [6, 7, 8]);
    let mut stream = Stream::open(&blog, "?after=6", None).await;
    assert_eq!(stream.ids_to(8).await, [7, 8]);
    // From a database that was there before this one.
    let mut stream = Stream::open(&blog, "", Some(1_000_000)).await;
    blog.post("/posts/2/comments", "name=n&body=9", &[]).await;
    assert_eq!(stream.ids_to(9).await, [9]);
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let blog = Blog::new().await;
    let mut slow = Stream::open(&blog, "", None).await;
    slow.named("hello").await;
    let mut quick = Stream::open(&blog, "", None).await;
    for batch in 0..10 {
        let store = Store::open(blog.database(), Options::default()).unwrap();
        let write =
            move |tx: &Connection| (0..90).try_for_each(|n| insert(tx, &format!("{batch}-{n}")));
        store.write(write).await.unwrap();
    }
    let all: Vec<_> = (3..=902).collect();
    assert_eq!(quick.ids_to(902).await, all);
    assert_eq!(slow.ids_to(902).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_while_others_talk_misses_nothing() {
    let blog = Blog::new().await;
    let store = Store::open(blog.database(), Options::default()).unwrap();
    let talk = tokio::spawn(async move {
        for n in 3..=402 {
            store
                .write(move |tx| insert(tx, &n.to_string()))
                .await
                .unwrap();
        }
    });
    for _ in 0..20 {
        // Alone each time: the hub goes from nobody to somebody and back.
        let mut stream = Stream::open(&blog, "", None).await;
        let first =
            match tokio::time::timeout(Duration::from_millis(20), stream.named("comment")).await {
                Ok(event) => event.id.unwrap(),
                Err(_) => continue,
            };
        let next = stream.ids_to((first + 5).min(402)).await;
        assert_eq!(next, (first + 1..=(first + 5).min(402)).collect::<Vec<_>>());
        if first + 5 >= 400 {
            break;
        }
    }
    let mut stream = Stream::open(&blog, "?after=2", None).await;
    assert_eq!(stream.ids_to(402).await, (3..=402).collect::<Vec<_>>());
    talk.await.unwrap();
}

#[tokio::test]
async fn the_pulse_tells_readers_and_posts() {
    let blog = Blog::new().await;
    let mut one = Stream::open(&blog, "", None).await;
    assert_eq!(one.named("pulse").await.data["readers"], 1);
    let two = Stream::open(&blog, "", None).await;
    while one.named("pulse").await.data["readers"] != 2 {}
    drop(two);
    while one.named("pulse").await.data["readers"] != 1 {}
    blog.post("/posts", "title=a&body=b", &[]).await;
    while one.named("pulse").await.data["newest_post"] != 6 {}
}
