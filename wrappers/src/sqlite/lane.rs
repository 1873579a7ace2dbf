//! Connections of one kind, and those who wait for one.
//!
//! ```text
//!   calls --> [ queue, first come first served, at most queue_max ] --> connections
//!   long reads --> [ the same ] --> all of them but one
//! ```
//!
//! The surprising rule: long reads never take the last connection, so a look-up by key need not wait
//! for the end of a report.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use cede_fiber::FiberId;
use cede_fiber::sync::{AcquireError, Semaphore, TryAcquireError};

use super::connection::Conn;
use super::error::{Error, ErrorKind, Phase, Result};
use super::job::Job;
use super::metrics::{Counters, count};

thread_local! {
    /// The lanes whose connection a closure on this thread holds.
    static INSIDE: RefCell<Vec<*const Lane>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
pub(super) struct Lane {
    /// As many as connections.
    permits: Semaphore,
    /// For long reads: one less, but never none.
    permits_long: Semaphore,
    /// The one used last is taken first: its pages are in the CPU's cache.
    free: Mutex<Vec<Conn>>,
    connections: usize,
    /// Who takes rows of a long result, and so holds a connection; each with a number.
    streams: Mutex<Vec<(u64, Who)>>,
    streams_ever: AtomicU64,
    waiting: AtomicUsize,
    queue_max: usize,
}

/// A fiber, whose number is its runtime's, or a thread.
type Who = (ThreadId, Option<FiberId>);

fn this() -> Who {
    (thread::current().id(), cede_fiber::try_current().map(|fiber| fiber.id()))
}

impl Lane {
    pub(super) fn new(connections: Vec<Conn>, queue_max: usize) -> Arc<Self> {
        let count = connections.len();
        Arc::new(Self {
            permits: Semaphore::new(count),
            permits_long: Semaphore::new(count.saturating_sub(1).max(1)),
            connections: count,
            streams: Mutex::default(),
            streams_ever: AtomicU64::new(0),
            free: Mutex::new(connections),
            waiting: AtomicUsize::new(0),
            queue_max,
        })
    }

    /// Takes a connection, after waiting for one.
    pub(super) fn lease(self: &Arc<Self>, is_long: bool, counters: &Counters) -> Result<Lease> {
        if is_long {
            self.acquire(&self.permits_long, self.connections.saturating_sub(1).max(1), counters)?;
        }
        // Gives the permit back if the second wait fails.
        let mut lease = Lease { lane: Arc::clone(self), conn: None, is_long };
        self.acquire(&self.permits, self.connections, counters)?;
        lease.conn = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if lease.conn.is_none() { Err(closed()) } else { Ok(lease) }
    }

    fn acquire(&self, permits: &Semaphore, count_max: usize, counters: &Counters) -> Result<()> {
        match permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                return Ok(());
            }
            Err(TryAcquireError::Closed) => return Err(closed()),
            Err(TryAcquireError::NoPermits) => {}
        }
        if is_inside(self) {
            let says = "called in a closure of this database, for which it would wait: use the \
                        connection that the closure was given";
            return Err(Error::new(ErrorKind::State, says).in_phase(Phase::Wait));
        }
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= count_max && streams.iter().any(|(_, who)| *who == this()) {
            let says = "called in the closure of a query_each that holds the connection, for which \
                        it would wait: collect the rows first, or let the database have more readers";
            return Err(Error::new(ErrorKind::State, says).in_phase(Phase::Wait));
        }
        drop(streams);
        let waiting = Waiting::begin(&self.waiting);
        if waiting.before >= self.queue_max {
            count(&counters.refused);
            let says = "too many calls wait for a connection already (queue_max)";
            return Err(Error::new(ErrorKind::Limit, says).in_phase(Phase::Wait));
        }
        count(&counters.waits);
        let since = Instant::now();
        let acquired = permits.acquire();
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counters.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
        match acquired {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(AcquireError::Closed) => Err(closed()),
            Err(AcquireError::Wait(error)) => Err(Error::io(error).in_phase(Phase::Wait)),
        }
    }

    /// Notes that the current fiber takes the rows of a connection that it leases, until the first
    /// of two guards goes: its own, and that of the statement.
    pub(super) fn stream(self: &Arc<Self>) -> (Streaming, Streaming) {
        let number = self.streams_ever.fetch_add(1, Ordering::Relaxed);
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push((number, this()));
        let streaming = || Streaming { lane: Arc::clone(self), number };
        (streaming(), streaming())
    }

    pub(super) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for all connections, and takes them for good. None: that was done before.
    pub(super) fn close(&self) -> Result<Vec<Conn>> {
        match self.permits.acquire_many(self.connections) {
            Ok(permits) => permits.forget(),
            Err(AcquireError::Closed) => return Ok(Vec::new()),
            Err(AcquireError::Wait(error)) => return Err(Error::io(error)),
        }
        self.permits.close();
        self.permits_long.close();
        Ok(std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the database is closed").in_phase(Phase::Wait)
}

/// One that waits, counted also if a shutdown unwinds it.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time in which a fiber takes rows, or in which the statement makes them.
pub(super) struct Streaming {
    lane: Arc<Lane>,
    number: u64,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut streams = self.lane.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|(number, _)| *number != self.number);
    }
}

/// A connection that was taken. It goes back when this is dropped, on whatever thread.
pub(super) struct Lease {
    lane: Arc<Lane>,
    conn: Option<Conn>,
    is_long: bool,
}

impl Lease {
    pub(super) fn conn(&self) -> &Conn {
        self.conn.as_ref().expect("a lease that was given out has its connection")
    }

    /// Runs a closure for a job on this thread and gives the connection back. A panic of the closure
    /// is returned; a transaction that it has left open is rolled back.
    pub(super) fn run<R>(
        mut self,
        job: &Arc<Job>,
        work: impl FnOnce(&mut Conn) -> Result<R>,
    ) -> thread::Result<Result<R>> {
        let Some(conn) = self.conn.as_mut().filter(|_| job.begin()) else {
            return Ok(Err(Error::new(ErrorKind::Interrupted, "it was stopped before it began")));
        };
        conn.slot.set(Some(Arc::clone(job)));
        INSIDE.with_borrow_mut(|inside| inside.push(Arc::as_ptr(&self.lane)));
        let result = catch_unwind(AssertUnwindSafe(|| work(conn)));
        INSIDE.with_borrow_mut(|inside| inside.pop());
        job.end();
        conn.slot.set(None);
        let cleaned = conn.clean(job.is_stopped());
        result.map(|result| result.and_then(|value| cleaned.map(|()| value)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.lane.free.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            self.lane.permits.add_permits(1);
        }
        if self.is_long {
            self.lane.permits_long.add_permits(1);
        }
    }
}

/// Whether a closure on this thread holds a connection of the lane.
fn is_inside(lane: &Lane) -> bool {
    INSIDE.with_borrow(|inside| inside.contains(&std::ptr::from_ref(lane)))
}
