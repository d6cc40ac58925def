# ROUNDS transactions that read, then write, as the driver begins them by default; prints how many
# were answered "database is locked", and how long each took in ms.
import sqlite3, sys, threading, time

path, rounds, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
locked, took = [], []


def work():
    db = sqlite3.connect(path, isolation_level=None, timeout=20)
    db.execute("PRAGMA foreign_keys = ON")
    for _ in range(rounds):
        start = time.time()
        try:
            db.execute("BEGIN")
            (n,) = db.execute("SELECT n FROM t").fetchone()
            time.sleep(0.001)
            db.execute("UPDATE t SET n = ?", (n + 1,))
            db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            locked.append(str(error))
        took.append((time.time() - start) * 1000)


workers = [threading.Thread(target=work) for _ in range(threads)]
[w.start() for w in workers]
[w.join() for w in workers]
print("locked", len(locked))
print("took", " ".join("%.1f" % t for t in took))
