//! The settings of a pub/sub handle.

use std::sync::Arc;
use std::time::Duration;

use monolite_component::{Clock, SystemClock};

use crate::Window;

/// The settings of one handle.
///
/// ```
/// use std::time::Duration;
/// use monolite_pubsub::{PubSubOptions, Window};
/// let options = PubSubOptions::new()
///     .window(Window::new().time(Duration::from_secs(600)))
///     .max_payload_bytes(64 << 10);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PubSubOptions {
    pub(crate) window: Window,
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) max_payload_bytes: usize,
    pub(crate) presence_lease: Duration,
    pub(crate) busy_timeout: Duration,
    pub(crate) write_queue: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for PubSubOptions {
    fn default() -> Self {
        Self {
            window: Window::new(),
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

impl PubSubOptions {
    /// The defaults, each named at its setter.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long messages are kept. All processes share the window of the one
    /// that opened the file last. Default [`Window::new`].
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Messages, and bytes of messages, that may wait for a subscriber that
    /// does not take them. A subscriber with more gets
    /// [`Event::Lagged`](crate::Event::Lagged) and reads on from the file. One
    /// message may always wait. The subscribers of a process share the memory
    /// of a message. Default 1,024 and 4 MiB.
    pub fn queue(mut self, messages: usize, bytes: usize) -> Self {
        self.queue_messages = messages;
        self.queue_bytes = bytes;
        self
    }

    /// Largest payload that may be published, up to
    /// [`PAYLOAD_MAX_BYTES`](crate::PAYLOAD_MAX_BYTES). Default 1 MiB.
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// The members of a process that was killed disappear after this time at
    /// most. While anybody is present the lease is renewed three times as
    /// often. Default 15 s.
    pub fn presence_lease(mut self, lease: Duration) -> Self {
        self.presence_lease = lease;
        self
    }

    /// How long a publisher waits for another process that writes. Default 5 s.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Publishers that may wait at once. Default 4,096.
    pub fn write_queue(mut self, publishers: usize) -> Self {
        self.write_queue = publishers;
        self
    }

    /// The source of time; for tests. Default [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}
