//! Reads what any process publishes, once for all subscribers of this one.
//!
//! It sleeps until the file is committed to, and does not run at all while
//! there is no subscriber. Own messages take the same way as those of other
//! processes: so every subscriber sees the same order, that of the commits.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::Dispatcher;
use crate::engine::Engine;
use crate::{Ask, Error, Result};

/// First and longest pause after an error that may pass.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

pub(crate) async fn run(engine: Arc<dyn Engine>, dispatcher: Arc<Dispatcher>) {
    let mut pause = PAUSES.0;
    loop {
        dispatcher.until_wanted(true).await;
        let ended = tail(&engine, &dispatcher, &mut pause).await;
        dispatcher.stop();
        match ended {
            Ok(()) => {}
            Err(Error::Closed | Error::Forked) => return dispatcher.close(),
            // The subscribers were woken: they read by themselves, and meet
            // the same error, each with a caller to tell.
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Until the last subscriber has left.
async fn tail(
    engine: &Arc<dyn Engine>,
    dispatcher: &Arc<Dispatcher>,
    pause: &mut Duration,
) -> Result<()> {
    // Before the newest is asked for: what comes later wakes.
    let mut commits = engine.commits()?;
    dispatcher.start(engine.bounds().await?.newest);
    let wanted: crate::Wanted = {
        let dispatcher = Arc::clone(dispatcher);
        Arc::new(move |channel| dispatcher.wants(channel))
    };
    loop {
        while let Some(after) = dispatcher.begin_page() {
            let ask = Ask {
                after,
                only: None,
                wanted: Arc::clone(&wanted),
            };
            let page = engine.tail(ask).await?;
            dispatcher.dispatch(&page);
            if page.is_last() {
                break;
            }
        }
        *pause = PAUSES.0;
        tokio::select! {
            changed = commits.changed() => changed?,
            () = dispatcher.until_wanted(false) => return Ok(()),
        }
    }
}
