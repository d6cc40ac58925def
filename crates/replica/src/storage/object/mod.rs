//! A replica in a bucket: S3 and compatibles, Google Cloud Storage, Azure.

mod client;
mod conditional;
mod connect;
mod delete;
mod download;
mod errors;
mod list;
mod response;
mod upload;

use std::ops::Range;

use bytes::Bytes;
use futures_util::FutureExt;

pub(super) use self::client::Client;
use super::body::Body;
use super::bucket::{Bucket, ConditionalPut, Created, Entries, Put, Reply, Version, Versioned};
use super::file_info::{FileInfo, Layout};
use super::permit::Permit;
use super::upload_body::UploadBody;

impl Bucket for Client {
    fn layout(&self) -> Layout {
        Layout::Objects
    }

    fn entries<'a>(&'a self, folder: &'a str) -> Reply<'a, Entries> {
        list::entries(self, folder).boxed()
    }

    fn list<'a>(&'a self, database: &'a str, level: Option<u8>) -> Reply<'a, Vec<FileInfo>> {
        list::list(self, database, level).boxed()
    }

    fn put(&self, put: Put, body: UploadBody) -> Reply<'_, Created> {
        upload::put(self, put, body).boxed()
    }

    fn head<'a>(&'a self, key: &'a str) -> Reply<'a, (u64, i64)> {
        download::head(self, key).boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Body> {
        download::get(self.clone(), key).boxed()
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> Reply<'a, Bytes> {
        download::get_range(self, key, range).boxed()
    }

    fn delete<'a>(&'a self, keys: Vec<String>, permit: Option<&'a dyn Permit>) -> Reply<'a, ()> {
        delete::delete(self, keys, permit).boxed()
    }

    fn get_versioned<'a>(&'a self, key: &'a str, limit: u64) -> Reply<'a, Option<Versioned>> {
        conditional::get_versioned(self, key, limit).boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        expected: Option<&'a Version>,
    ) -> Reply<'a, ConditionalPut> {
        conditional::put_if(self, key, bytes, expected).boxed()
    }

    fn impossible_version(&self) -> Option<Version> {
        conditional::impossible_version(self)
    }
}
