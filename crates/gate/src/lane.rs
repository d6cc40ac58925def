//! A state-changing request's place in the write lane.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

/// Held until the app is done with the request: until dropped, or until the
/// time of [`Place::leave_after`] is over, whichever comes first.
pub(crate) struct Place(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// Bounds how long a client that takes its response slowly keeps others out.
    pub(crate) fn leave_after(&self, limit: Duration) {
        let place = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if let Some(place) = place.upgrade() {
                leave(&place);
            }
        });
    }
}

fn leave(place: &Mutex<Option<OwnedSemaphorePermit>>) {
    place.lock().unwrap_or_else(PoisonError::into_inner).take();
}

impl Drop for Place {
    fn drop(&mut self) {
        leave(&self.0);
    }
}
