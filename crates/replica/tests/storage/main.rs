//! The places that hold replicas: what they promise, in a folder and in a
//! bucket, and what becomes of it when the network or the provider fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod case;
mod conformance;
mod downloads;
mod leases;
mod names;
mod refusals;
mod sealed;
mod uploads;
