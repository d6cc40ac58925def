//! The provider's own answers, which the errors of `object_store` do not hold.
//!
//! Those have status and code as text only; so the transport records them, for the
//! request that is being made in this task.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService, ReqwestConnector,
};

/// Bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a page of a list, which has a few thousand names at most.
const LIST_BYTES_MAX: usize = 32 << 20;
/// Characters of a provider's answer that are shown.
const SHOWN: usize = 300;

/// What was recorded during one request.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// The status, if it was no success.
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    /// Where Amazon says the bucket is.
    pub(super) region: Option<String>,
    /// The provider's clock.
    pub(super) date_ms: Option<i64>,
    /// Why there was no answer.
    pub(super) broken: Option<String>,
    /// Asked for: a completed upload overwrites nothing.
    create_only: bool,
}

tokio::task_local! {
    static RECORDED: RefCell<Recorded>;
}

/// Makes a request, within `timeout`; `None`: it took longer.
pub(super) async fn record<T>(
    timeout: Duration,
    create_only: bool,
    request: impl Future<Output = T>,
) -> (Option<T>, Recorded) {
    let recorded = Recorded {
        create_only,
        ..Recorded::default()
    };
    let request = async {
        let answer = tokio::time::timeout(timeout, request).await.ok();
        (answer, RECORDED.with(RefCell::take))
    };
    RECORDED.scope(RefCell::new(recorded), request).await
}

fn note<T>(take: impl FnOnce(&mut Recorded) -> T) -> Option<T> {
    RECORDED
        .try_with(|recorded| take(&mut recorded.borrow_mut()))
        .ok()
}

/// Makes transports that record answers.
#[derive(Debug)]
pub(super) struct RecordingConnector;

impl HttpConnector for RecordingConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Transport(client)))
    }
}

#[derive(Debug)]
struct Transport(HttpClient);

type Answer = Result<HttpResponse, HttpError>;

impl HttpService for Transport {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

impl Transport {
    async fn send(&self, mut request: HttpRequest) -> Answer {
        let completes = request.method() == "POST"
            && request
                .uri()
                .query()
                .is_some_and(|query| query.contains("uploadId="));
        if completes && note(|recorded| recorded.create_only) == Some(true) {
            // Not part of what is signed, which S3 leaves to the client.
            if let Ok(any) = "*".parse() {
                request.headers_mut().insert("if-none-match", any);
            }
        }
        let lists = is_list(&request);
        let host = request.uri().host().unwrap_or_default().to_owned();
        match self.0.execute(request).await {
            Ok(answer) if lists && answer.status().is_success() => list(answer).await,
            Ok(answer) => record_error(answer).await,
            Err(error) => {
                note(|recorded| recorded.broken = Some(broken(&host, &error)));
                Err(error)
            }
        }
    }
}

fn is_list(request: &HttpRequest) -> bool {
    let asks = |query: &str| query.contains("list-type=2") || query.contains("comp=list");
    request.method() == "GET" && request.uri().query().is_some_and(asks)
}

/// A whole list, or an error: what is no list, as a login page, must not pass
/// for an empty one, for then a replica would seem not to be there.
async fn list(answer: HttpResponse) -> Answer {
    let (parts, body) = answer.into_parts();
    let text = start_of(body.bytes_stream(), LIST_BYTES_MAX).await;
    let end = text.trim_end();
    let whole = ["</ListBucketResult>", "</EnumerationResults>"];
    if whole.iter().any(|whole| end.ends_with(whole)) {
        return Ok(HttpResponse::from_parts(parts, text.into()));
    }
    let error = io::Error::other("the answer is no whole list of a bucket");
    note(|recorded| recorded.broken = Some(error.to_string()));
    Err(HttpError::new(HttpErrorKind::Decode, error))
}

/// Why there was no answer, and from where.
fn broken(host: &str, error: &HttpError) -> String {
    let why = in_one_line(error);
    let is_unknown = why.contains("dns error") || why.contains("failed to lookup");
    match is_unknown && host.ends_with(".amazonaws.com") {
        true => shown(&format!(
            "{host}: {why}; if the bucket is not Amazon's, add `endpoint=https://…`"
        )),
        false => shown(&format!("{host}: {why}")),
    }
}

/// An error in one line, down to its last cause.
pub(super) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    shown(&text)
}

pub(super) fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SHOWN).collect()
}

async fn record_error(answer: HttpResponse) -> Answer {
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let date_ms = header("date").and_then(|date| {
        let date = jiff::fmt::rfc2822::parse(&date).ok()?;
        Some(date.timestamp().as_millisecond())
    });
    note(|recorded| recorded.date_ms = date_ms);
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let (region, code) = (header("x-amz-bucket-region"), header("x-ms-error-code"));
    let (parts, body) = answer.into_parts();
    let text = start_of(body.bytes_stream(), ERROR_BYTES_MAX).await;
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(shown(&unescaped(rest.split_once("</")?.0)))
    };
    note(|recorded| {
        recorded.status = Some(status.as_u16());
        recorded.code = code.or_else(|| element("Code"));
        recorded.message = element("Message");
        recorded.region = region.or_else(|| element("Region"));
    });
    Ok(HttpResponse::from_parts(parts, text.into()))
}

/// The text of an XML element: its entities are characters.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let decoded = after.split_once(';').and_then(|(name, after)| {
            let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let code = name.strip_prefix('#')?;
                    char::from_u32(match code.strip_prefix(['x', 'X']) {
                        Some(digits) => number(digits, 16)?,
                        None => number(code, 10)?,
                    })?
                }
            };
            Some((c, after))
        });
        let (c, after) = decoded.unwrap_or(('&', after));
        plain.push(c);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// What fits of it; where it breaks off, it ends.
async fn start_of(
    mut stream: BoxStream<'static, Result<Bytes, HttpError>>,
    limit: usize,
) -> String {
    let mut body = Vec::new();
    while let Some(Ok(bytes)) = stream.next().await {
        body.extend_from_slice(&bytes);
        if body.len() > limit {
            body.truncate(limit);
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_characters() {
        for (text, plain) in [
            (
                "the region &#34;eu-west-9&#34; is wrong",
                "the region \"eu-west-9\" is wrong",
            ),
            (
                "a &lt;b&gt; &amp;amp; &apos;c&apos; &quot;d&quot;",
                "a <b> &amp; 'c' \"d\"",
            ),
            ("&#x4e2d;&#X41;", "中A"),
            (
                "a & b &nothing; &#; &#xd800; &",
                "a & b &nothing; &#; &#xd800; &",
            ),
            ("", ""),
        ] {
            assert_eq!(unescaped(text), plain);
        }
    }
}
