//! The variables that people have.

use super::super::error::{Result, StorageError};

/// Answers variables; one that is set to nothing is not set.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = (self.0)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.into())
    }

    /// The first of these that is set.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        let mut all = names
            .iter()
            .filter_map(|name| Some((*name, self.get(name)?)));
        all.next()
    }

    /// The first of these that is set, if it can be part of a request.
    pub(super) fn secret(&self, names: &[&'static str]) -> Result<Option<String>> {
        match self.first(names) {
            None => Ok(None),
            Some((name, value)) => graphic(name, value).map(Some),
        }
    }
}

/// Refuses what was copied wrongly, without repeating it.
pub(super) fn graphic(name: &str, value: String) -> Result<String> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value);
    }
    let why = "there is a space, a line break or another odd character in it; copy it again";
    Err(StorageError::setting(name, why))
}
