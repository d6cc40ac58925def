//! One `/live` stream: what was missed, then what is published.
//!
//! Each event carries a [`Place`], which the browser sends back when it has
//! lost the stream. Pub/sub then goes on after the last message it had, for as
//! long as it holds messages. Where it does not, or the page is new, the table
//! is read: every comment is in it, so that none is ever missed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use monolite::Subscriber;
use monolite::pubsub::{Event as Heard, Message, MessageId};
use monolite::rusqlite::Connection;
use serde::Serialize;

use crate::comment::{self, Comment};
use crate::failure::Failure;
use crate::live::Seat;
use crate::moment::Moment;
use crate::notification::{self, Notification, Told};
use crate::routes::{Site, number};
use crate::{discussed, pages};

/// A proxy or a browser finds out that the other side is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser comes back after a lost connection.
const RETRY: Duration = Duration::from_secs(1);
/// Comments read from the table at a time.
const BATCH: usize = 100;

/// How far a page has got: `12`, or `12.7d2f6c01a9e4b358-42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The last comment it got.
    comment: i64,
    /// The message to go on after; none while it still reads the table.
    message: Option<MessageId>,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (comment, message) = match text.split_once('.') {
            Some((comment, message)) => (comment, Some(message)),
            None => (text, None),
        };
        Some(Self {
            comment: comment.parse().ok()?,
            // Of what it cannot be, only the comment is left.
            message: message.and_then(|message| message.parse().ok()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some(message) => write!(f, "{}.{message}", self.comment),
            None => write!(f, "{}", self.comment),
        }
    }
}

/// `GET /live`: resumes after `Last-Event-ID`, else after the comment
/// `?after=`, else now.
pub(crate) async fn live(
    State(site): State<Site>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let seat = site.live.sit().ok_or(Failure::Full)?;
    let last = headers
        .get("last-event-id")
        .and_then(|id| Place::parse(id.to_str().ok()?));
    let resumed = last.and_then(|place| place.message);
    let asked = last
        .map(|place| place.comment)
        .or_else(|| number(query.as_deref(), "after"));

    let pubsub = site.live.app.pubsub();
    let channels = pubsub
        .subscribe(comment::CHANNEL)
        .channel(notification::CHANNEL)
        .channel(discussed::CHANNEL);
    let channels = match resumed {
        Some(message) => channels.from(message),
        None => channels,
    };
    // Before the table is read: what is committed later is a message.
    let messages = channels.await?;
    let newest = site.live.app.read(comment::newest).await?;
    let reader = Reader {
        // A browser that was here before the database was made anew may ask
        // for ids to come.
        after: asked.unwrap_or(newest).clamp(0, newest),
        behind: resumed.is_none(),
        greeted: false,
        waiting: VecDeque::new(),
        messages,
        seat,
    };
    Ok(Sse::new(stream::unfold(reader, Reader::next)).into_response())
}

/// Holds at most one batch; the rest stays in the files.
struct Reader {
    seat: Seat,
    messages: Subscriber,
    /// The last comment sent, or waiting to be.
    after: i64,
    /// The table may hold what no message will bring.
    behind: bool,
    greeted: bool,
    waiting: VecDeque<Event>,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let event = self.event().await?;
        Some((Ok(event), self))
    }

    /// `None` ends the stream; the browser comes back and resumes.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if *self.seat.stop.borrow() {
                return None;
            }
            if !std::mem::replace(&mut self.greeted, true) {
                // Opens the page's state at once, even if nothing ever comes.
                self.tell_story();
                return Some(Event::default().event("hello").data("live").retry(RETRY));
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            tokio::select! {
                _ = self.seat.stop.changed() => return None,
                heard = self.messages.next() => match heard.ok()? {
                    Heard::Message(message) => self.hear(&message).await?,
                    Heard::Gap { .. } => self.behind = true,
                    // It reads on from the file: nothing is lost.
                    _ => {}
                },
                changed = self.seat.pulse.changed() => {
                    changed.ok()?;
                    let pulse = self.seat.pulse.borrow_and_update().clone();
                    if let Some(pulse) = pulse {
                        return Some(self.here().event("pulse").data(&*pulse));
                    }
                }
                // Also tells a quiet page its place, or that would be long
                // gone when it comes back.
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(self.here().comment("")),
            }
        }
    }

    /// To a page that was open while the volume was lost.
    fn tell_story(&mut self) {
        let story = self.seat.live.loss.as_ref().filter(|loss| loss.is_new);
        let story = story.and_then(|loss| pages::story(loss.story.as_ref()).ok());
        let event = Event::default().event("story");
        self.waiting
            .extend(story.and_then(|story| json(event, &story)));
    }

    /// An event after which nothing is missing.
    fn here(&self) -> Event {
        let place = Place {
            comment: self.after,
            message: Some(self.messages.position()),
        };
        Event::default().id(place.to_string())
    }

    async fn hear(&mut self, message: &Message) -> Option<()> {
        let event = match &*message.channel {
            comment::CHANNEL => match message.json::<Comment>() {
                // From the table already.
                Ok(comment) if comment.id <= self.after => None,
                Ok(comment) => {
                    self.after = comment.id;
                    json(
                        self.here().event("comment"),
                        &comment.wire(Moment::now()).ok()?,
                    )
                }
                // Whoever can write to the outbox can write this.
                Err(error) => {
                    tracing::debug!(%error, "not a comment");
                    None
                }
            },
            notification::CHANNEL => {
                let sent = message.json::<Notification>().ok();
                sent.and_then(|sent| json(self.here().event("told"), &Told::new(Some(&sent))))
            }
            _ => {
                let found = self.seat.live.app.read(discussed::read).await.ok()?;
                json(
                    self.here().event("discussed"),
                    &pages::discussed(found.as_ref()).ok()?,
                )
            }
        };
        self.waiting.extend(event);
        Some(())
    }

    /// Reads what no message brought. Until all of it is read, a page that
    /// comes back goes on in the table.
    async fn catch_up(&mut self) -> Option<()> {
        let after = self.after;
        let read = move |conn: &Connection| -> monolite::Result<_> {
            let comments = comment::all_after(conn, after, BATCH as i64)?;
            Ok((
                comments,
                notification::latest(conn)?,
                discussed::read(conn)?,
            ))
        };
        let (comments, told, discussed) = self.seat.live.app.read(read).await.ok()?;
        self.behind = comments.len() == BATCH;
        for comment in comments {
            self.after = comment.id;
            let id = Place {
                comment: comment.id,
                message: None,
            };
            let event = Event::default().event("comment").id(id.to_string());
            let wire = comment.wire(Moment::now()).ok()?;
            self.waiting.extend(json(event, &wire));
        }
        if !self.behind {
            let told = json(self.here().event("told"), &Told::new(told.as_ref()));
            let discussed = pages::discussed(discussed.as_ref()).ok()?;
            let discussed = json(self.here().event("discussed"), &discussed);
            self.waiting.extend(told.into_iter().chain(discussed));
        }
        Some(())
    }
}

fn json(event: Event, data: &impl Serialize) -> Option<Event> {
    // Only a map with odd keys could fail.
    Some(event.data(serde_json::to_string(data).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn places_round_trip() {
        for text in ["12", "12.00000000deadbeef-42"] {
            assert_eq!(Place::parse(text).unwrap().to_string(), text);
        }
        let damaged = Place::parse("12.of another time").unwrap();
        assert_eq!(damaged.to_string(), "12");
        assert_eq!(Place::parse("00000000deadbeef-42"), None);
    }
}
