# What the binary $1 does with the pages of a database: backup, replication, restore,
# and a migration that is undone. Run by `cargo xtask test outside`.
monolite=$1
volume=$(mktemp -d "$PWD/volume.XXXXXX")
replica=$(mktemp -d "$PWD/replica.XXXXXX")
python3 - "$volume/app.sqlite3" <<'PYTHON'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""
    PRAGMA journal_mode = WAL;
    CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
        INSERT INTO post (title) SELECT 'post ' || i FROM n;
""")
PYTHON
count() {
    python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM post").fetchone()[0])' "$1"
}

"$monolite" backup app.sqlite3 --data "$volume" -o "$PWD/backup.sqlite3"
test "$(count "$PWD/backup.sqlite3")" = 1000

"$monolite" replicate --once --data "$volume" --replica "$replica"
"$monolite" restore app.sqlite3 --data "$volume" --replica "$replica" -o "$PWD/restored.sqlite3"
test "$(count "$PWD/restored.sqlite3")" = 1000

if "$monolite" migrate --data "$volume" -- python3 -c \
    'import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute("DELETE FROM post WHERE id > 10"); db.commit()' \
    "$volume/app.sqlite3"
then
    echo "a migration that lost 990 rows was let pass"; exit 1
fi
test "$(count "$volume/app.sqlite3")" = 1000
