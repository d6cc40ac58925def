/* The shared file of the driver lane: counters, recent events, and one queue of waiters for each
 * database. All numbers are in the byte order of the machine; the file lives for one boot.
 * `../layout.rs` reads it: change both, and VERSION. Every field is naturally aligned.
 *
 * Invariants:
 * - A process may die between any two stores. Nothing in this file makes another process wait: a
 *   waiter counts only while its `beat_ms` is younger than STALE_MS, and a queued waiter tries for
 *   SQLite's own lock at least every GUARD_MS, whatever the queue says.
 * - The file decides who tries first, never who has the lock: that is SQLite's alone.
 */
#ifndef MONOLITE_DRIVER_LAYOUT_H
#define MONOLITE_DRIVER_LAYOUT_H
#include <stdint.h>

#define MAGIC 0x3156524445564952ull /* "RIVEDRV1" */
#define VERSION 1u
#define DATABASES 64
#define SLOTS 64 /* Waiters of one database that are in order; later ones only take naps. */
#define EVENTS 64
#define PATH_MAX_SHOWN 192
#define TEXT_MAX 128

enum kind {
  EVENT_WAIT = 1,           /* waited for a lock, and got it */
  EVENT_TIMEOUT = 2,        /* waited, and gave up at the connection's busy timeout */
  EVENT_SLOW_STATEMENT = 3, /* one call of sqlite3_step took long */
  EVENT_SLOW_WRITE = 4,     /* a transaction that wrote was open for long */
  EVENT_LONG_READ = 5       /* a transaction that only read was open for long */
};

typedef struct {
  _Atomic uint64_t ticket;  /* 0: free. The lowest one of the living is the first in the queue. */
  _Atomic uint64_t beat_ms; /* CLOCK_MONOTONIC, of its last nap */
  _Atomic uint32_t wake;    /* a futex */
  _Atomic uint32_t pid;
  uint8_t pad[40];
} slot_t;

typedef struct {
  _Atomic uint64_t key;         /* of device and inode; 0: free */
  _Atomic uint64_t next_ticket; /* the last one given out */
  _Atomic uint64_t holder;      /* (pid << 32) | thread id of the open write transaction; 0: unknown */
  _Atomic uint64_t holder_since_ms;
  _Atomic uint64_t waits;
  _Atomic uint64_t wait_us;
  _Atomic uint64_t used_ms;
  uint8_t pad[8];
  char path[PATH_MAX_SHOWN];
  slot_t slots[SLOTS];
} database_t;

typedef struct {
  _Atomic uint64_t sequence; /* odd while it is written; 2 × its number + 2 when it is whole */
  uint64_t wall_ms;          /* since 1970 */
  uint64_t duration_us;
  uint32_t kind;
  uint32_t pid;
  uint32_t holder_pid; /* of waits: who held the lock when it began; 0: unknown */
  uint32_t database;   /* its index, or UINT32_MAX */
  char text[TEXT_MAX]; /* the statement, cut; ends with 0 */
} event_t;

typedef struct {
  uint64_t magic;
  uint32_t version;
  uint32_t size;
  /* Set by the process that makes the file; milliseconds. */
  uint32_t slow_statement_ms, slow_write_ms, long_read_ms, pad;
  _Atomic uint64_t crowded_until_ms; /* 0: nobody waits in any queue */
  _Atomic uint64_t waits, wait_us, wait_max_us, timeouts;
  _Atomic uint64_t begins;   /* transactions begun IMMEDIATE for the app */
  _Atomic uint64_t deferred; /* … and DEFERRED after all, as the connection may not write */
  _Atomic uint64_t slow_statements, slow_statement_max_us;
  _Atomic uint64_t slow_writes, slow_write_max_us;
  _Atomic uint64_t long_reads, long_read_max_us;
  _Atomic uint64_t bound;   /* copies of SQLite found in processes */
  _Atomic uint64_t unbound; /* … with functions missing: left alone */
  _Atomic uint64_t next_event;
  uint8_t pad2[96];
  event_t events[EVENTS];
  database_t databases[DATABASES];
} shared_t;

_Static_assert(sizeof(slot_t) == 64, "slot");
_Static_assert(sizeof(database_t) == 256 + 64 * SLOTS, "database");
_Static_assert(sizeof(event_t) == 168, "event");
_Static_assert(__builtin_offsetof(shared_t, events) == 256, "header");
#endif
