-- The one row that says which file this is and what it keeps.
CREATE TABLE _monolite_pubsub_file (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Random; another one after every rebuild.
    epoch INTEGER NOT NULL,
    -- File time = steady clock + offset_ms, while the machine's start is boot.
    boot TEXT NOT NULL,
    offset_ms INTEGER NOT NULL,
    -- The window.
    keep_ms INTEGER NOT NULL,
    keep_messages INTEGER NOT NULL,
    keep_bytes INTEGER NOT NULL
) STRICT;

-- What pruning looks at stands before the payload: it never reads one.
CREATE TABLE _monolite_pubsub_message (
    seq INTEGER PRIMARY KEY,
    file_ms INTEGER NOT NULL,
    -- Bytes of all messages up to and with this one.
    total_bytes INTEGER NOT NULL,
    published_ms INTEGER NOT NULL,
    channel TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE INDEX _monolite_pubsub_message_channel
    ON _monolite_pubsub_message (channel);

-- Rows of outboxes that are published here and perhaps not yet deleted there.
CREATE TABLE _monolite_pubsub_relayed (
    source INTEGER NOT NULL,
    id INTEGER NOT NULL,
    token INTEGER NOT NULL,
    PRIMARY KEY (source, id, token)
) STRICT, WITHOUT ROWID;

-- One for each handle that has members. Ids are never used again, or one that
-- slept would renew the lease of another.
CREATE TABLE _monolite_pubsub_lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    boot TEXT NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE _monolite_pubsub_presence (
    channel TEXT NOT NULL,
    member TEXT NOT NULL,
    lease INTEGER NOT NULL REFERENCES _monolite_pubsub_lease (id),
    place INTEGER NOT NULL,
    joined_ms INTEGER NOT NULL,
    meta TEXT NOT NULL,
    PRIMARY KEY (channel, member, lease, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX _monolite_pubsub_presence_lease
    ON _monolite_pubsub_presence (lease, place);
