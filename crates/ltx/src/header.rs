//! The first hundred bytes.

use monolite_sqlite_format::lock_page;

use crate::layout::{array, u32_at, u64_at};
use crate::{Checksum, Error, Result, Txid};

/// Which part of a WAL a file was made from. Informative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSpan {
    /// Where it begins in the WAL; never 0.
    pub offset: i64,
    /// How many bytes.
    pub size: i64,
    /// The WAL header's first salt.
    pub salt1: u32,
    /// The WAL header's second salt.
    pub salt2: u32,
}

/// What a file says of the whole database before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseChecksums {
    /// Nothing: Litestream's files.
    None,
    /// In the fields the format has for it; the checksum after is in the
    /// trailer. LiteFS's files. Litestream refuses to restore them.
    Standard {
        /// Before the first transaction; `None` exactly on a snapshot.
        pre: Option<Checksum>,
    },
    /// In the reserved bytes of the header, which other programs do not read:
    /// ours.
    Reserved {
        /// Before the first transaction; `None` on a snapshot, or if unknown.
        pre: Option<Checksum>,
        /// After the last transaction.
        post: Checksum,
    },
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The database's page size in bytes.
    pub page_size: u32,
    /// The database's size after the last transaction, in pages.
    pub commit: u32,
    /// The first transaction.
    pub min: Txid,
    /// The last transaction.
    pub max: Txid,
    /// When the last transaction was, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The checksums of the whole database.
    pub checksums: DatabaseChecksums,
    /// The part of a WAL it was made from; `None` if it was made otherwise.
    pub wal: Option<WalSpan>,
    /// Who wrote it; 0 if that is not known.
    pub node_id: u64,
}

const MAGIC: &[u8; 4] = b"LTX1";
const NO_CHECKSUM: u32 = 1 << 1;
/// Of our extension, in the reserved bytes.
const TAG: &[u8; 4] = b"MDB1";

impl Header {
    /// Bytes in a file.
    pub const SIZE: usize = 100;

    /// Whether the file holds the whole database: all its pages, not only those
    /// that changed.
    #[must_use]
    pub const fn is_snapshot(&self) -> bool {
        self.min.0 == Txid::FIRST.0
    }

    /// The page that is in no file.
    #[must_use]
    pub const fn lock_page(&self) -> u32 {
        lock_page(self.page_size)
    }

    /// The database's size after the last transaction, in bytes.
    #[must_use]
    pub const fn database_bytes(&self) -> u64 {
        self.commit as u64 * self.page_size as u64
    }

    /// Reads a header and checks it.
    pub fn parse(bytes: &[u8; Self::SIZE]) -> Result<Self> {
        if !bytes.starts_with(MAGIC) {
            return Err(Error::NotLtx(array(bytes, 0)));
        }
        let flags = u32_at(bytes, 4);
        if flags & !NO_CHECKSUM != 0 {
            let (field, why) = ("flags", "only 0x2 (NoChecksum) is known");
            return Err(refused(field, format_args!("{flags:#010x}"), why));
        }
        let header = Self {
            page_size: u32_at(bytes, 8),
            commit: u32_at(bytes, 12),
            min: Txid(u64_at(bytes, 16)),
            max: Txid(u64_at(bytes, 24)),
            timestamp_ms: u64_at(bytes, 32).cast_signed(),
            checksums: parse_checksums(bytes, flags)?,
            wal: parse_wal(bytes),
            node_id: u64_at(bytes, 72),
        };
        header.check()?;
        Ok(header)
    }

