/* The library that `monolite run` preloads into the app's processes: SQLite's own functions, wrapped.
 *
 * It holds no SQLite, opens no database, and keeps no descriptor. Each wrapper finds the function
 * that its caller would have reached without it, and calls that:
 *
 * - sqlite3_prepare*, sqlite3_exec: a plain `BEGIN` becomes `BEGIN IMMEDIATE`. Every other text is
 *   passed on as it is, `BEGIN DEFERRED` and SAVEPOINT too.
 * - sqlite3_step: where SQLite asks its busy handler whether to wait, the wait happens here, after
 *   SQLite has returned and so without its mutex, and the same call is made again, as SQLite allows.
 * - sqlite3_busy_timeout: the bound of that wait. sqlite3_busy_handler: the app's own, left alone.
 *
 * Invariants:
 * - SQLite decides whether a wait makes sense: it calls its busy handler only while the connection
 *   holds no lock that others could wait for. Nothing is retried that SQLite would not have retried.
 * - No SQLite mutex is held while Ruby's interpreter lock is given up.
 * - What is shared with other processes only decides who tries first (layout.h).
 *
 * It is linked with no library and uses no symbol that an old glibc or musl lacks: one file for all.
 * Without the shared file, waiters are in order within their process only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "layout.h"

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
enum { OK = 0, BUSY = 5, READONLY = 8, MISUSE = 21, ROW = 100, DONE = 101 };
enum { BUSY_SNAPSHOT = 517 };

/* The bound of a wait where the app has set none, in ms: what Rails and Django set. */
#define DEFAULT_TIMEOUT_MS 5000
/* Nap of the first in the queue, who tries again after it; a commit ends it. */
#define NAP_FIRST_US 1000
/* Nap of those behind; it ends when they become first. */
#define NAP_QUEUED_US 5000
/* A waiter that has not napped for so long is dead or stopped: it is passed by. */
#define STALE_MS 250
/* Even who is not the first tries this often. */
#define GUARD_MS 50
/* Shorter waits are counted, and are no event. */
#define EVENT_WAIT_US 100000
/* Copies of SQLite in one process, places that call one, connections. */
#define APIS 16
#define SITES 4096
#define CONNECTIONS 16384
/* Bytes of a script for sqlite3_exec that is searched for BEGIN; a longer one is passed on as it is. */
#define SCRIPT_MAX (1 << 20)

/* Marks what was rewritten here, for READONLY below. */
static const char IMMEDIATE[] = "BEGIN IMMEDIATE/*monolite*/";

#include "types.h"

#include "shared.h"

#include "bind.h"

/* ---- connections ---- */

static connection_t *connection_of(api_t *api, sqlite3 *db, int create) {
  if (self.last && self.last->db == db) return self.last;
  uintptr_t hash = ((uintptr_t)db >> 4) * 0x9E3779B1u;
  for (unsigned i = 0; i < 64; i++) {
    connection_t *at = &connections[(hash + i) % CONNECTIONS];
    sqlite3 *of = at->db;
    if (of == db) return self.last = at;
    if (of) continue;
    if (!create) return NULL;
    if (__atomic_compare_exchange_n((sqlite3 **)&at->db, &of, db, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST)) {
      at->api = api;
      return self.last = at;
    }
  }
  return NULL; /* Too many: SQLite's own ways apply. */
}

static int handler(void *data, int count);

static void opened(api_t *api, sqlite3 *db) {
  if (!db) return;
  connection_t *connection = connection_of(api, db, 1);
  if (!connection) return;
  /* An address that an earlier connection had. */
  connection->api = api;
  connection->timeout_ms = DEFAULT_TIMEOUT_MS;
  connection->is_set = 0;
  connection->deferred = 0;
  connection->in_transaction = connection->wrote = 0;
  connection->database = NULL;
  api->busy_handler(db, handler, connection);
}

#include "queue.h"

