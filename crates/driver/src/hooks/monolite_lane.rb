# Required into every Ruby program of an app under `monolite run` (RUBYOPT): transactions of the gem
# sqlite3 begin IMMEDIATE unless the app says otherwise, and where the gem has SQLite compiled in, a
# wait for a lock does not hold the interpreter's lock. A program without that gem is not changed.

module MonoliteLane
  # What Rails and Django set, where the app has set none; in ms.
  TIMEOUT_MS = 5000

  module Database
    def initialize(*arguments, &block)
      return super unless MonoliteLane.waits_here?

      # Before the block, in which the app may set another.
      given = block && proc { |database| database.busy_timeout(TIMEOUT_MS); block.call(database) }
      super(*arguments, &given)
      busy_timeout(TIMEOUT_MS) unless block
    end
    ruby2_keywords(:initialize) if respond_to?(:ruby2_keywords, true)

    # The driver's own default is deferred: a read, then a write, cannot wait. A mode that is named,
    # by the call or for the connection, is kept.
    def transaction(mode = nil)
      named = mode || (@default_transaction_mode if defined?(@default_transaction_mode))
      return super unless named.nil? || (mode.nil? && named == :deferred)
      return super if readonly?

      begun = false
      begin
        return super(:immediate) unless block_given?

        super(:immediate) do |database|
          begun = true
          yield database
        end
      rescue SQLite3::ReadOnlyException
        # PRAGMA query_only.
        raise if begun

        block_given? ? super(:deferred) { |database| yield database } : super(:deferred)
      end
    end

    # SQLite itself does not wait in a step: `Statement#step` does, after SQLite has returned. Within
    # SQLite its mutex is held, and another thread of Ruby that wants it would have Ruby's own lock.
    def busy_timeout(milliseconds)
      return super unless MonoliteLane.waits_here?

      limit = milliseconds.to_i
      @monolite_lane_limit = limit.positive? ? limit : nil
      super(0)
      self
    end

    def busy_timeout=(milliseconds)
      busy_timeout(milliseconds)
    end

    # The app's own way to wait stays.
    def busy_handler(*arguments, &block)
      @monolite_lane_limit = nil
      super
    end

    # Here SQLite waits as it does without the lane: these calls cannot be made again.
    def prepare(*arguments)
      limit = @monolite_lane_limit
      return super if limit.nil?

      statement = MonoliteLane.waiting_within(self, limit) { super(*arguments, &nil) }
      return statement unless block_given?

      begin
        yield statement
      ensure
        statement.close unless statement.closed?
      end
    end

    def execute_batch2(*arguments, &block)
      MonoliteLane.waiting_within(self, @monolite_lane_limit) { super }
    end

    def monolite_lane_limit
      @monolite_lane_limit
    end
  end

  module Statement
    def initialize(database, sql, *arguments)
      @monolite_lane_commits = sql.to_s.match?(/\A[\s;]*(commit|end)\b/i)
      super
    end

    def step
      limit = @connection&.monolite_lane_limit
      return super if limit.nil?

      ends = nil
      begin
        super
      rescue SQLite3::BusyException
        # A transaction that has read is not waited for by SQLite either: it could wait for itself.
        raise if @connection.transaction_active? && !@monolite_lane_commits

        now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :float_millisecond)
        ends ||= now + limit
        raise if now >= ends

        # Another thread, which may have the lock, goes on meanwhile.
        sleep(0.001)
        retry
      end
    end
  end

  @patched = false
  @waits_here = nil

  # SQLite is compiled into the gem: the preloaded library does not see its calls.
  def self.waits_here?
    if @waits_here.nil?
      maps = File.exist?("/proc/self/maps") ? File.binread("/proc/self/maps") : ""
      # Another library may have loaded the system's SQLite, which the gem does not use then.
      own = %i[SQLITE_PACKAGED_LIBRARIES SQLITE_PRECOMPILED_LIBRARIES].any? do |name|
        ::SQLite3.const_defined?(name) && ::SQLite3.const_get(name)
      end
      @waits_here = own || !(maps.include?("/libsqlite3.so") && maps.match?(%r{/lane-\h{16}\.so}))
    end
    @waits_here
  end

  def self.waiting_within(database, limit)
    return yield if limit.nil?

    begin
      database.monolite_lane_native_timeout(limit)
      yield
    ensure
      database.monolite_lane_native_timeout(0) unless database.closed?
    end
  end

  def self.look
    return if @patched || !defined?(::SQLite3::Database) || !::SQLite3::Database.method_defined?(:transaction)

    @patched = true
    ::SQLite3::Database.send(:alias_method, :monolite_lane_native_timeout, :busy_timeout)
    ::SQLite3::Database.prepend(Database)
    ::SQLite3::Statement.prepend(Statement)
  rescue StandardError => e
    warn "monolite: the driver lane does nothing in this Ruby: #{e.message}; --driver-lane off ends this line"
  end
end

module Kernel
  monolite_require = instance_method(:require)
  define_method(:require) do |name|
    loaded = monolite_require.bind(self).call(name)
    MonoliteLane.look if name.to_s == "sqlite3"
    loaded
  end
  private :require

  class << self
    monolite_require = instance_method(:require)
    define_method(:require) do |name|
      loaded = monolite_require.bind(self).call(name)
      MonoliteLane.look if name.to_s == "sqlite3"
      loaded
    end
  end
end
