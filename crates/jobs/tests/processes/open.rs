//! Many processes begin at the same moment.

use super::check::check_the_end;
use super::fixture::{Fixture, Process, SECOND, number, until};
use super::worker::Config;

const PROCESSES: u64 = 8;

#[test]
fn eight_processes_open_an_empty_directory_at_once() {
    let fixture = Fixture::new();
    let mut processes: Vec<Process> = (0..PROCESSES)
        .map(|n| {
            Process::start(&Config {
                wait_for_go: true,
                push: Some((n * 100, 10)),
                ..fixture.config(&format!("w{n}"))
            })
        })
        .collect();
    let count = |what: &str| fixture.logged(what).len() as u64;
    until("all wait", 30 * SECOND, || count("waits") == PROCESSES);
    for process in &mut processes {
        process.go();
    }
    until("all are up", 30 * SECOND, || count("ready") == PROCESSES);
    until("all have enqueued", 30 * SECOND, || {
        count("pushed") == 10 * PROCESSES
    });
    fixture.drained(30 * SECOND);
    for process in processes {
        process.terminate(10 * SECOND);
    }
    let conn = fixture.conn();
    check_the_end(&conn);
    assert_eq!(count("start"), 10 * PROCESSES, "each ran once");
    let versions = "SELECT count(*) FROM _monolite_schema WHERE component = 'jobs'";
    assert_eq!(number(&conn, versions), 1);
}