#include "ruby.h"

/* ---- waiting ---- */

static int is_pragma(const char *sql) {
  while (*sql == ' ' || *sql == '\t' || *sql == '\n' || *sql == '\r' || *sql == ';') sql++;
  return strncasecmp(sql, "pragma", 6) == 0;
}

/* SQLite's busy handler. In a step that may be made again (`depth` is 1) it only notes that SQLite
 * would wait. Elsewhere the wait is here, as SQLite's own is. */
static int handler(void *data, int count) {
  connection_t *connection = data;
  thread_t *t = &self;
  if (t->depth == 1) {
    const char *sql = connection->api->sql(t->stmt);
    /* PRAGMA wal_checkpoint answers a row in the place of BUSY: it waits here. */
    if (!sql || !is_pragma(sql)) {
      t->wanted = 1;
      return 0;
    }
  }
  if (connection->timeout_ms <= 0) return 0;
  wait_t *wait = &t->inner;
  if (t->in_exec == 2 && wait->connection == connection) {
    t->in_exec = 1; /* it has waited for the others already */
  } else if (count == 0 || wait->connection != connection) {
    api_t *api = connection->api;
    if (wait->connection) wait_end(wait, 1); /* of a call that is not wrapped here: a checkpoint */
    int queued = t->in_exec && api->txn_state && api->txn_state(connection->db, NULL) < 2;
    wait_start(wait, connection, queued);
  }
  int again = nap(wait);
  if (!again) {
    wait_end(wait, 0);
    wait->connection = NULL;
  }
  return again;
}

/* Ends the account of a wait within SQLite, which has returned. */
static inline void inner_ended(thread_t *t, int rc) {
  if (UNLIKELY(t->inner.connection != NULL) && t->depth == 0) {
    wait_end(&t->inner, (rc & 0xff) != BUSY);
    t->inner.connection = NULL;
  }
}

static uint64_t me(void) { return (uint64_t)getpid() << 32 | thread_id(); }

