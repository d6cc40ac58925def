//! What a request passes before it reaches the bucket: it is counted, and a
//! fault may strike it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, DATE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::service::S3Service;
use s3s::{Body, HttpError};

use super::body::{Received, Sent};
use super::faults::{Fault, Faults, Standing};
use super::request::Asked;
use super::traffic::Traffic;
use super::wire::Reset;

/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// Stands before the service.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) service: S3Service,
    pub(super) faults: Faults,
    pub(super) traffic: Arc<Traffic>,
}

type Answer = Result<Response<Sent>, HttpError>;

impl Front {
    /// Answers one request. An error ends the connection.
    pub(super) async fn answer(self, request: Request<Incoming>, reset: Reset) -> Answer {
        let asked = Asked::read(request.method(), request.uri(), request.headers());
        let (delay, struck) = self.faults.strike(&asked);
        let number = self.traffic.begin(asked);
        let turn = Turn {
            front: self,
            number,
            reset,
        };
        if !delay.is_zero() {
            turn.says(&Fault::Delay(delay));
            tokio::time::sleep(delay).await;
        }
        let request = request.map(|body| Received {
            body,
            traffic: Arc::clone(&turn.front.traffic),
            request: number,
        });
        if let Some(now) = turn.front.faults.skewed()
            && too_skewed(request.headers(), now)
        {
            turn.take_in(request, u64::MAX).await;
            return turn.refuse(403, "RequestTimeTooSkewed");
        }
        match struck {
            None => turn.pass(request).await,
            Some((fault, rule)) => {
                turn.says(&fault);
                turn.fail(request, fault, &rule).await
            }
        }
    }
}

/// One request's way.
struct Turn {
    front: Front,
    number: u64,
    reset: Reset,
}

impl Turn {
    fn says(&self, fault: &Fault) {
        self.front.traffic.fault(self.number, format!("{fault:?}"));
    }

    async fn fail(&self, mut request: Request<Received>, fault: Fault, rule: &Standing) -> Answer {
        match fault {
            Fault::Status(status) => {
                self.take_in(request, u64::MAX).await;
                self.refuse(status, code(status))
            }
            Fault::Code(status, code) => {
                self.take_in(request, u64::MAX).await;
                self.refuse(status, code)
            }
            Fault::Delay(_) => self.pass(request).await,
            Fault::Hang => {
                rule.until_released().await;
                self.pass(request).await
            }
            Fault::Reset => {
                self.take_in(request, u64::MAX).await;
                self.break_off()
            }
            Fault::TornUpload(bytes) => {
                self.take_in(request, bytes).await;
                self.break_off()
            }
            Fault::DoneThenStatus(status) => {
                self.done(request).await?;
                self.refuse(status, code(status))
            }
            Fault::DoneThenReset => {
                self.done(request).await?;
                self.break_off()
            }
            Fault::DoneThenHang => {
                let answer = self.done(request).await?;
                rule.until_released().await;
                self.send(answer, None, None)
            }
            Fault::DoneLate => self.late(request, rule.clone()).await,
            Fault::TornAnswer(bytes) => {
                let answer = self.done(request).await?;
                self.send(answer, None, Some((bytes, self.reset.clone())))
            }
            Fault::WrongByte(at) => {
                let answer = self.done(request).await?;
                let at = at.checked_sub(range_start(answer.headers()));
                self.send(answer, at, None)
            }
            Fault::StaleList(view) => {
                request.extensions_mut().insert(view);
                self.pass(request).await
            }
        }
    }

    async fn pass(&self, request: Request<Received>) -> Answer {
        let answer = self.done(request).await?;
        self.send(answer, None, None)
    }

    async fn done(&self, request: Request<Received>) -> Result<Response<Body>, HttpError> {
        let service = &self.front.service;
        service.call(request.map(Body::http_body_unsync)).await
    }

    async fn late(&self, request: Request<Received>, rule: Standing) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(HttpError::new)?.to_bytes();
        let service = self.front.service.clone();
        let late = tokio::spawn(async move {
            rule.until_released().await;
            service
                .call(Request::from_parts(head, Body::from(body)))
                .await
        });
        let answer = late.await.map_err(|error| HttpError::new(error.into()))?;
        self.send(answer?, None, None)
    }

    /// Reads at most about `most` bytes of the body: a client that cannot send
    /// what it has to send may not read the answer.
    async fn take_in(&self, mut request: Request<Received>, most: u64) {
        let mut taken = 0;
        while taken < most {
            let Some(Ok(frame)) = request.body_mut().frame().await else {
                return;
            };
            taken += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
    }

    fn refuse(&self, status: u16, code: &str) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>made to go wrong</Message></Error>"
        );
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        let xml = HeaderValue::from_static("application/xml");
        answer.headers_mut().insert("content-type", xml);
        self.send(answer, None, None)
    }

    fn break_off(&self) -> Answer {
        self.reset.set();
        Err(HttpError::new("the connection is cut here".into()))
    }

    fn send(
        &self,
        mut answer: Response<Body>,
        flip: Option<u64>,
        cut: Option<(u64, Reset)>,
    ) -> Answer {
        let traffic = Arc::clone(&self.front.traffic);
        traffic.status(self.number, answer.status().as_u16());
        if let Some(now) = self.front.faults.skewed() {
            answer.headers_mut().insert(DATE, http_date(now));
        }
        Ok(answer.map(|body| Sent {
            body,
            traffic,
            request: self.number,
            sent: 0,
            flip,
            cut,
            flushed: false,
        }))
    }
}

fn code(status: u16) -> &'static str {
    match status {
        400 => "InvalidRequest",
        403 => "AccessDenied",
        404 => "NoSuchKey",
        408 => "RequestTimeout",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        429 => "TooManyRequests",
        503 => "SlowDown",
        _ => "InternalError",
    }
}

/// From `bytes 10-20/100`.
fn range_start(headers: &HeaderMap) -> u64 {
    let range = headers.get(CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next());
    start.and_then(|start| start.parse().ok()).unwrap_or(0)
}

/// By `x-amz-date: 20260102T030405Z`, if there is one.
fn too_skewed(headers: &HeaderMap, now: SystemTime) -> bool {
    let date = headers.get("x-amz-date");
    let Some(date) = date.and_then(|date| date.to_str().ok()) else {
        return false;
    };
    let part = |range| date.get(range).unwrap_or_default();
    let date = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(9..11),
        part(11..13),
        part(13..15)
    );
    let Ok(date) = Timestamp::parse(TimestampFormat::DateTime, &date) else {
        return false;
    };
    date < Timestamp::from(now - SKEW) || date > Timestamp::from(now + SKEW)
}

fn http_date(time: SystemTime) -> HeaderValue {
    let mut text = Vec::new();
    Timestamp::from(time)
        .format(TimestampFormat::HttpDate, &mut text)
        .expect("a date in our times");
    HeaderValue::from_bytes(&text).expect("a date is text")
}
