//! What a database counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a database has done since it was opened, and what it is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Calls that read.
    pub reads: u64,
    /// Of them, those that ended where they began, on the thread of their shard.
    pub in_place: u64,
    /// Of them, those that began there and were moved to the pool, because they were too long or
    /// would have waited for a lock.
    pub moved: u64,
    /// Calls that write.
    pub writes: u64,
    /// Calls that had to wait for a connection.
    pub waits: u64,
    /// How long they waited, together.
    pub waited: Duration,
    /// Calls that were refused because too many waited already.
    pub refused: u64,
    /// How often the lock of another process or connection was met.
    pub busy: u64,
    /// Calls that ran when their fiber gave them up, by deadline or cancel.
    pub interrupted: u64,
    /// Connections for reading that are free now.
    pub readers_free: usize,
    /// Calls that wait for a connection for reading now.
    pub readers_waiting: usize,
    /// Calls that wait for the connection for writing now.
    pub writers_waiting: usize,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Those that did not end in place: a look-up counts once.
    pub(super) reads_elsewhere: AtomicU64,
    pub(super) in_place: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) waited_nanos: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) interrupted: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn metrics(&self) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            reads: get(&self.reads_elsewhere) + get(&self.in_place),
            in_place: get(&self.in_place),
            moved: get(&self.moved),
            writes: get(&self.writes),
            waits: get(&self.waits),
            waited: Duration::from_nanos(get(&self.waited_nanos)),
            refused: get(&self.refused),
            busy: get(&self.busy),
            interrupted: get(&self.interrupted),
            ..Metrics::default()
        }
    }
}