    /// The bytes of this header, whether or not it passes [`check`](Self::check).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (mut flags, mut standard_pre, mut reserved) = (NO_CHECKSUM, 0, [0; 20]);
        match self.checksums {
            DatabaseChecksums::None => {}
            DatabaseChecksums::Standard { pre } => {
                flags = 0;
                standard_pre = bits(pre);
            }
            DatabaseChecksums::Reserved { pre, post } => {
                reserved[..4].copy_from_slice(TAG);
                reserved[4..12].copy_from_slice(&bits(pre).to_be_bytes());
                reserved[12..].copy_from_slice(&post.get().to_be_bytes());
            }
        }
        let wal = self.wal.unwrap_or(WalSpan {
            offset: 0,
            size: 0,
            salt1: 0,
            salt2: 0,
        });

        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&flags.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.page_size.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.commit.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.min.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.max.0.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.timestamp_ms.to_be_bytes());
        bytes[40..48].copy_from_slice(&standard_pre.to_be_bytes());
        bytes[48..56].copy_from_slice(&wal.offset.to_be_bytes());
        bytes[56..64].copy_from_slice(&wal.size.to_be_bytes());
        bytes[64..68].copy_from_slice(&wal.salt1.to_be_bytes());
        bytes[68..72].copy_from_slice(&wal.salt2.to_be_bytes());
        bytes[72..80].copy_from_slice(&self.node_id.to_be_bytes());
        bytes[80..].copy_from_slice(&reserved);
        bytes
    }

    /// What every header must be; [`parse`](Self::parse) and
    /// [`Encoder::new`](crate::Encoder::new) ask it.
    pub fn check(&self) -> Result<()> {
        let size = self.page_size;
        if !size.is_power_of_two() || !(512..=65536).contains(&size) {
            let why = "a power of two from 512 to 65536 is needed";
            return Err(refused("page size", size, why));
        }
        if self.min.0 == 0 {
            return Err(refused("first transaction", self.min, "they count from 1"));
        }
        if self.min > self.max {
            let range = format_args!("{} to {}", self.min, self.max);
            return Err(refused(
                "transactions",
                range,
                "the last is before the first",
            ));
        }
        self.check_wal()?;
        self.check_checksums()
    }

    fn check_wal(&self) -> Result<()> {
        match self.wal {
            Some(wal) if wal.offset <= 0 => Err(refused(
                "WAL offset",
                wal.offset,
                "with a size or salt it must be above 0",
            )),
            Some(wal) if wal.size < 0 => {
                Err(refused("WAL size", wal.size, "it cannot be negative"))
            }
            _ => Ok(()),
        }
    }

    fn check_checksums(&self) -> Result<()> {
        match self.checksums {
            DatabaseChecksums::Standard { pre: Some(pre) }
            | DatabaseChecksums::Reserved { pre: Some(pre), .. }
                if self.is_snapshot() =>
            {
                let why = "a snapshot has no state before it";
                Err(refused("pre-apply checksum", pre, why))
            }
            DatabaseChecksums::Standard { pre: None } if !self.is_snapshot() => Err(refused(
                "pre-apply checksum",
                0,
                "one is needed, for this is no snapshot and the NoChecksum flag is not set",
            )),
            DatabaseChecksums::Reserved { post, .. }
                if self.commit == 0 && post != Checksum::EMPTY =>
            {
                let why = "a database without pages has another";
                Err(refused("post-apply checksum", post, why))
            }
            _ => Ok(()),
        }
    }
}

fn bits(checksum: Option<Checksum>) -> u64 {
    checksum.map_or(0, Checksum::get)
}

fn parse_checksums(bytes: &[u8; Header::SIZE], flags: u32) -> Result<DatabaseChecksums> {
    let standard = optional("pre-apply checksum", u64_at(bytes, 40))?;
    if flags & NO_CHECKSUM == 0 {
        return Ok(DatabaseChecksums::Standard { pre: standard });
    }
    if let Some(pre) = standard {
        let why = "there is none with the NoChecksum flag";
        return Err(refused("pre-apply checksum", pre, why));
    }
    if bytes[80..84] != *TAG {
        return Ok(DatabaseChecksums::None);
    }
    let post = "post-apply checksum in the reserved bytes";
    Ok(DatabaseChecksums::Reserved {
        pre: optional(
            "pre-apply checksum in the reserved bytes",
            u64_at(bytes, 84),
        )?,
        post: optional(post, u64_at(bytes, 92))?
            .ok_or_else(|| refused(post, 0, "there must be one"))?,
    })
}

/// Zero is none; anything else must be a checksum.
fn optional(field: &'static str, bits: u64) -> Result<Option<Checksum>> {
    match Checksum::from_bits(bits) {
        None if bits != 0 => {
            let why = "bit 63 of a checksum is set";
            Err(refused(field, format_args!("{bits:016x}"), why))
        }
        checksum => Ok(checksum),
    }
}

fn parse_wal(bytes: &[u8; Header::SIZE]) -> Option<WalSpan> {
    let wal = WalSpan {
        offset: u64_at(bytes, 48).cast_signed(),
        size: u64_at(bytes, 56).cast_signed(),
        salt1: u32_at(bytes, 64),
        salt2: u32_at(bytes, 68),
    };
    (bytes[48..72] != [0; 24]).then_some(wal)
}

fn refused(field: &'static str, value: impl std::fmt::Display, why: &'static str) -> Error {
    Error::Header {
        field,
        value: value.to_string(),
        why,
    }
}
