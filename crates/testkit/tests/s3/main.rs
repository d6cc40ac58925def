//! The S3 server, asked by a real client.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod faults;
mod objects;

use std::time::Duration;

use monolite_testkit::s3::S3Server;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ClientOptions, RetryConfig};

/// A client that asks once, and waits five seconds for an answer.
fn client(server: &S3Server) -> AmazonS3 {
    client_with(server, |builder| builder)
}

fn client_with(
    server: &S3Server,
    with: impl FnOnce(AmazonS3Builder) -> AmazonS3Builder,
) -> AmazonS3 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let once = RetryConfig {
        max_retries: 0,
        retry_timeout: Duration::from_secs(5),
        ..RetryConfig::default()
    };
    let plain = ClientOptions::new()
        .with_allow_http(true)
        .with_timeout(Duration::from_secs(5));
    let builder = AmazonS3Builder::new()
        .with_endpoint(server.url())
        .with_bucket_name(server.bucket())
        .with_access_key_id(server.access_key())
        .with_secret_access_key(server.secret_key())
        .with_region(server.region())
        .with_client_options(plain)
        .with_retry(once);
    with(builder).build().expect("a client")
}

/// Bytes that differ from their neighbours.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}