static __attribute__((noinline)) void take_note(connection_t *connection, sqlite3_stmt *stmt,
                                                int autocommit, int wrote) {
  uint64_t now_ms = coarse_ms();
  if (autocommit) {
    uint64_t ms = now_ms - connection->since_ms;
    database_t *database = connection->database;
    connection->in_transaction = 0;
    if (connection->wrote) {
      if (database) {
        uint64_t holder = me();
        __atomic_compare_exchange_n((uint64_t *)&database->holder, &holder, 0, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
      }
      if (ms >= shared->slow_write_ms) {
        shared->slow_writes++;
        raise_to(&shared->slow_write_max_us, ms * 1000);
        record(EVENT_SLOW_WRITE, ms * 1000, 0, database, NULL);
      }
    } else if (ms >= shared->long_read_ms) {
      shared->long_reads++;
      raise_to(&shared->long_read_max_us, ms * 1000);
      record(EVENT_LONG_READ, ms * 1000, 0, database, NULL);
    }
    connection->wrote = 0;
    return;
  }
  if (!connection->in_transaction) {
    connection->in_transaction = 1;
    connection->since_ms = now_ms;
    connection->wrote = 0;
  }
  if (!connection->wrote && (stmt ? !connection->api->stmt_readonly(stmt) : wrote)) {
    connection->wrote = 1;
    database_t *database = database_of(connection, 0);
    if (database) {
      database->holder = me();
      database->holder_since_ms = now_ms;
    }
  }
}

/* After a call that may have begun or ended a transaction. */
static inline void after(api_t *api, sqlite3 *db, sqlite3_stmt *stmt) {
  connection_t *connection = connection_of(api, db, 0);
  if (!connection) return;
  int autocommit = api->get_autocommit(db);
  if (!autocommit || connection->in_transaction) {
    int wrote = !stmt && !autocommit && api->txn_state && api->txn_state(db, NULL) == 2;
    take_note(connection, stmt, autocommit, wrote);
  }
  if (UNLIKELY(autocommit && is_crowded())) {
    database_t *database = database_of(connection, 0);
    if (database) wake_first(database);
  }
}

static __attribute__((noinline)) void slow_statement(api_t *api, sqlite3_stmt *stmt, uint64_t ms) {
  connection_t *connection = connection_of(api, api->db_handle(stmt), 0);
  shared->slow_statements++;
  raise_to(&shared->slow_statement_max_us, ms * 1000);
  record(EVENT_SLOW_STATEMENT, ms * 1000, 0, connection ? database_of(connection, 0) : NULL,
         api->sql(stmt));
}

static int is_write(api_t *api, sqlite3_stmt *stmt) { return !api->stmt_readonly(stmt); }

/* One call of sqlite3_step, which notes whether SQLite would wait. */
static inline int step_once(thread_t *t, api_t *api, sqlite3_stmt *stmt) {
  t->depth = 1;
  t->wanted = 0;
  t->stmt = stmt;
  int rc = api->step(stmt);
  t->depth = 0;
  inner_ended(t, rc);
  return rc;
}

/* The step has failed, or others wait. */
static __attribute__((noinline)) int step_slowly(thread_t *t, api_t *api, sqlite3_stmt *stmt, int rc) {
  sqlite3 *db = api->db_handle(stmt);
  connection_t *connection = connection_of(api, db, 0);
  if (!connection) return rc;
  wait_t *wait = &t->wait;
  int waits = 0;
  if (rc < 0) {
    /* Not tried yet. Who wants the write lock stands behind those that wait for it already. */
    int holds_none = api->txn_state ? api->txn_state(db, NULL) == 0 : api->get_autocommit(db);
    if (is_write(api, stmt) && holds_none && connection->timeout_ms > 0) {
      database_t *database = database_of(connection, 0);
      if (database && first_in(database)) {
        wait_start(wait, connection, 1);
        waits = 1;
        if (wait->slot) nap_outside(wait, stmt);
      }
    }
    rc = step_once(t, api, stmt);
  }
  /* Once it has waited, SQLite may not ask again, where another thread reads by this connection. */
  while ((rc & 0xff) == BUSY && rc != BUSY_SNAPSHOT && (t->wanted || waits) &&
         connection->timeout_ms > 0) {
    if (!waits) {
      /* A commit that waits for readers has the write lock: behind others it would wait for ever.
       * Without sqlite3_txn_state only a BEGIN is known to have none. */
      int queued = is_write(api, stmt) &&
        (api->txn_state ? api->txn_state(db, NULL) < 2 : strncasecmp(api->sql(stmt), "begin", 5) == 0);
      wait_start(wait, connection, queued);
      waits = 1;
    }
    /* A statement that has begun keeps what others of the connection read locked meanwhile. One that
     * has given rows, or holds the write lock, goes on where it is. */
    if (t->row_of != stmt && api->txn_state && api->txn_state(db, NULL) < 2) api->reset(stmt);
    int again = nap_outside(wait, stmt);
    rc = step_once(t, api, stmt);
    if (!again) break;
  }
  if (waits) wait_end(wait, (rc & 0xff) != BUSY);
  if ((rc & 0xff) == READONLY && api->get_autocommit(db)) {
    /* PRAGMA query_only, or a file that may not be written: the app asked for a plain BEGIN. */
    const char *sql = api->sql(stmt);
    if (sql && strcmp(sql, IMMEDIATE) == 0) {
      api->reset(stmt);
      t->depth = 2;
      rc = api->exec(db, "BEGIN", NULL, NULL, NULL);
      t->depth = 0;
      shared->deferred++;
      if (rc == OK) rc = DONE;
    }
  }
  return rc;
}

#include "texts.h"

/* ---- the wrappers ---- */

typedef int (*any_prepare)(api_t *, sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **);

static int do_prepare(api_t *api, sqlite3 *db, const char *sql, int n, unsigned flags,
                      sqlite3_stmt **stmt, const char **tail) {
  (void)flags;
  return api->prepare(db, sql, n, stmt, tail);
}
static int do_prepare_v2(api_t *api, sqlite3 *db, const char *sql, int n, unsigned flags,
                         sqlite3_stmt **stmt, const char **tail) {
  (void)flags;
  return api->prepare_v2(db, sql, n, stmt, tail);
}
static int do_prepare_v3(api_t *api, sqlite3 *db, const char *sql, int n, unsigned flags,
                         sqlite3_stmt **stmt, const char **tail) {
  return api->prepare_v3(db, sql, n, flags, stmt, tail);
}

static int set_timeout(api_t *api, sqlite3 *db, int ms) {
  connection_t *connection = connection_of(api, db, 1);
  if (!connection) return api->busy_timeout(db, ms);
  connection->api = api;
  connection->is_set = 1;
  connection->timeout_ms = ms > 0 ? ms : 0;
  return ms > 0 ? api->busy_handler(db, handler, connection) : api->busy_handler(db, NULL, NULL);
}

/* What the app sees is what it has set: SQLite does not know the bound of our handler. It is a
 * function since a prepared PRAGMA gives the value of the moment each time it runs. The pointer that
 * it gets leads to its connection, and so to the copy of SQLite that calls it; but to ask for that
 * pointer takes a copy, so each has a function of its own. */
#define TIMEOUT_FUNCTION(n) \
  static void timeout_##n(void *context, int count, void **values) { \
    (void)count, (void)values; \
    connection_t *connection = apis[n].user_data(context); \
    apis[n].result_int(context, connection->is_set ? connection->timeout_ms : 0); \
  }
