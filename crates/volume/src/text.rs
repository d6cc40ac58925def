//! Paths and sizes as people and shells read them.

use std::path::Path;

/// The path in single quotes, as a POSIX shell takes it.
pub(crate) fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// `chown 33 'a' 'b'` for the command `chown`, its argument and the paths; of
/// more than four, all of `dir`: `chown -R 33 'dir'`.
pub(crate) fn command<'a>(
    name: &str,
    argument: &str,
    dir: &Path,
    paths: impl ExactSizeIterator<Item = &'a Path>,
) -> String {
    if paths.len() > 4 {
        return format!("{name} -R {argument} {}", quote(dir));
    }
    let words: Vec<String> = paths.map(quote).collect();
    format!("{name} {argument} {}", words.join(" "))
}

/// Bytes in the largest binary unit that leaves at least 1: `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // 1023.95 would be shown as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn a_quoted_path_is_one_word() {
        assert_eq!(quote(Path::new("/a b/$c")), "'/a b/$c'");
        assert_eq!(quote(Path::new("/it's")), r"'/it'\''s'");
    }

    #[test]
    fn many_paths_become_their_directory() {
        let dir = Path::new("/data");
        let paths = ["/data/a", "/data/b c"].map(Path::new);
        let few = command("chown", "33", dir, paths.into_iter());
        assert_eq!(few, "chown 33 '/data/a' '/data/b c'");
        let many = command("chown", "33", dir, [dir; 5].into_iter());
        assert_eq!(many, "chown -R 33 '/data'");
    }
}
