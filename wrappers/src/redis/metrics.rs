//! Counts of what a client does.
//!
//! The rule of this file: a count costs one addition, on the shard's own thread.

use std::cell::Cell;

/// What a client has done so far, its connections for blocking commands and subscriptions
/// included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Commands and pipelines that were begun.
    pub commands: u64,
    /// Of these, those that failed, be it by an answer of the server or otherwise.
    pub errors: u64,
    /// Of these, those whose fiber gave up by a deadline or a cancel; their answers are dropped.
    pub abandoned: u64,
    /// Commands and pipelines that wait for an answer now.
    pub in_flight: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
    /// Bytes that were to be sent.
    pub bytes_sent: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Of these, those in the place of one that was lost.
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub connect_errors: u64,
    /// Messages that nobody asked for on a connection for commands.
    pub unasked: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commands: Cell<u64>,
    pub(super) errors: Cell<u64>,
    pub(super) abandoned: Cell<u64>,
    pub(super) in_flight: Cell<u64>,
    pub(super) bytes_received: Cell<u64>,
    pub(super) bytes_sent: Cell<u64>,
    pub(super) connects: Cell<u64>,
    pub(super) reconnects: Cell<u64>,
    pub(super) connect_errors: Cell<u64>,
    pub(super) unasked: Cell<u64>,
}

impl Counters {
    pub(super) fn metrics(&self) -> Metrics {
        Metrics {
            commands: self.commands.get(),
            errors: self.errors.get(),
            abandoned: self.abandoned.get(),
            in_flight: self.in_flight.get(),
            bytes_received: self.bytes_received.get(),
            bytes_sent: self.bytes_sent.get(),
            connects: self.connects.get(),
            reconnects: self.reconnects.get(),
            connect_errors: self.connect_errors.get(),
            unasked: self.unasked.get(),
        }
    }
}

#[inline]
pub(super) fn add(counter: &Cell<u64>, n: usize) {
    counter.set(counter.get() + n as u64);
}
