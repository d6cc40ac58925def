//! The id of a request: the app gets it, the client gets it, and it is in the
//! access log.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id of a proxy that is kept, in bytes.
const LENGTH_MAX: usize = 128;

/// The id that a trusted proxy gave the request, or a new one.
pub(crate) fn of(headers: &HeaderMap, is_trusted: bool) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|_| is_trusted);
    match given.filter(|id| is_id(id.as_bytes())) {
        Some(id) => id.clone(),
        None => fresh(),
    }
}

fn is_id(id: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.=+/:".contains(byte);
    (1..=LENGTH_MAX).contains(&id.len()) && id.iter().all(is_part)
}

/// 128 random bits: no two are the same, but they are no secret.
fn fresh() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = fastrand::u128(..);
    let mut id = [0; 32];
    for digit in &mut id {
        *digit = DIGITS
            .get((random & 0xf) as usize)
            .copied()
            .unwrap_or_default();
        random >>= 4;
    }
    // Hexadecimal digits are a value.
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_gives_an_id_and_only_a_plain_one() {
        let with = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, id.parse().unwrap());
            headers
        };
        assert_eq!(of(&with("abc-1"), true), "abc-1");
        for (headers, is_trusted) in [
            (with("abc-1"), false),
            (with("a b"), true),
            (with("a\"b"), true),
            (with(&"x".repeat(129)), true),
            (HeaderMap::new(), true),
        ] {
            let id = of(&headers, is_trusted);
            assert_eq!(id.len(), 32);
            assert!(id.to_str().unwrap().bytes().all(|b| b.is_ascii_hexdigit()));
            assert_ne!(id, of(&headers, is_trusted));
        }
    }
}
