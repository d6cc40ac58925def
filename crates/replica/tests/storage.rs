//! The places that hold replicas: what they promise, in a folder and in a
//! bucket, and what becomes of it when the network or the provider fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "storage/bench.rs"]
mod bench;
#[path = "storage/case.rs"]
mod case;
#[path = "storage/conformance.rs"]
mod conformance;
#[path = "storage/downloads.rs"]
mod downloads;
#[path = "storage/leases.rs"]
mod leases;
#[path = "storage/names.rs"]
mod names;
#[path = "storage/refusals.rs"]
mod refusals;
#[path = "storage/sealed.rs"]
mod sealed;
#[path = "storage/uploads.rs"]
mod uploads;
