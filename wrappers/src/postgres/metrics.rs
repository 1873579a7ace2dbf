//! What a client has done so far.

use std::cell::Cell;

/// Counts of a [`Client`](super::Client) since it was made, over all of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Requests that were sent: statements, preparations, ends of transactions.
    pub requests: u64,
    /// Rows that came.
    pub rows: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
    /// Bytes that were sent.
    pub bytes_sent: u64,
    /// Requests that the server answered with an error.
    pub errors: u64,
    /// Requests that were sent once more, because they certainly had not run.
    pub retries: u64,
    /// Requests that nobody waited for any more when their answer came.
    pub abandoned: u64,
    /// Cancel requests that were sent.
    pub cancels: u64,
    /// Connections that were made, the first one included.
    pub connects: u64,
    /// Requests that are sent and not answered.
    pub in_flight: usize,
}

/// The counts, as they grow.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: Counter,
    pub(super) rows: Counter,
    pub(super) bytes_received: Counter,
    pub(super) errors: Counter,
    pub(super) retries: Counter,
    pub(super) abandoned: Counter,
    pub(super) cancels: Counter,
    pub(super) connects: Counter,
    pub(super) bytes_sent: Counter,
}

#[derive(Default)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// For what was counted and did not happen.
    pub(super) fn subtract(&self, n: u64) {
        self.0.set(self.0.get().wrapping_sub(n));
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Counters {
    pub(super) fn metrics(&self, in_flight: usize) -> Metrics {
        Metrics {
            requests: self.requests.get(),
            rows: self.rows.get(),
            bytes_received: self.bytes_received.get(),
            bytes_sent: self.bytes_sent.get(),
            errors: self.errors.get(),
            retries: self.retries.get(),
            abandoned: self.abandoned.get(),
            cancels: self.cancels.get(),
            connects: self.connects.get(),
            in_flight,
        }
    }
}
