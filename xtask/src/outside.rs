//! What is built elsewhere than in this workspace: the binary, installed from
//! another directory, and small apps that depend on the crate, each next to
//! another crate that links SQLite. Cargo reads `.cargo/config.toml` by the
//! directory of the build, and the versions of dependencies are the app's own:
//! nothing may depend on what only the workspace has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{run, run_in};

/// Apps in `tests/outside/`. Each makes a volume of its own and ends with 0.
const APPS: [&str; 3] = ["latest", "sqlx", "diesel"];

/// The oldest and the newest rusqlite that the crates for apps are tested with:
/// the range in the workspace's `Cargo.toml`.
const RUSQLITE: [&str; 2] = ["0.39.0", "0.43.0"];
/// The crates that an app gets.
const CRATES: [&str; 7] = [
    "monolite-component",
    "monolite-store",
    "monolite-cache",
    "monolite-jobs",
    "monolite-pubsub",
    "monolite-migrate",
    "monolite",
];

pub(crate) fn test() -> Result<()> {
    let root = std::env::current_dir()?;
    // Out of the workspace, so that nothing of it is found by looking upwards.
    let dir = Directory::new()?;
    install(&root, &dir.0)?;
    for app in APPS {
        build_app(&root, &dir.0, app)?;
    }
    Ok(())
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("monolite-outside-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Installs the binary from elsewhere, and has it do what needs SQLite's pages.
fn install(root: &Path, dir: &Path) -> Result<()> {
    println!("xtask: installing the binary from {}", dir.display());
    run_in("cargo", dir, |cargo| {
        cargo
            .args([
                "install", "--quiet", "--debug", "--locked", "--force", "--path",
            ])
            .arg(root.join("crates/cli"))
            .arg("--root")
            .arg(dir)
            .arg("--target-dir")
            // What the other tests have built, but for the last step.
            .arg(root.join("target"))
    })?;
    run_in("sh", dir, |sh| {
        sh.arg("-eux")
            .arg(root.join("tests/outside/binary.sh"))
            .arg(dir.join("bin/monolite"))
    })
}

fn build_app(root: &Path, dir: &Path, name: &str) -> Result<()> {
    println!("xtask: an app outside: {name}");
    let from = root.join("tests/outside").join(name);
    let to = dir.join(name);
    std::fs::create_dir_all(to.join("src"))?;
    let manifest = std::fs::read_to_string(from.join("Cargo.toml"))?;
    let place = root.to_str().context("the workspace's path is no text")?;
    std::fs::write(to.join("Cargo.toml"), manifest.replace("@ROOT@", place))?;
    std::fs::copy(from.join("src/main.rs"), to.join("src/main.rs"))?;
    let volume = to.join("volume");
    std::fs::create_dir_all(&volume)?;
    run_in("cargo", &to, |cargo| {
        cargo
            .args(["run", "--quiet", "--target-dir"])
            .arg(root.join("target/outside"))
            .arg("--")
            .arg(volume)
    })
}

/// The tests of the crates for apps, with the oldest and the newest rusqlite.
pub(crate) fn test_rusqlite() -> Result<()> {
    let root = std::env::current_dir()?;
    let lock = root.join("Cargo.lock");
    let kept = std::fs::read(&lock)?;
    let tested = RUSQLITE.iter().try_for_each(|version| {
        println!("xtask: with rusqlite {version}");
        run("cargo", |cargo| {
            cargo.args([
                "update",
                "--quiet",
                "--package",
                "rusqlite",
                "--precise",
                version,
            ])
        })?;
        run("cargo", |cargo| {
            cargo.args(["test", "--quiet", "--target-dir", "target/rusqlite"]);
            CRATES
                .iter()
                .fold(cargo, |cargo, name| cargo.args(["--package", name]))
        })
    });
    // As it was, whatever came out.
    std::fs::write(&lock, kept)?;
    tested
}

/// Each feature of the crates for apps alone, and none: no warning.
pub(crate) fn check_features() -> Result<()> {
    for (package, features) in FEATURES {
        for feature in std::iter::once(&"").chain(features) {
            println!("xtask: {package} with [{feature}]");
            run("cargo", |cargo| {
                cargo
                    .args(["clippy", "--quiet", "--locked", "--package", package])
                    .args(["--no-default-features", "--features", feature])
                    .args(["--", "-D", "warnings"])
            })?;
        }
    }
    Ok(())
}

/// The features that are promised to work alone.
const FEATURES: [(&str, &[&str]); 6] = [
    ("monolite-component", &["handle"]),
    ("monolite-store", &["bundled"]),
    ("monolite-cache", &["handle"]),
    ("monolite-jobs", &["handle"]),
    ("monolite-pubsub", &["handle"]),
    (
        "monolite",
        &["bundled", "cache", "jobs", "migrations", "pubsub"],
    ),
];
