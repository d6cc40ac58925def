-- Version 1 of the jobs tables.

-- Every job that is known. `state` is a number of one byte and never 0 or 1,
-- and what a good run changes keeps its width: SQLite then overwrites the row
-- in place, however large its payload.
--   2 pending     ready to run, or running (a claim holds it)
--   3 scheduled   waits for its time in `due_at`
--   4 blocked     waits for another job with its `limit_key` to end
--   5 done        6 dead        7 cancelled
CREATE TABLE _monolite_job (
    -- Never used twice: the newest row is never deleted.
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    state INTEGER NOT NULL,
    -- Smaller runs first.
    priority INTEGER NOT NULL,
    -- Runs that have ended, however they did: with the id it names one claim.
    run INTEGER NOT NULL DEFAULT 0,
    -- Runs that do not count as attempts: snoozed, handed back.
    excused INTEGER NOT NULL DEFAULT 0,
    -- Runs that ended with their worker.
    crashes INTEGER NOT NULL DEFAULT 0,
    -- Wall time, milliseconds since 1970.
    enqueued_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    -- JSON.
    payload TEXT NOT NULL,
    due_at INTEGER,
    -- 1: `due_at` was a delay, and moves along when the clock is set.
    delayed INTEGER,
    max_attempts INTEGER,
    timeout_ms INTEGER,
    limit_key TEXT,
    limit_max INTEGER,
    unique_key TEXT,
    -- Wall time until which a finished job still holds its `unique_key`.
    unique_until INTEGER,
    batch INTEGER,
    -- JSON array: the jobs to enqueue after this one, the first of them first.
    next TEXT,
    -- JSON: the result of the job before in a chain, or a batch's counts.
    input TEXT,
    result TEXT,
    error TEXT,
    progress REAL,
    note TEXT,
    -- 1: somebody asked a running job to end.
    cancel INTEGER
) STRICT;

CREATE INDEX _monolite_job_due ON _monolite_job (due_at) WHERE state = 3;
CREATE INDEX _monolite_job_dead ON _monolite_job (id) WHERE state = 6;
CREATE INDEX _monolite_job_limit ON _monolite_job (limit_key, state, priority, id)
    WHERE limit_key IS NOT NULL;
-- Apart, so that the ended jobs of a key, however many, are not walked through.
CREATE INDEX _monolite_job_unique ON _monolite_job (unique_key)
    WHERE unique_key IS NOT NULL AND state < 5;
CREATE INDEX _monolite_job_window ON _monolite_job (unique_key, unique_until)
    WHERE unique_until IS NOT NULL;
CREATE INDEX _monolite_job_cancel ON _monolite_job (id) WHERE cancel IS NOT NULL AND state = 2;

-- The pending jobs that nobody has claimed, in the order they run. Apart from
-- the jobs, so that a claim reads rows and writes none of them.
CREATE TABLE _monolite_job_ready (
    queue TEXT NOT NULL,
    -- 1: was running when a worker died. Claimed one at a time.
    suspect INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (queue, suspect, priority, id)
) STRICT, WITHOUT ROWID;

-- For people with a SQL shell who delete a job.
CREATE TRIGGER _monolite_job_deleted AFTER DELETE ON _monolite_job WHEN OLD.state = 2 BEGIN
    DELETE FROM _monolite_job_ready
    WHERE queue = OLD.queue AND suspect = (OLD.crashes > 0)
        AND priority = OLD.priority AND id = OLD.id;
END;

-- Jobs taken together by one worker: a JSON array of [id, run]. A pair whose
-- `run` is no longer the job's has ended; the row goes when all have.
CREATE TABLE _monolite_job_claim (
    id INTEGER PRIMARY KEY,
    worker INTEGER NOT NULL,
    jobs TEXT NOT NULL
) STRICT;

CREATE INDEX _monolite_job_claim_worker ON _monolite_job_claim (worker);

-- Workers that hold claims. A lease is a time of the steady clock, which means
-- nothing after another start of the machine.
CREATE TABLE _monolite_job_worker (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    boot TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

-- Queues with settings of their own.
CREATE TABLE _monolite_job_queue (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    -- At most `rate_max` jobs start in any `rate_period_ms`.
    rate_max INTEGER,
    rate_period_ms INTEGER,
    -- JSON array of [wall time, jobs started], of the last period.
    rate_starts TEXT NOT NULL DEFAULT '[]'
) STRICT, WITHOUT ROWID;

CREATE TABLE _monolite_job_cron (
    name TEXT PRIMARY KEY,
    schedule TEXT NOT NULL,
    zone TEXT NOT NULL,
    -- JSON: the job to enqueue.
    job TEXT NOT NULL,
    next_at INTEGER NOT NULL,
    -- The tick that was fired last.
    last_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE _monolite_job_batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    total INTEGER NOT NULL,
    unfinished INTEGER NOT NULL,
    failed INTEGER NOT NULL DEFAULT 0,
    -- JSON: the job to enqueue once all have ended.
    callback TEXT,
    enqueued_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

-- How far the wall clock was ahead of the steady one when somebody last
-- looked: tells that it was set.
CREATE TABLE _monolite_job_clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot TEXT NOT NULL,
    ahead_ms INTEGER NOT NULL
) STRICT;

-- For people with a SQL shell.
CREATE VIEW _monolite_jobs AS
SELECT j.id, j.queue, j.kind,
    CASE j.state
        WHEN 2 THEN iif(EXISTS (
            SELECT 1 FROM _monolite_job_ready r
            WHERE r.queue = j.queue AND r.suspect = (j.crashes > 0)
                AND r.priority = j.priority AND r.id = j.id
        ), 'ready', 'running')
        WHEN 3 THEN 'scheduled' WHEN 4 THEN 'blocked' WHEN 5 THEN 'done'
        WHEN 6 THEN 'dead' WHEN 7 THEN 'cancelled'
    END AS state,
    j.priority, j.run - j.excused AS attempts, j.crashes,
    strftime('%Y-%m-%d %H:%M:%f', j.enqueued_at / 1000.0, 'unixepoch') AS enqueued_at,
    strftime('%Y-%m-%d %H:%M:%f', j.changed_at / 1000.0, 'unixepoch') AS changed_at,
    strftime('%Y-%m-%d %H:%M:%f', j.due_at / 1000.0, 'unixepoch') AS due_at,
    j.payload, j.result, j.error, j.progress, j.note
FROM _monolite_job j;
