//! The Go implementation writes what this one reads, and the other way round.
//!
//! These tests need `go` and the module github.com/superfly/ltx v0.5.2, so they
//! run only when asked for: `cargo test -p monolite-ltx --test go -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use common::golden::{OLD, TODAY, bytes, path};
use common::history::{History, changes};
use common::{Content, content, copy, decode, describe, encode};
use monolite_ltx::{DatabaseChecksums, Decoder, Header, lock_page, merge};
use proptest::prelude::*;

/// The Go program, built once.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ltxgo");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&out)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go"))
            .output()
            .expect("these tests need go: https://go.dev/dl");
        assert!(built.status.success(), "{built:?}");
        out
    })
}

fn run(verb: &str, files: &[&Path], input: &str) -> Result<String, String> {
    let mut child = Command::new(program())
        .arg(verb)
        .args(files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // If it ends early its answer says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    if status.success() {
        Ok(String::from_utf8(stdout).unwrap())
    } else {
        Err(String::from_utf8(stderr).unwrap())
    }
}

/// The file that Go writes.
fn write(content: &Content) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.ltx");
    run("write", &[&path], &describe(content)).unwrap();
    fs::read(path).unwrap()
}

/// What Go reads.
fn dump(file: &[u8]) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.ltx");
    fs::write(&path, file).unwrap();
    run("dump", &[&path], "")
}

/// Without what Go does not know.
fn as_go_knows(content: &Content) -> Content {
    let mut content = content.clone();
    if let DatabaseChecksums::Reserved { .. } = content.header.checksums {
        content.header.checksums = DatabaseChecksums::None;
    }
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    #[ignore = "needs go"]
    fn what_go_writes_is_read_and_written_as_it_is(content in content()) {
        let file = write(&content);
        prop_assert_eq!(decode(&file).unwrap(), as_go_knows(&content));
        prop_assert_eq!(copy(&file).unwrap(), file);
    }

    #[test]
    #[ignore = "needs go"]
    fn what_is_written_go_reads(content in content()) {
        prop_assert_eq!(dump(&encode(&content)).unwrap(), describe(&content));
    }

    /// The other way round is not so: Go does not check all that we do.
    #[test]
    #[ignore = "needs go"]
    fn what_go_refuses_is_refused(
        content in content(),
        at: prop::sample::Index,
        flip in 1..=255_u8,
    ) {
        let mut file = encode(&content);
        let at = at.index(file.len());
        file[at] ^= flip;
        if dump(&file).is_err() {
            prop_assert!(decode(&file).is_err(), "byte {}", at);
        }
    }

    #[test]
    #[ignore = "needs go"]
    fn go_merges_to_the_same(changes in changes(), first: prop::sample::Index, told: bool) {
        let history = History::new(&changes, told);
        let begin = first.index(changes.len()) as u64 + 1;
        let files: Vec<Vec<u8>> = (begin..=history.last())
            .map(|txid| encode(&history.file(txid..=txid)))
            .collect();
        let inputs = files.iter().map(|file| Decoder::new(file.as_slice()).unwrap());
        let (ours, ..) = merge(inputs.collect(), Vec::new(), |_| {}).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.ltx");
        let mut paths = vec![out.clone()];
        for (at, file) in files.iter().enumerate() {
            let path = dir.path().join(format!("{at}.ltx"));
            fs::write(&path, file).unwrap();
            paths.push(path);
        }
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        run("merge", &paths, "").unwrap();
        let theirs = decode(&fs::read(&out).unwrap()).unwrap();
        // Go forgets who wrote it.
        let mut as_go = as_go_knows(&decode(&ours).unwrap());
        as_go.header.node_id = 0;
        prop_assert_eq!(theirs, as_go);
        // And Go goes on from ours.
        fs::write(paths[1], &ours).unwrap();
        run("merge", &paths[..2], "").unwrap();
    }
}

#[test]
#[ignore = "needs go"]
fn go_reads_a_snapshot_over_the_lock_page() {
    const SIZE: u32 = 65536;
    let lock = lock_page(SIZE);
    let header = common::plain_header(SIZE, lock + 1, 1, 1);
    let mut encoder = monolite_ltx::Encoder::new(Vec::new(), header).unwrap();
    let page = vec![7; SIZE as usize];
    for pgno in (1..lock).chain([lock + 1]) {
        encoder.page(pgno, &page).unwrap();
    }
    let (file, ..) = encoder.finish(None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.ltx"), dir.path().join("out.ltx"));
    fs::write(&path, &file).unwrap();
    run("merge", &[&out, &path], "").unwrap();
    let theirs = fs::File::open(&out).unwrap();
    let decoder = Decoder::new(theirs).unwrap();
    assert_eq!(*decoder.header(), Header { ..header });
    decoder.finish().unwrap();
}

/// With `LTX_BLESS` set they are written anew.
#[test]
#[ignore = "needs go"]
fn golden_files_are_what_go_writes() {
    let bless = std::env::var_os("LTX_BLESS").is_some();
    for (name, content) in TODAY {
        let file = write(&content());
        if bless {
            fs::write(path(name), &file).unwrap();
        }
        assert_eq!(bytes(name), file, "{name}");
    }
    let (name, content) = OLD;
    assert_eq!(dump(&bytes(name)).unwrap(), describe(&content()));
}
