//! One database's files in one destination.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use monolite_ltx::{Header, Txid};

use super::body::Body;
use super::bucket::{Bucket, Created, OnProgress, Put};
use super::context::Context;
use super::destination::GENERATIONS;
use super::encryption::{self, Decryptor, Encryptor, HEAD, Label, SEALED_CHUNK};
use super::error::{Result, StorageError};
use super::file_info::{FileInfo, Layout, SNAPSHOT_LEVEL, join};
use super::key::Key;
use super::permit::Permit;
use super::upload_body::UploadBody;

/// One database's files in one destination: a cheap handle.
#[derive(Clone)]
pub struct Replica {
    context: Arc<Context>,
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
    pub(super) fn new(context: Arc<Context>, database: &str) -> Self {
        Self {
            context,
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
            "" => self.context.name.clone(),
            database => format!("{}/{database}", self.context.name),
        }
    }

    /// The URL of its destination, as [`Destination::url`](super::Destination::url).
    #[must_use]
    pub fn destination_url(&self) -> &str {
        &self.context.url
    }

    /// The database's path relative to the volume.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The files of one level, by what they lead to.
    ///
    /// # Errors
    /// The destination cannot be listed. That there are none is no error.
    pub async fn list(&self, level: u8) -> Result<Vec<FileInfo>> {
        self.listed(Some(level)).await
    }

    /// The files of all levels, by level and then by what they lead to: one
    /// request for each thousand.
    ///
    /// # Errors
    /// The destination cannot be listed. That there are none is no error.
    pub async fn list_all(&self) -> Result<Vec<FileInfo>> {
        self.listed(None).await
    }

    async fn listed(&self, level: Option<u8>) -> Result<Vec<FileInfo>> {
        let mut files = self.bucket().list(&self.database, level).await?;
        files.sort_unstable_by_key(|file| (file.level, file.min, file.max, file.sealed));
        Ok(files)
    }

    /// Stores a file that is in memory. Nothing is ever overwritten; that the
    /// same file is there already is success.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`]: there is another file of this name.
    /// After [`StorageError::Unavailable`] the file may be there or not.
    pub async fn put(&self, level: u8, header: &Header, body: Bytes) -> Result<FileInfo> {
        let body = UploadBody::bytes(body);
        self.store(level, header, body, Arc::new(|_| ())).await
    }

