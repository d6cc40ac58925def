/* Ruby's interpreter lock, given up for a nap. Only where no call of SQLite is on the stack: another
 * thread that wants SQLite's mutex would have the one lock and wait for the other.
 */
#ifndef MONOLITE_DRIVER_RUBY_H
#define MONOLITE_DRIVER_RUBY_H

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
  int again, finished, slot;
} nap_t;

static void *nap_without_gvl(void *data) {
  nap_t *of = data;
  of->again = nap(of->wait);
  return NULL;
}

static value_t ruby_nap(value_t data) {
  nap_t *of = (nap_t *)data;
  uint32_t pid = (uint32_t)getpid();
  if (napping_pid != pid) {
    for (int i = 0; i < 64; i++) napping[i] = NULL;
    napping_count = 0;
    napping_pid = pid;
  }
  of->slot = -1;
  for (int i = 0; of->stmt && i < 64 && of->slot < 0; i++) {
    sqlite3_stmt *none = NULL;
    if (__atomic_compare_exchange_n((sqlite3_stmt **)&napping[i], &none, of->stmt, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST))
      of->slot = i;
  }
  napping_count++;
  ruby_without_gvl(nap_without_gvl, of, (void *)-1 /* RUBY_UBF_IO */, NULL);
  of->finished = 1;
  return 0;
}

/* Also if a Ruby exception (Timeout, Thread#kill) leaves the nap, and the step, for good. */
static value_t ruby_nap_ends(value_t data) {
  nap_t *of = (nap_t *)data;
  napping_count--;
  if (of->slot >= 0) napping[of->slot] = NULL;
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

#endif
