//! Comments: rows and queries.

use monolite::Result;
use monolite::rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::draft::CommentDraft;
use crate::moment::Moment;
use crate::pages;
use crate::prose::{self, Block};

/// Comments on one page of a post, and in one answer of the JSON list.
pub(crate) const PAGE: usize = 50;

/// One more than a page tells whether there is more.
const LIMIT: i64 = PAGE as i64 + 1;

/// Where every new comment is published, by a trigger in `schema/2.sql`.
pub(crate) const CHANNEL: &str = "comment";

/// With the count of its post's comments at the time it was read, or inserted.
#[derive(Debug, Deserialize)]
pub(crate) struct Comment {
    pub(crate) id: i64,
    pub(crate) post: i64,
    #[serde(rename = "created_ms")]
    pub(crate) created: Moment,
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) count: i64,
}

/// A comment as scripts get it, live or listed.
#[derive(Debug, Serialize)]
pub(crate) struct Wire {
    pub(crate) post: i64,
    pub(crate) id: i64,
    pub(crate) count: i64,
    pub(crate) created_ms: i64,
    pub(crate) name: String,
    pub(crate) body: String,
    /// As on the page, every text escaped.
    pub(crate) html: String,
}

impl Comment {
    fn from_row(row: &Row<'_>) -> monolite::rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            post: row.get("post_id")?,
            created: Moment(row.get("created_ms")?),
            name: row.get("name")?,
            body: row.get("body")?,
            count: row.get("comments")?,
        })
    }

    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        prose::blocks(&self.body)
    }

    pub(crate) fn initial(&self) -> String {
        let first = self.name.chars().find(|c| c.is_alphanumeric());
        first.map_or_else(|| "·".into(), |c| c.to_uppercase().collect())
    }

    /// One of eight colours, the same for the same name.
    pub(crate) fn hue(&self) -> u32 {
        let sum = |sum: u32, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        self.name.bytes().fold(7, sum) % 8
    }

    pub(crate) fn wire(self, now: Moment) -> askama::Result<Wire> {
        Ok(Wire {
            html: pages::comment(&self, now)?,
            post: self.post,
            id: self.id,
            count: self.count,
            created_ms: self.created.0,
            name: self.name,
            body: self.body,
        })
    }
}

const SELECT: &str = "SELECT c.*, p.comments FROM comment c JOIN post p ON p.id = c.post_id";

fn list(conn: &Connection, rest: &str, bounds: (i64, i64, i64)) -> Result<Vec<Comment>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} {rest}"))?;
    let rows = statement.query_map(bounds, Comment::from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A page of a post's comments, newest first; and whether there are older ones.
pub(crate) fn page(
    conn: &Connection,
    post: i64,
    before: Option<i64>,
) -> Result<(Vec<Comment>, bool)> {
    let rest = "WHERE c.post_id = ?1 AND c.id < ?2 ORDER BY c.id DESC LIMIT ?3";
    let mut comments = list(conn, rest, (post, before.unwrap_or(i64::MAX), LIMIT))?;
    let older = comments.len() > PAGE;
    comments.truncate(PAGE);
    Ok((comments, older))
}

/// A post's comments after `after`, oldest first; and whether there are more.
pub(crate) fn of_post_after(
    conn: &Connection,
    post: i64,
    after: i64,
) -> Result<(Vec<Comment>, bool)> {
    let rest = "WHERE c.post_id = ?1 AND c.id > ?2 ORDER BY c.id LIMIT ?3";
    let mut comments = list(conn, rest, (post, after, LIMIT))?;
    let more = comments.len() > PAGE;
    comments.truncate(PAGE);
    Ok((comments, more))
}

/// Everybody's comments after `after`, oldest first, at most `limit`.
pub(crate) fn all_after(conn: &Connection, after: i64, limit: i64) -> Result<Vec<Comment>> {
    // The first bound is there for `list` only.
    let rest = "WHERE c.post_id > ?1 AND c.id > ?2 ORDER BY c.id LIMIT ?3";
    list(conn, rest, (i64::MIN, after, limit))
}

/// The newest comment's id; 0 if there is none.
pub(crate) fn newest(conn: &Connection) -> Result<i64> {
    let mut statement = conn.prepare_cached("SELECT ifnull(max(id), 0) FROM comment")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// `None` if there is no such post.
pub(crate) fn insert(
    conn: &Connection,
    post: i64,
    draft: &CommentDraft,
) -> Result<Option<Comment>> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO comment (post_id, name, body)
         SELECT id, ?2, ?3 FROM post WHERE id = ?1 RETURNING id",
    )?;
    let id: Option<i64> = insert
        .query_row((post, &draft.name, &draft.body), |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(None) };
    let mut read = conn.prepare_cached(&format!("{SELECT} WHERE c.id = ?1"))?;
    Ok(read.query_row([id], Comment::from_row).optional()?)
}
