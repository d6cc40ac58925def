-- Version 1. Ids are never reused (AUTOINCREMENT): the live stream resumes
-- after the last id a browser has seen.
CREATE TABLE post (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    created_ms INTEGER NOT NULL
        DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    comments   INTEGER NOT NULL DEFAULT 0,
    title      TEXT    NOT NULL CHECK (length(title) BETWEEN 1 AND 120),
    body       TEXT    NOT NULL CHECK (length(body) BETWEEN 1 AND 10000)
) STRICT;

CREATE TABLE comment (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    post_id    INTEGER NOT NULL REFERENCES post (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL
        DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 40),
    body       TEXT    NOT NULL CHECK (length(body) BETWEEN 1 AND 1000)
) STRICT;

CREATE INDEX comment_by_post ON comment (post_id, id);

-- Triggers, so that the counts are right for whoever writes: a visitor may
-- well comment with the sqlite3 shell.
CREATE TRIGGER comment_added AFTER INSERT ON comment BEGIN
    UPDATE post SET comments = comments + 1 WHERE id = NEW.post_id;
END;
CREATE TRIGGER comment_removed AFTER DELETE ON comment BEGIN
    UPDATE post SET comments = comments - 1 WHERE id = OLD.post_id;
END;

PRAGMA user_version = 1;
