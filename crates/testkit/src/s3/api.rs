//! S3's operations on what is held in memory.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::conditions::{named_parts, read_if, write_if};
use super::content::Content;
use super::listing::{Page, View, Wanted};
use super::objects::{Condition, Listed, Object, Objects, Upload, hex};

/// The service behind the HTTP front.
pub(super) struct Api {
    pub(super) objects: Arc<Mutex<Objects>>,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(super) page: usize,
}

type Done<T> = S3Result<S3Response<T>>;

impl Api {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects
            .lock()
            .expect("nobody panicked over the objects")
    }

    fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &Condition,
    ) -> S3Result<Option<ETag>> {
        let tag = Some(tag(&object.listed));
        self.objects().put(bucket, key, object, condition)?;
        Ok(tag)
    }

    fn page(&self, input: &ListObjectsV2Input, view: Option<&View>) -> S3Result<Page> {
        let after = input.continuation_token.as_deref();
        let most = input.max_keys.and_then(|most| usize::try_from(most).ok());
        let wanted = Wanted {
            prefix: input.prefix.as_deref().unwrap_or(""),
            delimiter: input.delimiter.as_deref(),
            after: after.or(input.start_after.as_deref()).unwrap_or(""),
            most: most.unwrap_or(self.page).min(self.page),
            view: view.copied().unwrap_or(View::Now),
        };
        Ok(self.objects().list(&input.bucket, &wanted)?)
    }
}

fn tag(listed: &Listed) -> ETag {
    ETag::Strong(listed.etag.clone())
}

fn length(size: u64) -> Option<i64> {
    i64::try_from(size).ok()
}

