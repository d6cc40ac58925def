//! What a request demands of what is there before it is done.

use s3s::dto::{CompletedMultipartUpload, ETag, ETagCondition};
use s3s::{S3Error, S3Result, s3_error};

use super::content::Content;
use super::objects::{Condition, Object, Refused, Upload, hex};

/// No part but the last may be smaller.
const LEAST_PART: u64 = 5 * 1024 * 1024;

/// Of a write: `If-Match` and `If-None-Match`.
pub(super) fn write_if(
    matches: Option<&ETagCondition>,
    none_matches: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (matches, none_matches) {
        (None, None) => Ok(Condition::None),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(tag)), None) => Ok(Condition::Tag(tag.value().to_owned())),
        _ => Err(s3_error!(NotImplemented, "no such condition on a write")),
    }
}

/// Of a read: the same two.
pub(super) fn read_if(
    object: &Object,
    matches: Option<&ETagCondition>,
    none_matches: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == object.listed.etag,
    };
    if matches.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if none_matches.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// The parts a client names, in its order, as they were uploaded.
pub(super) fn named_parts(
    upload: &Upload,
    named: Option<CompletedMultipartUpload>,
) -> S3Result<Vec<&Content>> {
    let named = named.and_then(|named| named.parts).unwrap_or_default();
    let mut parts: Vec<&Content> = Vec::new();
    let mut last = 0;
    for part in &named {
        let number = part.part_number.unwrap_or(0);
        if number <= last {
            return Err(s3_error!(InvalidPartOrder));
        }
        last = number;
        let content = upload.parts.get(&number);
        let content = content.ok_or_else(|| s3_error!(InvalidPart))?;
        let told = part.e_tag.as_ref().map(ETag::value);
        if told.is_some_and(|told| told != hex(&content.md5)) {
            return Err(s3_error!(InvalidPart));
        }
        parts.push(content);
    }
    let mut all_but_last = parts.iter().rev().skip(1);
    if parts.is_empty() || all_but_last.any(|part| part.size < LEAST_PART) {
        return Err(s3_error!(EntityTooSmall));
    }
    Ok(parts)
}

impl From<Refused> for S3Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoBucket => s3_error!(NoSuchBucket),
            Refused::NoKey => s3_error!(NoSuchKey),
            Refused::NoUpload => s3_error!(NoSuchUpload),
            Refused::Condition => s3_error!(PreconditionFailed),
        }
    }
}
