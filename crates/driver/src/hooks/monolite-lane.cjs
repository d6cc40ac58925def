// Required into every Node program of an app under `monolite run` (NODE_OPTIONS): a plain BEGIN of
// better-sqlite3 and node:sqlite begins IMMEDIATE, that of better-sqlite3's own transaction() too.
// DEFERRED and EXCLUSIVE keep their meaning. A program without them is not changed.
'use strict';

const Module = require('module');

const BEGIN = /^\s*BEGIN(\s+TRANSACTION)?\s*;?\s*$/i;
const immediate = (sql) => (typeof sql === 'string' && BEGIN.test(sql) ? 'BEGIN IMMEDIATE' : sql);
const marked = Symbol('monolite lane');

// Replaces `method` of a class by one that gets `change` applied to its first argument, unless the
// connection has said that it only reads.
const readers = new WeakSet();
const wrap = (prototype, method, first = () => {}) => {
  const original = prototype[method];
  if (typeof original !== 'function' || original[marked]) return;
  const wrapped = function (sql, ...rest) {
    first(this);
    if (typeof sql === 'string' && /\bquery_only\b/i.test(sql)) readers.add(this);
    if (!readers.has(this)) sql = immediate(sql);
    return Reflect.apply(original, this, [sql, ...rest]);
  };
  wrapped[marked] = true;
  Object.defineProperty(wrapped, 'name', { value: method });
  prototype[method] = wrapped;
};

const quietly = (work) => {
  try {
    work();
  } catch (error) {
    process.stderr.write(
      `monolite: the driver lane does nothing for this driver: ${error.message}; --driver-lane off ends this line\n`,
    );
  }
};

// better-sqlite3: the class in its compiled part, under all that is written in JavaScript.
const dlopen = process.dlopen;
process.dlopen = function (module, ...rest) {
  const result = Reflect.apply(dlopen, this, [module, ...rest]);
  quietly(() => {
    const { Database, StatementIterator } = (module && module.exports) || {};
    if (StatementIterator && Database && Database.prototype.prepare) {
      wrap(Database.prototype, 'prepare');
      wrap(Database.prototype, 'exec');
    }
  });
  return result;
};

// node:sqlite, when the app first asks for it.
const TIMEOUT_MS = 5000;
const seen = new WeakSet();
const sqlite = ({ DatabaseSync } = {}) => {
  if (!DatabaseSync || DatabaseSync.prototype.exec[marked]) return;
  const { prepare, exec } = DatabaseSync.prototype;
  // It waits for nothing by default, which nobody asks for: as Rails and Django do.
  const wait = (db) => {
    if (seen.has(db)) return;
    seen.add(db);
    quietly(() => {
      if (Reflect.apply(prepare, db, ['PRAGMA busy_timeout']).get().timeout === 0) {
        Reflect.apply(exec, db, [`PRAGMA busy_timeout = ${TIMEOUT_MS}`]);
      }
    });
  };
  wrap(DatabaseSync.prototype, 'prepare', wait);
  wrap(DatabaseSync.prototype, 'exec', wait);
};
const load = Module._load;
let loading = false;
Module._load = function (request, ...rest) {
  const loaded = Reflect.apply(load, this, [request, ...rest]);
  if (request === 'node:sqlite') quietly(() => sqlite(loaded));
  return loaded;
};
if (typeof process.getBuiltinModule === 'function') {
  const builtin = process.getBuiltinModule;
  process.getBuiltinModule = function (name) {
    const loaded = Reflect.apply(builtin, this, [name]);
    if (name === 'node:sqlite') quietly(() => sqlite(loaded));
    return loaded;
  };
}
if (typeof Module.registerHooks === 'function') {
  Module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'node:sqlite' && !loading) {
        loading = true;
        quietly(() => sqlite(Module._load('node:sqlite', null, false)));
        loading = false;
      }
      return next(specifier, context);
    },
  });
}