#[async_trait::async_trait]
impl S3 for Api {
    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> Done<ListBucketsOutput> {
        let names = self.objects().buckets();
        let bucket = |name| Bucket {
            name: Some(name),
            ..Bucket::default()
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(names.into_iter().map(bucket).collect()),
            ..ListBucketsOutput::default()
        }))
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Done<CreateBucketOutput> {
        self.objects().create(&req.input.bucket);
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Done<HeadBucketOutput> {
        if !self.objects().exists(&req.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        _: S3Request<GetBucketLocationInput>,
    ) -> Done<GetBucketLocationOutput> {
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Done<GetObjectOutput> {
        let input = &req.input;
        let object = self.objects().get(&input.bucket, &input.key)?;
        read_if(
            &object,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        let size = object.listed.size;
        let range = match &input.range {
            Some(range) => range.check(size)?,
            None => 0..size,
        };
        let content_range = input.range.is_some().then(|| {
            let last = range.end - 1;
            format!("bytes {}-{last}/{size}", range.start)
        });
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(range.end - range.start),
            content_range,
            body: Some(object.content.range(range)),
            content_type: object.content_type.clone(),
            e_tag: Some(tag(&object.listed)),
            last_modified: Some(object.listed.modified.into()),
            metadata: Some(object.metadata.clone()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Done<HeadObjectOutput> {
        let input = &req.input;
        let object = self.objects().get(&input.bucket, &input.key)?;
        read_if(
            &object,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(object.listed.size),
            content_type: object.content_type.clone(),
            e_tag: Some(tag(&object.listed)),
            last_modified: Some(object.listed.modified.into()),
            metadata: Some(object.metadata.clone()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> Done<PutObjectOutput> {
        let input = req.input;
        let condition = write_if(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let trailers = req.trailing_headers.as_ref();
        let content = Content::receive(input.body, &req.headers, trailers).await?;
        let mut object = Object::new(content, (self.clock)());
        object.metadata = input.metadata.unwrap_or_default();
        object.content_type = input.content_type;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: self.put(&input.bucket, &input.key, object, &condition)?,
            ..PutObjectOutput::default()
        }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Done<CopyObjectOutput> {
        let input = req.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let from = self.objects().get(bucket, key)?;
        let mut object = Object::new(from.content.clone(), (self.clock)());
        object.listed.etag.clone_from(&from.listed.etag);
        object.metadata = input.metadata.unwrap_or_else(|| from.metadata.clone());
        let modified = object.listed.modified;
        let e_tag = self.put(&input.bucket, &input.key, object, &Condition::None)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag,
                last_modified: Some(modified.into()),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> Done<DeleteObjectOutput> {
        let input = &req.input;
        let condition = write_if(input.if_match.as_ref(), None)?;
        self.objects()
            .delete(&input.bucket, &input.key, &condition)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> Done<DeleteObjectsOutput> {
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        if delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "over 1000 keys in one request"));
        }
        let mut deleted = Vec::new();
        for object in delete.objects {
            self.objects()
                .delete(&bucket, &object.key, &Condition::None)?;
            deleted.push(DeletedObject {
                key: Some(object.key),
                ..DeletedObject::default()
            });
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (delete.quiet != Some(true)).then_some(deleted),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> Done<ListObjectsOutput> {
        let marker = req.input.marker.clone();
        let listed = self.list_objects_v2(req.map_input(Into::into)).await?;
        Ok(listed.map_output(|listed| ListObjectsOutput {
            name: listed.name,
            prefix: listed.prefix,
            delimiter: listed.delimiter,
            marker,
            max_keys: listed.max_keys,
            is_truncated: listed.is_truncated,
            next_marker: listed.next_continuation_token,
            contents: listed.contents,
            common_prefixes: listed.common_prefixes,
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> Done<ListObjectsV2Output> {
        let input = req.input;
        let page = self.page(&input, req.extensions.get::<View>())?;
        let contents = page
            .objects
            .into_iter()
            .map(|(key, listed)| s3s::dto::Object {
                key: Some(key),
                size: length(listed.size),
                e_tag: Some(tag(&listed)),
                last_modified: Some(listed.modified.into()),
                ..s3s::dto::Object::default()
            });
        let contents: Vec<_> = contents.collect();
        let prefixes = page.prefixes.into_iter();
        let prefixes: Vec<_> = prefixes
            .map(|prefix| CommonPrefix {
                prefix: Some(prefix),
            })
            .collect();
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            max_keys: input.max_keys.or(Some(1000)),
            is_truncated: Some(page.next.is_some()),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            continuation_token: input.continuation_token,
            next_continuation_token: page.next,
            delimiter: input.delimiter,
            name: Some(input.bucket),
            prefix: input.prefix,
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Done<CreateMultipartUploadOutput> {
        let input = req.input;
        let id = self.objects().begin_upload(Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            metadata: input.metadata.unwrap_or_default(),
            content_type: input.content_type,
            parts: std::collections::BTreeMap::new(),
        })?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> Done<UploadPartOutput> {
        let input = req.input;
        let trailers = req.trailing_headers.as_ref();
        let content = Content::receive(input.body, &req.headers, trailers).await?;
        let e_tag = ETag::Strong(hex(&content.md5));
        let mut objects = self.objects();
        objects.put_part(&input.upload_id, input.part_number, content)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(e_tag),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Done<CompleteMultipartUploadOutput> {
        let input = req.input;
        let condition = write_if(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let mut objects = self.objects();
        let upload = objects.upload(&input.upload_id)?;
        if (&upload.bucket, &upload.key) != (&input.bucket, &input.key) {
            return Err(s3_error!(NoSuchUpload));
        }
        let parts = named_parts(upload, input.multipart_upload)?;
        let mut object = Object::of_parts(&parts, (self.clock)());
        object.metadata.clone_from(&upload.metadata);
        object.content_type.clone_from(&upload.content_type);
        let e_tag = Some(tag(&object.listed));
        objects.put(&input.bucket, &input.key, object, &condition)?;
        objects.end_upload(&input.upload_id)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Done<AbortMultipartUploadOutput> {
        self.objects().end_upload(&req.input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
