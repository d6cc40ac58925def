//! What people write, cut into blocks the templates escape and mark up.
//!
//! Blank lines part paragraphs, four spaces make a block of code, backticks
//! code within a line, a leading `- ` an item. There is no markup to smuggle
//! HTML through: every piece stays text.

/// A block of prose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Block<'a> {
    Paragraph(Vec<Span<'a>>),
    Item(Vec<Span<'a>>),
    Code(String),
}

/// A piece of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Span<'a> {
    Text(&'a str),
    Code(&'a str),
}

/// Cuts `text` into blocks.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    text.split("\n\n")
        .map(|block| block.trim_matches('\n'))
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            if block.lines().all(|line| line.starts_with("    ")) {
                let lines: Vec<_> = block.lines().map(|line| &line[4..]).collect();
                Block::Code(lines.join("\n"))
            } else if let Some(item) = block.strip_prefix("- ") {
                Block::Item(spans(item))
            } else {
                Block::Paragraph(spans(block.trim()))
            }
        })
        .collect()
}

/// The first paragraph, shortened at a word to about `limit` characters.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    let first = text
        .split("\n\n")
        .find(|block| !block.trim().is_empty() && !block.starts_with("    "))
        .unwrap_or(text)
        .replace('`', "");
    let first = first.trim();
    let Some((cut, _)) = first.char_indices().nth(limit) else {
        return first.into();
    };
    let short = &first[..cut];
    let short = short
        .rsplit_once(char::is_whitespace)
        .map_or(short, |s| s.0);
    format!("{}…", short.trim_end_matches([',', '.', ':', ';', ' ']))
}

fn spans(text: &str) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        // A lone backtick is just a character.
        let Some((code, after)) = after.split_once('`').filter(|(code, _)| !code.is_empty()) else {
            break;
        };
        if !before.is_empty() {
            spans.push(Span::Text(before));
        }
        spans.push(Span::Code(code));
        rest = after;
    }
    if !rest.is_empty() {
        spans.push(Span::Text(rest));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_spans() {
        let text = "Run `ls`, then:\n\n    a\n      b\n\n\n- one ` tick\n\n``";
        assert_eq!(
            blocks(text),
            [
                Block::Paragraph(vec![
                    Span::Text("Run "),
                    Span::Code("ls"),
                    Span::Text(", then:")
                ]),
                Block::Code("a\n  b".into()),
                Block::Item(vec![Span::Text("one ` tick")]),
                Block::Paragraph(vec![Span::Text("``")]),
            ]
        );
    }

    #[test]
    fn excerpts_end_at_a_word() {
        assert_eq!(excerpt("short", 10), "short");
        assert_eq!(excerpt("one two, three", 9), "one two…");
        assert_eq!(excerpt("ääääääää", 3), "äää…");
    }
}
