CREATE TABLE _monolite_outbox (
    id INTEGER PRIMARY KEY,
    -- Tells this row from one that had its id before, also in a file that was
    -- restored from a backup.
    token INTEGER NOT NULL DEFAULT (random()),
    channel TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE TABLE _monolite_outbox_source (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    source INTEGER NOT NULL
) STRICT;

INSERT INTO _monolite_outbox_source VALUES (1, random());
