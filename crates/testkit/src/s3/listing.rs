//! One page of what a bucket holds.

use std::ops::Bound;

use super::objects::Listed;

/// Which state of a bucket a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As it is.
    Now,
    /// As it was this many puts and deletes ago.
    ChangesAgo(usize),
    /// Without the objects that were put last.
    WithoutNewest(usize),
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Listed)>,
    pub(super) prefixes: Vec<String>,
    /// Where the next page starts.
    pub(super) next: Option<String>,
}

/// What to list.
pub(super) struct Wanted<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// Keys and common prefixes up to this one were told before.
    pub(super) after: &'a str,
    pub(super) most: usize,
    pub(super) view: View,
}

impl Wanted<'_> {
    pub(super) fn range(&self) -> (Bound<&str>, Bound<&str>) {
        let from = if self.after >= self.prefix && !self.after.is_empty() {
            Bound::Excluded(self.after)
        } else {
            Bound::Included(self.prefix)
        };
        (from, Bound::Unbounded)
    }

    pub(super) fn page<'o>(&self, keys: impl Iterator<Item = (&'o str, &'o Listed)>) -> Page {
        let mut page = Page::default();
        let mut last = String::new();
        for (key, listed) in keys.take_while(|(key, _)| key.starts_with(self.prefix)) {
            let common = self.common_prefix(key);
            // Told already: on this page, or on the one before.
            if common.is_some_and(|common| common == last || common == self.after) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == self.most {
                page.next = Some(last);
                return page;
            }
            match common {
                Some(common) => page.prefixes.push(common.to_owned()),
                None => page.objects.push((key.to_owned(), listed.clone())),
            }
            common.unwrap_or(key).clone_into(&mut last);
        }
        page
    }

    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty())?;
        let at = key.get(self.prefix.len()..)?.find(delimiter)?;
        key.get(..self.prefix.len() + at + delimiter.len())
    }
}