TIMEOUT_FUNCTION(0)
TIMEOUT_FUNCTION(1)
TIMEOUT_FUNCTION(2)
TIMEOUT_FUNCTION(3)
static const function_fn timeout_functions[] = {timeout_0, timeout_1, timeout_2, timeout_3};

static int show_timeout(api_t *api, connection_t *connection) {
  size_t index = (size_t)(api - apis);
  return index < sizeof timeout_functions / sizeof *timeout_functions &&
    api->create_function(connection->db, "monolite_busy_timeout", 0, 1 /* SQLITE_UTF8 */, connection,
                         timeout_functions[index], NULL, NULL) == OK;
}

/* A preparation may wait for a lock, to read the schema: within SQLite, as its own wait is. */
static inline int prepare_within(any_prepare real, api_t *api, sqlite3 *db, const char *sql, int n,
                                 unsigned flags, sqlite3_stmt **stmt, const char **tail) {
  thread_t *t = &self;
  int depth = t->depth;
  t->depth = depth ? depth + 1 : 2;
  int rc = real(api, db, sql, n, flags, stmt, tail);
  t->depth = depth;
  inner_ended(t, rc);
  return rc;
}

/* Who waits for nothing, by its own wish, would be refused where it only reads. */
static int stays_deferred(connection_t *connection) {
  return connection->deferred || (connection->is_set == 1 && connection->timeout_ms == 0);
}

