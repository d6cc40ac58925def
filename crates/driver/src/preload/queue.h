/* The queue of a database: who waits for its write lock tries in the order of arrival. Waiters that
 * are dead or stopped are passed by. Invariant: no function here waits but `nap`, and that one is bounded.
 */
#ifndef MONOLITE_DRIVER_QUEUE_H
#define MONOLITE_DRIVER_QUEUE_H

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
  wait->started_us = wait->napped_us = now_us();
  wait->deadline_us = wait->started_us + (uint64_t)connection->timeout_ms * 1000u;
  wait->tried_ms = wait->started_us / 1000;
  wait->database = database_of(connection, 1);
  uint64_t holder = wait->database ? wait->database->holder : 0;
  wait->holder = (uint32_t)(holder >> 32);
  if (queued && wait->database) enqueue(wait);
}

static void wait_end(wait_t *wait, int got_it) {
  uint64_t us = wait->napped_us - wait->started_us;
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
  if (!got_it || us >= EVENT_WAIT_US)
    record(got_it ? EVENT_WAIT : EVENT_TIMEOUT, us, wait->holder, wait->database, NULL);
}

static int nap_once(wait_t *wait);

/* One nap. 1: try again; 0: the time is over. May be called without Ruby's lock. */
static int nap(wait_t *wait) {
  int again = nap_once(wait);
  wait->napped_us = now_us();
  return again;
}

static int nap_once(wait_t *wait) {
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

#endif
