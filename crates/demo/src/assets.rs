//! The three files beside the pages, compiled in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::RawQuery;
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file with a name that changes when its text does.
pub(crate) struct Asset {
    text: &'static str,
    kind: &'static str,
    version: String,
    /// As the pages name it.
    pub(crate) href: String,
}

pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let text = include_str!("../assets/style.css");
    Asset::new("/style.css", "text/css; charset=utf-8", text)
});
pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let text = include_str!("../assets/app.js");
    Asset::new("/app.js", "text/javascript; charset=utf-8", text)
});
pub(crate) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let text = include_str!("../assets/icon.svg");
    Asset::new("/icon.svg", "image/svg+xml", text)
});

impl Asset {
    fn new(path: &str, kind: &'static str, text: &'static str) -> Self {
        // Its keys are fixed: the same text has the same version everywhere.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let version = format!("v={:016x}", hasher.finish());
        Self {
            href: format!("{path}?{version}"),
            text,
            kind,
            version,
        }
    }

    fn answer(&self, query: Option<&str>) -> Response {
        let cache = if query == Some(&self.version) {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, cache),
        ];
        (headers, self.text).into_response()
    }
}

pub(crate) async fn style(RawQuery(query): RawQuery) -> Response {
    STYLE.answer(query.as_deref())
}

pub(crate) async fn script(RawQuery(query): RawQuery) -> Response {
    SCRIPT.answer(query.as_deref())
}

pub(crate) async fn icon(RawQuery(query): RawQuery) -> Response {
    ICON.answer(query.as_deref())
}
