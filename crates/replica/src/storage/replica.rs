//! One database's files in one destination.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use monolite_ltx::{Header, Txid};

use super::StorageError;
use super::body::Body;
use super::destination::Inner;
use super::file_info::{FileInfo, SNAPSHOT_LEVEL, join};
use super::key::Key;
use super::place::{Created, Order, Permit, Place, Result, Sent};
use super::seal::{self, HEAD, Label, Opener, SEALED_CHUNK, Sealer};
use super::source::Source;

/// One database's files in one destination: a cheap handle.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
    database: String,
    permit: Option<Arc<dyn Permit>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica({})", self.name())
    }
}

/// The largest file that is read into memory whole.
const READ_LIMIT: u64 = 64 << 20;

impl Replica {
    pub(super) fn new(inner: Arc<Inner>, database: &str) -> Self {
        Self {
            inner,
            database: database.into(),
            permit: None,
        }
    }

    /// One that writes and deletes only with a permit, asked for before each
    /// try: what is tried again for a minute needs more than one at its start.
    #[must_use]
    pub fn with_permit(self, permit: Arc<dyn Permit>) -> Self {
        let permit = Some(permit);
        Self { permit, ..self }
    }

    /// For people: `s3://bucket/prefix/app.sqlite3`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.database.as_str() {
            "" => self.inner.name.clone(),
            database => format!("{}/{database}", self.inner.name),
        }
    }

    /// The database's path relative to the volume.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The files of one level, by what they lead to.
    ///
    /// # Errors
    /// The place cannot be listed. That there are none is no error.
    pub async fn list(&self, level: u8) -> Result<Vec<FileInfo>> {
        self.place().list(&self.database, Some(level)).await
    }

    /// The files of all levels, by level and then by what they lead to: one
    /// request for each thousand.
    ///
    /// # Errors
    /// The place cannot be listed. That there are none is no error.
    pub async fn list_all(&self) -> Result<Vec<FileInfo>> {
        self.place().list(&self.database, None).await
    }

    /// Stores a file that is in memory. Nothing is ever overwritten; that the
    /// same file is there already is success.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`]: there is another file of this name.
    /// After [`StorageError::Unavailable`] the file may be there or not.
    pub async fn put(&self, level: u8, header: &Header, body: Bytes) -> Result<FileInfo> {
        let source = Source::bytes(body);
        self.store(level, header, source, Arc::new(|_| ())).await
    }

    /// Stores a file of this machine's disk, in parts if it is large: a few of
    /// them are in memory at a time. `sent` is told the bytes sent so far.
    ///
    /// # Errors
    /// As [`Replica::put`].
    pub async fn put_file(
        &self,
        level: u8,
        header: &Header,
        path: &Path,
        sent: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<FileInfo> {
        self.store(level, header, Source::file(path)?, sent).await
    }

    async fn store(
        &self,
        level: u8,
        header: &Header,
        source: Source,
        sent: Sent,
    ) -> Result<FileInfo> {
        let mut file = FileInfo {
            level,
            min: header.min,
            max: header.max,
            size: source.size(),
            stored_ms: self.inner.clock.now_ms(),
            sealed: self.inner.key.is_some(),
        };
        let trailer = source.trailer()?;
        let source = match &self.inner.key {
            Some(key) => source.sealed(Sealer::new(key, self.label(&file))?),
            None => source,
        };
        file.size = source.size();

        let key = self.key(&file);
        let order = Order {
            key: key.clone(),
            timestamp_ms: header.timestamp_ms,
            sent,
            permit: self.permit.clone(),
        };
        if let Created::Exists = self.place().create(order, source).await? {
            // Most likely ours: a try whose answer was lost, or of before we died.
            file.stored_ms = self.same(&file, &key, &trailer).await?;
        } else if let Place::Folder(_) = self.place() {
            file.stored_ms = header.timestamp_ms;
        }
        Ok(file)
    }

    /// When the file that is there was stored, if its content is the same.
    async fn same(&self, file: &FileInfo, key: &str, trailer: &[u8]) -> Result<i64> {
        let (size, stored_ms) = self.place().stat(key).await?;
        let same = size == file.size && {
            let end = self.end(file, key, size, trailer.len()).await?;
            end.ends_with(trailer)
        };
        if same {
            return Ok(stored_ms);
        }
        let name = self.name_of(file);
        Err(StorageError::AlreadyExists { name })
    }

    /// The last bytes of a file's content, `length` or more if it has them.
    async fn end(&self, file: &FileInfo, key: &str, size: u64, length: usize) -> Result<Bytes> {
        if !file.sealed {
            let start = size.saturating_sub(length as u64);
            return self.place().read(key, start..size).await;
        }
        let (range, number) = seal::last_chunk(size).ok_or_else(|| self.unsealable(file))?;
        let head = self.place().read(key, 0..HEAD as u64).await?;
        let last = self.place().read(key, range).await?;
        let opened = self.opener(file)?.only(&head, number, &last, true);
        let mut opened = opened.map_err(|_| self.unsealable(file))?;
        if opened.len() < length && number > 0 {
            let start = HEAD + (number as usize - 1) * SEALED_CHUNK;
            let range = start as u64..(start + SEALED_CHUNK) as u64;
            let chunk = self.place().read(key, range).await?;
            let before = self.opener(file)?.only(&head, number - 1, &chunk, false);
            let mut before = before.map_err(|_| self.unsealable(file))?;
            before.append(&mut opened);
            opened = before;
        }
        Ok(opened.into())
    }

    /// A file's content, as it comes. A broken connection is made anew.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]: it was deleted since it was listed.
    pub async fn get(&self, file: &FileInfo) -> Result<Body> {
        let opener = match file.sealed {
            true => Some(self.opener(file)?),
            false => None,
        };
        let body = self.place().open(&self.key(file)).await?;
        Ok(match opener {
            Some(opener) => body.opened(opener, self.name_of(file)),
            None => body,
        })
    }

    /// A file's content at once, for one of at most 64 MiB.
    ///
    /// # Errors
    /// As [`Replica::get`], and [`StorageError::TooLarge`].
    pub async fn get_bytes(&self, file: &FileInfo) -> Result<Bytes> {
        let body = self.get(file).await?;
        body.bytes(&self.name_of(file), READ_LIMIT).await
    }

    /// A file's header alone: one request for its first bytes.
    ///
    /// # Errors
    /// As [`Replica::get`], and [`StorageError::Header`].
    pub async fn header(&self, file: &FileInfo) -> Result<Header> {
        let bytes = if file.sealed {
            let first = HEAD + SEALED_CHUNK;
            let stored = self.first(file, 0..first as u64).await?;
            let (head, chunk) = stored.split_at(HEAD.min(stored.len()));
            // Known by its length; if the list was stale, it cannot be opened.
            let last = file.size <= first as u64;
            let opened = self.opener(file)?.only(head, 0, chunk, last);
            opened.map_err(|_| self.unsealable(file))?.into()
        } else {
            self.first(file, 0..Header::SIZE as u64).await?
        };
        let header = match bytes.first_chunk() {
            Some(bytes) => Header::parse(bytes),
            None => Err(monolite_ltx::Error::NotLtx([0; 4])),
        };
        header.map_err(|source| {
            let name = self.name_of(file);
            StorageError::Header { name, source }
        })
    }

    /// Whether the file that leads to `txid` by itself is there, whatever a list
    /// says: what one sync sent, or a snapshot.
    ///
    /// # Errors
    /// As [`Replica::get`], but not that it is not there.
    pub(crate) async fn has(&self, txid: Txid) -> Result<bool> {
        for (level, min) in [(0, txid), (SNAPSHOT_LEVEL, Txid(1))] {
            let file = FileInfo {
                level,
                min,
                max: txid,
                size: 0,
                stored_ms: 0,
                sealed: self.inner.key.is_some(),
            };
            match self.first(&file, 0..1).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn first(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes> {
        self.place().read(&self.key(file), range).await
    }

    /// Deletes files. That one is not there is no error.
    ///
    /// # Errors
    /// Some may be deleted, and some not.
    pub async fn delete(&self, files: &[FileInfo]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let keys = files.iter().map(|file| self.key(file)).collect();
        self.place().delete(keys, self.permit.as_deref()).await
    }

    fn place(&self) -> &Place {
        &self.inner.place
    }

    fn key(&self, file: &FileInfo) -> String {
        join(&self.database, &self.place().layout().key(file))
    }

    /// A file's name, for people.
    #[must_use]
    pub fn name_of(&self, file: &FileInfo) -> String {
        format!("{}/{}", self.name(), self.place().layout().key(file))
    }

    fn unsealable(&self, file: &FileInfo) -> StorageError {
        let name = self.name_of(file);
        StorageError::Unsealable { name }
    }

    fn label(&self, file: &FileInfo) -> Label {
        Label::new(&self.database, file)
    }

    fn opener(&self, file: &FileInfo) -> Result<Opener> {
        let name = || self.name_of(file);
        let no_key = || StorageError::NoKey { name: name() };
        let key: &Key = self.inner.key.as_ref().ok_or_else(no_key)?;
        let names = self.written_as();
        let labels = names.iter().map(|name| Label::new(name, file)).collect();
        Ok(Opener::new(key, labels))
    }

    /// What the database may have been called by whoever wrote it: its name
    /// here, or with parts of the prefix before it, for then the destination
    /// was given a shorter one.
    fn written_as(&self) -> Vec<String> {
        let mut names = vec![self.database.clone()];
        for part in self
            .inner
            .prefix
            .rsplit('/')
            .filter(|part| !part.is_empty())
        {
            let longer = names.last().map(|name| join(part, name));
            names.extend(longer);
        }
        names
    }
}
