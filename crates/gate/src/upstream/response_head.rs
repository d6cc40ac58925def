//! The head of the app's response, and what it says of the body (RFC 9112 §6).
//!
//! What the client gets is framed again, from what was understood here: a
//! response with two lengths, or one that could be read in two ways, never
//! reaches it as it came.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Version};

use super::body_decoder::{BodyDecoder, Chunk};
use super::not_http::NotHttp;

/// Most header lines of a response.
const HEADERS_MAX: usize = 256;
/// Longest head of a response, in bytes.
const HEAD_MAX: usize = 256 << 10;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What of the request decides how the answer is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// It was a HEAD: whatever the length, no body follows.
    pub(crate) head: bool,
    /// It asks to leave HTTP.
    pub(crate) upgrade: bool,
}

pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// As the app sent them, but at most one, valid `Content-Length`, and none
    /// next to a transfer coding.
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyDecoder,
    /// The connection can carry another request when the body has ended.
    pub(crate) keep: bool,
    /// How long the app says that it keeps an idle connection.
    pub(crate) idle_max: Option<Duration>,
}

/// Takes the head of a final response out of `buffer`, if all of it is there.
/// Informational responses before it are dropped.
pub(crate) fn parse(buffer: &mut BytesMut, asked: Asked) -> Result<Option<ResponseHead>, NotHttp> {
    loop {
        if buffer.is_empty() {
            return Ok(None);
        }
        let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let mut config = httparse::ParserConfig::default();
        config
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true);
        let parsed = config.parse_response_with_uninit_headers(&mut response, buffer, &mut lines);
        let length = match parsed.map_err(what_is_wrong)? {
            httparse::Status::Complete(length) if length <= HEAD_MAX => length,
            httparse::Status::Partial if buffer.len() <= HEAD_MAX => return Ok(None),
            _ => return Err(NotHttp("the head of the response is too long")),
        };
        let status = response.code.unwrap_or_default();
        let is_informational = (100..200).contains(&status) && status != 101;
        if is_informational {
            buffer.advance(length);
            continue;
        }
        if status == 101 && !asked.upgrade {
            return Err(NotHttp("it switches protocols though nobody asked for it"));
        }
        let head = finish(&response, buffer.get(..length).unwrap_or_default(), asked)?;
        buffer.advance(length);
        return Ok(Some(head));
    }
}

fn what_is_wrong(error: httparse::Error) -> NotHttp {
    NotHttp(match error {
        httparse::Error::HeaderName => "a header's name is malformed",
        httparse::Error::HeaderValue => "a header's value is malformed",
        httparse::Error::NewLine => "a line of the head does not end with CR LF",
        httparse::Error::Status => "the status is malformed",
        httparse::Error::Token => "the status line is malformed",
        httparse::Error::TooManyHeaders => "it has more than 256 header lines",
        httparse::Error::Version => "it does not begin with HTTP/1.0 or HTTP/1.1",
    })
}

fn finish(
    response: &httparse::Response<'_, '_>,
    head: &[u8],
    asked: Asked,
) -> Result<ResponseHead, NotHttp> {
    let status = StatusCode::from_u16(response.code.unwrap_or_default())
        .map_err(|_| NotHttp("the status is malformed"))?;
    let version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    // One copy for all values.
    let shared = Bytes::copy_from_slice(head);
    let start = head.as_ptr() as usize;
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
    for line in response.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| NotHttp("a header's name is malformed"))?;
        let at = line.value.as_ptr() as usize - start;
        let value = if line.value.contains(&b'\n') {
            HeaderValue::from_bytes(&unfolded(line.value))
        } else if line.value.is_empty() {
            Ok(HeaderValue::from_static(""))
        } else {
            HeaderValue::from_maybe_shared(shared.slice(at..at + line.value.len()))
        };
        let value = value.map_err(|_| NotHttp("a header's value is malformed"))?;
        headers
            .try_append(name, value)
            .map_err(|_| NotHttp("it has too many headers"))?;
    }
    let framing = framing(status, version, &mut headers, asked)?;
    let keep = framing.delimited && stays_open(version, &headers);
    let idle_max = if keep { idle_max(&headers) } else { None };
    Ok(ResponseHead {
        status,
        headers,
        body: framing.body,
        keep,
        idle_max,
    })
}

