//! Which failed requests may succeed later, and how to fix the cause of the others.

use object_store::Error;

use super::super::error::StorageError;
use super::super::retry::AttemptError;
use super::super::url::Secrets;
use super::response::{Recorded, in_one_line, shown};

/// A request that failed: what `object_store` says, unless it took too long,
/// and what was recorded.
#[derive(Debug)]
pub(super) struct RequestError {
    pub(super) error: Option<Error>,
    pub(super) recorded: Recorded,
}

/// Amazon's codes for transient errors, whatever the status.
const TRANSIENT: [&str; 8] = [
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestCanceled",
    "RequestTimeout",
    "ServerBusy",
    "ServiceUnavailable",
    "SlowDown",
];
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "InvalidBucketName"];
const UNKNOWN_KEY: [&str; 6] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "InvalidSecurity",
    "NotSignedUp",
];
const OLD_TOKEN: [&str; 4] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "TokenRefreshRequired",
];
const OTHER_REGION: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
];

impl RequestError {
    fn code(&self) -> &str {
        self.recorded.code.as_deref().unwrap_or_default()
    }

    pub(super) fn status(&self) -> u16 {
        self.recorded.status.unwrap_or(0)
    }

    /// Whether a condition of the request did not hold.
    pub(super) fn is_conflict(&self) -> bool {
        match self.status() {
            304 | 412 => true,
            // Amazon's for two writes at once, other providers' for a file that
            // exists.
            409 => !TRANSIENT.contains(&self.code()),
            _ => false,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status() == 404 && !NO_BUCKET.contains(&self.code())
    }

    /// Whether the provider does not know what was asked of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.status() == 501 || self.code() == "NotImplemented"
    }

    fn is_transient(&self) -> bool {
        match self.status() {
            // No answer, or none that could be read.
            0 => !self.is_certificate(),
            408 | 409 | 425 | 429 | 500 | 502..=599 => true,
            _ => TRANSIENT.contains(&self.code()),
        }
    }

    fn is_certificate(&self) -> bool {
        let broken = self.recorded.broken.as_deref();
        broken.is_some_and(|answer| answer.contains("certificate"))
    }

    /// Whether by this machine's clock the certificate begins later.
    fn is_early_certificate(&self) -> bool {
        let broken = self.recorded.broken.as_deref().unwrap_or_default();
        let early = ["not valid yet", "not yet valid", "NotValidYet"];
        self.is_certificate() && early.iter().any(|words| broken.contains(words))
    }

    /// The provider's words in one line.
    fn answer(&self) -> String {
        let recorded = &self.recorded;
        if let Some(status) = recorded.status {
            let words = [&recorded.code, &recorded.message];
            let words = words.into_iter().flatten().cloned();
            let words: Vec<_> = std::iter::once(status.to_string()).chain(words).collect();
            return words.join(" ");
        }
        match (&recorded.broken, &self.error) {
            (Some(broken), _) => broken.clone(),
            (None, Some(error)) => in_one_line(error),
            (None, None) => "nothing: it did not answer in time".into(),
        }
    }

    /// How to fix it.
    pub(super) fn failure(
        self,
        doing: &'static str,
        name: &str,
        destination: &str,
        secrets: &Secrets,
    ) -> AttemptError {
        let answer = shown(&secrets.redact(&self.answer()));
        let name = name.to_owned();
        let denied_for = |passes: bool, fix: String| {
            let (name, answer) = (name.clone(), answer.clone());
            AttemptError::Permanent(StorageError::Denied {
                doing,
                name,
                answer,
                fix,
                passes,
            })
        };
        let denied = |fix| denied_for(false, fix);
        let code = self.code();
        if NO_BUCKET.contains(&code) {
            let name = destination.into();
            return StorageError::NoBucket { name }.into();
        }
        if self.status() == 404 {
            return StorageError::NotFound { name }.into();
        }
        if code == "RequestTimeTooSkewed" || code == "RequestExpired" {
            // A machine that has just started sets it by the network.
            return denied_for(true, "set this machine's clock".into());
        }
        if UNKNOWN_KEY.contains(&code) {
            return denied("check the access key and its secret".into());
        }
        if OLD_TOKEN.contains(&code) {
            // Whoever renews it may be late.
            return denied_for(true, "the session token is over; get a new one".into());
        }
        let moved = matches!(self.status(), 301 | 302 | 307);
        if moved || OTHER_REGION.contains(&code) {
            return denied(match &self.recorded.region {
                Some(region) => format!("add `region={}`", shown(region)),
                None => "check the region and the endpoint".into(),
            });
        }
        match self.status() {
            401 => denied("check the credentials".into()),
            403 => denied(
                "allow these credentials to read, write, list and delete in the bucket".into(),
            ),
            _ if self.is_transient() => AttemptError::Transient(answer),
            _ if self.is_early_certificate() => denied_for(true, "set this machine's clock".into()),
            _ if self.is_certificate() => {
                denied("check the endpoint, and that the package ca-certificates is there".into())
            }
            _ => StorageError::Refused {
                doing,
                name,
                answer,
            }
            .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::ErrorClass;

    #[test]
    fn a_certificate_that_begins_later_is_waited_for() {
        for (what, class) in [
            (
                "certificate not valid yet: verification time 0",
                ErrorClass::Transient,
            ),
            ("NotValidYet", ErrorClass::Transient),
            ("UnknownIssuer", ErrorClass::Permanent),
        ] {
            let mut recorded = Recorded::default();
            recorded.broken = Some(format!("invalid peer certificate: {what}"));
            let failed = RequestError {
                error: None,
                recorded,
            };
            let failure = failed.failure("list", "name", "destination", &Secrets::default());
            let AttemptError::Permanent(error) = failure else {
                panic!("{failure:?}")
            };
            assert_eq!(error.class(), class, "{error}");
        }
    }
}
