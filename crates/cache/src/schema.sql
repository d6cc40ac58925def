-- One row an entry. The rowid is a keyed 64-bit hash of namespace and key, so
-- that a get is one descent of one b-tree and a set dirties one page of it.
-- Two keys of one hash cannot both be kept: the later takes the place of the
-- earlier, as an eviction would (the full key is compared on every read).
CREATE TABLE _monolite_cache_entry (
    id INTEGER PRIMARY KEY,
    -- Wall clock, milliseconds since 1970; NULL: does not expire.
    expires_ms INTEGER,
    -- What it was given to live; negative: renewed by reads. NULL as above.
    ttl_ms INTEGER,
    -- How worth keeping it is; see `heat.rs`.
    heat INTEGER NOT NULL,
    -- Bytes of the value, wherever it is.
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

-- The blob file's blocks, 8,192 a row; one bit a block. It is part of every
-- transaction that moves a value, and so always agrees with the entries.
CREATE TABLE _monolite_cache_map (
    segment INTEGER PRIMARY KEY,
    used_count INTEGER NOT NULL,
    held_count INTEGER NOT NULL,
    -- Belongs to an entry.
    used BLOB NOT NULL,
    -- May take room on the disk: used, or used before and not given back.
    held BLOB NOT NULL
) STRICT;

-- Who computes a missing value; see `claim.rs`.
CREATE TABLE _monolite_cache_claim (
    id INTEGER PRIMARY KEY,
    token INTEGER NOT NULL,
    -- Steady clock of the machine's start `boot`.
    until_ms INTEGER NOT NULL,
    boot TEXT NOT NULL
) STRICT;

CREATE TABLE _monolite_cache_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Key of the hash, so that nobody can make keys collide on purpose.
    secret BLOB NOT NULL,
    -- Bytes ever set, now and then: the clock that heat cools by.
    written INTEGER NOT NULL,
    -- The start of the machine in which the file was opened last.
    boot TEXT NOT NULL
) STRICT;

INSERT INTO _monolite_cache_state VALUES (1, randomblob(16), 0, '');
