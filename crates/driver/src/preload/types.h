/* What the parts of the library share: SQLite's functions as one copy of it in this process has them,
 * the places that call them, connections, waits, and what a thread is doing.
 */
#ifndef MONOLITE_DRIVER_TYPES_H
#define MONOLITE_DRIVER_TYPES_H

typedef int (*prepare_fn)(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
typedef int (*prepare3_fn)(sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **);
typedef int (*exec_fn)(sqlite3 *, const char *, int (*)(void *, int, char **, char **), void *, char **);
typedef int (*handler_fn)(void *, int);
typedef void (*function_fn)(void *context, int count, void **values);

typedef struct {
  _Atomic(void *) base; /* the object that holds it */
  int (*step)(sqlite3_stmt *);
  int (*reset)(sqlite3_stmt *);
  int (*finalize)(sqlite3_stmt *);
  prepare_fn prepare, prepare_v2;
  prepare3_fn prepare_v3;
  exec_fn exec;
  int (*busy_timeout)(sqlite3 *, int);
  int (*busy_handler)(sqlite3 *, handler_fn, void *);
  void (*free)(void *);
  int (*open)(const char *, sqlite3 **);
  int (*open16)(const void *, sqlite3 **);
  int (*open_v2)(const char *, sqlite3 **, int, const char *);
  sqlite3 *(*db_handle)(sqlite3_stmt *);
  int (*get_autocommit)(sqlite3 *);
  const char *(*sql)(sqlite3_stmt *);
  int (*stmt_readonly)(sqlite3_stmt *);
  const char *(*db_filename)(sqlite3 *, const char *);
  int (*txn_state)(sqlite3 *, const char *); /* may be missing: 3.34 */
  int (*create_function)(sqlite3 *, const char *, int, int, void *, function_fn, function_fn,
                         void (*)(void *));
  void *(*user_data)(void *context);
  void (*result_int)(void *context, int);
  int whole; /* everything else was found */
} api_t;

/* A place in the app's code that calls one of the wrappers. */
typedef struct {
  void *address;
  api_t *api;
  int internal;        /* the place is in SQLite itself, a library of its own */
  _Atomic int general; /* it has prepared something else than transaction control */
} site_t;

typedef struct {
  _Atomic(sqlite3 *) db;
  api_t *api;
  _Atomic int timeout_ms; /* of waits; 0: none */
  _Atomic int is_set;     /* the app has called sqlite3_busy_timeout or _handler */
  _Atomic int deferred;   /* PRAGMA monolite_begin = deferred */
  /* The open transaction, as the steps have shown it. */
  int in_transaction, wrote;
  uint64_t since_ms;
  _Atomic(database_t *) database;
} connection_t;

typedef struct {
  connection_t *connection;
  database_t *database;
  slot_t *slot;
  uint64_t ticket, started_us, napped_us, deadline_us, tried_ms;
  uint32_t holder;
} wait_t;

typedef struct {
  int depth;   /* calls of SQLite that this thread is in */
  void *frame; /* the stack of the outermost of them */
  int wanted;  /* SQLite has asked its busy handler */
  int in_exec; /* the outermost call is sqlite3_exec */
  uint64_t waited_us; /* in the call that is under way */
  sqlite3_stmt *stmt;   /* that is stepped */
  sqlite3_stmt *row_of; /* the last step returned a row of this one */
  connection_t *last;
  wait_t wait;  /* slot: not NULL while it is in the queue */
  wait_t inner; /* of a wait within SQLite, see `handler` */
} thread_t;

static __thread thread_t self __attribute__((tls_model("initial-exec")));

static api_t apis[APIS];
static site_t all_sites[SITES];
static _Atomic uint32_t site_count;
static _Atomic(site_t *) sites[1024];
static connection_t connections[CONNECTIONS];
static _Atomic uint32_t binding; /* a spin lock that holds a pid: binding is rare and short */
static _Atomic(sqlite3_stmt *) napping[64];
static _Atomic int napping_count;
/* The process that the two are of: a child has none of its parent's threads. */
static _Atomic uint32_t napping_pid;

/* Where nothing is shared: the same layout, for this process alone. It costs no memory until used. */
static shared_t private_shared;
static shared_t *shared = &private_shared;

#endif
