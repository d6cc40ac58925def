//! A replica in a local folder, or on a mounted disk.
//!
//! Every file appears whole or not at all, and stays through a power cut: a
//! temporary name, fsync, a rename that replaces nothing, fsync of the folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::body::Body;
use super::bucket::{Bucket, ConditionalPut, Created, Entries, Put, Reply, Version, Versioned};
use super::error::{Result, StorageError};
use super::file_info::{FileInfo, Layout, SNAPSHOT_LEVEL, join};
use super::permit::{LOCAL_WRITE_MAX, Permit, permitted};
use super::upload_body::UploadBody;
use monolite_platform::clock::Clock;
use monolite_platform::durable::{self, IfExists, Options, Temporary};

/// A file that is being stored. Some network mounts have no locks: there age alone
/// decides what is left by a dead writer.
const STORING: Options = Options::new("storing").mode(0o666).keep_leftovers();
/// A temporary file that did not change for so long is removed; and a folder is
/// searched for such files at most once in this time.
const LEFT_AFTER: Duration = Duration::from_secs(3600);
/// Bytes read or written at a time.
const STEP: usize = 256 * 1024;

#[derive(Debug, Clone)]
pub(super) struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    sweeper: Sweeper,
}

/// Removes what writers left that died.
#[derive(Debug)]
struct Sweeper {
    clock: Arc<dyn Clock>,
    /// When each folder was searched last.
    swept: Mutex<HashMap<PathBuf, Duration>>,
}

impl Sweeper {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let swept = Mutex::default();
        Self { clock, swept }
    }

    /// Searches `dir`, unless that was done less than [`LEFT_AFTER`] ago. What
    /// cannot be removed stays, and does no harm.
    fn sweep(&self, dir: &Path) {
        let now = self.clock.monotonic();
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            match swept.get(dir) {
                Some(last) if now.saturating_sub(*last) < LEFT_AFTER => return,
                _ => swept.insert(dir.into(), now),
            };
        }
        let now = Duration::from_millis(u64::try_from(self.clock.now_ms()).unwrap_or(0));
        let _ = durable::sweep_older(dir, &STORING, LEFT_AFTER, UNIX_EPOCH + now);
    }
}

/// Runs what may block where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going down.
        Err(error) => Err(StorageError::io("finish", Path::new("work"))(error.into())),
    }
}

impl Folder {
    pub(super) fn new(root: &Path, clock: Arc<dyn Clock>) -> Self {
        let sweeper = Sweeper::new(clock);
        let root = root.into();
        Self(Arc::new(Inner { root, sweeper }))
    }

    /// Like [`blocking`], with the folder and the path of `key`.
    async fn at<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Self, PathBuf) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (this, path) = (self.clone(), self.path(key)?);
        blocking(move || work(&this, path)).await
    }

    /// Where a key is; refused if that is outside.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        if key.contains('\0') || !Path::new(key).components().all(inside) {
            let why = "it must be a relative path without `..`";
            return Err(StorageError::setting(format!("the name {key:?}"), why));
        }
        Ok(self.0.root.join(key))
    }
}

impl Bucket for Folder {
    fn layout(&self) -> Layout {
        Layout::Folder
    }

    fn entries<'a>(&'a self, folder: &'a str) -> Reply<'a, Entries> {
        self.at(folder, |_, path| {
            let mut found = Entries::default();
            for (name, is_dir) in entries(&path)? {
                match is_dir {
                    true => found.folders.push(name),
                    false => found.add_file(&name),
                }
            }
            Ok(found)
        })
        .boxed()
    }

