//! The health page: whether requests pass, and what each part of the host
//! reports of itself.
//!
//! A service registers a part with [`Health::register`]; the page asks every
//! part when it is asked itself. A part that fails makes the page 503 only if
//! it was registered as [`Severity::Critical`].
//!
//! `GET /_monolite/health` answers, without waiting for anything:
//!
//! ```json
//! {"status":"degraded","reasons":["replica: no byte stored yet: access denied"],
//!  "held":0,"in_flight":2,"requests":71,"held_total":3,"refused_total":0,"replayed_total":0,
//!  "parts":{"replica":{"status":"degraded","reason":"no byte stored yet: access denied",
//!                      "facts":{"stored_bytes":0}}}}
//! ```
//!
//! | `status` | HTTP | when |
//! |---|---|---|
//! | `ok` | 200 | requests pass, and every part is well |
//! | `degraded` | 200 | requests pass; `reasons` says what is wrong |
//! | `failing` | 503 | requests pass, but a critical part fails |
//! | `holding` | 503 | requests wait for the app |
//! | `stopping` | 503 | requests are refused |
//!
//! `reasons`, `parts` and `facts` are left out when empty.
//!
//! Everybody who reaches the port may read the page, so a reason holds no secret
//! and nothing that helps an attacker: "access denied", but no key, address or
//! path.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::admission::{Admission, Phase};
use crate::internal_routes::{self, Body, Handler, HandlerFuture};

/// How one part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "reason", rename_all = "lowercase")]
pub enum Condition {
    /// It does its work.
    Ok,
    /// It works, but not as it should: why, in one line for people.
    Degraded(String),
    /// It does not do its work: why, in one line for people.
    Failing(String),
}

/// What a part says of itself when the page is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(flatten)]
    condition: Condition,
    #[serde(skip_serializing_if = "Map::is_empty")]
    facts: Map<String, Value>,
}

impl Report {
    /// It does its work.
    pub fn ok() -> Self {
        Self::new(Condition::Ok)
    }

    /// It works, but not as it should.
    pub fn degraded(reason: impl Into<String>) -> Self {
        Self::new(Condition::Degraded(reason.into()))
    }

    /// It does not do its work.
    pub fn failing(reason: impl Into<String>) -> Self {
        Self::new(Condition::Failing(reason.into()))
    }

    fn new(condition: Condition) -> Self {
        Self {
            condition,
            facts: Map::new(),
        }
    }

    /// Adds a figure for machines; its name carries the unit (`lag_ms`).
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// How the part is.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The figures added with [`Report::fact`].
    pub fn facts(&self) -> &Map<String, Value> {
        &self.facts
    }
}

/// What a failing part does to the page. A degraded part never fails it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The page answers 503: whoever asks takes this machine out of service.
    Critical,
    /// The page answers 200 with the status `degraded` and the reason.
    Advisory,
}

/// The parts of one gate's health page. Cheap to clone: all clones are one
/// registry.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<RwLock<Vec<Part>>>,
}

#[derive(Clone)]
struct Part {
    name: String,
    severity: Severity,
    report: Arc<dyn Fn() -> Report + Send + Sync>,
}

impl Health {
    /// Adds a part to the page, or replaces the part of that name.
    ///
    /// `report` is called each time the page is asked, on a thread that serves
    /// requests: it must not block.
    pub fn register(
        &self,
        name: &str,
        severity: Severity,
        report: impl Fn() -> Report + Send + Sync + 'static,
    ) {
        let part = Part {
            name: name.to_owned(),
            severity,
            report: Arc::new(report),
        };
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        match parts.iter_mut().find(|old| old.name == name) {
            Some(old) => *old = part,
            None => parts.push(part),
        }
    }

    /// Takes a part off the page; false if there was none of that name.
    pub fn unregister(&self, name: &str) -> bool {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let before = parts.len();
        parts.retain(|part| part.name != name);
        parts.len() < before
    }

    /// What each part says now, in the order of registration.
    pub fn reports(&self) -> Vec<(String, Report)> {
        let ask = |part: Part| (part.name, (part.report)());
        self.parts().into_iter().map(ask).collect()
    }

