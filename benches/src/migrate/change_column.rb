# change_column of Rails, as a migration calls it; prints seconds.
require "active_record"

ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ARGV.fetch(0))
ActiveRecord::Migration.verbose = false
connection = ActiveRecord::Base.connection
connection.execute("SELECT 1")
started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
connection.transaction do
  connection.change_column(:item, :name, :string, limit: 255, null: false, default: "")
end
puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
