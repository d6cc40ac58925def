//! How the pub/sub file is opened.

use std::sync::Arc;
use std::time::Duration;

use monolite_component::{Clock, SystemClock};

use crate::Window;

/// The settings of one handle.
///
/// ```
/// use std::time::Duration;
/// use monolite_pubsub::{PubSubOptions, Window};
/// let options = PubSubOptions {
///     window: Window { time: Duration::from_secs(600), ..Window::default() },
///     ..PubSubOptions::default()
/// };
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct PubSubOptions {
    /// For how long messages are kept; the process that opens the file last
    /// sets it for all.
    pub window: Window,
    /// Messages that may wait for a subscriber that does not take them;
    /// whoever has more is told ([`Event::Lagged`](crate::Event::Lagged)) and
    /// reads on from the file. Default 1,024.
    pub queue_messages: usize,
    /// Bytes of such messages, likewise; one message may always wait. Messages
    /// are shared by the subscribers of a process. Default 4 MiB.
    pub queue_bytes: usize,
    /// Largest payload that is published, up to
    /// [`PAYLOAD_MAX_BYTES`](crate::PAYLOAD_MAX_BYTES). Default 1 MiB.
    pub max_payload_bytes: usize,
    /// Members of a process that is gone without a word disappear after this
    /// time at most. It is renewed three times as often, while anybody is
    /// present. Default 15 s.
    pub presence_lease: Duration,
    /// How long a publisher waits for another process that writes. Default 5 s.
    pub busy_timeout: Duration,
    /// Publishers that may wait at once. Default 4,096.
    pub write_queue: usize,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for PubSubOptions {
    fn default() -> Self {
        Self {
            window: Window::default(),
            queue_messages: 1024,
            queue_bytes: 4 << 20,
            max_payload_bytes: 1 << 20,
            presence_lease: Duration::from_secs(15),
            busy_timeout: Duration::from_secs(5),
            write_queue: 4096,
            clock: Arc::new(SystemClock),
        }
    }
}
