//! Posts: rows and queries.

use monolite::Result;
use monolite::rusqlite::{Connection, OptionalExtension, Row};

use crate::draft::PostDraft;
use crate::facts::grouped;
use crate::moment::Moment;
use crate::prose::{self, Block};

/// Posts on one front page.
pub(crate) const PAGE: usize = 20;

/// One more tells whether there are older ones.
const LIMIT: i64 = PAGE as i64 + 1;

/// Characters of a post shown on the front page.
const EXCERPT: usize = 200;

pub(crate) struct Post {
    pub(crate) id: i64,
    pub(crate) created: Moment,
    pub(crate) comments: i64,
    pub(crate) title: String,
    pub(crate) body: String,
}

impl Post {
    fn from_row(row: &Row<'_>) -> monolite::rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            created: Moment(row.get("created_ms")?),
            comments: row.get("comments")?,
            title: row.get("title")?,
            body: row.get("body")?,
        })
    }

    /// Where the post is: its id, then its title for people.
    pub(crate) fn path(&self) -> String {
        path(self.id, &self.title)
    }

    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        prose::blocks(&self.body)
    }

    /// As `3 comments`; `assets/app.js` says the same words.
    pub(crate) fn comments_label(&self) -> String {
        match self.comments {
            0 => "No comments yet".into(),
            1 => "1 comment".into(),
            count => format!("{} comments", grouped(count)),
        }
    }

    pub(crate) fn excerpt(&self) -> String {
        prose::excerpt(&self.body, EXCERPT)
    }
}

/// As [`Post::path`].
pub(crate) fn path(id: i64, title: &str) -> String {
    let words = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut path = format!("/posts/{id}");
    for word in words {
        if path.len() + word.len() > 80 {
            break;
        }
        path.push('-');
        path.push_str(&word.to_ascii_lowercase());
    }
    path
}

/// The id in `12` or `12-some-words`.
pub(crate) fn id_in(segment: &str) -> Option<i64> {
    let digits = segment.split_once('-').map_or(segment, |s| s.0);
    // Parsing alone would let "+1" through.
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Newest first, at most [`PAGE`], those before `before`; and whether there
/// are older ones.
pub(crate) fn page(conn: &Connection, before: Option<i64>) -> Result<(Vec<Post>, bool)> {
    let mut statement =
        conn.prepare_cached("SELECT * FROM post WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
    let rows = statement.query_map((before.unwrap_or(i64::MAX), LIMIT), Post::from_row)?;
    let mut posts = rows.collect::<Result<Vec<_>, _>>()?;
    let older = posts.len() > PAGE;
    posts.truncate(PAGE);
    Ok((posts, older))
}

pub(crate) fn find(conn: &Connection, id: i64) -> Result<Option<Post>> {
    let mut statement = conn.prepare_cached("SELECT * FROM post WHERE id = ?1")?;
    Ok(statement.query_row([id], Post::from_row).optional()?)
}

/// The new post's id.
pub(crate) fn insert(conn: &Connection, draft: &PostDraft) -> Result<i64> {
    let mut statement =
        conn.prepare_cached("INSERT INTO post (title, body) VALUES (?1, ?2) RETURNING id")?;
    Ok(statement.query_row((&draft.title, &draft.body), |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip() {
        assert_eq!(path(7, "Pull the plug!"), "/posts/7-pull-the-plug");
        assert_eq!(path(7, "Über «»"), "/posts/7-ber");
        assert_eq!(path(7, "日本"), "/posts/7");
        assert!(path(7, &"long ".repeat(24)).len() <= 81);
        assert_eq!(id_in("7-pull-the-plug"), Some(7));
        assert_eq!(id_in("7"), Some(7));
        for odd in ["", "-7", "+7", "x", "7x", "99999999999999999999"] {
            assert_eq!(id_in(odd), None, "{odd}");
        }
    }
}
