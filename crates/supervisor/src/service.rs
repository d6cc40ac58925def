//! What a run consists of besides the app: a list of services.
//!
//! They start one after another, in the order of the list, before the app; they stop in the
//! opposite order after it.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, select_all};

use crate::run::Run;
use crate::{Error, Exit};

/// Longest time that a service may take to stop, unless it says otherwise.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// One part of a run. Its futures run on the supervisor's own thread, and need not be `Send`: work
/// that takes long, or that blocks, belongs on another one.
#[async_trait(?Send)]
pub trait Service {
    /// Its name in log lines and on the health page, as `replica`.
    fn name(&self) -> &'static str;

    /// Gets it to work, before the app starts; the services before it in the list work already.
    /// While this goes on, requests wait. It should end soon after [`Run::stop_requested`].
    ///
    /// # Errors
    /// The run cannot go on without this service. It is not asked to stop: what it had begun ends
    /// when it is dropped.
    async fn start(&mut self, run: &mut Run) -> Result<Started, Error>;

    /// Comes when the app has to be stopped, so that this service can do something that cannot be
    /// done while the app runs.
    async fn pause_needed(&self) {
        std::future::pending().await
    }

    /// Whether that is still needed. Requests wait meanwhile.
    async fn is_pause_needed(&self) -> bool {
        false
    }

    /// Does it, while none of the app's processes runs. Called before each start of all of them, also
    /// where nothing is to be done. Cancelled when the run is asked to stop.
    async fn while_paused(&self) {}

    /// Ends its work, after the app has stopped. Cancelled after [`stop_time`](Self::stop_time).
    async fn stop(&mut self) {}

    /// Longest time that [`stop`](Self::stop) takes.
    fn stop_time(&self) -> Duration {
        STOP_TIME_MAX
    }

    /// The exit code of a run that ended well, as this service sees it; asked after
    /// [`stop`](Self::stop). Anything but 0 says that some data is not where it should be.
    fn exit_code(&self) -> u8 {
        0
    }
}

/// How a start went that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It works.
    Yes,
    /// The run was asked to stop meanwhile; it ends with the exit code of this.
    Stopped(Exit),
}

/// The list, and how many of it have started.
pub(crate) struct Services {
    all: Vec<Box<dyn Service>>,
    started: usize,
}

impl Services {
    pub(crate) fn new(all: Vec<Box<dyn Service>>) -> Self {
        Self { all, started: 0 }
    }