static inline int prepared(any_prepare real, site_t *site, sqlite3 *db, const char *sql, int n,
                           unsigned flags, sqlite3_stmt **stmt, const char **tail) {
  api_t *api = site->api;
  const char *end = n < 0 ? (const char *)UINTPTR_MAX : sql + n, *p = sql, *after = NULL;
  if (!sql || !db) return real(api, db, sql, n, flags, stmt, tail);
  /* SQLite's own texts, or those of a script whose BEGINs sqlite3_exec has looked at. */
  if (site->internal || self.depth) return prepare_within(real, api, db, sql, n, flags, stmt, tail);
  p = skip_blanks(sql, end);
  char first = p < end ? *p | 0x20 : 0;
  if (LIKELY(first != 'b' && first != 'p')) {
    if (UNLIKELY(!site->general) && !is_control(p, end)) site->general = 1;
    return prepare_within(real, api, db, sql, n, flags, stmt, tail);
  }
  connection_t *connection = connection_of(api, db, 0);
  if (!connection) return prepare_within(real, api, db, sql, n, flags, stmt, tail);
  if (first == 'b' && !stays_deferred(connection) && (after = plain_begin(p, end)) &&
      (site->general || !may_be_python())) {
    int rc = prepare_within(real, api, db, IMMEDIATE, -1, flags, stmt, NULL);
    if (tail) *tail = after;
    if (rc == OK) shared->begins++;
    return rc;
  }
  if (first == 'p') {
    site->general = 1;
    int ms = connection->timeout_ms;
    enum pragma pragma = read_pragma(p, end, connection, &ms, &after);
    /* Where the app has a busy handler of its own, SQLite's answer is right. */
    if (pragma == PRAGMA_TIMEOUT) set_timeout(api, db, ms);
    int is_shown = pragma == PRAGMA_TIMEOUT || (pragma == PRAGMA_TIMEOUT_READ && connection->is_set >= 0);
    if (is_shown && show_timeout(api, connection)) {
      int rc = prepare_within(real, api, db, "SELECT monolite_busy_timeout() AS timeout", -1, flags,
                              stmt, NULL);
      if (tail) *tail = after;
      return rc;
    }
  }
  return prepare_within(real, api, db, sql, n, flags, stmt, tail);
}

EXPORT int sqlite3_prepare(sqlite3 *db, const char *sql, int n, sqlite3_stmt **stmt, const char **tail) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(prepare, db, sql, n, stmt, tail);
  return prepared(do_prepare, site, db, sql, n, 0, stmt, tail);
}

EXPORT int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int n, sqlite3_stmt **stmt, const char **tail) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(prepare_v2, db, sql, n, stmt, tail);
  return prepared(do_prepare_v2, site, db, sql, n, 0, stmt, tail);
}

EXPORT int sqlite3_prepare_v3(sqlite3 *db, const char *sql, int n, unsigned flags, sqlite3_stmt **stmt,
                              const char **tail) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(prepare_v3, db, sql, n, flags, stmt, tail);
  return prepared(do_prepare_v3, site, db, sql, n, flags, stmt, tail);
}

EXPORT int sqlite3_step(sqlite3_stmt *stmt) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(step, stmt);
  thread_t *t = &self;
  void *frame = __builtin_frame_address(0);
  /* An exception of the app's language may have jumped out of SQLite: who is further up in the
   * stack than the outermost call cannot be within it. */
  if (UNLIKELY(t->depth && frame >= t->frame)) t->depth = 0;
  if (UNLIKELY(t->depth || site->internal || !stmt)) {
    int depth = t->depth;
    t->depth = depth ? depth + 1 : 2;
    int rc = api->step(stmt);
    t->depth = depth;
    return rc;
  }
  t->frame = frame;
  /* The next row of a statement is not timed: sorting and the search for the first one is. */
  int timed = stmt != t->row_of;
  uint64_t began = timed ? coarse_ms() : 0;
  int rc;
  if (UNLIKELY(is_crowded())) {
    rc = step_slowly(t, api, stmt, -1);
  } else {
    rc = step_once(t, api, stmt);
    if (UNLIKELY(rc != ROW && rc != DONE)) rc = step_slowly(t, api, stmt, rc);
  }
  if (timed) {
    uint64_t ms = coarse_ms() - began;
    /* A wait for a lock is counted as such. */
    if (UNLIKELY(ms >= shared->slow_statement_ms) && ms >= shared->slow_statement_ms + t->waited_us / 1000)
      slow_statement(api, stmt, ms - t->waited_us / 1000);
    t->waited_us = 0;
  }
  t->row_of = rc == ROW ? stmt : NULL;
  if (rc != ROW) after(api, api->db_handle(stmt), stmt);
  return rc;
}

