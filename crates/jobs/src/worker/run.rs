//! Runs one job, whatever its handler does.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::context::{Context, Reason};
use super::failure::{Failure, Then};
use crate::Backoff;
use crate::ops::End;

/// Time to end by itself for a job whose worker ends: its deadline was before.
const GIVEN_BACK_GRACE: Duration = Duration::from_millis(100);

/// For how long a job waits for a worker that has a handler for it, and how
/// often it is tried meanwhile.
const NO_HANDLER_MS: i64 = 86_400_000;
const NO_HANDLER_PAUSE: Duration = Duration::from_secs(60);

/// A handler's answer: JSON text if there is a result worth keeping.
pub(super) type Outcome = Result<Option<String>, Failure>;

/// A handler as the worker keeps it.
pub(super) type Handler =
    Arc<dyn Fn(Context) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// How jobs are run that do not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) max_attempts: u32,
    pub(super) timeout: Duration,
    pub(super) backoff: Backoff,
    /// Time to end by itself once a job was asked to.
    pub(super) grace: Duration,
}

/// Runs a job to its end, and says how it ended and how long that took.
pub(super) async fn run(
    handler: Option<Handler>,
    context: Context,
    rules: Rules,
) -> (End, Duration) {
    let started = Instant::now();
    let job = Arc::clone(&context.job);
    let signal = Arc::clone(&context.signal);
    let timeout = job.timeout_ms.map_or(rules.timeout, |ms| {
        Duration::from_millis(ms.max(1).unsigned_abs())
    });
    let outcome = match handler {
        None => Err(no_handler(&context)),
        Some(handler) => {
            let mut running = pin!(caught(handler, context));
            let cut_short = async {
                let grace = match signal.raised().await {
                    Reason::Cancelled => rules.grace,
                    Reason::GivenBack => GIVEN_BACK_GRACE,
                };
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                biased;
                outcome = tokio::time::timeout(timeout, &mut running) => {
                    outcome.unwrap_or_else(|_| {
                        Err(Failure::retry(format!("it took longer than {timeout:?}")))
                    })
                }
                // What is dropped here has ended before anybody is told.
                () = cut_short => Err(Failure::retry("it was stopped")),
            }
        }
    };
    let end = match outcome {
        Ok(result) => End::Done(result),
        // It was told to end, and did: that is no failure of its own.
        Err(_) if signal.reason() == Some(Reason::Cancelled) => End::Cancelled,
        Err(_) if signal.reason() == Some(Reason::GivenBack) => End::HandedBack,
        Err(Failure { error, then }) => {
            let max = job.max_attempts.unwrap_or(rules.max_attempts);
            let wait_ms = || rules.backoff.wait_ms(job.attempt, fastrand::f64());
            match then {
                Then::Snooze(wake_in_ms) => End::Snoozed { wake_in_ms },
                Then::Discard => failed(error, None),
                _ if job.attempt >= max => failed(error, None),
                Then::RetryIn(ms) => failed(error, Some(ms)),
                Then::BackOff => failed(error, Some(wait_ms())),
            }
        }
    };
    (end, started.elapsed())
}

/// In a deploy the old program meets jobs of the new one: for a day they wait
/// without using up attempts.
fn no_handler(context: &Context) -> Failure {
    let waited_ms = context.jobs.now().wall_ms - context.job.enqueued_at_ms;
    if waited_ms < NO_HANDLER_MS {
        return Failure::snooze(NO_HANDLER_PAUSE);
    }
    Failure::retry(format!(
        "no worker has a handler for jobs of the kind {:?}",
        context.job.kind
    ))
}

fn failed(error: String, retry_in_ms: Option<i64>) -> End {
    End::Failed { error, retry_in_ms }
}

/// Calls the handler and polls it, turning a panic into a failure.
async fn caught(handler: Handler, context: Context) -> Outcome {
    // Unwind safety: nothing of the handler's is used after its panic.
    let mut future = match catch_unwind(AssertUnwindSafe(|| handler(context))) {
        Ok(future) => future,
        Err(panic) => return Err(panicked(&*panic)),
    };
    std::future::poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    })
    .await
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Failure::retry(format!("it panicked: {text}"))
}
