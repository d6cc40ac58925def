//! Asks a uploader to send all it has.

use tokio::sync::{mpsc, oneshot};

/// Requests for a flush that may wait.
const FLUSHES: usize = 16;

/// A request to send all there is.
#[derive(Debug)]
pub(super) struct Flush {
    /// Whether to make sure as well that what was sent is still there: one more request.
    pub(super) is_audited: bool,
    pub(super) done: oneshot::Sender<()>,
}

/// Asks a uploader to send all it has.
#[derive(Clone, Debug)]
pub(super) struct Flusher(mpsc::Sender<Flush>);

impl Flusher {
    pub(super) fn new() -> (Self, mpsc::Receiver<Flush>) {
        let (sender, receiver) = mpsc::channel(FLUSHES);
        (Self(sender), receiver)
    }

    /// Returns once all that is pending is stored, however long it takes.
    pub(super) async fn flush(&self, is_audited: bool) -> Result<(), ()> {
        let (done, answer) = oneshot::channel();
        let flush = Flush { is_audited, done };
        self.0.send(flush).await.map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }
}
