/* Which copy of SQLite a call is meant for: the one that its caller would have reached without this
 * library.
 */
#ifndef MONOLITE_DRIVER_BIND_H
#define MONOLITE_DRIVER_BIND_H

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

#endif
