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
/* Copies of SQLite in one process, places that call one, connections. */
#define APIS 16
#define SITES 4096
#define CONNECTIONS 16384
/* Scripts for sqlite3_exec up to this are searched for BEGIN; of longer ones only the start. */
#define SCRIPT_MAX (1 << 20)

/* Marks what was rewritten here, for READONLY below. */
static const char IMMEDIATE[] = "BEGIN IMMEDIATE/*monolite*/";

/* ---- SQLite's functions, as one copy of it in this process has them ---- */

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
  uint64_t ticket, started_us, deadline_us, tried_ms;
  uint32_t holder;
} wait_t;

typedef struct {
  int depth;   /* calls of SQLite that this thread is in */
  void *frame; /* the stack of the outermost of them */
  int wanted;  /* SQLite has asked its busy handler */
  int in_exec; /* the outermost call is sqlite3_exec */
  uint64_t waited_us; /* in the call that is under way */
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

/* Where nothing is shared: the same layout, for this process alone. It costs no memory until used. */
static shared_t private_shared;
static shared_t *shared = &private_shared;

/* ---- small things ---- */

static uint64_t clock_us(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}
/* A few nanoseconds; its steps are 1 to 4 ms. */
static inline uint64_t coarse_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}
static uint64_t now_us(void) { return clock_us(CLOCK_MONOTONIC); }
static uint32_t thread_id(void) { return (uint32_t)syscall(SYS_gettid); }

