//! Asks a uploader to send all it has.

use tokio::sync::{mpsc, oneshot};

/// Requests for a flush that may wait.
const FLUSHES: usize = 16;

/// Asks a uploader to send all it has.
#[derive(Clone, Debug)]
pub(super) struct Flusher(mpsc::Sender<oneshot::Sender<()>>);

impl Flusher {
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (sender, receiver) = mpsc::channel(FLUSHES);
        (Self(sender), receiver)
    }

    /// Returns once all that is in the pending is stored, however long it takes.
    pub(super) async fn flush(&self) -> Result<(), ()> {
        let (done, answer) = oneshot::channel();
        self.0.send(done).await.map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }
}
