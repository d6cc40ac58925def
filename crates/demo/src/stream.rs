//! One `/live` stream: what was missed from the file, then what arrives.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;

use crate::comment;
use crate::failure::Failure;
use crate::live::{Arrival, BATCH, Seat};
use crate::routes::{Site, number};

/// A proxy or a browser finds out that the other side is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser comes back after a lost connection.
const RETRY: Duration = Duration::from_secs(1);

/// `GET /live`: resumes after `Last-Event-ID`, else `?after=`, else now.
pub(crate) async fn live(
    State(site): State<Site>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // Sit down before the file is read: what comes later is broadcast.
    let seat = site.live.sit().ok_or(Failure::Full)?;
    let asked = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok())
        .or_else(|| number(query.as_deref(), "after"));
    let newest = site.live.store.read(comment::newest).await?;
    let reader = Reader {
        // A browser that was here before the database was made anew may ask
        // for ids to come.
        after: asked.unwrap_or(newest).clamp(0, newest),
        behind: true,
        greeted: false,
        waiting: VecDeque::new(),
        seat,
    };
    let events = stream::unfold(reader, Reader::next);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// Holds at most one batch; the rest stays in the file.
struct Reader {
    seat: Seat,
    /// The last comment sent.
    after: i64,
    /// The file may hold comments that were not broadcast to us.
    behind: bool,
    greeted: bool,
    waiting: VecDeque<Arrival>,
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
                return Some(Event::default().event("hello").data("live").retry(RETRY));
            }
            if let Some(arrival) = self.waiting.pop_front() {
                if arrival.id <= self.after {
                    continue;
                }
                self.after = arrival.id;
                let event = Event::default().event("comment");
                return Some(event.id(arrival.id.to_string()).data(&*arrival.json));
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            tokio::select! {
                _ = self.seat.stop.changed() => return None,
                arrival = self.seat.arrivals.recv() => match arrival {
                    Ok(arrival) => self.waiting.push_back(arrival),
                    Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
                changed = self.seat.pulse.changed() => {
                    changed.ok()?;
                    let pulse = self.seat.pulse.borrow_and_update().clone();
                    if let Some(pulse) = pulse {
                        return Some(Event::default().event("pulse").data(&*pulse));
                    }
                }
            }
        }
    }

    async fn catch_up(&mut self) -> Option<()> {
        let after = self.after;
        let read = move |conn: &_| Arrival::read(conn, after);
        let missed = self.seat.live.store.read(read).await.ok()?;
        self.behind = missed.len() == BATCH;
        self.waiting.extend(missed);
        Some(())
    }
}
