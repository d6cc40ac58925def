//! Telling a post's author of a comment: a background job that leaves a row.

use std::time::Duration;

use monolite::Result;
use monolite::rusqlite::{Connection, OptionalExtension};
use monolite::{Failure, Job, Monolite};
use serde::{Deserialize, Serialize};

use crate::facts::{grouped, took};

/// Where each notification is published.
pub(crate) const CHANNEL: &str = "notification";

/// Enqueued in the transaction that inserts the comment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NotifyAuthor {
    pub(crate) comment: i64,
}

impl Job for NotifyAuthor {
    const KIND: &'static str = "notify_author";
}

/// One that was sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Notification {
    /// How many there were, with this one.
    number: i64,
    comment: i64,
    name: String,
    title: String,
    after_ms: i64,
}

/// In words; the names are the `data-fact` names on the page.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    /// The comment of the last one; 0 if there is none.
    pub(crate) told_comment: i64,
    /// How long after that comment it was sent.
    pub(crate) told_after: String,
    pub(crate) told: String,
    pub(crate) told_what: String,
}

/// Stands where a mail would be sent. A job may run twice, if its worker dies
/// before that is recorded; the row is there once, and so is the message.
pub(crate) async fn send(app: &Monolite, job: NotifyAuthor) -> Result<(), Failure> {
    let send = app.transaction(move |tx| {
        let insert = "INSERT INTO notification (comment_id) SELECT id FROM comment
            WHERE id = ?1 AND id NOT IN (SELECT comment_id FROM notification)";
        if tx.prepare_cached(insert)?.execute([job.comment])? == 0 {
            return Ok(()); // It was sent before, or the comment is gone.
        }
        match latest(tx)? {
            Some(sent) => tx.publish_json(CHANNEL, &sent),
            None => Ok(()),
        }
    });
    Ok(send.await?)
}

/// The last one that was sent.
pub(crate) fn latest(conn: &Connection) -> Result<Option<Notification>> {
    let mut statement = conn.prepare_cached(
        "SELECT n.id, c.id, c.name, p.title, max(n.sent_ms - c.created_ms, 0)
         FROM notification n JOIN comment c ON c.id = n.comment_id JOIN post p ON p.id = c.post_id
         ORDER BY n.id DESC LIMIT 1",
    )?;
    let latest = statement.query_row([], |row| {
        Ok(Notification {
            number: row.get(0)?,
            comment: row.get(1)?,
            name: row.get(2)?,
            title: row.get(3)?,
            after_ms: row.get(4)?,
        })
    });
    Ok(latest.optional()?)
}

impl Told {
    pub(crate) fn new(latest: Option<&Notification>) -> Self {
        let Some(sent) = latest else {
            return Self {
                told_comment: 0,
                told_after: String::new(),
                told: "none yet".into(),
                told_what: "Comment, and a background job tells the author of the post.".into(),
            };
        };
        let after = took(Duration::from_millis(sent.after_ms.try_into().unwrap_or(0)));
        // Isolated: a name written from right to left leaves the rest alone.
        let what = format!(
            "A background job told the author of “\u{2068}{}\u{2069}” of the comment by \u{2068}{}\u{2069}.",
            sent.title, sent.name
        );
        Self {
            told_comment: sent.comment,
            told: format!("{}, last in {after}", grouped(sent.number)),
            told_after: after,
            told_what: what,
        }
    }
}
