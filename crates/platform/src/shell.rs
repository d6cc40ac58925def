//! Words of a command that is shown to be copied into a shell.

use std::borrow::Cow;

/// `word` as one word of a POSIX shell: in single quotes if it needs them.
#[must_use]
pub fn quote(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in [
            "",
            "app.sqlite3",
            "a b",
            "it's",
            "s3://b/p?endpoint=http://h:1&x=$y",
            "*",
            "\\",
        ] {
            let echo = format!("printf %s {}", quote(word));
            let read = std::process::Command::new("sh")
                .args(["-c", &echo])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(read.stdout).unwrap(), word);
        }
        assert_eq!(quote("/data/app.sqlite3"), "/data/app.sqlite3");
    }
}
