-- Version 2: what the other parts of Monolite need.

-- Text as JSON, in the transaction of whoever comments: the sqlite3 shell
-- publishes as the app does. The message is `Comment` in comment.rs.
DROP TRIGGER comment_added;
CREATE TRIGGER comment_added AFTER INSERT ON comment BEGIN
    UPDATE post SET comments = comments + 1 WHERE id = NEW.post_id;
    INSERT INTO _monolite_outbox (channel, payload)
        SELECT 'comment', CAST(json_object(
            'id', NEW.id, 'post', NEW.post_id, 'created_ms', NEW.created_ms,
            'name', NEW.name, 'body', NEW.body, 'count', comments
        ) AS BLOB)
        FROM post WHERE id = NEW.post_id;
END;

-- One row for each comment whose author of the post was told, however often
-- the job has run. Its id counts them.
CREATE TABLE notification (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    comment_id INTEGER NOT NULL UNIQUE REFERENCES comment (id) ON DELETE CASCADE,
    sent_ms    INTEGER NOT NULL
        DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
) STRICT;

-- What the recurring job has counted last, and when.
CREATE TABLE discussed (
    post_id  INTEGER PRIMARY KEY REFERENCES post (id) ON DELETE CASCADE,
    comments INTEGER NOT NULL
) STRICT;
CREATE TABLE discussed_count (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    counted_ms INTEGER NOT NULL,
    runs       INTEGER NOT NULL
) STRICT;
CREATE INDEX comment_by_time ON comment (created_ms, post_id);

-- Names what the front page shows: another number with every change of a post,
-- and so with every comment. The cache is asked for it by that name.
CREATE TABLE front (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    edition INTEGER NOT NULL
) STRICT;
INSERT INTO front VALUES (1, random());
CREATE TRIGGER post_added AFTER INSERT ON post BEGIN
    UPDATE front SET edition = random();
END;
CREATE TRIGGER post_changed AFTER UPDATE ON post BEGIN
    UPDATE front SET edition = random();
END;
CREATE TRIGGER post_removed AFTER DELETE ON post BEGIN
    UPDATE front SET edition = random();
END;

PRAGMA user_version = 2;
