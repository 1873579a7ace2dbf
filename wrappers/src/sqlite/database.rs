//! The database: its calls, and on which thread each of them runs.
//!
//! The surprising rule: no fiber holds a connection while it waits for another one, so nothing here
//! can wait in a circle.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cede_fiber::Park;
use cede_fiber::sync::oneshot;
use rusqlite::{Connection, InterruptHandle, Rows, Transaction, TransactionBehavior};
use tracing::field::Empty;

use super::config::Config;
use super::connection::{Conn, Fetched, Take};
use super::error::{Error, ErrorKind, Phase, Result};
use super::job::{Job, Stage, Why};
use super::lane::{Lane, Lease};
use super::metrics::{Counters, Metrics, count};
use super::params::Params;
use super::place::{Place, Places};
use super::row::FromRow;

/// How long a fiber that gives up waits for a commit that is under way.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A statement that ended in place, but held its thread for longer than this, is a slow one.
const IN_PLACE_TIME_MAX: Duration = Duration::from_millis(1);
/// Reads in place after which a thread lets its other fibers run.
const IN_PLACE_PER_TURN: u32 = 32;

/// What a checkpoint does with the write-ahead log.
/// <https://sqlite.org/pragma.html#pragma_wal_checkpoint>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointMode {
    /// Copies what it can without waiting.
    Passive,
    /// Waits for readers, copies everything, and makes the log empty.
    Truncate,
}

/// A database: one connection that writes, and several that read.
///
/// It is a handle: clones are the same database, on all shards and all plain threads. The last one
/// that is dropped closes the connections, which may take a write to the disk; [`close`](Self::close)
/// does that in the pool.
///
/// Errors are those of [`ErrorKind`](super::ErrorKind). Whatever waits ends with the deadline or the
/// cancel of its fiber.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: Arc<str>,
    readers: Arc<Lane>,
    /// None: the database is only read. In memory it is the same as `readers`.
    writer: Option<Arc<Lane>>,
    counters: Arc<Counters>,
    places: Places,
    in_place: bool,
    is_wal: bool,
}

impl Database {
    pub(super) fn new(
        path: Arc<str>,
        readers: Arc<Lane>,
        writer: Option<Arc<Lane>>,
        counters: Arc<Counters>,
        in_place: bool,
        is_wal: bool,
    ) -> Self {
        let places = Places::default();
        let inner = Inner { path, readers, writer, counters, places, in_place, is_wal };
        Self { inner: Arc::new(inner) }
    }

