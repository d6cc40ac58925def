use std::process::Command;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use monolite::rusqlite::Connection;
use monolite::store::{self, Options, Store};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::{Blog, PATIENCE, until};

/// An open `/live`.
pub(crate) struct Stream {
    body: BodyDataStream,
    text: String,
}

#[derive(Debug)]
pub(crate) struct Event {
    name: String,
    id: Option<String>,
    pub(crate) data: serde_json::Value,
}

impl Stream {
    pub(crate) async fn open(blog: &Blog, query: &str, last_event_id: Option<&str>) -> Self {
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
                    id: field("id").map(str::to_owned),
                    data: serde_json::from_str(field("data").unwrap_or("null")).unwrap_or_default(),
                };
                self.text = rest.into();
                return Some(event);
            }
            let bytes = self.body.next().await.transpose().unwrap()?;
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    pub(crate) async fn named(&mut self, name: &str) -> Event {
        let wait = async {
            loop {
                let event = self.event().await.expect("the stream goes on");
                if event.name == name {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect(name)
    }

    /// The ids of the next comments, up to `last`.
    async fn ids_to(&mut self, last: i64) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.last() != Some(&last) {
            ids.push(self.named("comment").await.data["id"].as_i64().unwrap());
        }
        ids
    }
}

fn insert(conn: &Connection, body: &str) -> store::Result<()> {
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
async fn so_does_one_by_another_program() {
    let blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\nwith db: db.execute(\
        \"INSERT INTO comment (post_id, name, body) VALUES (2, 'py\"\"thon', 'say \\\\ “hi”\\n☃')\")";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(blog.database())
        .status();
    assert!(python.expect("python3 is installed").success());
    let said = stream.named("comment").await.data;
    assert_eq!(
        (&said["name"], &said["count"]),
        (&"python".into(), &1.into())
    );
    assert_eq!(said["body"], "say \\ “hi”\n☃");
    assert!(said["html"].as_str().unwrap().contains("<bdi>python</bdi>"));
}

#[tokio::test]
async fn so_does_one_by_another_process() {
    let blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    let status = crate::process("live::other_process", blog.dir.path()).status();
    assert!(status.unwrap().success());
    let said = stream.named("comment").await.data;
    assert_eq!(
        (&said["name"], &said["count"]),
        (&"other".into(), &1.into())
    );
}

#[tokio::test]
#[ignore = "run by so_does_one_by_another_process, in a process of its own"]
async fn other_process() {
    let Some(data) = crate::data() else { return };
    let app = crate::open(&data).await;
    let request = crate::form_to("/posts/2/comments", &[]);
    let said = crate::send(app.router(), request, "name=other&body=hi").await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
}

async fn say(blog: &Blog, numbers: impl Iterator<Item = i64>) {
    for n in numbers {
        let form = format!("name=n&body={n}");
        blog.post("/posts/2/comments", &form, &[]).await;
    }
}

#[tokio::test]
async fn a_stream_resumes_where_it_was_lost() {
    let blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    // The last of what it reads from the tables.
    stream.named("discussed").await;
    say(&blog, 3..=5).await;
    stream.ids_to(4).await;
    let last = stream.named("comment").await.id.unwrap();
    let (comment, message) = last.split_once('.').expect("a comment and a message");
    assert_eq!(comment, "5");
    drop(stream);
    say(&blog, 6..=8).await;
    let mut stream = Stream::open(&blog, "?after=1", Some(&last)).await;
    assert_eq!(stream.ids_to(8).await, [6, 7, 8]);

    // The place of a page that was still reading the table, of a file that was
    // made anew, and what is none.
    let (_, seq) = message.split_once('-').unwrap();
    for place in [
        "5",
        &format!("5.0000000000000000-{seq}"),
        "5.of another time",
    ] {
        let mut stream = Stream::open(&blog, "?after=1", Some(place)).await;
        assert_eq!(stream.ids_to(8).await, [6, 7, 8], "{place}");
    }
    let mut stream = Stream::open(&blog, "?after=6", None).await;
    assert_eq!(stream.ids_to(8).await, [7, 8]);
    // From a database that was there before this one.
    let mut stream = Stream::open(&blog, "", Some("1000000")).await;
    stream.named("hello").await;
    say(&blog, 9..=9).await;
    assert_eq!(stream.ids_to(9).await, [9]);
}

/// Waits until every message has left the database.
async fn relayed(blog: &Blog) {
    let read = |conn: &Connection| {
        let sql = "SELECT count(*) FROM _monolite_outbox";
        let left: i64 = conn.query_row(sql, [], |row| row.get(0))?;
        Ok((left == 0).then_some(()))
    };
    until(&blog.files().await, read).await;
}

#[tokio::test]
async fn what_messages_no_longer_tell_is_in_the_table() {
    let mut blog = Blog::new().await;
    let mut stream = Stream::open(&blog, "", None).await;
    stream.named("discussed").await;
    say(&blog, 3..=5).await;
    stream.ids_to(4).await;
    let last = stream.named("comment").await.id.unwrap();
    drop(stream);
    say(&blog, 6..=8).await;
    relayed(&blog).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    blog.app.serve(listener, async {}).await.unwrap();
    for file in ["pubsub.sqlite3", "cache.sqlite3"] {
        std::fs::remove_file(blog.dir.path().join(file)).unwrap();
    }
    blog.app = crate::open(blog.dir.path()).await;
    let mut stream = Stream::open(&blog, "?after=1", Some(&last)).await;
    assert_eq!(stream.ids_to(8).await, [6, 7, 8]);
    say(&blog, 9..=9).await;
    assert_eq!(stream.ids_to(9).await, [9]);
}

#[tokio::test]
async fn a_page_lost_while_it_reads_the_table_goes_on_there() {
    let blog = Blog::new().await;
    let store = Store::open(blog.database(), Options::default()).unwrap();
    let write = |tx: &Connection| (0..300).try_for_each(|n| insert(tx, &n.to_string()));
    store.write(write).await.unwrap();
    relayed(&blog).await;
    let mut seen = Vec::new();
    let mut last = None;
    while seen.last() != Some(&302) {
        let mut stream = Stream::open(&blog, "?after=0", last.as_deref()).await;
        for _ in 0..70 {
            let event = stream.named("comment").await;
            seen.push(event.data["id"].as_i64().unwrap());
            last = event.id;
            if seen.last() == Some(&302) {
                break;
            }
        }
    }
    assert_eq!(seen, (1..=302).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let blog = Blog::new().await;
    let mut slow = Stream::open(&blog, "", None).await;
    slow.named("discussed").await;
    let mut quick = Stream::open(&blog, "", None).await;
    for batch in 0..13 {
        let store = Store::open(blog.database(), Options::default()).unwrap();
        let write =
            move |tx: &Connection| (0..90).try_for_each(|n| insert(tx, &format!("{batch}-{n}")));
        store.write(write).await.unwrap();
    }
    let all: Vec<_> = (3..=1172).collect();
    assert_eq!(quick.ids_to(1172).await, all);
    assert_eq!(slow.ids_to(1172).await, all);
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
        // Alone each time: from nobody to somebody and back.
        let mut stream = Stream::open(&blog, "", None).await;
        let first =
            match tokio::time::timeout(Duration::from_millis(20), stream.named("comment")).await {
                Ok(event) => event.data["id"].as_i64().unwrap(),
                Err(_) => continue,
            };
        if first + 5 >= 400 {
            break; // They have said all they had to.
        }
        let next = stream.ids_to(first + 5).await;
        assert_eq!(next, (first + 1..=first + 5).collect::<Vec<_>>());
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
