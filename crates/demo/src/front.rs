//! The list of posts on the front page, rendered once for everybody.
//!
//! An entry of the cache is asked for by the *edition* of the front page, a
//! number that triggers change with every post and comment, in the transaction
//! of whoever writes. So no process can show a list that is older than what it
//! reads from the database: not to the one who has just commented in another
//! process, and not if a list was rendered while somebody committed, and put
//! in after the cache was cleared. The tag is for tidiness: what nobody will
//! ask for again is deleted at once.

use std::time::{Duration, Instant};

use monolite::Result;
use monolite::rusqlite::Connection;
use monolite::{EntryOptions, Monolite};
use serde::{Deserialize, Serialize};

use crate::facts::took;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::{pages, post};

/// All that is cached of the front page.
const TAG: &str = "front";

/// The list says "3 minutes ago"; for so long it may.
const KEEP: Duration = Duration::from_secs(30);

/// A page of the list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct List {
    /// Escaped when it was rendered.
    pub(crate) html: String,
    /// The id to go on before, if there are older posts.
    pub(crate) older: Option<i64>,
}

/// The edition as of the snapshot that `conn` reads.
pub(crate) fn edition(conn: &Connection) -> Result<i64> {
    let mut statement = conn.prepare_cached("SELECT edition FROM front")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// The first page of the list, and in words where it came from.
pub(crate) async fn first(app: &Monolite, edition: i64) -> Result<(List, String), Failure> {
    let asked = Instant::now();
    let mut rendered = false;
    let options = EntryOptions::new().tag(TAG).ttl(KEEP);
    let key = edition.to_le_bytes();
    let lists = app.cache().namespace("front");
    let list = lists.get_or_insert_with(key, &options, async || {
        rendered = true;
        render(app, None).await
    });
    let list = list.await?;
    let from = if rendered { "rendered" } else { "cached" };
    Ok((list, format!("{from}, {}", took(asked.elapsed()))))
}

/// A page of the list: the first, or those before `before`.
pub(crate) async fn render(app: &Monolite, before: Option<i64>) -> Result<List, Failure> {
    let read = move |conn: &Connection| post::page(conn, before);
    let (posts, older) = app.read(read).await?;
    Ok(List {
        older: posts.last().filter(|_| older).map(|last| last.id),
        html: pages::list(&posts, Moment::now())?,
    })
}

/// Deletes what was cached, after a post or a comment.
pub(crate) async fn forget(app: &Monolite) {
    if let Err(error) = app.cache().delete_tag(TAG).await {
        tracing::debug!(%error, "an old front page stays in the cache for a while");
    }
}