/// A value that went over several lines, in one (RFC 9112 §5.2).
fn unfolded(value: &[u8]) -> Vec<u8> {
    let spaced = |byte: &u8| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            *byte
        }
    };
    value.iter().map(spaced).collect()
}

struct Framing {
    body: BodyDecoder,
    /// The body's end shows without the end of the connection.
    delimited: bool,
}

/// RFC 9112 §6.3. Leaves at most one `Content-Length` in `headers`, which is
/// true.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &mut HeaderMap,
    asked: Asked,
) -> Result<Framing, NotHttp> {
    let coding = transfer_coding(headers)?;
    let length = content_length(headers);
    let no_body = asked.head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let may_have_length = !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS
    );
    headers.remove(header::CONTENT_LENGTH);
    if let (Ok(Some(length)), false, true) = (length, coding, may_have_length) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if no_body {
        return Ok(Framing {
            body: BodyDecoder::Done,
            // Some apps send the body of a HEAD's answer all the same, a moment later.
            delimited: !asked.head,
        });
    }
    Ok(match (coding, length) {
        // A coding in HTTP/1.0, or next to a length, may be an error of the
        // app's: what follows the body is not believed.
        (true, length) => Framing {
            body: BodyDecoder::Chunked(Chunk::Size),
            delimited: version == Version::HTTP_11 && length == Ok(None),
        },
        (false, Ok(Some(length))) => Framing {
            body: BodyDecoder::Length(length),
            delimited: true,
        },
        (false, Ok(None)) => Framing {
            body: BodyDecoder::UntilClose,
            delimited: false,
        },
        (false, Err(error)) => return Err(error),
    })
}

/// True if the body is chunked.
fn transfer_coding(headers: &HeaderMap) -> Result<bool, NotHttp> {
    let mut chunked = false;
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        let value = value.as_bytes().trim_ascii();
        if value.eq_ignore_ascii_case(b"chunked") && !chunked {
            chunked = true;
        } else if !value.eq_ignore_ascii_case(b"identity") {
            return Err(NotHttp("its Transfer-Encoding is not `chunked`"));
        }
    }
    Ok(chunked)
}

/// The one length that all `Content-Length` give.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, NotHttp> {
    const WRONG: NotHttp = NotHttp("its Content-Length is no number, or several");
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for number in value.as_bytes().split(|byte| *byte == b',') {
            let number = number.trim_ascii();
            if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
                return Err(WRONG);
            }
            let number = std::str::from_utf8(number).map_err(|_| WRONG)?;
            let number: u64 = number.parse().map_err(|_| WRONG)?;
            if length.is_some_and(|length| length != number) {
                return Err(WRONG);
            }
            length = Some(number);
        }
    }
    Ok(length)
}

fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    let says = |token: &[u8]| {
        let values = headers.get_all(header::CONNECTION).iter();
        let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        tokens.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token))
    };
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}

