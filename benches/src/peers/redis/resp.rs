//! Redis's protocol, as much of it as the benches speak.

/// What the server said.
#[derive(Debug)]
pub(crate) enum Reply<'a> {
    /// `OK`, or as good.
    Text,
    Error(&'a [u8]),
    Number(i64),
    /// A value, or that there is none.
    Value(Option<&'a [u8]>),
    List(Vec<Reply<'a>>),
}

impl Reply<'_> {
    /// Anything but an error.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Error(text) => anyhow::bail!("redis: {}", String::from_utf8_lossy(text)),
            _ => Ok(()),
        }
    }
}

/// Appends a command to `out`.
pub(crate) fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    number(b'*', words.len(), out);
    for word in words {
        number(b'$', word.len(), out);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(kind: u8, value: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    out.push(kind);
    write!(out, "{value}\r\n").unwrap();
}

/// The first reply in `input` and its length, once it is there as a whole.
pub(crate) fn parse(input: &[u8]) -> anyhow::Result<Option<(Reply<'_>, usize)>> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let (line, start) = (&input[1..end], end + 2);
    let count = || anyhow::Ok(std::str::from_utf8(line)?.parse::<i64>()?);
    Ok(match input[0] {
        b'+' => Some((Reply::Text, start)),
        b'-' => Some((Reply::Error(line), start)),
        b':' => Some((Reply::Number(count()?), start)),
        b'$' | b'*' if count()? < 0 => Some((Reply::Value(None), start)),
        b'$' => {
            let end = start + count()? as usize;
            (input.len() >= end + 2).then(|| (Reply::Value(Some(&input[start..end])), end + 2))
        }
        b'*' => {
            let (mut list, mut at) = (Vec::new(), start);
            for _ in 0..count()? {
                match parse(&input[at..])? {
                    Some((reply, length)) => {
                        list.push(reply);
                        at += length;
                    }
                    None => return Ok(None),
                }
            }
            Some((Reply::List(list), at))
        }
        other => anyhow::bail!("redis said a {:?}", char::from(other)),
    })
}
