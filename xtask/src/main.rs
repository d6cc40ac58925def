//! The project's chores: `cargo xtask test`, `cargo xtask bench NAME`.
//!
//! `test` installs what the tests need where it may (Debian packages as root,
//! Python packages and Litestream into `target/`), says exactly what to install
//! where it may not, and runs every test of the workspace, then those against
//! programs written in Go. Without Go these are left out, and it says so last.
//! `test workspace`, `test outside` and `test litestream` are the parts; the last
//! one fails where it cannot run. `test rusqlite` runs the tests of the crates for
//! apps with the oldest and the newest rusqlite, `test features` checks each of
//! their features alone. `test soak` takes half an hour: 500 kills of a
//! replicator, and ten minutes beside a bucket that fails.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod go;
mod needs;
mod outside;
mod shell;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::shell::run;

const USAGE: &str = "\
usage: cargo xtask test
       cargo xtask test workspace [-- ARGUMENTS OF cargo test]
       cargo xtask test outside
       cargo xtask test rusqlite
       cargo xtask test features
       cargo xtask test litestream
       cargo xtask test soak
       cargo xtask bench store|gate|cache|jobs|pubsub|replica|migrate|apps";

const BENCHES: [&str; 7] = [
    "store", "gate", "cache", "jobs", "pubsub", "replica", "migrate",
];

fn main() -> ExitCode {
    match chore() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    std::env::set_current_dir(root()?).context("cannot enter the workspace")?;
    match words.as_slice() {
        ["test"] => test(),
        ["test", "workspace"] => test_workspace(&[]),
        ["test", "--", rest @ ..] | ["test", "workspace", "--", rest @ ..] => test_workspace(rest),
        ["test", "litestream"] => go::test(&go::provide()?),
        ["test", "outside"] => outside::test(),
        ["test", "rusqlite"] => outside::test_rusqlite(),
        ["test", "features"] => outside::check_features(),
        ["test", "soak"] => soak(),
        ["bench", "apps"] => bench_apps(),
        ["bench", name] if BENCHES.contains(name) => bench(name),
        _ => bail!("{USAGE}"),
    }
}

fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask has no parent")?.to_path_buf())
}

fn test() -> Result<()> {
    let litestream = go::provide();
    let tested = test_workspace(&[]).and_then(|()| outside::test());
    match litestream {
        Ok(litestream) => tested.and_then(|()| go::test(&litestream)),
        Err(why) => {
            go::left_out(&why);
            tested
        }
    }
}

fn test_workspace(arguments: &[&str]) -> Result<()> {
    let provided = needs::for_tests()?;
    run("cargo", |cargo| {
        cargo
            // All that fails is worth knowing at once.
            .args(["test", "--workspace", "--locked", "--no-fail-fast"])
            .args(arguments)
            .envs(provided)
    })
}

fn soak() -> Result<()> {
    run("cargo", |cargo| {
        // The simulation and the enumeration are work for the processor alone.
        let replica = [
            "test",
            "--locked",
            "--release",
            "--package",
            "monolite-replica",
        ];
        cargo
            .args(replica)
            .args(["--lib", "--", "--nocapture", "whatever_happens_nothing"])
            .env("MONOLITE_SIM_SEEDS", "1000000")
    })?;
    run("cargo", |cargo| {
        let replica = [
            "test",
            "--locked",
            "--release",
            "--package",
            "monolite-replica",
        ];
        let model = ["--test", "lease_model", "--", "--ignored", "--nocapture"];
        cargo.args(replica).args(model)
    })?;
    run("cargo", |cargo| {
        cargo.args([
            "test",
            "--locked",
            "--package",
            "monolite-replica",
            "--test",
            "kill",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
            "five_hundred",
            "a_soak",
        ])
    })
}

/// Real apps bare, with the write lane and with the driver lane. They are those of the end-to-end
/// tests, which know how to serve them.
fn bench_apps() -> Result<()> {
    let environment = needs::for_tests()?;
    run("cargo", |cargo| {
        cargo
            .args(["test", "--release", "--locked", "--package", "monolite-cli"])
            .args(["--test", "e2e", "--", "--ignored", "--exact", "--nocapture"])
            .arg("driver_lane::measure")
            .envs(environment)
    })
}

/// Builds the binary first: some benchmarks run it beside its peers.
fn bench(name: &str) -> Result<()> {
    let peer = match name {
        "replica" => Some(go::provide()?),
        _ => None,
    };
    run("cargo", |cargo| {
        cargo.args(["build", "--release", "--locked", "--bin", "monolite"])
    })?;
    run("cargo", |cargo| {
        cargo
            .args([
                "run",
                "--release",
                "--locked",
                "--package",
                "monolite-bench",
                "--",
            ])
            .arg(name)
            .envs(peer)
    })
}
