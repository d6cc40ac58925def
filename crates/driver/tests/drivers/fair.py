# Transactions for SECONDS on THREADS threads; prints of each how many other transactions were
# committed between its wish to begin and its beginning, and how many each thread has made.
import sqlite3, sys, threading, time

path, seconds, threads = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
others, made = [], []


def work():
    db = sqlite3.connect(path, isolation_level=None, timeout=20)
    db.execute("PRAGMA foreign_keys = ON")
    count = 0
    while time.time() < ends:
        (before,) = db.execute("SELECT n FROM t").fetchone()
        db.execute("BEGIN")
        (n,) = db.execute("SELECT n FROM t").fetchone()
        time.sleep(0.001)
        db.execute("UPDATE t SET n = ?", (n + 1,))
        db.execute("COMMIT")
        # Until all have come, there are fewer to wait for.
        if count > 0:
            others.append(n - before)
        count += 1
    made.append(count)


print("ready", flush=True)
sys.stdin.readline()
ends = time.time() + seconds
workers = [threading.Thread(target=work) for _ in range(threads)]
[w.start() for w in workers]
[w.join() for w in workers]
print("others", *others)
print("made", *made)
