//! What was discussed most in the last hour: counted by a recurring job, once
//! a minute whatever the number of processes, and read by every front page.

use monolite::Result;
use monolite::rusqlite::{Connection, OptionalExtension};
use monolite::{Failure, Job, Monolite};
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::post;

/// Says that it was counted anew; what was counted is in the table.
pub(crate) const CHANNEL: &str = "discussed";

/// As cron writes it: every minute.
pub(crate) const EVERY: &str = "* * * * *";

/// Comments older than this do not count.
const WINDOW_MS: i64 = 3_600_000;

/// Posts that are shown.
const MOST: usize = 3;

/// The recurring job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CountDiscussed {}

impl Job for CountDiscussed {
    const KIND: &'static str = "count_discussed";
}

/// What it found last.
#[derive(Debug)]
pub(crate) struct Discussed {
    pub(crate) posts: Vec<Entry>,
    pub(crate) counted: Moment,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) title: String,
    pub(crate) comments: i64,
}

/// Counts. Whatever it finds takes the place of what is there, so that running
/// it twice does no harm.
pub(crate) async fn count(app: &Monolite) -> Result<(), Failure> {
    let count = app.transaction(|tx| {
        let now = Moment::now().0;
        tx.execute("DELETE FROM discussed", [])?;
        tx.execute(
            "INSERT INTO discussed (post_id, comments)
             SELECT post_id, count(*) AS comments FROM comment
             WHERE created_ms > ?1 AND post_id IN (SELECT id FROM post)
             GROUP BY post_id ORDER BY comments DESC, post_id DESC LIMIT ?2",
            (now - WINDOW_MS, MOST as i64),
        )?;
        tx.execute(
            "INSERT INTO discussed_count VALUES (1, ?1, 1)
             ON CONFLICT DO UPDATE SET counted_ms = excluded.counted_ms, runs = runs + 1",
            [now],
        )?;
        tx.publish(CHANNEL, "")
    });
    Ok(count.await?)
}

/// `None` before the first count.
pub(crate) fn read(conn: &Connection) -> Result<Option<Discussed>> {
    let mut when = conn.prepare_cached("SELECT counted_ms FROM discussed_count")?;
    let Some(counted) = when.query_row([], |row| row.get(0)).optional()? else {
        return Ok(None);
    };
    let mut statement = conn.prepare_cached(
        "SELECT p.id, p.title, d.comments FROM discussed d JOIN post p ON p.id = d.post_id
         ORDER BY d.comments DESC, p.id DESC",
    )?;
    let posts = statement.query_map([], |row| {
        let title: String = row.get(1)?;
        Ok(Entry {
            path: post::path(row.get(0)?, &title),
            title,
            comments: row.get(2)?,
        })
    })?;
    Ok(Some(Discussed {
        posts: posts.collect::<Result<_, _>>()?,
        counted: Moment(counted),
    }))
}