    /// Stores a file of this machine's disk, in parts if it is large: a few of
    /// them are in memory at a time. `on_progress` is called with the bytes
    /// sent so far.
    ///
    /// # Errors
    /// As [`Replica::put`].
    pub async fn put_file(
        &self,
        level: u8,
        header: &Header,
        path: &Path,
        on_progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<FileInfo> {
        self.store(level, header, UploadBody::file(path)?, on_progress)
            .await
    }

    async fn store(
        &self,
        level: u8,
        header: &Header,
        body: UploadBody,
        on_progress: OnProgress,
    ) -> Result<FileInfo> {
        let mut file = FileInfo {
            level,
            min: header.min,
            max: header.max,
            size: body.size(),
            stored_ms: self.context.clock.now_ms(),
            sealed: self.context.key.is_some(),
        };
        let trailer = body.trailer()?;
        let body = match &self.context.key {
            Some(key) => body.sealed(Encryptor::new(key, self.label(&file))?),
            None => body,
        };
        file.size = body.size();

        let key = self.key(&file);
        let put = Put {
            key: key.clone(),
            timestamp_ms: header.timestamp_ms,
            on_progress,
            permit: self.permit.clone(),
        };
        if let Created::Exists = self.bucket().put(put, body).await? {
            // Most likely ours: a try whose answer was lost, or of before we died.
            file.stored_ms = self.same(&file, &key, &trailer).await?;
        } else if self.bucket().layout() == Layout::Folder {
            file.stored_ms = header.timestamp_ms;
        }
        Ok(file)
    }

    /// When the file that is there was stored, if its content is the same.
    async fn same(&self, file: &FileInfo, key: &str, trailer: &[u8]) -> Result<i64> {
        let (size, stored_ms) = self.bucket().head(key).await?;
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

    /// Whether the content of a file, which is not encrypted, is that of the file
    /// `path`: by its size and its checksum.
    ///
    /// # Errors
    /// Either cannot be read.
    pub(crate) async fn equals(&self, file: &FileInfo, path: &Path) -> Result<bool> {
        let local = UploadBody::file(path)?;
        let trailer = local.trailer()?;
        if local.size() != file.size {
            return Ok(false);
        }
        let key = self.key(file);
        let end = self.end(file, &key, file.size, trailer.len()).await?;
        Ok(end.ends_with(&trailer))
    }

    /// The last bytes of a file's content, `length` or more if it has them.
    async fn end(&self, file: &FileInfo, key: &str, size: u64, length: usize) -> Result<Bytes> {
        if !file.sealed {
            let start = size.saturating_sub(length as u64);
            return self.bucket().get_range(key, start..size).await;
        }
        let (range, number) = encryption::last_chunk(size).ok_or_else(|| self.unsealable(file))?;
        let head = self.bucket().get_range(key, 0..HEAD as u64).await?;
        let last = self.bucket().get_range(key, range).await?;
        let opened = self.opener(file)?.only(&head, number, &last, true);
        let mut opened = opened.map_err(|_| self.unsealable(file))?;
        if opened.len() < length && number > 0 {
            let start = HEAD + (number as usize - 1) * SEALED_CHUNK;
            let range = start as u64..(start + SEALED_CHUNK) as u64;
            let chunk = self.bucket().get_range(key, range).await?;
            let before = self.opener(file)?.only(&head, number - 1, &chunk, false);
            let mut before = before.map_err(|_| self.unsealable(file))?;
            before.append(&mut opened);
            opened = before;
        }
        Ok(opened.into())
    }

    /// A file's content, as it comes. A broken connection is replaced.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]: it was deleted since it was listed.
    pub async fn get(&self, file: &FileInfo) -> Result<Body> {
        let opener = match file.sealed {
            true => Some(self.opener(file)?),
            false => None,
        };
        let body = self.bucket().get(&self.key(file)).await?;
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
            // Known by its length, which a list that is not up to date may have wrong.
            let last = file.size <= first as u64;
            match self.opener(file)?.only(head, 0, chunk, last) {
                Ok(opened) => opened.into(),
                Err(_) => return Err(self.not_opened(file).await),
            }
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
                sealed: self.context.key.is_some(),
            };
            match self.first(&file, 0..1).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether there is a replica that a version of Litestream before 0.5 wrote.
    ///
    /// # Errors
    /// [`StorageError::OldLitestream`]: there is. Or it cannot be listed.
    pub(crate) async fn refuse_old(&self) -> Result<()> {
        let entries = self.bucket().entries(&self.database).await?;
        match entries.folders.iter().any(|name| name == GENERATIONS) {
            true => Err(StorageError::OldLitestream { name: self.name() }),
            false => Ok(()),
        }
    }

    /// Whether the file is there, whatever a list says.
    ///
    /// # Errors
    /// As [`Replica::get`], but not that it is not there.
    pub(crate) async fn exists(&self, file: &FileInfo) -> Result<bool> {
        match self.bucket().head(&self.key(file)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn first(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes> {
        self.bucket().get_range(&self.key(file), range).await
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
        self.bucket().delete(keys, self.permit.as_deref()).await
    }

    fn bucket(&self) -> &dyn Bucket {
        &*self.context.bucket
    }

    fn key(&self, file: &FileInfo) -> String {
        join(&self.database, &self.bucket().layout().key(file))
    }

    /// A file's name, for people.
    #[must_use]
    pub fn name_of(&self, file: &FileInfo) -> String {
        format!("{}/{}", self.name(), self.bucket().layout().key(file))
    }

    fn unsealable(&self, file: &FileInfo) -> StorageError {
        let name = self.name_of(file);
        StorageError::Unsealable { name }
    }

    /// Why a file of the list could not be opened.
    async fn not_opened(&self, file: &FileInfo) -> StorageError {
        match self.bucket().head(&self.key(file)).await {
            Ok((size, _)) if size == file.size => self.unsealable(file),
            // The list is not up to date: another one shows what is there.
            Ok(_) => {
                let name = self.name_of(file);
                StorageError::Changed { name }
            }
            Err(error) => error,
        }
    }

    fn label(&self, file: &FileInfo) -> Label {
        Label::new(&self.database, file)
    }

    fn opener(&self, file: &FileInfo) -> Result<Decryptor> {
        let name = || self.name_of(file);
        let no_key = || StorageError::NoKey { name: name() };
        let key: &Key = self.context.key.as_ref().ok_or_else(no_key)?;
        let names = self.written_as();
        let labels = names.iter().map(|name| Label::new(name, file)).collect();
        Ok(Decryptor::new(key, labels))
    }

    /// What the database may have been called by whoever wrote it: its name
    /// here, or with parts of the prefix before it, for then the destination
    /// was given a shorter one.
    fn written_as(&self) -> Vec<String> {
        let mut names = vec![self.database.clone()];
        for part in self
            .context
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
