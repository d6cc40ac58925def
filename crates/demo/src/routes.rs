//! What each address answers.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router, middleware};
use monolite::rusqlite::Connection;

use crate::draft::{CommentDraft, Complaints, PostDraft};
use crate::facts::Counts;
use crate::failure::Failure;
use crate::guard::{accepts, guard};
use crate::live::Live;
use crate::moment::Moment;
use crate::notification::{self, NotifyAuthor, Told};
use crate::pages::{First, Frame, Index, NewPost, PostPage};
use crate::post::{id_in, path};
use crate::{assets, comment, discussed, front, pages, stream};

/// Between two questions what became of the volume.
const ROUND: Duration = Duration::from_millis(100);

/// Most bytes of a form.
const FORM_MAX: usize = 64 << 10;

type FormOf<T> = Result<Form<T>, axum::extract::rejection::FormRejection>;
type Answer = Result<Response, Failure>;

#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) live: Arc<Live>,
}

pub(crate) fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/new", get(new))
        .route("/posts", post(publish).get(async || Redirect::to("/")))
        .route("/posts/{post}", get(show))
        .route("/posts/{post}/comments", get(list).post(say))
        .route("/lose", post(lose).get(async || Redirect::to("/")))
        .route("/lost", get(lost))
        .route("/live", get(stream::live))
        .route("/up", get(up))
        .route("/style.css", get(assets::style))
        .route("/app.js", get(assets::script))
        .route("/icon.svg", get(assets::icon))
        .route("/favicon.ico", get(assets::icon))
        .fallback(async || Failure::NotFound)
        .method_not_allowed_fallback(async || Failure::WrongMethod)
        .layer(DefaultBodyLimit::max(FORM_MAX))
        .layer(middleware::from_fn(guard))
        .with_state(site)
}

impl Site {
    /// Reads the facts and what `more` reads, in one snapshot.
    async fn read<T, F>(&self, more: F) -> Result<(Frame, T), Failure>
    where
        F: FnOnce(&Connection) -> monolite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let read = move |conn: &Connection| -> monolite::Result<_> {
            let snapshot = conn.unchecked_transaction()?;
            let after = comment::newest(&snapshot)?;
            let told = notification::latest(&snapshot)?;
            Ok((Counts::read(&snapshot)?, after, told, more(&snapshot)?))
        };
        let (counts, after, told, more) = self.live.app.read(read).await?;
        let frame = Frame {
            now: Moment::now(),
            facts: Some(self.live.facts(counts)),
            after,
            told: Told::new(told.as_ref()),
            live: Some(Arc::clone(&self.live)),
        };
        Ok((frame, more))
    }

    async fn post_page(
        &self,
        id: i64,
        before: Option<i64>,
        draft: CommentDraft,
    ) -> Result<PostPage, Failure> {
        let read = move |conn: &Connection| {
            let Some(post) = crate::post::find(conn, id)? else {
                return Ok(None);
            };
            Ok(Some((post, comment::page(conn, id, before)?)))
        };
        let (frame, found) = self.read(read).await?;
        let (post, (comments, older)) = found.ok_or(Failure::NotFound)?;
        Ok(PostPage {
            older: comments.last().filter(|_| older).map(|last| last.id),
            first: before.is_none(),
            complaints: Complaints::default(),
            frame,
            post,
            comments,
            draft,
        })
    }
}

/// The post named by the path: `12` or `12-some-words`.
struct PostId(i64);

impl<S: Send + Sync> FromRequestParts<S> for PostId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        let id = segment.ok().and_then(|Path(segment)| id_in(&segment));
        id.map(Self).ok_or(Failure::NotFound)
    }
}

/// The whole number a query gives `key`; anything else counts as absent.
pub(crate) fn number(query: Option<&str>, key: &str) -> Option<i64> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == key)?;
    value.parse().ok()
}

fn page(status: StatusCode, template: &impl Template) -> Answer {
    Ok((status, Html(template.render()?)).into_response())
}

async fn index(State(site): State<Site>, RawQuery(query): RawQuery) -> Answer {
    let app = &site.live.app;
    let index = if let Some(before) = number(query.as_deref(), "before") {
        let (frame, ()) = site.read(|_| Ok(())).await?;
        let list = front::render(app, Some(before)).await?;
        Index {
            frame,
            list,
            first: None,
        }
    } else {
        let read = |conn: &Connection| Ok((front::edition(conn)?, discussed::read(conn)?));
        let (frame, (edition, discussed)) = site.read(read).await?;
        let (list, from) = front::first(app, edition).await?;
        let first = Some(First { from, discussed });
        Index { frame, list, first }
    };
    page(StatusCode::OK, &index)
}

async fn show(State(site): State<Site>, PostId(id): PostId, RawQuery(query): RawQuery) -> Answer {
    let before = number(query.as_deref(), "before");
    let shown = site.post_page(id, before, CommentDraft::default()).await?;
    page(StatusCode::OK, &shown)
}

