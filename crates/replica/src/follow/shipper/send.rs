//! One file, on its way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use monolite_ltx::{DatabaseChecksums, Header};

use super::{Known, Shipper};
use crate::error::{Error, Result};
use crate::follow::encode::{self, Sums};
use crate::follow::intent::Intent;
use crate::steps;
use crate::storage::FileInfo;
use crate::wal::Changes;

/// A file of more bytes is not kept while it cannot be sent: it is made anew
/// from the database.
const KEPT: usize = 256 << 10;

/// Encoded, and not stored for sure.
pub(super) struct Unsent {
    header: Header,
    body: Bytes,
    sums: Sums,
}

impl Shipper {
    /// Stores a file of the disk.
    pub(super) async fn put_file(
        &self,
        known: &mut Known,
        level: u8,
        header: &Header,
        file: &Path,
    ) -> Result<()> {
        self.intend(known, header).await?;
        let stored = self.replica.put_file(level, header, file, Arc::new(|_| ()));
        let stored = stored.await?;
        steps::reached("sync.stored");
        self.stored(known, header, stored, None);
        Ok(())
    }

    pub(super) async fn encode(&self, known: &Known, changes: Changes) -> Result<Unsent> {
        let (by, map) = (self.by(known), known.map.clone());
        let encoded = self
            .blocking(move || encode::changes(&changes, &map, by))
            .await?;
        Ok(Unsent {
            header: encoded.header,
            body: encoded.body.into(),
            sums: encoded.sums,
        })
    }

    pub(super) async fn send(&mut self, known: &mut Known, unsent: Unsent) -> Result<()> {
        let result = async {
            self.intend(known, &unsent.header).await?;
            steps::reached("sync.sending");
            let put = self.replica.put(0, &unsent.header, unsent.body.clone());
            put.await.map_err(Error::from)
        };
        match result.await {
            Ok(stored) => {
                steps::reached("sync.stored");
                let (commit, max) = (unsent.header.commit, unsent.header.max);
                Arc::make_mut(&mut known.map).apply(&unsent.sums, commit, max);
                self.stored(known, &unsent.header, stored, Some(unsent.body));
                Ok(())
            }
            Err(error) => {
                // It may be stored all the same: only this very file may be
                // sent under its name, or all is looked at anew.
                if unsent.body.len() <= KEPT {
                    known.unsent = Some(unsent);
                } else {
                    known.compare = true;
                }
                Err(error)
            }
        }
    }

    fn stored(&self, known: &mut Known, header: &Header, file: FileInfo, body: Option<Bytes>) {
        known.dirty = true;
        known.newest_ms = known.newest_ms.max(header.timestamp_ms);
        self.board.update(|board| {
            board.sent_bytes += file.size;
            board.sent_files += 1;
            board.txid = header.max;
            board.stored_ms = Some(header.timestamp_ms);
        });
        known.beside.add(file, header.timestamp_ms, body);
    }

    /// Nothing is sent before it is known here that it would be, and nothing is
    /// known here that may not be sent.
    async fn intend(&self, known: &mut Known, header: &Header) -> Result<()> {
        self.turn.hold(Duration::ZERO).await?;
        let from = (known.map.txid(), known.map.checksum());
        let to = match header.checksums {
            DatabaseChecksums::Reserved { post, .. } => (header.max, post),
            _ => from,
        };
        let intent = match known.intent.take() {
            // The state there is ours, and cannot be gone on from: until the
            // new one is stored, the old one has to be known.
            Some(before) if known.anew => before.or(to),
            before => Intent::and(before, from, to),
        };
        let path = self.intent_file();
        known.intent = Some(intent.clone());
        self.blocking(move || intent.write(&path).map_err(|e| Error::file(&path, e)))
            .await
    }
}
