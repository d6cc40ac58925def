/* Reads the start of SQL texts: is it a plain BEGIN, transaction control, a PRAGMA that concerns us?
 * No function reads behind a NUL or the given end.
 */
#ifndef MONOLITE_DRIVER_TEXTS_H
#define MONOLITE_DRIVER_TEXTS_H

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

#endif
