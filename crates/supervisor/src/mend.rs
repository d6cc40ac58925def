//! What is done for the volume's databases in the life of a run: those that
//! are missing come back before the app sees it, those that go missing while it
//! runs come back under it, and the last commit is stored after its end.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::app::App;
use crate::run::Run;

/// A file that is swapped for another in two steps is gone for a moment.
const GRACE: Duration = Duration::from_millis(100);

/// How it went.
pub(crate) enum Mended {
    /// The app can be started.
    Yes,
    /// Asked to stop meanwhile; the port is closed.
    Stopping,
}

impl Run {
    /// Restores what is missing and begins to replicate; false if asked to stop
    /// meanwhile.
    pub(crate) async fn bring_back(&mut self) -> Result<bool, Error> {
        let Some(replicated) = &mut self.replicated else {
            return Ok(true);
        };
        tokio::select! {
            begun = replicated.begin() => begun?,
            () = self.signals.stop() => {
                tracing::warn!("stopped before all databases were there");
                self.gate.refuse();
                self.close_gate().await;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the file of a database is gone for good, while `app` serves. If
    /// so, requests wait from now on.
    pub(crate) async fn is_lost(&mut self, app: &App) -> bool {
        let Some(replicated) = &self.replicated else {
            return false;
        };
        self.gate.hold();
        let until = Instant::now() + GRACE;
        while !replicated.mendable().is_empty() && Instant::now() < until {
            tokio::time::sleep(GRACE / 10).await;
        }
        let lost = !replicated.mendable().is_empty();
        if !lost {
            self.gate.open(app.address);
        }
        lost
    }

    /// Ends the app, whose database is gone, and restores that.
    pub(crate) async fn heal_under(&mut self, app: &mut App) -> Mended {
        self.retire(app).await;
        match !self.stopping && self.heal().await {
            true => Mended::Yes,
            false => Mended::Stopping,
        }
    }

    /// Restores what is gone, if something is, while there is no app; false if
    /// asked to stop meanwhile.
    pub(crate) async fn heal(&mut self) -> bool {
        let Some(replicated) = &self.replicated else {
            return true;
        };
        if replicated.mendable().is_empty() {
            return true;
        }
        tokio::select! {
            () = replicated.heal() => true,
            () = self.signals.stop() => {
                tracing::warn!("stopped before all databases were there");
                self.gate.refuse();
                self.close_gate().await;
                false
            }
        }
    }

    /// After the app's end. A wish to stop cuts it short.
    pub(crate) async fn last_sync(&mut self) {
        let Some(replicated) = self.replicated.take() else {
            return;
        };
        if self.hurry {
            tracing::warn!("not waiting for the last commits to be stored");
            return;
        }
        tokio::select! {
            () = replicated.end() => {}
            () = self.signals.stop() => {
                tracing::warn!("asked again: not waiting for the last commits to be stored");
            }
        }
    }
}

/// Comes when a database is gone that can be restored.
pub(crate) async fn lost(replicated: Option<&crate::replication::Replicated>) {
    match replicated {
        Some(replicated) => replicated.lost().await,
        None => std::future::pending().await,
    }
}