    /// Opens the database of a file, and makes the file if it is not there.
    ///
    /// # Errors
    ///
    /// As [`Config::open`].
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Config::new().open(path)
    }

    /// Opens a new, empty database in memory.
    ///
    /// # Errors
    ///
    /// As [`Config::open_in_memory`].
    pub fn open_in_memory() -> Result<Self> {
        Config::new().open_in_memory()
    }

    /// The path that it was opened with; `:memory:` for one in memory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// What it has done, and what it is doing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let inner = &self.inner;
        let mut metrics = inner.counters.metrics();
        metrics.readers_free = inner.readers.free();
        metrics.readers_waiting = inner.readers.waiting();
        metrics.writers_waiting = inner.writer.as_ref().map_or(0, |writer| writer.waiting());
        metrics
    }

    /// All rows of a statement.
    ///
    /// A statement that also writes (`INSERT .. RETURNING ..`) goes to the connection that writes.
    ///
    /// # Errors
    ///
    /// What SQLite says; a row that cannot be converted; a deadline or a cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_wrappers::sqlite::{Database, Result};
    /// # cede_fiber::run(|| -> Result<()> {
    /// # let db = Database::open_in_memory()?;
    /// let rows: Vec<(i64, String)> =
    ///     db.query("SELECT value, 'v' || value FROM json_each(?1)", ["[1, 2]"])?;
    /// assert_eq!(rows, [(1, "v1".to_owned()), (2, "v2".to_owned())]);
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn query<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<T>> {
        self.fetch(sql, &params, |rows| {
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(T::from_row(row)?);
            }
            let len = all.len();
            Ok((all, len))
        })
    }

    /// The one row of a statement.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); [`RowCount`](ErrorKind::RowCount) when there is none, or more than
    /// one.
    pub fn query_one<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<T> {
        self.fetch(sql, &params, |rows| match take_one(rows)? {
            Some(value) => Ok((value, 1)),
            None => Err(rusqlite::Error::QueryReturnedNoRows.into()),
        })
    }

    /// The row of a statement, if there is one.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); [`RowCount`](ErrorKind::RowCount) when there is more than one.
    pub fn query_opt<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Option<T>> {
        self.fetch(sql, &params, |rows| {
            let value = take_one(rows)?;
            let len = usize::from(value.is_some());
            Ok((value, len))
        })
    }

    /// Runs a statement that writes; returns how many rows it has changed.
    ///
    /// # Errors
    ///
    /// What SQLite says; a deadline or a cancel.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.change(sql, &params, |_, changed| changed)
    }

    /// Runs an `INSERT` of one row; returns its rowid, which is its `INTEGER PRIMARY KEY`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn insert(&self, sql: &str, params: impl Params) -> Result<i64> {
        self.change(sql, &params, |db, _| db.last_insert_rowid())
    }

    /// Runs statements that are separated by semicolons. Each is committed by itself, unless there is
    /// a `BEGIN` and a `COMMIT` among them.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), of the first that fails: those before it remain.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        let sql = sql.to_owned();
        self.write(move |db| Ok(db.execute_batch(&sql)?))
    }

    /// Runs a closure in a transaction, which is committed when the closure returns `Ok`, and rolled
    /// back when it returns an error or panics.
    ///
    /// It begins `IMMEDIATE`: the lock for writing is taken first, so it cannot fail in its middle
    /// because another one has written. The closure runs on a thread of the pool; it cannot wait as
    /// a fiber does. For a part that may fail alone there is
    /// [`savepoint`](rusqlite::Transaction::savepoint).
    ///
    /// # Errors
    ///
    /// That of the closure; what SQLite says; a deadline or a cancel. Nothing remains then.
    ///
    /// # Panics
    ///
    /// When the closure panics, with its payload.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_wrappers::sqlite::{Database, Result, params};
    /// # cede_fiber::run(|| -> Result<()> {
    /// # let db = Database::open_in_memory()?;
    /// # db.execute_batch("CREATE TABLE stock (item TEXT UNIQUE, count INTEGER CHECK (count >= 0));
    /// #     INSERT INTO stock VALUES ('nut', 3)")?;
    /// let taken = db.transaction(|tx| {
    ///     tx.execute("UPDATE stock SET count = count - ?1 WHERE item = 'nut'", [5])?;
    ///     Ok(5)
    /// });
    /// assert!(taken.unwrap_err().is_constraint());
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn transaction<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.transaction_with(TransactionBehavior::Immediate, work)
    }

    /// [`transaction`](Self::transaction) with another beginning.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    ///
    /// # Panics
    ///
    /// As [`transaction`](Self::transaction).
    pub fn transaction_with<T, F>(&self, behavior: TransactionBehavior, work: F) -> Result<T>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.on_writer("a transaction", move |conn| {
            let begun = conn.db.transaction_with_behavior(behavior);
            let mut transaction = begun.map_err(|e| Error::from(e).in_phase(Phase::Begin))?;
            let value = work(&mut transaction)?;
            transaction.commit().map_err(|e| Error::from(e).in_phase(Phase::Commit))?;
            Ok(value)
        })
    }

    /// Runs a closure with a connection that reads, on a thread of the pool. Statements see one and
    /// the same state of the database only within a transaction (`conn.unchecked_transaction()`).
    ///
    /// # Errors
    ///
    /// That of the closure; a deadline or a cancel.
    ///
    /// # Panics
    ///
    /// When the closure panics, with its payload.
    pub fn read<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let span = self.span("a closure that reads");
        self.counts_read();
        let result = self
            .lease_to_read(true)
            .and_then(|lease| self.on_pool(lease, Phase::Run, move |conn| work(&conn.db)));
        self.ended(&span, result)
    }

    /// Runs a closure with the connection that writes, on a thread of the pool, outside of a
    /// transaction: each statement is committed by itself. It is for what cannot be in a transaction,
    /// such as `VACUUM`. The handlers of the connection (busy, progress, commit) are the database's
    /// own.
    ///
    /// # Errors
    ///
    /// That of the closure; a deadline or a cancel. What it had committed by then remains.
    ///
    /// # Panics
    ///
    /// When the closure panics, with its payload.
    pub fn write<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.on_writer("a closure that writes", move |conn| work(&conn.db))
    }

    /// Copies the write-ahead log into the database.
    ///
    /// # Errors
    ///
    /// [`Busy`](ErrorKind::Busy) when readers are in the way of [`CheckpointMode::Truncate`] for as
    /// long as the `busy_timeout`; else as [`execute`](Self::execute).
    pub fn checkpoint(&self, mode: CheckpointMode) -> Result<()> {
        let sql = match mode {
            CheckpointMode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            CheckpointMode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        self.write(move |db| {
            let is_busy: bool = db.query_row(sql, (), |row| row.get(0))?;
            if is_busy && mode == CheckpointMode::Truncate {
                return Err(Error::new(ErrorKind::Busy, "readers were in the way of a checkpoint"));
            }
            Ok(())
        })
    }

    /// Lets SQLite look after its statistics: worth a call now and then, and before closing.
    /// <https://sqlite.org/pragma.html#pragma_optimize>
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn optimize(&self) -> Result<()> {
        self.execute_batch("PRAGMA optimize")
    }

    /// Reads the whole database and returns what is wrong with it; nothing, if all is well.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn integrity_check(&self) -> Result<Vec<String>> {
        let mut said: Vec<String> = self.read(|db| {
            let mut statement = db.prepare("PRAGMA integrity_check")?;
            let mut lines = statement.query(())?;
            let mut said = Vec::new();
            loop {
                match lines.next().map_err(Error::from) {
                    Ok(Some(line)) => said.push(line.get(0)?),
                    Ok(None) => return Ok(said),
                    // What it cannot even go on from.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        said.push(error.to_string());
                        return Ok(said);
                    }
                    Err(error) => return Err(error),
                }
            }
        })?;
        said.retain(|line| line != "ok");
        Ok(said)
    }

    /// Waits for all calls that run, and closes the connections; what waits and what comes later
    /// gets [`Closed`](ErrorKind::Closed).
    ///
    /// # Errors
    ///
    /// A deadline or a cancel before the last call has ended: it is open then as before, or the
    /// connections for reading are closed already.
    pub fn close(&self) -> Result<()> {
        let inner = &self.inner;
        let mut conns = inner.readers.close().map_err(|e| self.at(e, Phase::Close))?;
        if let Some(writer) = &inner.writer {
            // The last to be dropped, and so the one that cleans up the log.
            conns.extend(writer.close().map_err(|e| self.at(e, Phase::Close))?);
        }
        let closed = cede_fiber::blocking(move || conns.into_iter().for_each(drop));
        closed.map_err(|error| self.at(Error::io(error), Phase::Close))
    }

    fn change<R: Send + 'static>(
        &self,
        sql: &str,
        params: &impl Params,
        take: fn(&Connection, usize) -> R,
    ) -> Result<R> {
        let span = self.span(sql);
        let result = self.change_in(&span, sql, params, take);
        self.ended(&span, result)
    }

    fn change_in<R: Send + 'static>(
        &self,
        span: &tracing::Span,
        sql: &str,
        params: &impl Params,
        take: fn(&Connection, usize) -> R,
    ) -> Result<R> {
        let params = params.to_own()?;
        let lease = self.lease_to_write()?;
        let sql = sql.to_owned();
        let (changed, result) = self.on_pool(lease, Phase::Run, move |conn| {
            let mut statement = conn.db.prepare_cached(&sql)?;
            params.bind(&mut statement)?;
            let changed = statement.raw_execute()?;
            Ok((changed, take(&conn.db, changed)))
        })?;
        span.record("rows", changed);
        Ok(result)
    }

    fn fetch<R: Send + 'static>(
        &self,
        sql: &str,
        params: &impl Params,
        take: Take<R>,
    ) -> Result<R> {
        let span = self.span(sql);
        let result = self.fetch_in(&span, sql, params, take);
        self.ended(&span, result)
    }

    fn fetch_in<R: Send + 'static>(
        &self,
        span: &tracing::Span,
        sql: &str,
        params: &impl Params,
        take: Take<R>,
    ) -> Result<R> {
        let inner = &self.inner;
        let mut place = inner.places.of(sql);
        if matches!(place, Place::Here | Place::HereForTrial) {
            place = if inner.in_place && cede_fiber::try_current().is_some() {
                match self.fetch_here(place, sql, params, take)? {
                    Here::Ended(result, rows) => {
                        span.record("rows", rows).record("place", "shard");
                        return Ok(result);
                    }
                    Here::Goes(place) => place,
                }
            } else {
                Place::Pool { is_long: false }
            };
        }
        let params = params.to_own()?;
        if let Place::Pool { is_long } = place {
            self.counts_read();
            let lease = self.lease_to_read(is_long)?;
            let (text, own) = (sql.to_owned(), params);
            let (fetched, params) = self.on_pool(lease, Phase::Run, move |conn| {
                Ok((conn.fetch(&text, |statement| own.bind(statement), take, false)?, own))
            })?;
            match fetched {
                Fetched::Rows(result, rows) => {
                    span.record("rows", rows).record("place", "pool");
                    return Ok(result);
                }
                Fetched::Writes => inner.places.writes(sql),
            }
            return self.fetch_on_writer(span, sql, params, take);
        }
        self.fetch_on_writer(span, sql, params, take)
    }

    fn fetch_on_writer<R: Send + 'static>(
        &self,
        span: &tracing::Span,
        sql: &str,
        params: super::params::OwnParams,
        take: Take<R>,
    ) -> Result<R> {
        let lease = self.lease_to_write()?;
        let sql = sql.to_owned();
        let fetched = self.on_pool(lease, Phase::Run, move |conn| {
            conn.fetch(&sql, |statement| params.bind(statement), take, true)
        })?;
        match fetched {
            Fetched::Rows(result, rows) => {
                span.record("rows", rows).record("place", "writer");
                Ok(result)
            }
            Fetched::Writes => unreachable!("it was told that it may write"),
        }
    }

    /// Runs a statement on this very thread, for as long as it is short.
    fn fetch_here<R>(
        &self,
        place: Place,
        sql: &str,
        params: &impl Params,
        take: Take<R>,
    ) -> Result<Here<R>> {
        let inner = &self.inner;
        check_alive().map_err(Error::io)?;
        give_way_now_and_then();
        let lease = inner.readers.lease(false, &inner.counters)?;
        let conn = lease.conn();
        let started = Instant::now();
        conn.begin_in_place();
        // A deep expression needs more stack than a fiber has.
        let fetched = cede_fiber::on_large_stack(|| {
            conn.fetch(sql, |statement| params.bind(statement), take, false)
        });
        match fetched {
            Ok(Fetched::Rows(result, rows)) => {
                count(&inner.counters.in_place);
                if started.elapsed() > IN_PLACE_TIME_MAX {
                    inner.places.is_slow(sql, false);
                } else if place == Place::HereForTrial {
                    inner.places.is_quick(sql);
                }
                Ok(Here::Ended(result, rows))
            }
            Ok(Fetched::Writes) => {
                inner.places.writes(sql);
                Ok(Here::Goes(Place::Writer))
            }
            Err(error) => {
                // Whatever it says: a schema that could not be read for a lock looks like one
                // without the table.
                let is_long = match conn.slot.left_because() {
                    Some(why) => why == Why::Long,
                    // Some locks are not asked for.
                    None if error.is_busy() => false,
                    None => {
                        self.counts_read();
                        return Err(error);
                    }
                };
                if is_long {
                    inner.places.is_slow(sql, true);
                }
                count(&inner.counters.moved);
                Ok(Here::Goes(Place::Pool { is_long }))
            }
        }
    }

    fn on_writer<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let span = self.span(what);
        let lease = self.lease_to_write();
        let result = lease.and_then(|lease| self.on_pool(lease, Phase::Run, work));
        self.ended(&span, result)
    }

    pub(super) fn lease_to_read(&self, is_long: bool) -> Result<Lease> {
        self.inner.readers.lease(is_long, &self.inner.counters)
    }

    pub(super) fn lease_to_write(&self) -> Result<Lease> {
        let Some(writer) = &self.inner.writer else {
            return Err(Error::new(ErrorKind::ReadOnly, "it was opened to be read only"));
        };
        count(&self.inner.counters.writes);
        writer.lease(false, &self.inner.counters)
    }

    /// Runs a closure in the pool, or here if this is no fiber, and gives it up when the fiber does
    /// not want it any more.
    pub(super) fn on_pool<R: Send + 'static>(
        &self,
        lease: Lease,
        phase: Phase,
        work: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let job = Job::new();
        let interrupt = Arc::clone(&lease.conn().interrupt);
        // Also when a shutdown unwinds this fiber while it waits.
        let stop = StopOnDrop { job: &job, interrupt: &interrupt };
        let (sender, receiver) = oneshot::channel();
        let run = {
            let job = Arc::clone(&job);
            // The result of an abandoned call is dropped there.
            move || drop(sender.send(lease.run(&job, work)))
        };
        let outcome: Option<thread::Result<Result<R>>> = match cede_fiber::blocking(run) {
            Ok(()) => receiver.try_recv().ok(),
            Err(error) => {
                let stage = job.stop(&interrupt);
                let outcome = if matches!(stage, Stage::Committing | Stage::Ended) {
                    cede_fiber::shield(|| receiver.recv_timeout(COMMIT_WAIT_MAX)).ok()
                } else {
                    None
                };
                let is_unknown = outcome.is_none() && stage != Stage::Stopped;
                if let Some(outcome) = outcome.filter(|outcome| !was_stopped(outcome)) {
                    Some(outcome)
                } else {
                    count(&self.inner.counters.interrupted);
                    let error = Error::io(error).in_phase(phase);
                    return Err(if is_unknown { error.that_may_have_run() } else { error });
                }
            }
        };
        drop(stop);
        match outcome {
            Some(Ok(result)) => result.map_err(|error| error.in_phase(phase)),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("a job that has ended has left its outcome"),
        }
    }

    pub(super) fn counts_read(&self) {
        count(&self.inner.counters.reads_elsewhere);
    }

    pub(super) fn is_wal(&self) -> bool {
        self.inner.is_wal
    }

    pub(super) fn at(&self, error: Error, phase: Phase) -> Error {
        error.at(&self.inner.path, phase)
    }

    /// Of a call; never entered, for other fibers run while this one waits.
    pub(super) fn span(&self, statement: &str) -> tracing::Span {
        tracing::debug_span!(
            "sqlite",
            db = &*self.inner.path,
            statement,
            rows = Empty,
            place = Empty,
            error = Empty
        )
    }

    /// Says in the span and in the error what became of a call.
    pub(super) fn ended<T>(&self, span: &tracing::Span, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            span.record("error", tracing::field::debug(error.kind()));
            self.at(error, Phase::Run)
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// How a statement ended that was begun in place.
enum Here<R> {
    Ended(R, usize),
    Goes(Place),
}

struct StopOnDrop<'a> {
    job: &'a Job,
    interrupt: &'a InterruptHandle,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.job.stop(self.interrupt);
    }
}

/// Whether a call says no more than that it was stopped.
fn was_stopped<R>(outcome: &thread::Result<Result<R>>) -> bool {
    matches!(outcome, Ok(Err(error)) if error.says_stopped())
}

fn take_one<T: FromRow>(rows: &mut Rows<'_>) -> Result<Option<T>> {
    let value = match rows.next()? {
        None => return Ok(None),
        Some(row) => T::from_row(row)?,
    };
    match rows.next()? {
        None => Ok(Some(value)),
        Some(_) => Err(rusqlite::Error::QueryReturnedMoreThanOneRow.into()),
    }
}

/// A read in place waits for nothing; it ends a fiber that is not to go on all the same, so that it
/// makes no difference where a statement runs.
fn check_alive() -> io::Result<()> {
    if !thread::panicking() {
        Park::begin()?;
    }
    match cede_fiber::deadline() {
        Some(at) if at <= Instant::now() => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

fn give_way_now_and_then() {
    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(IN_PLACE_PER_TURN) };
    }
    let left = LEFT.get() - 1;
    LEFT.set(if left == 0 { IN_PLACE_PER_TURN } else { left });
    if left == 0 {
        cede_fiber::yield_now();
    }
}
