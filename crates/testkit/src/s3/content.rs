//! The content of an object: taken in from a request, handed out in an answer.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::header::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders, s3_error};

/// Below this, what came in pieces is kept in one.
const SMALL: u64 = 1024 * 1024;

/// Bytes and their digest.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) pieces: Vec<Bytes>,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
}

impl Content {
    pub(super) fn of(bytes: Bytes) -> Self {
        Self {
            size: bytes.len() as u64,
            md5: Md5::checksum(&bytes),
            pieces: vec![bytes],
        }
    }

    /// Takes in a request's body and compares it with the checksums its
    /// headers and trailers name.
    pub(super) async fn receive(
        body: Option<StreamingBlob>,
        headers: &HeaderMap,
        trailers: Option<&TrailingHeaders>,
    ) -> S3Result<Self> {
        let mut checksums = hasher(headers);
        let mut md5 = Md5::new();
        let mut pieces = Vec::new();
        let mut size = 0;
        let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(broken)?;
            md5.update(&piece);
            checksums.update(&piece);
            size += piece.len() as u64;
            pieces.push(piece);
        }
        let trailers = trailers.and_then(TrailingHeaders::take);
        compare(&checksums.finalize(), headers, trailers.as_ref())?;
        if size < SMALL {
            // Also frees the rest of the buffer it was read into.
            pieces = vec![pieces.concat().into()];
        }
        Ok(Self {
            pieces,
            size,
            md5: md5.finalize(),
        })
    }

    /// The bytes of a range, to be sent.
    pub(super) fn range(&self, range: Range<u64>) -> StreamingBlob {
        let mut at = 0;
        let mut pieces = VecDeque::new();
        for piece in &self.pieces {
            let end = at + piece.len() as u64;
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                let within = |offset: u64| usize::try_from(offset - at).expect("within a piece");
                pieces.push_back(piece.slice(within(from)..within(to)));
            }
            at = end;
        }
        let left = usize::try_from(range.end - range.start).expect("in memory");
        StreamingBlob::new(Pieces { pieces, left })
    }
}

/// A body that ended before its end is the client's, anything else was refused
/// on the way (a wrong signature of a chunk, a wrong digest).
fn broken(error: StdError) -> S3Error {
    match error.downcast::<S3Error>() {
        Ok(error) => *error,
        Err(error) => S3Error::with_source(S3ErrorCode::IncompleteBody, error),
    }
}

const CHECKSUMS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-crc64nvme",
];

fn hasher(headers: &HeaderMap) -> ChecksumHasher {
    let trailer = headers.get("x-amz-trailer");
    let trailer = trailer.and_then(|names| names.to_str().ok()).unwrap_or("");
    let told = CHECKSUMS.map(|name| {
        headers.contains_key(name) || trailer.split(',').any(|told| told.trim() == name)
    });
    let [crc32, crc32c, sha1, sha256, crc64nvme] = told;
    ChecksumHasher {
        crc32: crc32.then(Default::default),
        crc32c: crc32c.then(Default::default),
        sha1: sha1.then(Default::default),
        sha256: sha256.then(Default::default),
        crc64nvme: crc64nvme.then(Default::default),
    }
}

fn compare(came: &Checksum, headers: &HeaderMap, trailers: Option<&HeaderMap>) -> S3Result<()> {
    let came = [
        &came.checksum_crc32,
        &came.checksum_crc32c,
        &came.checksum_sha1,
        &came.checksum_sha256,
        &came.checksum_crc64nvme,
    ];
    for (name, came) in CHECKSUMS.iter().zip(came) {
        let trailing = trailers.and_then(|trailers| trailers.get(*name));
        let told = headers.get(*name).or(trailing);
        let told = told.and_then(|told| told.to_str().ok());
        if told != came.as_deref() {
            return Err(s3_error!(
                BadDigest,
                "the body does not have the {name} told"
            ));
        }
    }
    Ok(())
}

/// Pieces of known length in all.
struct Pieces {
    pieces: VecDeque<Bytes>,
    left: usize,
}

impl Stream for Pieces {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(Ok))
    }
}

impl ByteStream for Pieces {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.left)
    }
}
