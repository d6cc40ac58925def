//! Losing the volume on purpose: the database is deleted under the app, and
//! whoever runs the app restores it from a replica.
//!
//! The app knows nothing of how that is done. It leaves a note next to the
//! database, and the process that finds the note reports what came of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monolite::rusqlite::Connection;
use monolite::{Monolite, store};
use monolite_platform::durable;
use monolite_volume::layout;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::facts::{grouped, took};
use crate::moment::Moment;

/// What the process that loses the volume leaves to the next.
const NOTE: &str = "lost.json";
/// What that makes of it, for those that come later.
const STORY: &str = "restored.json";
/// Files of a replica that are looked at.
const FILES: usize = 100_000;

/// The button, and what came of it.
pub(crate) struct Loss {
    data: PathBuf,
    /// Where the replica is, for people.
    pub(crate) replica: PathBuf,
    /// This process has deleted its database.
    gone: AtomicBool,
    pub(crate) story: Option<Story>,
    /// The story is of this process's own start.
    pub(crate) is_new: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    lost: Moment,
    process: u32,
    files: Vec<String>,
    before: Held,
}

/// What a database holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Held {
    posts: i64,
    comments: i64,
    newest: i64,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Story {
    pub(crate) lost: Moment,
    took_ms: u64,
    pub(crate) process: (u32, u32),
    files: Vec<String>,
    before: Held,
    after: Held,
    /// Comments that were there before and still are.
    kept: i64,
    /// Files of the replica, and the newest one.
    replica: (usize, Option<String>),
}

impl Held {
    fn read(conn: &Connection) -> monolite::Result<Self> {
        let held = conn.query_row(
            "SELECT (SELECT count(*) FROM post), count(*), ifnull(max(id), 0) FROM comment",
            [],
            |row| {
                Ok(Self {
                    posts: row.get(0)?,
                    comments: row.get(1)?,
                    newest: row.get(2)?,
                })
            },
        );
        Ok(held?)
    }

    fn words(self) -> String {
        format!(
            "{}, {}",
            counted(self.posts, "post"),
            counted(self.comments, "comment")
        )
    }
}

impl Loss {
    /// Looks whether the volume was lost before this process began.
    pub(crate) async fn look(
        app: &Monolite,
        data: &Path,
        replica: PathBuf,
    ) -> monolite::Result<Self> {
        let note: Option<Note> = read(&data.join(NOTE));
        let (story, is_new) = match note {
            Some(note) => (Some(Story::of(app, note, &replica).await?), true),
            None => (read(&data.join(STORY)), false),
        };
        if is_new {
            // What cannot be kept is told once.
            let _ = write(&data.join(STORY), &story);
            let _ = std::fs::remove_file(data.join(NOTE));
        }
        Ok(Self {
            data: data.into(),
            replica,
            gone: AtomicBool::new(false),
            story,
            is_new,
        })
    }

    /// Whether this process has deleted its database, and is to end.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Deletes the database: not what is in it, the files. What `app` still
    /// commits goes into files without a name.
    pub(crate) async fn lose(&self, app: &Monolite) -> monolite::Result<()> {
        let before = app.read(Held::read).await?;
        let path = app.db().path().to_owned();
        let note = self.data.join(NOTE);
        let lost = tokio::task::spawn_blocking(move || {
            // The database first: without it nobody opens the other files.
            let companions = layout::companions(&path).collect::<Vec<_>>();
            let files = [path].into_iter().chain(companions);
            let files: Vec<PathBuf> = files.filter(|file| file.exists()).collect();
            write(
                &note,
                &Note {
                    lost: Moment::now(),
                    process: std::process::id(),
                    files: files.iter().filter_map(|file| name_of(file)).collect(),
                    before,
                },
            )?;
            files.iter().try_for_each(std::fs::remove_file)
        });
        let lost = lost.await.map_err(store::Error::app)?;
        lost.map_err(store::Error::app)?;
        self.gone.store(true, Ordering::Release);
        tracing::warn!("the volume was lost, as asked");
        Ok(())
    }
}

impl Story {
    async fn of(app: &Monolite, note: Note, replica: &Path) -> monolite::Result<Self> {
        let newest = note.before.newest;
        let read = move |conn: &Connection| -> monolite::Result<_> {
            let kept = "SELECT count(*) FROM comment WHERE id <= ?1";
            let kept = conn.query_row(kept, [newest], |row| row.get(0))?;
            Ok((Held::read(conn)?, kept))
        };
        let (after, kept) = app.read(read).await?;
        let took_ms = u64::try_from(Moment::now().0 - note.lost.0).unwrap_or(0);
        Ok(Self {
            lost: note.lost,
            took_ms,
            process: (note.process, std::process::id()),
            files: note.files,
            before: note.before,
            after,
            kept,
            replica: files(replica),
        })
    }

    pub(crate) fn took(&self) -> String {
        took(Duration::from_millis(self.took_ms))
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.after.posts >= self.before.posts && self.kept >= self.before.comments
    }

    pub(crate) fn verdict(&self) -> String {
        if self.is_whole() {
            return "Nothing was lost.".into();
        }
        let comments = counted((self.before.comments - self.kept).max(0), "comment");
        let posts = counted((self.before.posts - self.after.posts).max(0), "post");
        format!("{comments} and {posts} were lost.")
    }

    pub(crate) fn deleted(&self) -> String {
        self.files.join(", ")
    }

    pub(crate) fn before(&self) -> String {
        self.before.words()
    }

    pub(crate) fn after(&self) -> String {
        self.after.words()
    }

    /// Comments that were made while the database had no name.
    pub(crate) fn meanwhile(&self) -> i64 {
        self.after.comments - self.kept
    }

    pub(crate) fn newest(&self) -> &str {
        self.replica.1.as_deref().unwrap_or("none")
    }

    pub(crate) fn stored(&self) -> String {
        let count = i64::try_from(self.replica.0).unwrap_or(i64::MAX);
        counted(count, "file")
    }
}

/// As `1 post` or `2 posts`.
fn counted(count: i64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(count))
}

fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// How many files there are in the folder and below, and the newest one's name.
fn files(folder: &Path) -> (usize, Option<String>) {
    let mut folders = vec![folder.to_owned()];
    let mut count = 0;
    let mut newest = None;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "ltx") && count < FILES {
                count += 1;
                newest = newest.max(metadata.modified().ok().zip(name_of(&path)));
            }
        }
    }
    (count, newest.map(|(_, name)| name))
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, what: &impl Serialize) -> io::Result<()> {
    durable::write(path, &serde_json::to_vec_pretty(what)?)
}
