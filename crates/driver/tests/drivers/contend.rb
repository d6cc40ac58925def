require "sqlite3"
path, rounds, threads = ARGV[0], ARGV[1].to_i, ARGV[2].to_i
locked = 0
took = []
workers = threads.times.map do
  Thread.new do
    db = SQLite3::Database.new(path)
    db.busy_timeout(20_000)
    rounds.times do
      start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      begin
        db.transaction do
          n = db.get_first_value("SELECT n FROM t")
          sleep 0.001
          db.execute("UPDATE t SET n = ?", [n + 1])
        end
      rescue SQLite3::BusyException
        locked += 1
      end
      took << (Process.clock_gettime(Process::CLOCK_MONOTONIC) - start) * 1000
    end
  end
end
workers.each(&:join)
puts "locked #{locked}", "took #{took.map { |t| t.round(1) }.join(' ')}"
