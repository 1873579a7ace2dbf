//! How a call runs: in place, in the pool, or moved from here to there.
//!
//! The surprising rule: no fiber holds a connection while it waits for another one, so nothing here
//! can wait in a circle.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cede_fiber::Park;
use cede_fiber::sync::oneshot;
use rusqlite::{Connection, InterruptHandle};
use tracing::field::Empty;

use super::connection::{Conn, Fetched, Take};
use super::database::Database;
use super::error::{Error, ErrorKind, Phase, Result};
use super::job::{Job, Stage, Why};
use super::lane::Lease;
use super::metrics::count;
use super::params::{OwnParams, Params};
use super::place::Place;

/// How long a fiber that gives up waits for a commit that is under way.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A statement that ended in place, but held its thread for longer than this, is a slow one.
const IN_PLACE_TIME_MAX: Duration = Duration::from_millis(1);
/// So much of a statement is shown in a span.
const SPAN_SQL_BYTES_MAX: usize = 512;
/// Reads in place after which a thread lets its other fibers run.
const IN_PLACE_PER_TURN: u32 = 32;

impl Database {
    pub(super) fn change<R: Send + 'static>(
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

    pub(super) fn fetch<R: Send + 'static>(
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
        params: OwnParams,
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

    pub(super) fn on_writer<T: Send + 'static>(
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
        check_in_time()?;
        self.inner.readers.lease(is_long, &self.inner.counters)
    }

    pub(super) fn lease_to_write(&self) -> Result<Lease> {
        let Some(writer) = &self.inner.writer else {
            return Err(Error::new(ErrorKind::ReadOnly, "it was opened to be read only"));
        };
        check_in_time()?;
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
        let statement = &statement[..statement.floor_char_boundary(SPAN_SQL_BYTES_MAX)];
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

/// What would end too late does not begin. A thread of the pool might be faster than the wait for it.
fn check_in_time() -> Result<()> {
    if cede_fiber::try_current().is_none() {
        return Ok(());
    }
    check_alive().map_err(|error| Error::io(error).in_phase(Phase::Wait))
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
