//! Listing, page by page.

use object_store::ListResult;
use object_store::list::PaginatedListOptions;

use super::super::bucket::Entries;
use super::super::error::Result;
use super::super::file_info::{FileInfo, Layout, join};
use super::client::Client;

/// Calls `take` with each object, and with each folder if `delimited`.
async fn each_page(
    client: &Client,
    folder: &str,
    delimited: bool,
    mut take: impl FnMut(&ListResult),
) -> Result<()> {
    let prefix = join(&client.0.prefix, folder);
    // With the slash: `app` is no part of `app2`.
    let prefix = (!prefix.is_empty()).then(|| format!("{prefix}/"));
    let mut page_token = None;
    loop {
        let page = client.again("list", folder, async || {
            let options = PaginatedListOptions {
                delimiter: delimited.then(|| "/".into()),
                page_token: page_token.clone(),
                ..PaginatedListOptions::default()
            };
            let list = client.0.store.list_paginated(prefix.as_deref(), options);
            let listed = client.ask(client.0.timeout, list).await;
            listed.map_err(|error| client.failure(error, "list", folder))
        });
        let (page, _) = page.await?;
        take(&page.result);
        match page.page_token {
            // One that does not go on would be listed for ever.
            Some(token) if page_token.as_ref() != Some(&token) => page_token = Some(token),
            _ => return Ok(()),
        }
    }
}

pub(super) async fn entries(client: &Client, folder: &str) -> Result<Entries> {
    let mut entries = Entries::default();
    let take = |page: &ListResult| {
        let folders = page.common_prefixes.iter();
        let names = folders.filter_map(|path| path.filename().map(str::to_owned));
        entries.folders.extend(names);
        for object in &page.objects {
            entries.add_file(object.location.filename().unwrap_or_default());
        }
    };
    each_page(client, folder, true, take).await?;
    Ok(entries)
}

pub(super) async fn list(
    client: &Client,
    database: &str,
    level: Option<u8>,
) -> Result<Vec<FileInfo>> {
    let folder = match level {
        Some(level) => join(database, &Layout::Objects.level(level)),
        None => database.into(),
    };
    let prefix = join(&client.0.prefix, database);
    let mut files = Vec::new();
    let take = |page: &ListResult| {
        files.extend(page.objects.iter().filter_map(|object| {
            let key = object.location.as_ref().strip_prefix(&prefix)?;
            let key = key.strip_prefix('/').unwrap_or(key);
            let stored_ms = object.last_modified.timestamp_millis();
            Layout::Objects.parse(key, object.size, stored_ms)
        }));
    };
    each_page(client, &folder, false, take).await?;
    Ok(files)
}
