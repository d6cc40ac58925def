const [, , path, rounds, threads, way] = process.argv;
let locked = 0;
const took = [];
const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
let once;
if (way === 'better-sqlite3') {
  const db = new (require(`${process.env.MONOLITE_TEST_NODE}/node_modules/better-sqlite3`))(path, { timeout: 20000 });
  once = db.transaction(() => {
    const { n } = db.prepare('SELECT n FROM t').get();
    nap();
    db.prepare('UPDATE t SET n = ?').run(n + 1);
  });
} else {
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(path, { timeout: 20000 });
  once = () => {
    db.exec('BEGIN');
    try {
      const { n } = db.prepare('SELECT n FROM t').get();
      nap();
      db.prepare('UPDATE t SET n = ?').run(n + 1);
      db.exec('COMMIT');
    } catch (error) {
      db.exec('ROLLBACK');
      throw error;
    }
  };
}
for (let i = 0; i < rounds * threads; i++) {
  const start = performance.now();
  try {
    once();
  } catch {
    locked++;
  }
  took.push((performance.now() - start).toFixed(1));
}
console.log(`locked ${locked}\ntook ${took.join(' ')}`);
