//! The async handle, and what runs behind it.

mod dispatch;
pub(crate) mod engine;
mod heartbeat;
mod options;
mod presence;
mod pubsub;
mod relay;
mod shared;
mod sqlite;
mod subscriber;

pub use options::PubSubOptions;
pub use presence::{Presence, PresenceEvent, PresenceWatch};
pub use pubsub::{PUBLISH_MANY_MAX, PubSub};
pub use relay::Relay;
pub use subscriber::{Event, Subscribe, Subscriber};
