//! What must hold of the tables, at every moment and at the end.

use rusqlite::Connection;

use super::fixture::number;

/// What must hold at every moment, whoever was killed.
pub(super) fn check_invariants(conn: &Connection) {
    conn.execute_batch("BEGIN").unwrap();
    const HELD: &str = "WITH held(id, run, worker) AS (
        SELECT p.value ->> 0, p.value ->> 1, c.worker
        FROM _monolite_job_claim c, json_each(c.jobs) p)";
    let rules = [
        ("a job that has ended is in the ready table",
         "SELECT count(*) FROM _monolite_job_ready r LEFT JOIN _monolite_job j USING (id)
          WHERE j.state IS NOT 2"),
        ("a row of the ready table is not as its job",
         "SELECT count(*) FROM _monolite_job_ready r JOIN _monolite_job j USING (id)
          WHERE (r.queue, r.priority, r.suspect) IS NOT (j.queue, j.priority, j.crashes > 0)"),
        ("a ready job is in a claim",
         "SELECT count(*) FROM _monolite_job_ready r JOIN held USING (id)
          JOIN _monolite_job j USING (id) WHERE j.run = held.run"),
        ("a job is in two claims",
         "SELECT count(*) FROM (SELECT 1 FROM held JOIN _monolite_job j USING (id)
          WHERE j.run = held.run AND j.state = 2 GROUP BY id HAVING count(*) > 1)"),
        ("a pending job is nowhere",
         "SELECT count(*) FROM _monolite_job j WHERE j.state = 2
          AND NOT EXISTS (SELECT 1 FROM _monolite_job_ready r WHERE r.id = j.id AND
              r.queue = j.queue AND r.priority = j.priority AND r.suspect = (j.crashes > 0))
          AND (j.id, j.run) NOT IN (SELECT id, run FROM held)"),
        ("a claim is of no worker",
         "SELECT count(*) FROM held LEFT JOIN _monolite_job_worker w ON w.id = held.worker
          WHERE w.id IS NULL"),
        ("a scheduled job has no time",
         "SELECT count(*) FROM _monolite_job WHERE state = 3 AND due_at IS NULL"),
        ("a limit is exceeded",
         "SELECT count(*) FROM (SELECT 1 FROM _monolite_job WHERE limit_key NOTNULL AND state = 2
          GROUP BY limit_key HAVING count(*) > max(limit_max))"),
    ];
    for (rule, sql) in rules {
        let count = number(conn, &format!("{HELD} {sql}"));
        assert_eq!(count, 0, "{rule}: {}", dump(conn));
    }
    conn.execute_batch("COMMIT").unwrap();
}

/// What must be left once all is done and everybody has left in order.
pub(super) fn check_the_end(conn: &Connection) {
    check_invariants(conn);
    for table in ["ready", "claim", "worker"] {
        let rows = number(conn, &format!("SELECT count(*) FROM _monolite_job_{table}"));
        assert_eq!(rows, 0, "{table}: {}", dump(conn));
    }
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

/// The tables, for a failed test.
pub(super) fn dump(conn: &Connection) -> String {
    let mut text = String::new();
    for sql in [
        "SELECT state, count(*), min(id), max(id), max(run), max(crashes) FROM _monolite_job
         GROUP BY state",
        "SELECT id, state, run, excused, crashes, due_at, delayed, limit_key, error, payload
         FROM _monolite_job WHERE state <> 5 LIMIT 10",
        "SELECT * FROM _monolite_job_ready LIMIT 10",
        "SELECT id, worker, substr(jobs, 1, 200) FROM _monolite_job_claim",
        "SELECT * FROM _monolite_job_worker",
        "SELECT name, next_at, last_at FROM _monolite_job_cron",
        "SELECT * FROM _monolite_job_clock",
        "SELECT * FROM _monolite_job_queue",
    ] {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        text.push_str(&format!(
            "\n{}",
            sql.split_whitespace().collect::<Vec<_>>().join(" ")
        ));
        while let Some(row) = rows.next().unwrap() {
            let value = |column| row.get::<_, rusqlite::types::Value>(column).unwrap();
            let values: Vec<_> = (0..columns).map(|c| format!("{:?}", value(c))).collect();
            text.push_str(&format!("\n    {}", values.join(" ")));
        }
    }
    text
}
