/* The shared file as a process of the app sees it: mapped, counted in, and searched for the queue of
 * a database.
 */
#ifndef MONOLITE_DRIVER_SHARED_H
#define MONOLITE_DRIVER_SHARED_H

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

#endif