EXPORT int sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **),
                        void *data, char **error) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(exec, db, sql, row, data, error);
  thread_t *t = &self;
  if (!sql || !db || site->internal) return api->exec(db, sql, row, data, error);
  connection_t *connection = connection_of(api, db, 0);
  char *text = connection && !stays_deferred(connection) ? replace_begins(sql) : NULL;
  if (text) shared->begins++;
  void *frame = __builtin_frame_address(0);
  if (UNLIKELY(t->depth && frame >= t->frame)) t->depth = 0;
  int depth = t->depth;
  if (depth == 0) {
    t->frame = frame;
    t->in_exec = 1;
  }
  if (text && depth == 0 && is_crowded() && connection->timeout_ms > 0 && api->get_autocommit(db) &&
      plain_begin(sql, (const char *)UINTPTR_MAX)) {
    database_t *database = database_of(connection, 0);
    if (database && first_in(database)) {
      wait_start(&t->inner, connection, 1);
      if (t->inner.slot) nap_outside(&t->inner, NULL);
      t->in_exec = 2;
    }
  }
  t->depth = depth ? depth + 1 : 2;
  int rc = api->exec(db, text ? text : sql, row, data, error);
  if (UNLIKELY((rc & 0xff) == READONLY && text && api->get_autocommit(db))) {
    /* PRAGMA query_only: the app asked for a plain BEGIN. Not if anything came before it. */
    const char *rest = plain_begin(sql, (const char *)UINTPTR_MAX);
    if (rest && !*skip_blanks(rest, (const char *)UINTPTR_MAX)) {
      if (error) api->free(*error);
      rc = api->exec(db, sql, row, data, error);
      shared->deferred++;
    }
  }
  t->depth = depth;
  free(text);
  if (depth == 0) {
    t->in_exec = 0;
    inner_ended(t, rc);
    t->waited_us = 0;
  }
  if (depth == 0) after(api, db, NULL);
  return rc;
}

EXPORT int sqlite3_finalize(sqlite3_stmt *stmt) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(finalize, stmt);
  if (UNLIKELY(napping_count > 0) && stmt && napping_pid == (uint32_t)getpid()) {
    /* Another thread of Ruby's will step it after its nap. */
    for (unsigned i = 0; i < 64; i++) {
      while (napping[i] == stmt) {
        wait_t wait = {.deadline_us = now_us() + 1000000};
        nap_outside(&wait, NULL);
      }
    }
  }
  return api->finalize(stmt);
}

EXPORT int sqlite3_busy_timeout(sqlite3 *db, int ms) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(busy_timeout, db, ms);
  return db ? set_timeout(api, db, ms) : api->busy_timeout(db, ms);
}

EXPORT int sqlite3_busy_handler(sqlite3 *db, handler_fn of_app, void *data) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(busy_handler, db, of_app, data);
  /* Called by SQLite itself for PRAGMA busy_timeout, or by the app: its own way to wait stays. */
  connection_t *connection = db ? connection_of(api, db, 0) : NULL;
  if (connection && of_app != handler) connection->is_set = site->internal ? 1 : -1;
  return api->busy_handler(db, of_app, data);
}

EXPORT int sqlite3_open(const char *name, sqlite3 **db) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(open, name, db);
  int rc = api->open(name, db);
  if (rc == OK && db) opened(api, *db);
  return rc;
}

EXPORT int sqlite3_open16(const void *name, sqlite3 **db) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(open16, name, db);
  int rc = api->open16(name, db);
  if (rc == OK && db) opened(api, *db);
  return rc;
}

EXPORT int sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(open_v2, name, db, flags, vfs);
  int rc = api->open_v2(name, db, flags, vfs);
  if (rc == OK && db) opened(api, *db);
  return rc;
}
