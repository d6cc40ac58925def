-- One row for each entry. The rowid is a keyed 64-bit hash of namespace and key, so
-- that a get is one descent of one b-tree and a set dirties one page of it.
-- Of two keys with the same hash only the later is kept, as after an eviction (the
-- full key is compared on every read).
CREATE TABLE _monolite_cache_entry (
    id INTEGER PRIMARY KEY,
    -- Wall clock, milliseconds since 1970; NULL: it does not expire.
    expires_ms INTEGER,
    -- The time to live, in ms; negative: renewed by reads. NULL as above.
    ttl_ms INTEGER,
    -- The LRFU score; see `lrfu.rs`.
    heat INTEGER NOT NULL,
    -- Bytes of the value, in the row or in the blob file.
    size INTEGER NOT NULL,
    -- Namespace, NUL, key.
    key BLOB NOT NULL,
    -- The tags, each followed by NUL; NULL: none.
    tags BLOB,
    -- Blocks of the blob file, (first, count) as two little-endian u32 each;
    -- NULL: the value is in this row.
    runs BLOB,
    -- Of the value in the blob file.
    checksum INTEGER,
    value BLOB
) STRICT;

-- Exactly the tags of the entries.
CREATE TABLE _monolite_cache_tag (
    tag TEXT NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (tag, id)
) STRICT, WITHOUT ROWID;

-- The blob file's blocks, 8,192 in a row, one bit for each. Every transaction that
-- changes where a value is changes this too, so it always agrees with the entries.
CREATE TABLE _monolite_cache_map (
    segment INTEGER PRIMARY KEY,
    used_count INTEGER NOT NULL,
    held_count INTEGER NOT NULL,
    -- It belongs to an entry.
    used BLOB NOT NULL,
    -- It may take space on the disk: used, or used before and not returned.
    held BLOB NOT NULL
) STRICT;

-- Who computes a missing value; see `single_flight.rs`.
CREATE TABLE _monolite_cache_claim (
    id INTEGER PRIMARY KEY,
    token INTEGER NOT NULL,
    -- The steady clock of the boot `boot`.
    until_ms INTEGER NOT NULL,
    boot TEXT NOT NULL
) STRICT;

CREATE TABLE _monolite_cache_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Key of the hash, so that nobody can make keys collide on purpose.
    secret BLOB NOT NULL,
    -- Bytes set since the file was created, as of the last eviction: the clock of
    -- the scores.
    written INTEGER NOT NULL
) STRICT;

INSERT INTO _monolite_cache_state VALUES (1, randomblob(16), 0);
