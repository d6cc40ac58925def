//! What the server holds: buckets of objects, and uploads in parts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3s::crypto::{Checksum as _, Md5};

use super::content::Content;
use super::listing::{Page, View, Wanted};

/// How far back a listing can look.
const JOURNAL: usize = 10_000;

/// An object, never changed once it is there.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) content: Content,
    pub(super) listed: Listed,
    pub(super) metadata: HashMap<String, String>,
    pub(super) content_type: Option<String>,
}

impl Object {
    pub(super) fn new(content: Content, now: SystemTime) -> Self {
        let etag = hex(&content.md5);
        Self::tagged(content, etag, now)
    }

    /// One made of parts: its tag is of their tags, as S3 does it.
    pub(super) fn of_parts(parts: &[&Content], now: SystemTime) -> Self {
        let md5s: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
        let md5 = Md5::checksum(&md5s);
        let etag = format!("{}-{}", hex(&md5), parts.len());
        let content = Content {
            pieces: parts.iter().flat_map(|part| part.pieces.clone()).collect(),
            size: parts.iter().map(|part| part.size).sum(),
            md5,
        };
        Self::tagged(content, etag, now)
    }

    fn tagged(content: Content, etag: String, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let listed = Listed {
            size: content.size,
            etag,
            // Whole seconds, as S3 tells them.
            modified: UNIX_EPOCH + Duration::from_secs(since.as_secs()),
            order: 0,
        };
        Self {
            content,
            listed,
            metadata: HashMap::new(),
            content_type: None,
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a listing tells of an object.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
    /// Rises with every put to the bucket.
    pub(super) order: u64,
}

/// What must hold for a write to happen.
#[derive(Debug)]
pub(super) enum Condition {
    None,
    /// There is no such object yet.
    Absent,
    /// There is one, of whatever content.
    Present,
    /// There is one with this tag.
    Tag(String),
}

/// Why a request of a bucket was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    NoBucket,
    NoKey,
    NoUpload,
    Condition,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Arc<Object>>,
    /// What each change replaced, the newest last.
    journal: VecDeque<(String, Option<Listed>)>,
    puts: u64,
}

/// An upload in parts that is not complete yet.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) metadata: HashMap<String, String>,
    pub(super) content_type: Option<String>,
    /// By number.
    pub(super) parts: BTreeMap<i32, Content>,
}

/// All buckets, and all uploads in progress by their id.
#[derive(Debug, Default)]
pub(super) struct Objects {
    buckets: BTreeMap<String, Bucket>,
    uploads: BTreeMap<String, Upload>,
    upload_ids: u64,
}

impl Objects {
    pub(super) fn create(&mut self, bucket: &str) {
        self.buckets.entry(bucket.to_owned()).or_default();
    }

    pub(super) fn buckets(&self) -> Vec<String> {
        self.buckets.keys().cloned().collect()
    }

    fn bucket(&self, bucket: &str) -> Result<&Bucket, Refused> {
        self.buckets.get(bucket).ok_or(Refused::NoBucket)
    }

    pub(super) fn exists(&self, bucket: &str) -> bool {
        self.buckets.contains_key(bucket)
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<Arc<Object>, Refused> {
        let objects = &self.bucket(bucket)?.objects;
        objects.get(key).cloned().ok_or(Refused::NoKey)
    }

    pub(super) fn put(
        &mut self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &Condition,
    ) -> Result<(), Refused> {
        let bucket = self.buckets.get_mut(bucket).ok_or(Refused::NoBucket)?;
        bucket.check(key, condition)?;
        bucket.put(key, object);
        Ok(())
    }

    /// Deleting what is not there succeeds, as S3 has it.
    pub(super) fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> Result<(), Refused> {
        let bucket = self.buckets.get_mut(bucket).ok_or(Refused::NoBucket)?;
        bucket.check(key, condition)?;
        bucket.delete(key);
        Ok(())
    }

    pub(super) fn list(&self, bucket: &str, wanted: &Wanted<'_>) -> Result<Page, Refused> {
        let bucket = self.bucket(bucket)?;
        if wanted.view == View::Now {
            let keys = bucket.objects.range::<str, _>(wanted.range());
            return Ok(wanted.page(keys.map(|(key, object)| (key.as_str(), &object.listed))));
        }
        let seen = bucket.seen(wanted.view);
        let keys = seen.range::<str, _>(wanted.range());
        Ok(wanted.page(keys.map(|(key, listed)| (key.as_str(), listed))))
    }

    pub(super) fn begin_upload(&mut self, upload: Upload) -> Result<String, Refused> {
        self.bucket(&upload.bucket)?;
        self.upload_ids += 1;
        let id = format!("upload-{}", self.upload_ids);
        self.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    pub(super) fn put_part(&mut self, id: &str, number: i32, part: Content) -> Result<(), Refused> {
        let upload = self.uploads.get_mut(id).ok_or(Refused::NoUpload)?;
        upload.parts.insert(number, part);
        Ok(())
    }

    pub(super) fn upload(&self, id: &str) -> Result<&Upload, Refused> {
        self.uploads.get(id).ok_or(Refused::NoUpload)
    }

    pub(super) fn end_upload(&mut self, id: &str) -> Result<(), Refused> {
        self.uploads.remove(id).map(drop).ok_or(Refused::NoUpload)
    }

    pub(super) fn uploads(&self) -> usize {
        self.uploads.len()
    }
}

impl Bucket {
    fn check(&self, key: &str, condition: &Condition) -> Result<(), Refused> {
        let there = self.objects.get(key);
        match (condition, there) {
            (Condition::None, _) | (Condition::Absent, None) | (Condition::Present, Some(_)) => {
                Ok(())
            }
            (Condition::Tag(tag), Some(object)) if *tag == object.listed.etag => Ok(()),
            (Condition::Present | Condition::Tag(_), None) => Err(Refused::NoKey),
            _ => Err(Refused::Condition),
        }
    }

    fn put(&mut self, key: &str, mut object: Object) {
        self.puts += 1;
        object.listed.order = self.puts;
        let before = self.objects.insert(key.to_owned(), Arc::new(object));
        self.record(key, before);
    }

    fn delete(&mut self, key: &str) {
        if let Some(before) = self.objects.remove(key) {
            self.record(key, Some(before));
        }
    }

    fn record(&mut self, key: &str, before: Option<Arc<Object>>) {
        if self.journal.len() == JOURNAL {
            self.journal.pop_front();
        }
        let before = before.map(|object| object.listed.clone());
        self.journal.push_back((key.to_owned(), before));
    }

    fn seen(&self, view: View) -> BTreeMap<String, Listed> {
        let now = self.objects.iter();
        let mut seen: BTreeMap<String, Listed> = now
            .map(|(key, object)| (key.clone(), object.listed.clone()))
            .collect();
        match view {
            View::Now => {}
            View::ChangesAgo(changes) => {
                for (key, before) in self.journal.iter().rev().take(changes) {
                    match before {
                        Some(before) => seen.insert(key.clone(), before.clone()),
                        None => seen.remove(key),
                    };
                }
            }
            View::WithoutNewest(newest) => {
                let mut orders: Vec<u64> = seen.values().map(|listed| listed.order).collect();
                orders.sort_unstable();
                let kept = orders.len().saturating_sub(newest);
                let kept = orders.get(kept).copied().unwrap_or(u64::MAX);
                seen.retain(|_, listed| listed.order < kept);
            }
        }
        seen
    }
}
