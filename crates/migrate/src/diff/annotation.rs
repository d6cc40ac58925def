//! Instructions in the comments of a schema file: `was:`, `set:`, `monolite: allow`.

use crate::sql::{self, Comment, TableText, comments, tokens, unquote_name};

/// The instructions in the comments of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Annotations {
    /// The table's former name.
    pub(super) was: Option<String>,
    /// Columns with their former names.
    pub(super) columns: Vec<(String, String)>,
    /// Columns with the expression for the existing rows.
    pub(super) sets: Vec<(String, String)>,
}

fn after<'c>(comment: &'c str, word: &str) -> Option<&'c str> {
    let rest = comment.trim().strip_prefix(word)?;
    Some(rest.trim()).filter(|rest| !rest.is_empty())
}

fn is_instruction(comment: &str) -> bool {
    ["was:", "set:", "monolite:"]
        .iter()
        .any(|word| comment.trim().starts_with(word))
}

impl Annotations {
    /// `leading`: the comments before the statement. Those on the line of the opening
    /// parenthesis belong to the table too.
    pub(super) fn of(leading: &[Comment], text: &TableText) -> Self {
        let mut found = Self::default();
        let mut of_table: Vec<String> =
            leading.iter().map(|comment| comment.text.clone()).collect();
        for (at, item) in text.items.iter().enumerate() {
            let mut own = item.comments();
            if at == 0 {
                let cut = sql::on_same_line(&item.before);
                let comment = item.before.get(..cut).unwrap_or_default();
                let own_line = comments(comment, &[]);
                own.drain(..own_line.len().min(own.len()));
                of_table.extend(own_line.into_iter().map(|comment| comment.text));
            }
            let Some(column) = &item.column else { continue };
            for comment in own {
                if let Some(was) = after(&comment, "was:") {
                    found.columns.push((column.clone(), unquote_name(was)));
                } else if let Some(set) = after(&comment, "set:") {
                    found.sets.push((column.clone(), set.to_owned()));
                }
            }
        }
        found.was = of_table
            .iter()
            .find_map(|comment| after(comment, "was:").map(unquote_name));
        found
    }
}

/// The text without such comments: they are not stored in a database.
pub(super) fn without(text: &str) -> String {
    let Ok(tokens) = tokens(text) else {
        return text.to_owned();
    };
    let mut text = text.to_owned();
    for comment in comments(&text.clone(), &tokens).into_iter().rev() {
        if !is_instruction(&comment.text) {
            continue;
        }
        let before = text.get(..comment.span.start).unwrap_or_default();
        let kept = before.trim_end_matches([' ', '\t']).len();
        let alone = text
            .get(..kept)
            .is_some_and(|before| before.ends_with('\n'));
        let rest = text.get(comment.span.end..).unwrap_or_default();
        let line_ends = rest.starts_with('\n');
        let end = comment.span.end + usize::from(alone && line_ends);
        // Keeps what a comment in the middle of a line separated.
        let between = if line_ends || rest.is_empty() {
            ""
        } else {
            " "
        };
        text.replace_range(kept..end, if alone { "" } else { between });
    }
    text
}