    fn list<'a>(&'a self, database: &'a str, level: Option<u8>) -> Reply<'a, Vec<FileInfo>> {
        let levels = match level {
            Some(level) => level..=level,
            None => 0..=SNAPSHOT_LEVEL,
        };
        self.at(database, move |_, path| {
            let mut files = Vec::new();
            for folder in levels.map(|level| Layout::Folder.level(level)) {
                let path = path.join(&folder);
                for (name, _) in entries(&path)?.filter(|(_, is_dir)| !is_dir) {
                    let key = join(&folder, &name);
                    // A file that is no replica's is not even looked at.
                    if Layout::Folder.parse(&key, 0, 0).is_none() {
                        continue;
                    }
                    match stat(&path.join(&name)) {
                        Ok((size, stored_ms)) => {
                            files.extend(Layout::Folder.parse(&key, size, stored_ms));
                        }
                        // Deleted meanwhile.
                        Err(error) if error.is_not_found() => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(files)
        })
        .boxed()
    }

    fn put(&self, put: Put, mut body: UploadBody) -> Reply<'_, Created> {
        let put = async move {
            let Put {
                key,
                timestamp_ms,
                on_progress,
                permit,
            } = put;
            let temporary = self.at(&key, move |this, path| {
                // Looked at first to spare the work; the rename is what counts.
                if path.exists() {
                    return Ok(None);
                }
                let dir = path.parent().unwrap_or(&this.0.root);
                make_directories(dir)?;
                this.0.sweeper.sweep(dir);
                let failed = |error| StorageError::io("write", &path)(error);
                let temporary = Temporary::create(&path, &STORING).map_err(failed)?;
                let mut done = 0;
                loop {
                    let bytes = body.next(STEP)?;
                    if bytes.is_empty() {
                        break;
                    }
                    temporary.file().write_all(&bytes).map_err(failed)?;
                    done += bytes.len() as u64;
                    on_progress(done);
                }
                // Synced here, where the permit need not cover it.
                let since = Duration::from_millis(u64::try_from(timestamp_ms).unwrap_or(0));
                let file = temporary.file();
                file.set_modified(UNIX_EPOCH + since).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                Ok(Some(temporary))
            });
            let Some(temporary) = temporary.await? else {
                return Ok(Created::Exists);
            };
            permitted(permit.as_deref(), LOCAL_WRITE_MAX).await?;
            blocking(|| publish(temporary)).await
        };
        put.boxed()
    }

    fn head<'a>(&'a self, key: &'a str) -> Reply<'a, (u64, i64)> {
        self.at(key, |_, path| stat(&path)).boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Body> {
        let get = async move {
            let (file, path) = self.at(key, |_, path| Ok((open(&path)?, path))).await?;
            let stream = futures_util::stream::try_unfold((file, path), |(mut file, path)| {
                blocking(move || {
                    let bytes =
                        read_step(&mut file, STEP).map_err(StorageError::io("read", &path))?;
                    Ok((!bytes.is_empty()).then(|| (bytes.into(), (file, path))))
                })
            });
            Ok(Body::new(stream.boxed()))
        };
        get.boxed()
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> Reply<'a, Bytes> {
        self.at(key, move |_, path| {
            let mut file = open(&path)?;
            let size = range.end.saturating_sub(range.start);
            let mut read = || {
                file.seek(io::SeekFrom::Start(range.start))?;
                read_step(&mut file, usize::try_from(size).unwrap_or(usize::MAX))
            };
            let bytes = read().map_err(StorageError::io("read", &path))?;
            Ok(bytes.into())
        })
        .boxed()
    }

    fn delete<'a>(&'a self, keys: Vec<String>, permit: Option<&'a dyn Permit>) -> Reply<'a, ()> {
        let delete = async move {
            permitted(permit, LOCAL_WRITE_MAX).await?;
            let paths: Result<Vec<_>> = keys.iter().map(|key| self.path(key)).collect();
            let paths = paths?;
            blocking(move || {
                let mut dirs: Vec<&Path> = Vec::new();
                for path in &paths {
                    match fs::remove_file(path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(StorageError::io("delete", path)(error));
                        }
                        _ => {}
                    }
                    dirs.extend(path.parent());
                }
                dirs.sort_unstable();
                dirs.dedup();
                dirs.into_iter()
                    .filter(|dir| dir.exists())
                    .try_for_each(|dir| {
                        durable::sync_directory(dir).map_err(StorageError::io("write", dir))
                    })
            })
            .await
        };
        delete.boxed()
    }

    fn get_versioned<'a>(&'a self, key: &'a str, limit: u64) -> Reply<'a, Option<Versioned>> {
        self.at(key, move |_, path| versioned(&path, limit)).boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        expected: Option<&'a Version>,
    ) -> Reply<'a, ConditionalPut> {
        let expected = expected.cloned();
        self.at(key, move |this, path| {
            if let Some(dir) = path.parent() {
                make_directories(dir)?;
                this.0.sweeper.sweep(dir);
            }
            replace_if(&path, bytes, expected.as_ref())
        })
        .boxed()
    }
}

/// Gives a file its name, unless another one has it.
fn publish(temporary: Temporary) -> Result<Created> {
    let target = temporary.target().to_owned();
    match temporary.persist(IfExists::Fail) {
        Ok(()) => Ok(Created::Yes),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
        Err(error) => Err(StorageError::io("write", &target)(error)),
    }
}

fn make_directories(dir: &Path) -> Result<()> {
    durable::make_directories(dir, 0o777).map_err(StorageError::io("create", dir))
}

fn versioned(path: &Path, limit: u64) -> Result<Option<Versioned>> {
    let found = content(path, limit)?.map(|bytes| Versioned {
        version: Version::Content(bytes.clone()),
        bytes,
        age: None,
    });
    Ok(found)
}

fn content(path: &Path, limit: u64) -> Result<Option<Bytes>> {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let bytes = read_step(&mut file, limit.saturating_add(1));
    let bytes = bytes.map_err(StorageError::io("read", path))?;
    if bytes.len() > limit {
        let size = file.metadata().map_or(0, |found| found.len());
        let (name, limit) = (path.display().to_string(), limit as u64);
        return Err(StorageError::TooLarge { name, size, limit });
    }
    Ok(Some(bytes.into()))
}

fn replace_if(path: &Path, bytes: Bytes, expected: Option<&Version>) -> Result<ConditionalPut> {
    let lock = path.with_extension("lock");
    // Held by whoever swaps, for some milliseconds.
    let _locked = take(&lock).map_err(StorageError::io("lock", &lock))?;
    let expected = match expected {
        None => None,
        Some(Version::Content(bytes)) => Some(bytes),
        Some(Version::Object(_)) => return Ok(ConditionalPut::Conflict),
    };
    let found = match fs::metadata(path) {
        Ok(found) => content(path, found.len())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    if found.as_ref() != expected {
        return Ok(ConditionalPut::Conflict);
    }
    let write = || {
        let temporary = Temporary::create(path, &STORING)?;
        temporary.file().write_all(&bytes)?;
        temporary.persist(IfExists::Replace)
    };
    write().map_err(StorageError::io("write", path))?;
    Ok(ConditionalPut::Done(Version::Content(bytes)))
}

/// The file is never deleted: two could hold the lock of two files of one name.
fn take(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.lock()?;
    Ok(file)
}

/// The names in a folder, and whether each is a folder; none if it is not
/// there. Names that are no UTF-8 are nobody's here.
fn entries(path: &Path) -> Result<impl Iterator<Item = (String, bool)>> {
    let read = || -> io::Result<Vec<_>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                found.push((name, entry.file_type()?.is_dir()));
            }
        }
        Ok(found)
    };
    let found = read().map_err(StorageError::io("list", path))?;
    Ok(found.into_iter())
}

fn stat(path: &Path) -> Result<(u64, i64)> {
    let found = fs::metadata(path).map_err(|error| absent_or(path, "look at", error))?;
    let since = found
        .modified()
        .ok()
        .map(|at| at.duration_since(UNIX_EPOCH));
    let since = since
        .and_then(std::result::Result::ok)
        .unwrap_or(Duration::ZERO);
    Ok((
        found.len(),
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
    ))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| absent_or(path, "read", error))
}

fn absent_or(path: &Path, doing: &'static str, error: io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::NotFound {
        let name = path.display().to_string();
        return StorageError::NotFound { name };
    }
    StorageError::io(doing, path)(error)
}

/// Up to `size` bytes, fewer only at the end.
fn read_step(file: &mut File, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size.min(STEP));
    file.take(size as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
