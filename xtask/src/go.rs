//! The tests against programs written in Go: Litestream, and LTX's first
//! implementation. They need `go`, so they run apart from the others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{install, run, works};

/// What the files we write must be readable by.
const LITESTREAM: &str = "v0.5.17";

/// Their tests are ignored unless asked for.
const TESTS: [&str; 4] = [
    "crates/ltx/tests/go.rs",
    "crates/replica/tests/large.rs",
    "crates/replica/tests/litestream.rs",
    "crates/testkit/tests/litestream.rs",
];

/// A Go program that is a part of the tests.
const PROGRAM: &str = "crates/ltx/tests/go";

/// The variable that tells where Litestream is.
pub(crate) type Variable = (&'static str, PathBuf);

/// Installs what the tests need. An error says why they cannot run here.
pub(crate) fn provide() -> Result<Variable> {
    if !works("go", &["version"]) {
        bail!("go is not here: install it from https://go.dev/dl");
    }
    install("go", |go| go.args(["mod", "download"]).current_dir(PROGRAM))
        .context("cannot download Go's ltx")?;
    let litestream = litestream().context("cannot install Litestream")?;
    Ok(("MONOLITE_TEST_LITESTREAM", litestream))
}

/// Litestream, kept in `target/` until another version is wanted.
fn litestream() -> Result<PathBuf> {
    let bin = std::env::current_dir()?.join("target/test-env/go/bin");
    let program = bin.join("litestream");
    if version(&program).as_deref() == Some(LITESTREAM) {
        return Ok(program);
    }
    println!("xtask: installing Litestream {LITESTREAM}");
    let package = format!("github.com/benbjohnson/litestream/cmd/litestream@{LITESTREAM}");
    install("go", |go| {
        go.args(["install", &package])
            .env("GOBIN", &bin)
            .env_remove("GOFLAGS")
    })?;
    match version(&program) {
        Some(version) if version == LITESTREAM => Ok(program),
        other => bail!("{} says it is {other:?}", program.display()),
    }
}

fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs them.
pub(crate) fn test(variable: &Variable) -> Result<()> {
    let mut names = Vec::new();
    for file in TESTS.map(Path::new) {
        if !file.is_file() {
            bail!(
                "{} is gone: say in xtask/src/go.rs where its tests are",
                file.display()
            );
        }
        let name = file.file_stem().context("a test file has a name")?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // The whole workspace, so that nothing is built anew with fewer features.
    run("cargo", |cargo| {
        cargo.args(["test", "--workspace", "--locked"]);
        for name in names {
            cargo.arg("--test").arg(name);
        }
        cargo.args(["--", "--ignored"]).env(variable.0, &variable.1)
    })
}

/// Says in the last lines that they were left out.
pub(crate) fn left_out(why: &anyhow::Error) {
    println!(
        "\nxtask: LEFT OUT: the tests against the real Litestream and Go's ltx\n       \
         ({}).\n       \
         Why: {why:#}.\n       \
         Once that is mended: cargo xtask test litestream",
        TESTS.join(", ")
    );
}
