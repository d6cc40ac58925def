use strict; use DBI; use Time::HiRes qw(time sleep);
my ($path, $rounds, $threads) = @ARGV;
my $db = DBI->connect("dbi:SQLite:dbname=$path", "", "",
    { RaiseError => 1, PrintError => 0, sqlite_use_immediate_transaction => 0 });
my ($locked, @took) = (0);
for (1 .. $rounds * $threads) {
    my $start = time;
    eval {
        $db->begin_work;
        my ($n) = $db->selectrow_array("SELECT n FROM t");
        sleep 0.001;
        $db->do("UPDATE t SET n = ?", undef, $n + 1);
        $db->commit;
        1;
    } or do { $locked++; eval { $db->rollback } };
    push @took, sprintf("%.1f", (time - $start) * 1000);
}
print "locked $locked\ntook @took\n";
