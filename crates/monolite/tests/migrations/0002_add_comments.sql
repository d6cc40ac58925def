CREATE TABLE comment (
    id INTEGER PRIMARY KEY,
    post_id INTEGER NOT NULL REFERENCES post ON DELETE CASCADE,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX comment_post ON comment (post_id);