/// `Keep-Alive: timeout=5`
fn idle_max(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("timeout");
        named.then(|| value.trim().parse().ok()).flatten()
    };
    let seconds: u64 = value.split(',').find_map(timeout)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<ResponseHead, NotHttp> {
        asked(text, Asked::default())
    }

    fn asked(text: &str, asked: Asked) -> Result<ResponseHead, NotHttp> {
        let mut buffer = BytesMut::from(text);
        let head = parse(&mut buffer, asked)?.expect("all of a head");
        assert!(buffer.is_empty(), "{buffer:?}");
        Ok(head)
    }

    #[test]
    fn a_body_has_one_length() {
        let cases = [
            ("Content-Length: 3", BodyDecoder::Length(3), true),
            ("Content-Length: 5, 5", BodyDecoder::Length(5), true),
            (
                "Content-Length: 5\r\nContent-Length: 5",
                BodyDecoder::Length(5),
                true,
            ),
            (
                "Transfer-Encoding: Chunked",
                BodyDecoder::Chunked(Chunk::Size),
                true,
            ),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                BodyDecoder::Chunked(Chunk::Size),
                false,
            ),
            (
                "Content-Length: -3\r\nTransfer-Encoding: chunked",
                BodyDecoder::Chunked(Chunk::Size),
                false,
            ),
            (
                "Transfer-Encoding: identity",
                BodyDecoder::UntilClose,
                false,
            ),
            ("X: y", BodyDecoder::UntilClose, false),
            (
                "Content-Length: 3\r\nConnection: x, Close",
                BodyDecoder::Length(3),
                false,
            ),
        ];
        for (lines, body, keep) in cases {
            let head = parsed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).unwrap();
            assert_eq!((head.body, head.keep), (body, keep), "{lines}");
            let lengths: Vec<_> = head.headers.get_all("content-length").iter().collect();
            match body {
                BodyDecoder::Length(length) => assert_eq!(lengths, [&length.to_string()]),
                _ => assert!(lengths.is_empty(), "{lines}"),
            }
        }
        for lines in [
            "Content-Length: -5",
            "Content-Length: +5",
            "Content-Length: 5, 6",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: ",
            "Content-Length: 5,",
            "Content-Length: 0x5",
            "Content-Length: 18446744073709551616",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
        ] {
            assert!(
                parsed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).is_err(),
                "{lines}"
            );
        }
    }

    #[test]
    fn what_has_no_body_keeps_no_false_length() {
        let head = Asked {
            head: true,
            upgrade: false,
        };
        for (status, asked_for, line, kept) in [
            ("200 OK", head, "Content-Length: 7", Some("7")),
            ("200 OK", head, "Content-Length: -5", None),
            ("200 OK", head, "Content-Length: 5, 5", Some("5")),
            ("200 OK", head, "Content-Length: 5, 6", None),
            (
                "200 OK",
                head,
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                None,
            ),
            (
                "304 Not Modified",
                Asked::default(),
                "Content-Length: 7",
                Some("7"),
            ),
            (
                "204 No Content",
                Asked::default(),
                "Content-Length: 7",
                None,
            ),
        ] {
            let parsed = asked(&format!("HTTP/1.1 {status}\r\n{line}\r\n\r\n"), asked_for);
            let parsed = parsed.unwrap();
            assert_eq!(parsed.body, BodyDecoder::Done, "{line}");
            let length = parsed.headers.get("content-length");
            assert_eq!(length.map(|l| l.to_str().unwrap()), kept, "{line}");
        }
    }

    #[test]
    fn what_old_servers_send_is_understood() {
        let head = parsed("HTTP/1.0 200\r\nX: a\r\n\t b\r\nY : c\r\nZ:\r\n\r\n").unwrap();
        assert_eq!(head.headers["x"], "a  \t b");
        assert_eq!(head.headers["y"], "c");
        assert_eq!(head.headers["z"], "");
        assert!(!head.keep);
        let text = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\
            Keep-Alive: max=5, timeout=15\r\n\r\n";
        let head = parsed(text).unwrap();
        assert!(head.keep);
        assert_eq!(head.idle_max, Some(Duration::from_secs(15)));
    }

    #[test]
    fn informational_responses_are_dropped_and_upgrades_need_a_question() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
            HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parsed(text).unwrap().status, 201);
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
        assert!(parsed(text).is_err());
        let upgrade = Asked {
            head: false,
            upgrade: true,
        };
        assert_eq!(asked(text, upgrade).unwrap().status, 101);
    }

    #[test]
    fn a_head_is_bounded() {
        let lines = "A: b\r\n".repeat(HEADERS_MAX);
        assert!(parsed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).is_ok());
        assert!(parsed(&format!("HTTP/1.1 200 OK\r\n{lines}A: b\r\n\r\n")).is_err());
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_MAX));
        assert!(parse(&mut BytesMut::from(&long[..]), Asked::default()).is_err());
        let short = &long[..HEAD_MAX / 2];
        assert!(
            parse(&mut BytesMut::from(short), Asked::default()).is_ok_and(|head| head.is_none())
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, head: bool, upgrade: bool) {
            let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\n");
            buffer.extend_from_slice(&bytes);
            let _ = parse(&mut buffer, Asked { head, upgrade });
            let _ = parse(&mut BytesMut::from(&bytes[..]), Asked { head, upgrade });
        }
    }
}
