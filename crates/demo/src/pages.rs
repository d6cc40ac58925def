//! The pages: one struct for each template. Templates escape what they are
//! given; none of them marks anything as safe but comments rendered here.

use askama::Template;

use crate::assets::{ICON, SCRIPT, STYLE};
use crate::comment::Comment;
use crate::draft::{CommentDraft, Complaints, PostDraft};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::post::Post;
use crate::prose::{Block, Span};

/// What every page needs.
pub(crate) struct Frame {
    pub(crate) now: Moment,
    /// Without them the page is not live.
    pub(crate) facts: Option<Facts>,
    /// The stream starts after this comment.
    pub(crate) after: i64,
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
}

#[derive(Template)]
#[template(path = "index.html")]
pub(crate) struct Index {
    pub(crate) frame: Frame,
    pub(crate) posts: Vec<Post>,
    /// On the first page there may be new posts.
    pub(crate) first: bool,
    /// The id to go on before, if there are older ones.
    pub(crate) older: Option<i64>,
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

/// Needs nothing that could fail in turn.
pub(crate) fn failure(failure: Failure) -> askama::Result<String> {
    let frame = Frame {
        now: Moment::now(),
        facts: None,
        after: 0,
    };
    FailurePage { frame, failure }.render()
}