static void raise_to(_Atomic uint64_t *max, uint64_t value) {
  uint64_t seen = *max;
  while (seen < value && !__atomic_compare_exchange_n((uint64_t *)max, &seen, value, 0,
                             __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

static void say_once(const char *what) {
  static _Atomic int said;
  if (said++) return;
  char line[256];
  int n = snprintf(line, sizeof line,
    "monolite: the driver lane does nothing in process %d: %s; --driver-lane off ends this line\n",
    (int)getpid(), what);
  if (n > 0) {
    ssize_t written = write(2, line, (size_t)(n < (int)sizeof line ? n : (int)sizeof line - 1));
    (void)written;
  }
}

/* ---- the shared file ---- */

__attribute__((constructor)) static void map_shared(void) {
  const char *path = getenv("MONOLITE_DRIVER_FILE");
  /* Nobody reads what would be recorded there. */
  private_shared.slow_statement_ms = private_shared.slow_write_ms = UINT32_MAX;
  private_shared.long_read_ms = UINT32_MAX;
  if (!path || path[0] != '/') return;
  int saved = errno;
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd >= 0) {
    /* A shorter file would be a SIGBUS later. */
    if (lseek(fd, 0, SEEK_END) >= (off_t)sizeof(shared_t)) {
      void *at = mmap(NULL, sizeof(shared_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (at != MAP_FAILED) {
        shared_t *found = at;
        if (found->magic == MAGIC && found->version == VERSION && found->size == sizeof(shared_t))
          shared = found;
        else
          munmap(at, sizeof(shared_t));
      }
    }
    close(fd);
  }
  errno = saved;
}

static void record(enum kind kind, uint64_t duration_us, uint32_t holder, database_t *database,
                   const char *text) {
  uint64_t number = shared->next_event++;
  event_t *event = &shared->events[number % EVENTS];
  event->sequence = 2 * number + 1;
  __atomic_thread_fence(__ATOMIC_RELEASE);
  event->wall_ms = clock_us(CLOCK_REALTIME) / 1000;
  event->duration_us = duration_us;
  event->kind = kind;
  event->pid = (uint32_t)getpid();
  event->holder_pid = holder;
  event->database = database ? (uint32_t)(database - shared->databases) : UINT32_MAX;
  size_t n = 0;
  for (; text && text[n] && n < TEXT_MAX - 1; n++) event->text[n] = text[n];
  event->text[n] = 0;
  event->sequence = 2 * number + 2;
}

/* The queue of the database in the file that has this path now. The file is looked at, not opened. */
static database_t *find_database(const char *path) {
  if (!path || !path[0]) return NULL; /* in memory, or temporary */
#ifdef SYS_statx
  struct { /* struct statx, as the kernel has it: an older libc has none */
    uint32_t mask, blksize; uint64_t attributes; uint32_t nlink, uid, gid; uint16_t mode, pad;
    uint64_t ino, size, blocks, attributes_mask; uint64_t times[8];
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor; uint64_t spare[14];
  } file;
  if (syscall(SYS_statx, AT_FDCWD, path, 0x4000 /* AT_STATX_DONT_SYNC */, 0x100u /* INO */, &file))
    return NULL;
  uint64_t key = file.ino * 0x9E3779B97F4A7C15ull ^
    (((uint64_t)file.dev_major << 32 | file.dev_minor) + 0x632BE59BD9B4E019ull);
#else
  uint64_t key = 14695981039346656037ull;
  for (const char *c = path; *c; c++) key = (key ^ (unsigned char)*c) * 1099511628211ull;
#endif
  key |= 1;
  uint64_t now = coarse_ms();
  database_t *oldest = NULL;
  for (unsigned i = 0; i < DATABASES; i++) {
    database_t *database = &shared->databases[(key + i) % DATABASES];
    uint64_t of = database->key;
    if (of == key) {
      database->used_ms = now;
      return database;
    }
    if (of == 0) {
      if (__atomic_compare_exchange_n((uint64_t *)&database->key, &of, key, 0, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST)) {
        strncpy(database->path, path, PATH_MAX_SHOWN - 1);
        database->used_ms = now;
        return database;
      }
      if (of == key) return database;
    }
    if (!oldest || database->used_ms < oldest->used_ms) oldest = database;
  }
  /* More databases than queues: share the one that was used longest ago. Their waiters are then in
   * one order, which is slower and not wrong. */
  return oldest;
}

static database_t *database_of(connection_t *connection, int look_again) {
  database_t *database = connection->database;
  if (!database || look_again) {
    database = find_database(connection->api->db_filename(connection->db, "main"));
    connection->database = database;
  }
  return database;
}

/* ---- libraries that hide from this one ---- */

typedef void *(*dlopen_fn)(const char *, int);

static dlopen_fn real_dlopen(void) {
  static _Atomic(dlopen_fn) real;
  dlopen_fn found = real;
  if (!found) {
    *(void **)&found = dlsym(RTLD_NEXT, "dlopen");
    real = found;
  }
  return found;
}

/* PHP loads its extensions so that they see their own dependencies before anything else, a preloaded
 * library too. Its two for SQLite are loaded as other programs load theirs. The call is the last
 * thing here and so a jump: dlopen looks at who called it. */
EXPORT void *dlopen(const char *file, int mode) {
  dlopen_fn real = real_dlopen();
#ifdef RTLD_DEEPBIND
  if (UNLIKELY(mode & RTLD_DEEPBIND) && file) {
    const char *name = strrchr(file, '/');
    name = name ? name + 1 : file;
    if (strcmp(name, "pdo_sqlite.so") == 0 || strcmp(name, "sqlite3.so") == 0) mode &= ~RTLD_DEEPBIND;
  }
#endif
  if (UNLIKELY(!real)) return NULL;
  return real(file, mode);
}

/* ---- the copies of SQLite in this process ---- */

static void *own_base(void) {
  static void *base;
  if (!base) {
    Dl_info info;
    if (dladdr((void *)&own_base, &info)) base = info.dli_fbase;
  }
  return base;
}

static void *base_of(void *address) {
  Dl_info info;
  return address && dladdr(address, &info) ? info.dli_fbase : NULL;
}

typedef struct {
  const char *name;
  void *found;
} search_t;

static int look_in(struct dl_phdr_info *object, size_t size, void *data) {
  (void)size;
  search_t *search = data;
  if (!object->dlpi_name || !object->dlpi_name[0]) return 0;
  void *handle = real_dlopen()(object->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
  if (!handle) return 0;
  void *found = dlsym(handle, search->name);
  if (found && base_of(found) != own_base()) search->found = found;
  dlclose(handle);
  return search->found != NULL;
}

/* What `name` means to the code that was loaded as `handle`, without this library: first the
 * program and what was loaded with it, then its own dependencies. */
static void *lookup(void *handle, const char *name, int anywhere) {
  void *found = dlsym(RTLD_NEXT, name);
  if ((!found || base_of(found) == own_base()) && handle) found = dlsym(handle, name);
  if (found && base_of(found) == own_base()) found = NULL;
  if (!found && anywhere) {
    search_t search = {name, NULL};
    dl_iterate_phdr(look_in, &search);
    found = search.found;
  }
  return found;
}

static api_t *bind_api(void *handle) {
  void *step = lookup(handle, "sqlite3_step", 1);
  /* A library may have but some of the functions; any of them shows where it is. */
  void *base = base_of(step ? step : lookup(handle, "sqlite3_prepare_v2", 1));
  api_t *api = NULL;
  for (unsigned i = 0; i < APIS && !api; i++) {
    if (apis[i].base == base && (base || apis[i].step)) return &apis[i];
    if (!apis[i].base) api = &apis[i];
  }
  if (!api) return NULL;
  int missing = 0;
#define FIND(field, name) \
  *(void **)&api->field = lookup(handle, "sqlite3_" name, 1); \
  missing += !api->field
  FIND(step, "step");
  FIND(reset, "reset");
  FIND(finalize, "finalize");
  FIND(prepare, "prepare");
  FIND(prepare_v2, "prepare_v2");
  FIND(exec, "exec");
  FIND(busy_timeout, "busy_timeout");
  FIND(busy_handler, "busy_handler");
  FIND(free, "free");
  FIND(open, "open");
  FIND(open16, "open16");
  FIND(open_v2, "open_v2");
  FIND(db_handle, "db_handle");
  FIND(get_autocommit, "get_autocommit");
  FIND(sql, "sql");
  FIND(stmt_readonly, "stmt_readonly");
  FIND(db_filename, "db_filename");
  FIND(create_function, "create_function");
  FIND(user_data, "user_data");
  FIND(result_int, "result_int");
  *(void **)&api->prepare_v3 = lookup(handle, "sqlite3_prepare_v3", 0); /* 3.20 */
  *(void **)&api->txn_state = lookup(handle, "sqlite3_txn_state", 0);
#undef FIND
  /* All from one copy of SQLite, or none is used. */
  missing += base_of((void *)api->busy_handler) != base || base_of((void *)api->db_handle) != base;
  api->whole = !missing;
  if (missing) {
    shared->unbound++;
    say_once("its SQLite lacks functions that the lane needs");
  } else {
    shared->bound++;
  }
  api->base = base ? base : (void *)api;
  return api;
}

static site_t *new_site(void *address) {
  site_t *site = NULL;
  uint32_t of = 0, own = (uint32_t)getpid();
  /* Of another process: it was forked while a thread of its parent was here. */
  while (!__atomic_compare_exchange_n((uint32_t *)&binding, &of, own, 0, __ATOMIC_ACQUIRE,
                                      __ATOMIC_RELAXED)) {
    if (of == own) {
      of = 0;
      syscall(SYS_sched_yield);
    }
  }
  uint32_t count = site_count;
  for (uint32_t i = 0; i < count && !site; i++)
    if (all_sites[i].address == address) site = &all_sites[i];
  if (!site) {
    Dl_info info;
    int known = dladdr(address, &info);
    /* The program itself has no handle of its own: dlsym(RTLD_NEXT) is what it would have got. */
    void *handle = known && info.dli_fname ? real_dlopen()(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    api_t *api = bind_api(handle);
    /* The last one is given to all that are too many: they share an address, so no cache. */
    site = &all_sites[count < SITES ? count : SITES - 1];
    site->api = api;
    /* Where a driver has SQLite compiled in, its calls and SQLite's own come from one object. */
    const char *file = known && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
    site->internal = api && known && info.dli_fbase == api->base && file &&
      strncmp(file, "/libsqlite3", 11) == 0;
    site->general = 0;
    site->address = address;
    /* The handle is kept: its code calls us, so it may not be unloaded under a cached address. */
    if (count < SITES) site_count = count + 1;
  }
  __atomic_store_n((uint32_t *)&binding, 0, __ATOMIC_RELEASE);
  return site;
}

static inline site_t *site_of(void *address) {
  uintptr_t hash = ((uintptr_t)address ^ ((uintptr_t)address >> 12)) % 1024;
  site_t *site = __atomic_load_n(&sites[hash], __ATOMIC_ACQUIRE);
  if (LIKELY(site && site->address == address)) return site;
  site = new_site(address);
  __atomic_store_n(&sites[hash], site, __ATOMIC_RELEASE);
  return site;
}

/* Nothing can be called in place of what is missing: SQLite's code for that is MISUSE. */
#define PASS(function, ...) \
  do { \
    if (UNLIKELY(!api || !api->function)) { \
      say_once("the SQLite that it called is not found"); \
      return MISUSE; \
    } \
    if (UNLIKELY(!api->whole)) return api->function(__VA_ARGS__); \
  } while (0)

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

/* ---- the queue ---- */

static inline int is_crowded(void) {
  uint64_t until = __atomic_load_n((uint64_t *)&shared->crowded_until_ms, __ATOMIC_RELAXED);
  if (LIKELY(until == 0)) return 0;
  uint64_t now = coarse_ms();
  /* Far in the future: of an earlier boot. */
  if (until >= now && until - now < 10 * STALE_MS) return 1;
  /* Who waits writes another value, and then this does nothing. */
  __atomic_compare_exchange_n((uint64_t *)&shared->crowded_until_ms, &until, 0, 0, __ATOMIC_RELAXED,
                              __ATOMIC_RELAXED);
  return 0;
}

static int is_alive(slot_t *slot, uint64_t now_ms) {
  uint64_t beat = slot->beat_ms;
  return beat + STALE_MS >= now_ms && beat <= now_ms + STALE_MS;
}

/* The living waiter with the lowest ticket; NULL: none. */
static slot_t *first_in(database_t *database) {
  uint64_t now = now_us() / 1000, lowest = UINT64_MAX;
  slot_t *first = NULL;
  for (unsigned i = 0; i < SLOTS; i++) {
    slot_t *slot = &database->slots[i];
    uint64_t ticket = slot->ticket;
    if (ticket && ticket < lowest && is_alive(slot, now)) lowest = ticket, first = slot;
  }
  return first;
}

static void wake_first(database_t *database) {
  slot_t *first = first_in(database);
  if (!first) return;
  first->wake++;
  syscall(SYS_futex, &first->wake, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void beat(slot_t *slot) {
  uint64_t now = now_us() / 1000;
  slot->beat_ms = now;
  shared->crowded_until_ms = now + GUARD_MS;
}

static void enqueue(wait_t *wait) {
  database_t *database = wait->database;
  uint64_t now = now_us() / 1000, ticket = ++database->next_ticket;
  for (unsigned i = 0; i < SLOTS; i++) {
    slot_t *slot = &database->slots[i];
    uint64_t of = slot->ticket;
    if (of && is_alive(slot, now)) continue;
    slot->beat_ms = now; /* first, so that it is not taken as dead at once */
    if (!__atomic_compare_exchange_n((uint64_t *)&slot->ticket, &of, ticket, 0, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
      continue;
    slot->pid = (uint32_t)getpid();
    wait->slot = slot;
    wait->ticket = ticket;
    beat(slot);
    return;
  }
}

static void leave(wait_t *wait) {
  if (wait->slot) {
    uint64_t ticket = wait->ticket;
    __atomic_compare_exchange_n((uint64_t *)&wait->slot->ticket, &ticket, 0, 0, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    wait->slot = NULL;
  }
}

/* Begins a wait; in the queue if it is for the write lock. */
static void wait_start(wait_t *wait, connection_t *connection, int queued) {
  leave(wait); /* of a wait that an exception of the app's language has cut off */
  wait->connection = connection;
  wait->started_us = now_us();
  wait->deadline_us = wait->started_us + (uint64_t)connection->timeout_ms * 1000u;
  wait->tried_ms = wait->started_us / 1000;
  wait->database = database_of(connection, 1);
  uint64_t holder = wait->database ? wait->database->holder : 0;
  wait->holder = (uint32_t)(holder >> 32);
  if (queued && wait->database) enqueue(wait);
}

static void wait_end(wait_t *wait, int got_it) {
  uint64_t us = now_us() - wait->started_us;
  leave(wait);
  self.waited_us += us;
  shared->waits++;
  shared->wait_us += us;
  raise_to(&shared->wait_max_us, us);
  if (!got_it) shared->timeouts++;
  if (wait->database) {
    wait->database->waits++;
    wait->database->wait_us += us;
    /* The next one becomes the first, and learns of it; the lock itself is taken now. */
    if (!got_it) wake_first(wait->database);
  }
  if (!got_it || us >= 10000)
    record(got_it ? EVENT_WAIT : EVENT_TIMEOUT, us, wait->holder, wait->database, NULL);
}

/* One nap. 1: try again; 0: the time is over. May be called without Ruby's lock. */
static int nap(wait_t *wait) {
  for (;;) {
    uint64_t now = now_us();
    if (now >= wait->deadline_us) return 0;
    uint64_t us = NAP_FIRST_US;
    if (!wait->slot) {
      if (us > wait->deadline_us - now) us = wait->deadline_us - now;
      struct timespec t = {0, (long)us * 1000};
      nanosleep(&t, NULL);
      return 1;
    }
    slot_t *slot = wait->slot;
    uint32_t seen = slot->wake;
    beat(slot);
    if (slot->ticket != wait->ticket) {
      /* This process was stopped for so long that another has taken the slot. */
      wait->slot = NULL;
      enqueue(wait);
      continue;
    }
    slot_t *first = first_in(wait->database);
    int is_first = first == slot || !first;
    uint64_t waited = now - wait->started_us;
    if (!is_first)
      us = NAP_QUEUED_US;
    else if (waited > 200000)
      us = 4 * NAP_FIRST_US; /* a long transaction: a commit ends the nap anyway */
    if (us > wait->deadline_us - now) us = wait->deadline_us - now;
    struct timespec t = {0, (long)us * 1000};
    syscall(SYS_futex, &slot->wake, FUTEX_WAIT, seen, &t, NULL, 0);
    now = now_us() / 1000;
    first = first_in(wait->database);
    if (is_first || first == slot || now - wait->tried_ms >= GUARD_MS) {
      wait->tried_ms = now;
      return 1;
    }
  }
}

/* ---- Ruby ---- */

typedef uintptr_t value_t;
static _Atomic int ruby_known;
static void *(*ruby_without_gvl)(void *(*)(void *), void *, void *, void *);
static value_t (*ruby_ensure)(value_t (*)(value_t), value_t, value_t (*)(value_t), value_t);
static int (*ruby_has_gvl)(void);

static int holds_gvl(void) {
  if (UNLIKELY(!ruby_known)) {
    *(void **)&ruby_has_gvl = dlsym(RTLD_DEFAULT, "ruby_thread_has_gvl_p");
    *(void **)&ruby_without_gvl = dlsym(RTLD_DEFAULT, "rb_thread_call_without_gvl");
    *(void **)&ruby_ensure = dlsym(RTLD_DEFAULT, "rb_ensure");
    ruby_known = 1;
  }
  return ruby_without_gvl && ruby_ensure && ruby_has_gvl && ruby_has_gvl();
}

typedef struct {
  wait_t *wait;
  sqlite3_stmt *stmt;
  int again, finished;
} nap_t;

static void *nap_without_gvl(void *data) {
  nap_t *of = data;
  of->again = nap(of->wait);
  return NULL;
}

static value_t ruby_nap(value_t data) {
  nap_t *of = (nap_t *)data;
  napping[thread_id() % 64] = of->stmt;
  napping_count++;
  ruby_without_gvl(nap_without_gvl, of, (void *)-1 /* RUBY_UBF_IO */, NULL);
  of->finished = 1;
  return 0;
}

/* Also if a Ruby exception (Timeout, Thread#kill) leaves the nap, and the step, for good. */
static value_t ruby_nap_ends(value_t data) {
  nap_t *of = (nap_t *)data;
  napping_count--;
  napping[thread_id() % 64] = NULL;
  if (!of->finished) leave(of->wait);
  return 0;
}

/* As `nap`, where no call of SQLite is on this thread's stack: Ruby's other threads go on. No other
 * thread finalizes `stmt` meanwhile. */
static int nap_outside(wait_t *wait, sqlite3_stmt *stmt) {
  if (!holds_gvl()) return nap(wait);
  nap_t of = {wait, stmt, 1, 0};
  ruby_ensure(ruby_nap, (value_t)&of, ruby_nap_ends, (value_t)&of);
  return of.again;
}

/* ---- waiting ---- */

/* SQLite's busy handler. In a step that may be made again (`depth` is 1) it only notes that SQLite
 * would wait. Elsewhere the wait is here, as SQLite's own is. */
static int handler(void *data, int count) {
  connection_t *connection = data;
  thread_t *t = &self;
  if (t->depth == 1) {
    t->wanted = 1;
    return 0;
  }
  if (connection->timeout_ms <= 0) return 0;
  wait_t *wait = &t->inner;
  if (t->in_exec == 2 && wait->connection == connection) {
    t->in_exec = 1; /* it has waited for the others already */
  } else if (count == 0 || wait->connection != connection) {
    api_t *api = connection->api;
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

static void take_note(connection_t *connection, sqlite3_stmt *stmt, int autocommit, int wrote,
                      uint64_t now_ms) {
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
static inline void after(api_t *api, sqlite3 *db, sqlite3_stmt *stmt, uint64_t now_ms) {
  connection_t *connection = connection_of(api, db, 0);
  if (!connection) return;
  int autocommit = api->get_autocommit(db);
  if (!autocommit || connection->in_transaction) {
    int wrote = !stmt && !autocommit && api->txn_state && api->txn_state(db, NULL) == 2;
    take_note(connection, stmt, autocommit, wrote, now_ms);
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
  int rc = api->step(stmt);
  t->depth = 0;
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
  while ((rc & 0xff) == BUSY && rc != BUSY_SNAPSHOT && t->wanted && connection->timeout_ms > 0) {
    if (!waits) {
      /* A commit that waits for readers has the write lock: behind others it would wait for ever.
       * Without sqlite3_txn_state only a BEGIN is known to have none. */
      int queued = is_write(api, stmt) &&
        (api->txn_state ? api->txn_state(db, NULL) < 2 : strncasecmp(api->sql(stmt), "begin", 5) == 0);
      wait_start(wait, connection, queued);
      waits = 1;
    }
    if (!nap_outside(wait, stmt)) break;
    rc = step_once(t, api, stmt);
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

/* ---- texts ---- */

/* A text of SQL, that ends at a NUL or at `end`. */
static const char *skip_blanks(const char *p, const char *end) {
  for (;;) {
    if (p >= end || !*p) return p;
    if (*p == ' ' || (*p >= '\t' && *p <= '\r')) {
      p++;
    } else if (p[0] == '-' && p + 1 < end && p[1] == '-') {
      while (p < end && *p && *p != '\n') p++;
    } else if (p[0] == '/' && p + 1 < end && p[1] == '*') {
      p += 2;
      while (p < end && *p && !(p[0] == '*' && p + 1 < end && p[1] == '/')) p++;
      if (p < end && *p) p += 2;
    } else {
      return p;
    }
  }
}

static int is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
    c == '$' || (unsigned char)c >= 0x80;
}

/* After the keyword, or NULL if something else is there. */
static const char *skip_word(const char *p, const char *end, const char *word) {
  for (; *word; p++, word++)
    if (p >= end || (*p >= 'A' && *p <= 'Z' ? *p | 0x20 : *p) != *word) return NULL;
  return p < end && is_name(*p) ? NULL : p;
}

/* The end of a plain BEGIN [TRANSACTION [NAME]], with its semicolon; NULL if the statement at `p` is
 * anything else. */
static const char *plain_begin(const char *p, const char *end) {
  p = skip_word(skip_blanks(p, end), end, "begin");
  if (!p) return NULL;
  p = skip_blanks(p, end);
  const char *after = skip_word(p, end, "transaction");
  if (after) {
    p = skip_blanks(after, end);
    /* A name is allowed there, and means nothing. */
    if (p < end && is_name(*p)) {
      while (p < end && is_name(*p)) p++;
      p = skip_blanks(p, end);
    }
  }
  if (p >= end || !*p) return p;
  return *p == ';' ? p + 1 : NULL;
}

static int is_control(const char *p, const char *end) {
  static const char *const words[] = {"begin", "commit", "rollback", "end", "savepoint", "release"};
  p = skip_blanks(p, end);
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    if (skip_word(p, end, words[i])) return 1;
  return 0;
}

/* The text with each plain BEGIN replaced, to be freed; NULL: none is in it. */
static char *replace_begins(const char *sql) {
  size_t length = 0;
  while (length < SCRIPT_MAX && sql[length]) length++;
  if (sql[length]) return NULL;
  const char *end = sql + length, *p = sql, *copied = sql;
  char *text = NULL;
  size_t used = 0, size = 0;
  while (p < end) {
    const char *begin = skip_blanks(p, end), *after = plain_begin(begin, end);
    if (after) {
      size_t more = (size_t)(begin - copied);
      size_t needed = used + more + sizeof IMMEDIATE + 1 + (size_t)(end - after) + 1;
      if (needed > size) {
        char *larger = realloc(text, size = needed * 2);
        if (!larger) {
          free(text);
          return NULL;
        }
        text = larger;
      }
      memcpy(text + used, copied, more);
      used += more;
      memcpy(text + used, IMMEDIATE, sizeof IMMEDIATE - 1);
      used += sizeof IMMEDIATE - 1;
      text[used++] = ';';
      p = copied = after;
      continue;
    }
    /* To the next statement. */
    for (p = begin; p < end && *p != ';';) {
      char quote = *p == '[' ? ']' : *p;
      if (*p == '\'' || *p == '"' || *p == '`' || *p == '[') {
        for (p++; p < end && *p != quote;) p++;
        if (p < end) p++;
      } else if (*p == '-' || *p == '/') {
        const char *next = skip_blanks(p, end);
        p = next == p ? p + 1 : next;
      } else {
        p++;
      }
    }
    if (p < end) p++;
  }
  if (text) {
    memcpy(text + used, copied, (size_t)(end - copied));
    text[used + (size_t)(end - copied)] = 0;
  }
  return text;
}

/* Python from 3.12 on keeps a transaction open all the time where a connection's `autocommit` is
 * False: its BEGIN follows each COMMIT. IMMEDIATE would keep the write lock for ever. That BEGIN
 * comes from a place in Python that prepares nothing but transaction control. */
static int may_be_python(void) {
  static _Atomic int known;
  if (!known) known = dlsym(RTLD_DEFAULT, "Py_GetVersion") ? 2 : 1;
  return known == 2;
}

enum pragma { PRAGMA_NONE, PRAGMA_TIMEOUT, PRAGMA_TIMEOUT_READ };

/* PRAGMA busy_timeout [= N], and PRAGMA monolite_begin = deferred|immediate, which SQLite ignores. */
static enum pragma read_pragma(const char *p, const char *end, connection_t *connection, int *value,
                               const char **tail) {
  p = skip_word(skip_blanks(p, end), end, "pragma");
  if (!p) return PRAGMA_NONE;
  p = skip_blanks(p, end);
  const char *after = skip_word(p, end, "main");
  if (after && after < end && *after == '.') p = skip_blanks(after + 1, end);
  after = skip_word(p, end, "monolite_begin");
  if (after) {
    p = skip_blanks(after, end);
    if (p < end && (*p == '=' || *p == '(')) {
      p = skip_blanks(p + 1, end);
      connection->deferred = skip_word(p, end, "deferred") != NULL;
    }
    return PRAGMA_NONE;
  }
  p = skip_word(p, end, "busy_timeout");
  if (!p) return PRAGMA_NONE;
  p = skip_blanks(p, end);
  enum pragma found = PRAGMA_TIMEOUT_READ;
  if (p < end && (*p == '=' || *p == '(')) {
    int bracket = *p == '(', digits = 0;
    long n = 0;
    p = skip_blanks(p + 1, end);
    for (; p < end && *p >= '0' && *p <= '9' && digits < 10; p++, digits++) n = n * 10 + (*p - '0');
    if (!digits || n > 0x7fffffff) return PRAGMA_NONE; /* SQLite's own way of reading numbers */
    p = skip_blanks(p, end);
    if (bracket) {
      if (p >= end || *p != ')') return PRAGMA_NONE;
      p = skip_blanks(p + 1, end);
    }
    *value = (int)n;
    found = PRAGMA_TIMEOUT;
  }
  if (p < end && *p && *p != ';') return PRAGMA_NONE;
  *tail = p < end && *p == ';' ? p + 1 : p;
  return found;
}

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
  if (first == 'b' && !connection->deferred && (after = plain_begin(p, end)) &&
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
  uint64_t began = coarse_ms(), now;
  int rc;
  if (UNLIKELY(is_crowded())) {
    rc = step_slowly(t, api, stmt, -1);
  } else {
    rc = step_once(t, api, stmt);
    if (UNLIKELY(rc != ROW && rc != DONE)) rc = step_slowly(t, api, stmt, rc);
  }
  now = coarse_ms();
  /* A wait for a lock is counted as such. */
  if (UNLIKELY(now - began >= shared->slow_statement_ms) && t->waited_us / 1000 < now - began) {
    now -= t->waited_us / 1000;
    if (now - began >= shared->slow_statement_ms) slow_statement(api, stmt, now - began);
    now = coarse_ms();
  }
  t->waited_us = 0;
  if (rc != ROW) after(api, api->db_handle(stmt), stmt, now);
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
  char *text = connection && !connection->deferred ? replace_begins(sql) : NULL;
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
  if (depth == 0) after(api, db, NULL, coarse_ms());
  return rc;
}

EXPORT int sqlite3_finalize(sqlite3_stmt *stmt) {
  site_t *site = site_of(CALLER);
  api_t *api = site->api;
  PASS(finalize, stmt);
  if (UNLIKELY(napping_count > 0) && stmt) {
    /* Another thread of Ruby's will step it after its nap. */
    for (unsigned i = 0; i < 64; i++) {
      unsigned own = thread_id() % 64;
      while (i != own && napping[i] == stmt) {
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