async fn say(
    State(site): State<Site>,
    PostId(id): PostId,
    headers: HeaderMap,
    form: FormOf<CommentDraft>,
) -> Answer {
    let json = accepts(&headers, "application/json");
    let draft = form?.0.clean();
    let complaints = draft.complaints();
    if !complaints.is_empty() {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        if json {
            let body = serde_json::json!({ "errors": complaints });
            return Ok((status, Json(body)).into_response());
        }
        let shown = site.post_page(id, None, draft).await?;
        return page(
            status,
            &PostPage {
                complaints,
                ..shown
            },
        );
    }
    let app = &site.live.app;
    let said = app.transaction(move |tx| -> monolite::Result<_> {
        let said = comment::insert(tx, id, &draft)?;
        if let Some(said) = &said {
            // Told if the comment is committed, and only then.
            tx.enqueue(NotifyAuthor { comment: said.id })?;
        }
        Ok(said)
    });
    let said = said.await?.ok_or(Failure::NotFound)?;
    front::forget(app).await;
    if json {
        let said = said.wire(Moment::now())?;
        return Ok((StatusCode::CREATED, Json(said)).into_response());
    }
    let find = move |conn: &Connection| crate::post::find(conn, id);
    let post = app.read(find).await?.ok_or(Failure::NotFound)?;
    let target = format!("{}#comment-{}", post.path(), said.id);
    Ok(Redirect::to(&target).into_response())
}

async fn list(
    State(site): State<Site>,
    PostId(id): PostId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    // A reload of the page that showed what was wrong with a comment.
    if accepts(&headers, "text/html") {
        return Ok(Redirect::to(&format!("/posts/{id}#comments")).into_response());
    }
    let after = number(query.as_deref(), "after").unwrap_or(0);
    let read = move |conn: &Connection| -> monolite::Result<_> {
        let found = crate::post::find(conn, id)?.is_some();
        let comments = comment::of_post_after(conn, id, after)?;
        Ok(found.then_some(comments))
    };
    let (comments, more) = site.live.app.read(read).await?.ok_or(Failure::NotFound)?;
    let now = Moment::now();
    let comments: Vec<_> = comments
        .into_iter()
        .map(|comment| comment.wire(now))
        .collect::<Result<_, _>>()?;
    let body = serde_json::json!({ "comments": comments, "more": more });
    Ok(Json(body).into_response())
}

async fn new(State(site): State<Site>) -> Answer {
    let (frame, ()) = site.read(|_| Ok(())).await?;
    let new = NewPost {
        draft: PostDraft::default(),
        complaints: Complaints::default(),
        frame,
    };
    page(StatusCode::OK, &new)
}

async fn publish(State(site): State<Site>, form: FormOf<PostDraft>) -> Answer {
    let draft = form?.0.clean();
    let complaints = draft.complaints();
    if !complaints.is_empty() {
        let (frame, ()) = site.read(|_| Ok(())).await?;
        let new = NewPost {
            frame,
            draft,
            complaints,
        };
        return page(StatusCode::UNPROCESSABLE_ENTITY, &new);
    }
    let title = draft.title.clone();
    let app = &site.live.app;
    let insert = app.transaction(move |tx| crate::post::insert(tx, &draft));
    let id = insert.await?;
    front::forget(app).await;
    Ok(Redirect::to(&path(id, &title)).into_response())
}

/// Deletes the database under this process, where it can be brought back.
async fn lose(State(site): State<Site>, headers: HeaderMap) -> Answer {
    let loss = site.live.loss.as_ref().ok_or(Failure::NotFound)?;
    loss.lose(&site.live.app).await?;
    if accepts(&headers, "application/json") {
        let body = serde_json::json!({ "gone": true });
        return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
    }
    Ok(Redirect::to("/lost").into_response())
}

/// What became of it: told by the process that comes after the one that lost
/// the database. That one has nothing to say, and sends its callers round.
async fn lost(State(site): State<Site>, headers: HeaderMap) -> Answer {
    let loss = site.live.loss.as_ref().ok_or(Failure::NotFound)?;
    let json = accepts(&headers, "application/json");
    if loss.is_gone() {
        tokio::time::sleep(ROUND).await;
    }
    Ok(match (loss.is_gone(), json) {
        (true, true) => {
            let body = serde_json::json!({ "gone": true });
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        (true, false) => Redirect::to("/lost").into_response(),
        (false, true) => Json(pages::story(loss.story.as_ref())?).into_response(),
        (false, false) => Redirect::to("/#volume").into_response(),
    })
}

/// Healthy means that the file can be read.
async fn up(State(site): State<Site>) -> Answer {
    let read = site
        .live
        .app
        .read(|db| -> monolite::Result<()> { Ok(db.query_row("SELECT 1", [], |_| Ok(()))?) });
    read.await?;
    Ok("ok".into_response())
}
