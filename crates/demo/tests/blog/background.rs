//! What happens behind the pages: notifications and the recurring job.

use std::time::{Duration, SystemTime};

use monolite::jobs::NewJob;
use monolite::rusqlite::Connection;
use monolite::store;

use crate::live::Stream;
use crate::{Blog, PATIENCE, until};

const JSON: (&str, &str) = ("accept", "application/json");

pub(crate) fn told(comment: i64) -> impl Fn(&Connection) -> store::Result<Option<()>> + Clone {
    move |conn| {
        let sql = "SELECT count(*) FROM notification WHERE comment_id = ?1";
        let count: i64 = conn.query_row(sql, [comment], |row| row.get(0))?;
        assert!(count <= 1, "told {count} times of comment {comment}");
        Ok((count == 1).then_some(()))
    }
}

#[tokio::test]
async fn a_comment_is_followed_by_one_notification() {
    let blog = Blog::new().await;
    blog.get("/").await.shows(">none yet<");
    let mut stream = Stream::open(&blog, "", None).await;
    assert_eq!(stream.named("told").await.data["told_comment"], 0);
    blog.post("/posts/4/comments", "name=A%3Cb&body=Hi", &[])
        .await;

    let event = stream.named("told").await.data;
    assert_eq!(event["told_comment"], 3);
    let what = event["told_what"].as_str().unwrap();
    assert!(
        what.contains("Open a second window") && what.contains("A<b"),
        "{what}"
    );
    until(&blog.files().await, told(3)).await;
    let page = blog.get("/new").await;
    page.shows(">1, last in ");
    page.shows("by \u{2068}A&#60;b\u{2069}.");
    // Whoever comes now gets the last one, too.
    let mut late = Stream::open(&blog, "", None).await;
    assert_eq!(late.named("told").await.data, event);
}

#[tokio::test]
async fn a_job_that_runs_twice_tells_once() {
    let blog = Blog::new().await;
    let files = blog.files().await;
    let mut messages = files.pubsub().subscribe("notification").await.unwrap();
    blog.post("/posts/4/comments", "name=a&body=b", &[JSON])
        .await;
    until(&files, told(3)).await;
    assert_eq!(
        messages
            .next_message()
            .await
            .unwrap()
            .json::<serde_json::Value>()
            .unwrap()["comment"],
        3
    );

    // As after a worker that died before it could record the end of it.
    for comment in [3, 99] {
        let job = NewJob::raw("notify_author", format!(r#"{{"comment":{comment}}}"#));
        let id = files.jobs().push(job).await.unwrap().id;
        let job = files.jobs().wait(id, PATIENCE).await.unwrap();
        assert_eq!(job.state, monolite::jobs::State::Done, "{:?}", job.error);
    }
    // Published in order: had there been another one, it would be first.
    blog.post("/posts/4/comments", "name=a&body=c", &[JSON])
        .await;
    let next = messages.next_message().await.unwrap();
    assert_eq!(next.json::<serde_json::Value>().unwrap()["number"], 2);
    until(&files, told(3)).await;
}

#[tokio::test]
async fn nobody_is_told_of_a_comment_that_was_not_made() {
    let blog = Blog::new().await;
    let files = blog.files().await;
    blog.post("/posts/99/comments", "name=a&body=b", &[JSON])
        .await;
    let read = |conn: &Connection| {
        let sql = "SELECT count(*) FROM _monolite_job WHERE kind = 'notify_author'";
        Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?)
    };
    assert_eq!(files.db().read(read).await.unwrap(), 0);
}

fn runs(more_than: i64) -> impl Fn(&Connection) -> store::Result<Option<i64>> + Clone {
    move |conn| {
        let sql = "SELECT ifnull(max(runs), 0) FROM discussed_count";
        let runs = conn.query_row(sql, [], |row| row.get(0))?;
        Ok((runs > more_than).then_some(runs))
    }
}

fn minute() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs() / 60
}

#[tokio::test]
async fn the_recurring_job_is_fired_once_by_two_apps() {
    let blog = Blog::new().await;
    let _again = blog.again().await;
    let files = blog.files().await;
    // A new blog is counted at once.
    until(&files, runs(0)).await;
    blog.get("/").await.shows("Most discussed this hour");
    blog.post("/posts/2/comments", "name=a&body=b", &[]).await;
    blog.post("/posts/2/comments", "name=a&body=c", &[]).await;
    let mut stream = Stream::open(&blog, "", None).await;
    stream.named("discussed").await;

    // Its time has come, as far as the table says: nobody waits for a minute.
    loop {
        let began = minute();
        let count = |conn: &Connection| {
            let sql = "SELECT count(*) FROM _monolite_job WHERE kind = 'count_discussed'";
            Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?)
        };
        let before = files.db().read(count).await.unwrap();
        let fire = "UPDATE _monolite_job_cron SET next_at = 1";
        files
            .db()
            .write(move |tx| Ok(tx.execute(fire, [])?))
            .await
            .unwrap();
        until(&files, runs(before)).await;
        // Time for the other one to fire it as well.
        let done = files.jobs().enqueue(Nothing {}).await.unwrap();
        let _ = files.jobs().wait(done, Duration::from_millis(200)).await;
        let after = files.db().read(count).await.unwrap();
        if minute() == began {
            assert_eq!(after, before + 1);
            break;
        }
        // It was fired by the clock too.
    }
    let html = stream.named("discussed").await.data["html"].to_string();
    let place = |title: &str| {
        html.find(title)
            .unwrap_or_else(|| panic!("{title} in {html}"))
    };
    // Twice, once, once.
    assert!(
        place("The file is the interface") < place("You are looking at"),
        "{html}"
    );
    assert!(html.contains("<span>2</span>"), "{html}");
    blog.get("/").await.shows("<span>2</span>");
}

/// A job that nobody handles.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nothing {}

impl monolite::Job for Nothing {
    const KIND: &'static str = "nothing";
    const QUEUE: &'static str = "nowhere";
}
