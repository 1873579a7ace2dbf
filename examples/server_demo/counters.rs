//! What the program counts, and how it says so.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::allocations;

/// A count of allocations that was not taken yet.
const UNKNOWN: u64 = u64::MAX;

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the module.
pub(crate) struct Counters {
    /// By each accept thread.
    accepted: Vec<Counter>,
    /// Connections whose block was returned.
    pub(crate) closed: Counter,
    /// Responses sent.
    pub(crate) answered: Counter,
    /// Connections ended without a response.
    pub(crate) cut_off: Counter,
    /// Tasks handed to workers.
    pub(crate) delegated: Counter,
    /// Accepts that failed because descriptors had run out.
    pub(crate) accept_failures: Counter,
    /// The count of allocations when the first connection was accepted.
    before: AtomicU64,
    /// The same when the server was told to stop: its end is no service.
    after: AtomicU64,
}

impl Counters {
    pub(crate) fn new(accept_threads: usize) -> Self {
        Self {
            accepted: (0..accept_threads).map(|_| Counter::default()).collect(),
            closed: Counter::default(),
            answered: Counter::default(),
            cut_off: Counter::default(),
            delegated: Counter::default(),
            accept_failures: Counter::default(),
            before: AtomicU64::new(UNKNOWN),
            after: AtomicU64::new(UNKNOWN),
        }
    }

    /// A connection has come.
    pub(crate) fn accepted_by(&self, accept_thread: usize) {
        take_once(&self.before);
        if let Some(counter) = self.accepted.get(accept_thread) {
            counter.add();
        }
    }

    /// The server was told to stop.
    pub(crate) fn stopped(&self) {
        take_once(&self.after);
    }

    /// Connections that hold a block.
    pub(crate) fn open(&self) -> u64 {
        // Read first, so that no connection counts as closed that does not count as accepted.
        let closed = self.closed.get();
        self.accepted.iter().map(Counter::get).sum::<u64>().saturating_sub(closed)
    }

    /// Allocations of the whole process since the first connection was accepted.
    fn allocations(&self) -> u64 {
        let taken = |place: &AtomicU64| {
            Some(place.load(Ordering::Relaxed)).filter(|count| *count != UNKNOWN)
        };
        let now = taken(&self.after).unwrap_or_else(allocations::count);
        taken(&self.before).map_or(0, |before| now.saturating_sub(before))
    }
}

/// Notes the count of allocations, unless that was done.
fn take_once(place: &AtomicU64) {
    if place.load(Ordering::Relaxed) == UNKNOWN {
        let now = allocations::count();
        // Another thread may have been first, and then its count is as good.
        let _ = place.compare_exchange(UNKNOWN, now, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open {}, accepted", self.open())?;
        for counter in &self.accepted {
            write!(f, " {}", counter.get())?;
        }
        write!(f, ", answered {}, cut off {}", self.answered.get(), self.cut_off.get())?;
        write!(f, ", delegated {}", self.delegated.get())?;
        write!(f, ", accept failures {}", self.accept_failures.get())?;
        write!(f, ", allocations {}", self.allocations())
    }
}
