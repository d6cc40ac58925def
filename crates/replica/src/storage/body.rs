//! A file's content as it arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncRead, ReadBuf};

use super::encryption::Decryptor;
use super::error::StorageError;

/// The content of one file, decrypted. A broken connection is replaced by
/// another one, which goes on from the same byte.
///
/// Take it with [`Body::next`], or as an [`AsyncRead`], whose errors hold a
/// [`StorageError`] (see [`StorageError::from_io`]).
pub struct Body {
    stream: BoxStream<'static, Result<Bytes, StorageError>>,
    rest: Bytes,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Body {
    pub(super) fn new(stream: BoxStream<'static, Result<Bytes, StorageError>>) -> Self {
        let rest = Bytes::new();
        Self { stream, rest }
    }

    /// Decrypts what the stored bytes hold.
    pub(super) fn opened(self, opener: Decryptor, name: String) -> Self {
        let state = (self.stream, Some(opener), name);
        let stream = futures_util::stream::try_unfold(state, |(mut stored, opener, name)| async {
            let Some(mut opener) = opener else {
                return Ok(None);
            };
            loop {
                let next = stored.next().await.transpose()?;
                let plain = match &next {
                    Some(bytes) => opener.push(bytes),
                    None => opener.finish(),
                };
                let Ok(plain) = plain else {
                    return Err(StorageError::Unsealable { name });
                };
                match next {
                    None => return Ok(Some((plain.into(), (stored, None, name)))),
                    Some(_) if plain.is_empty() => {}
                    Some(_) => return Ok(Some((plain.into(), (stored, Some(opener), name)))),
                }
            }
        });
        Self::new(stream.boxed())
    }

    /// The next bytes, of any number but none; `None` at the end.
    ///
    /// # Errors
    /// The file could not be read on, within all tries, or is not what it was.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        while let Some(bytes) = self.stream.next().await.transpose()? {
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// All bytes, up to `limit` of them.
    pub(super) async fn bytes(mut self, name: &str, limit: u64) -> Result<Bytes, StorageError> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            let size = (all.len() + bytes.len()) as u64;
            if size > limit {
                let name = name.into();
                return Err(StorageError::TooLarge { name, size, limit });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

impl AsyncRead for Body {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.stream.poll_next_unpin(cx)) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Err(error.into_io())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn body(parts: &[&'static str]) -> Body {
        let parts: Vec<_> = parts.iter().map(|part| Ok((*part).into())).collect();
        Body::new(futures_util::stream::iter(parts).boxed())
    }

    #[tokio::test]
    async fn it_can_be_taken_both_ways_in_turn() {
        let mut body = body(&["", "abc", "", "defgh", ""]);
        let mut two = [0; 2];
        body.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"ab");
        assert_eq!(body.next().await.unwrap().unwrap(), "c");
        body.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"de");
        assert_eq!(body.next().await.unwrap().unwrap(), "fgh");
        assert_eq!(body.next().await.unwrap(), None);
        assert_eq!(body.read(&mut two).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_taken_whole_is_bounded() {
        assert_eq!(body(&["abc", "d"]).bytes("name", 4).await.unwrap(), "abcd");
        let error = body(&["abc", "de"]).bytes("name", 4).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "name has 5 bytes or more, and 4 are allowed here"
        );
    }
}
