//! What the cases of the cache bench have in common. Also compiled into
//! `peers/moka`.

/// Callers at once in the cases with many.
#[allow(dead_code, reason = "peers are told")]
pub(crate) const CALLERS: usize = 50;

/// How large the values are, and who asks.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) value_bytes: usize,
    pub(crate) callers: usize,
}

impl Load {
    /// Different keys in use: 64 MB of values, but no more than 10,000.
    pub(crate) fn keys(&self) -> u64 {
        (64 * 1024 * 1024 / self.value_bytes as u64).min(10_000)
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        vec![b'x'; self.value_bytes]
    }
}

pub(crate) fn key(number: u64) -> String {
    format!("page:{number:08}")
}