    /// A copy, so that no part is asked under the lock: it may itself register parts.
    fn parts(&self) -> Vec<Part> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.clone()
    }

    /// Asks every part, and sums up.
    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for part in self.parts() {
            let report = (part.report)();
            match &report.condition {
                Condition::Ok => {}
                Condition::Degraded(reason) | Condition::Failing(reason) => {
                    summary.reasons.push(format!("{}: {reason}", part.name));
                }
            }
            summary.fails |= part.severity == Severity::Critical
                && matches!(report.condition, Condition::Failing(_));
            summary.parts.insert(part.name, report);
        }
        summary
    }
}

/// What all parts say together.
#[derive(Default)]
struct Summary {
    /// A critical part fails.
    fails: bool,
    /// Why the page does not say `ok`.
    reasons: Vec<String>,
    parts: BTreeMap<String, Report>,
}

/// Answers `/_monolite/health`.
pub(crate) struct HealthPage {
    pub(crate) admission: Arc<Admission>,
    pub(crate) health: Health,
}

impl Handler for HealthPage {
    fn handle(&self, request: Request<Body>) -> HandlerFuture {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let response = if reads && request.uri().path() == "/_monolite/health" {
            self.response()
        } else {
            internal_routes::not_found()
        };
        Box::pin(std::future::ready(response))
    }
}

impl HealthPage {
    fn response(&self) -> Response<Body> {
        let Summary {
            fails,
            reasons,
            parts,
        } = self.health.summary();
        let (status, word) = match &*self.admission.phase() {
            Phase::Open(_) if fails => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
            Phase::Open(_) if reasons.is_empty() => (StatusCode::OK, "ok"),
            Phase::Open(_) => (StatusCode::OK, "degraded"),
            Phase::Holding => (StatusCode::SERVICE_UNAVAILABLE, "holding"),
            Phase::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        let stats = self.admission.stats();
        let page = Page {
            status: word,
            reasons,
            held: stats.held_now,
            in_flight: stats.in_flight,
            requests: stats.requests,
            held_total: stats.held,
            refused_total: stats.refused,
            replayed_total: stats.replayed,
            parts,
        };
        // Fails for no value of these types.
        let mut body = serde_json::to_vec(&page).unwrap_or_default();
        body.push(b'\n');
        let mut response = internal_routes::page(status, "application/json", body);
        if status != StatusCode::OK {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The health page, field by field.
#[derive(Serialize)]
struct Page {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    held: usize,
    in_flight: usize,
    requests: u64,
    held_total: u64,
    refused_total: u64,
    replayed_total: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parts: BTreeMap<String, Report>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_same_name_replaces_the_first() {
        let health = Health::default();
        health.register("replica", Severity::Critical, || Report::failing("gone"));
        assert!(health.summary().fails);
        health.register("replica", Severity::Critical, || {
            Report::ok().fact("lag_ms", 3)
        });
        let summary = health.summary();
        assert!(!summary.fails && summary.reasons.is_empty());
        assert_eq!(health.reports().len(), 1);
        assert!(health.unregister("replica"));
        assert!(!health.unregister("replica"));
        assert!(health.summary().parts.is_empty());
    }

    #[test]
    fn only_a_failing_critical_part_fails_the_page() {
        let health = Health::default();
        health.register("cache", Severity::Critical, || Report::degraded("cold"));
        health.register("replica", Severity::Advisory, || {
            Report::failing("no byte stored")
        });
        let summary = health.summary();
        assert!(!summary.fails);
        assert_eq!(summary.reasons, ["cache: cold", "replica: no byte stored"]);
        health.register("disk", Severity::Critical, || Report::failing("full"));
        assert!(health.summary().fails);
    }

    #[test]
    fn a_report_is_flat_json() {
        let report = Report::degraded("no \"byte\" yet").fact("stored_bytes", 0);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"status":"degraded","reason":"no \"byte\" yet","facts":{"stored_bytes":0}}"#
        );
        assert_eq!(
            serde_json::to_string(&Report::ok()).unwrap(),
            r#"{"status":"ok"}"#
        );
    }
}
