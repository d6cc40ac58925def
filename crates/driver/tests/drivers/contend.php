<?php
[, $path, $rounds, $threads, $way] = $argv;
$locked = 0;
$took = [];
$db = $way === 'pdo' ? new PDO("sqlite:$path") : new SQLite3($path);
$way === 'pdo' ? $db->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION) : $db->enableExceptions(true);
for ($i = 0; $i < $rounds * $threads; $i++) {
    $start = microtime(true);
    try {
        $way === 'pdo' ? $db->beginTransaction() : $db->exec('BEGIN');
        $n = $way === 'pdo' ? $db->query('SELECT n FROM t')->fetchColumn() : $db->querySingle('SELECT n FROM t');
        usleep(1000);
        $db->exec('UPDATE t SET n = ' . ($n + 1));
        $way === 'pdo' ? $db->commit() : $db->exec('COMMIT');
    } catch (Exception $e) {
        $locked++;
        try { $way === 'pdo' ? $db->rollBack() : $db->exec('ROLLBACK'); } catch (Exception $e) {}
    }
    $took[] = round((microtime(true) - $start) * 1000, 1);
}
echo "locked $locked\ntook ", implode(' ', $took), "\n";
