//! The pages: one struct for each template. Templates escape what they are
//! given; none of them marks anything as safe but lists of posts rendered here.

use std::sync::Arc;

use askama::Template;
use serde::Serialize;

use crate::assets::{ICON, SCRIPT, STYLE};
use crate::comment::Comment;
use crate::discussed::Discussed;
use crate::draft::{CommentDraft, Complaints, PostDraft};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::front::List;
use crate::live::Live;
use crate::loss::{Loss, Story};
use crate::moment::Moment;
use crate::notification::Told;
use crate::post::Post;
use crate::prose::{Block, Span};

/// What every page needs.
pub(crate) struct Frame {
    pub(crate) now: Moment,
    /// Without them the page is not live.
    pub(crate) facts: Option<Facts>,
    /// The stream starts after this comment.
    pub(crate) after: i64,
    /// The last notification.
    pub(crate) told: Told,
    pub(crate) live: Option<Arc<Live>>,
}

impl Frame {
    fn style(&self) -> &'static str {
        &STYLE.href
    }

    fn script(&self) -> &'static str {
        &SCRIPT.href
    }

    fn icon(&self) -> &'static str {
        &ICON.href
    }

    /// The button, where there is one.
    fn loss(&self) -> Option<&Loss> {
        self.live.as_ref()?.loss.as_ref()
    }
}

#[derive(Template)]
#[template(path = "index.html")]
pub(crate) struct Index {
    pub(crate) frame: Frame,
    pub(crate) list: List,
    /// On the first page only, where there may be new posts.
    pub(crate) first: Option<First>,
}

/// What only the first page shows.
pub(crate) struct First {
    /// Where its list came from.
    pub(crate) from: String,
    pub(crate) discussed: Option<Discussed>,
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListItems<'a> {
    posts: &'a [Post],
    now: Moment,
}

#[derive(Template)]
#[template(path = "discussed.html")]
struct DiscussedItems<'a> {
    discussed: Option<&'a Discussed>,
    now: Moment,
}

#[derive(Template)]
#[template(path = "story.html")]
struct StoryTemplate<'a> {
    story: Option<&'a Story>,
    now: Moment,
}

/// For scripts.
#[derive(Serialize)]
pub(crate) struct Fragment {
    /// Every text escaped.
    html: String,
}

#[derive(Template)]
#[template(path = "post.html")]
pub(crate) struct PostPage {
    pub(crate) frame: Frame,
    pub(crate) post: Post,
    pub(crate) comments: Vec<Comment>,
    pub(crate) first: bool,
    pub(crate) older: Option<i64>,
    pub(crate) draft: CommentDraft,
    pub(crate) complaints: Complaints,
}

#[derive(Template)]
#[template(path = "new.html")]
pub(crate) struct NewPost {
    pub(crate) frame: Frame,
    pub(crate) draft: PostDraft,
    pub(crate) complaints: Complaints,
}

#[derive(Template)]
#[template(path = "comment.html")]
struct CommentItem<'a> {
    comment: &'a Comment,
    now: Moment,
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    frame: Frame,
    failure: Failure,
}

/// One comment, as on the page.
pub(crate) fn comment(comment: &Comment, now: Moment) -> askama::Result<String> {
    CommentItem { comment, now }.render()
}

/// Posts, as on the front page.
pub(crate) fn list(posts: &[Post], now: Moment) -> askama::Result<String> {
    ListItems { posts, now }.render()
}

/// What is discussed, as on the front page.
pub(crate) fn discussed(discussed: Option<&Discussed>) -> askama::Result<Fragment> {
    let now = Moment::now();
    let html = DiscussedItems { discussed, now }.render()?;
    Ok(Fragment { html })
}

/// What became of the volume, as on every page.
pub(crate) fn story(story: Option<&Story>) -> askama::Result<Fragment> {
    let now = Moment::now();
    let html = StoryTemplate { story, now }.render()?;
    Ok(Fragment { html })
}

/// Needs nothing that could fail in turn.
pub(crate) fn failure(failure: Failure) -> askama::Result<String> {
    let frame = Frame {
        now: Moment::now(),
        facts: None,
        after: 0,
        told: Told::new(None),
        live: None,
    };
    FailurePage { frame, failure }.render()
}