    /// Starts all. If one fails, or the run is asked to stop, those after it are not started.
    pub(crate) async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        for service in &mut self.all {
            match service.start(run).await? {
                Started::Yes => self.started += 1,
                stopped @ Started::Stopped(_) => return Ok(stopped),
            }
        }
        Ok(Started::Yes)
    }

    /// Comes when one of them needs the app stopped.
    pub(crate) async fn pause_needed(&self) {
        let all: Vec<_> = self.all.iter().map(|one| one.pause_needed()).collect();
        match all.is_empty() {
            true => std::future::pending().await,
            false => drop(select_all(all).await),
        }
    }

    /// Whether one of them still does.
    pub(crate) async fn is_pause_needed(&self) -> bool {
        let all = join_all(self.all.iter().map(|one| one.is_pause_needed()));
        all.await.contains(&true)
    }

    /// Has each do what the app must be stopped for.
    pub(crate) async fn while_paused(&self) {
        // One after the other, the last one first: two of them may work on the same database.
        for one in self.all.iter().rev() {
            one.while_paused().await;
        }
    }

    /// Stops those that have started, the last one first. Once the run is asked to stop at once, none
    /// is waited for. Answers with the first exit code that is not 0.
    pub(crate) async fn stop(mut self, run: &mut Run) -> u8 {
        let mut code = 0;
        self.all.truncate(self.started);
        while let Some(mut service) = self.all.pop() {
            let name = service.name();
            // Most services stop without waiting for anything.
            let limit = match run.hurry {
                true => Duration::ZERO,
                false => service.stop_time(),
            };
            tokio::select! {
                stopped = tokio::time::timeout(limit, service.stop()) => {
                    if stopped.is_err() {
                        let after_s = limit.as_secs_f32();
                        tracing::warn!(service = name, after_s, "not waiting for it to stop");
                    }
                }
                () = run.signals.stop() => {
                    run.hurry = true;
                    tracing::warn!(service = name, "asked again: not waiting for it to stop");
                }
            }
            if code == 0 {
                code = service.exit_code();
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;

    use super::*;
    use crate::signals::{Request, Sender};

    type Log = Arc<Mutex<Vec<String>>>;

    #[derive(Clone, Default)]
    struct Fake {
        name: &'static str,
        log: Log,
        fails: bool,
        /// Starts once it is asked to stop.
        waits: bool,
        /// Takes so long to stop.
        stops_in: Duration,
        pause: Option<Arc<Notify>>,
        code: u8,
    }

    impl Fake {
        fn new(name: &'static str, log: &Log) -> Self {
            let log = log.clone();
            Self {
                name,
                log,
                ..Self::default()
            }
        }

        fn note(&self, what: &str) {
            self.log
                .lock()
                .unwrap()
                .push(format!("{} {what}", self.name));
        }
    }

    #[async_trait(?Send)]
    impl Service for Fake {
        fn name(&self) -> &'static str {
            self.name
        }

        async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
            self.note("starts");
            if self.fails {
                return Err(Error::service(self.name, "it broke"));
            }
            if self.waits {
                run.stop_requested().await;
                return Ok(Started::Stopped(Exit::Code(7)));
            }
            Ok(Started::Yes)
        }

        async fn pause_needed(&self) {
            match &self.pause {
                Some(pause) => pause.notified().await,
                None => std::future::pending().await,
            }
        }

        async fn is_pause_needed(&self) -> bool {
            self.pause.is_some()
        }

        async fn while_paused(&self) {
            self.note("works");
        }

        fn exit_code(&self) -> u8 {
            self.code
        }

        async fn stop(&mut self) {
            self.note("stops");
            if !self.stops_in.is_zero() {
                tokio::time::sleep(self.stops_in).await;
            }
            self.note("stopped");
        }
    }

    fn services(all: &[&Fake]) -> Services {
        let boxed = |fake: &&Fake| Box::new((*fake).clone()) as Box<dyn Service>;
        Services::new(all.iter().map(boxed).collect())
    }

    fn logged(log: &Log) -> Vec<String> {
        std::mem::take(&mut log.lock().unwrap())
    }

    fn run() -> (Run, Sender) {
        Run::for_tests()
    }

    #[tokio::test(start_paused = true)]
    async fn they_start_in_order_and_stop_in_the_opposite_one() {
        let log = Log::default();
        let (mut run, _signals) = run();
        let (a, b) = (Fake::new("a", &log), Fake::new("b", &log));
        let mut all = services(&[&a, &b]);
        assert_eq!(all.start(&mut run).await.unwrap(), Started::Yes);
        assert_eq!(logged(&log), ["a starts", "b starts"]);
        all.stop(&mut run).await;
        assert_eq!(
            logged(&log),
            ["b stops", "b stopped", "a stops", "a stopped"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_ends_the_start_and_is_not_stopped() {
        let log = Log::default();
        let (mut run, _signals) = run();
        let (a, mut b, c) = (
            Fake::new("a", &log),
            Fake::new("b", &log),
            Fake::new("c", &log),
        );
        b.fails = true;
        let mut all = services(&[&a, &b, &c]);
        let error = all.start(&mut run).await.unwrap_err();
        assert_eq!(error.to_string(), "it broke");
        assert_eq!(error.code(), 1);
        all.stop(&mut run).await;
        assert_eq!(
            logged(&log),
            ["a starts", "b starts", "a stops", "a stopped"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_during_the_start_ends_it() {
        let log = Log::default();
        let (mut run, signals) = run();
        let (a, mut b, c) = (
            Fake::new("a", &log),
            Fake::new("b", &log),
            Fake::new("c", &log),
        );
        b.waits = true;
        let mut all = services(&[&a, &b, &c]);
        signals.send(Request::Stop).unwrap();
        let started = all.start(&mut run).await.unwrap();
        assert_eq!(started, Started::Stopped(Exit::Code(7)));
        all.stop(&mut run).await;
        assert_eq!(
            logged(&log),
            ["a starts", "b starts", "a stops", "a stopped"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_stop_keeps_nobody_waiting() {
        let log = Log::default();
        let (mut run, _signals) = run();
        let (a, mut b) = (Fake::new("a", &log), Fake::new("b", &log));
        b.stops_in = Duration::from_secs(3600);
        let mut all = services(&[&a, &b]);
        all.start(&mut run).await.unwrap();
        let before = tokio::time::Instant::now();
        all.stop(&mut run).await;
        assert_eq!(before.elapsed(), STOP_TIME_MAX);
        assert_eq!(logged(&log)[2..], ["b stops", "a stops", "a stopped"]);
        assert!(!run.hurry);
    }

    #[tokio::test(start_paused = true)]
    async fn asked_to_stop_again_none_is_waited_for() {
        let log = Log::default();
        let (mut run, signals) = run();
        let (a, mut b) = (Fake::new("a", &log), Fake::new("b", &log));
        b.stops_in = Duration::from_secs(3);
        let mut all = services(&[&a, &b]);
        all.start(&mut run).await.unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            signals.send(Request::Stop).unwrap();
        });
        let before = tokio::time::Instant::now();
        all.stop(&mut run).await;
        assert_eq!(before.elapsed(), Duration::from_secs(1));
        assert_eq!(logged(&log)[2..], ["b stops", "a stops", "a stopped"]);
        assert!(run.hurry);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_exit_code_that_is_not_0_counts() {
        let log = Log::default();
        let (mut run, _signals) = run();
        let (a, mut b, mut c) = (
            Fake::new("a", &log),
            Fake::new("b", &log),
            Fake::new("c", &log),
        );
        (b.code, c.code) = (4, 5);
        let mut all = services(&[&a, &b, &c]);
        all.start(&mut run).await.unwrap();
        // The last one stops first.
        assert_eq!(all.stop(&mut run).await, 5);
        let mut all = services(&[&a]);
        all.start(&mut run).await.unwrap();
        assert_eq!(all.stop(&mut run).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn any_of_them_may_need_a_pause() {
        let log = Log::default();
        let (a, mut b) = (Fake::new("a", &log), Fake::new("b", &log));
        assert!(!services(&[&a]).is_pause_needed().await);
        let pause = Arc::new(Notify::new());
        b.pause = Some(pause.clone());
        let all = services(&[&a, &b]);
        pause.notify_one();
        all.pause_needed().await;
        assert!(all.is_pause_needed().await);
        all.while_paused().await;
        // The last one first, and one after the other.
        assert_eq!(logged(&log), ["b works", "a works"]);
        // None at all need none, ever.
        let none = services(&[]);
        let waited = tokio::time::timeout(Duration::from_secs(60), none.pause_needed()).await;
        assert!(waited.is_err());
    }
}
