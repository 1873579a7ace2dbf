//! Where a plain thread waits.
//!
//! `thread::park` returns for no reason now and then, so a flag says whether it was meant.

use std::io;
use std::sync::Arc;

use crate::cancel;
use crate::sync::limit::Limit;
use crate::sync::primitive::{AtomicBool, Ordering, Thread, thread};

/// One wait of one thread.
#[derive(Debug)]
pub struct Spot {
    thread: Thread,
    /// Set once, by the waker.
    woken: AtomicBool,
}

impl Spot {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), woken: AtomicBool::new(false) })
    }

    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    #[cfg(not(loom))]
    pub(crate) fn wait(&self, limit: Limit) -> io::Result<()> {
        while !self.is_woken() {
            let Limit::Thread(until) = limit else {
                thread::park();
                continue;
            };
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Err(cancel::timed_out_error());
            }
            thread::park_timeout(left);
        }
        Ok(())
    }

    /// The model checker has no clock: a wait with a limit may end at any moment.
    #[cfg(loom)]
    pub(crate) fn wait(&self, limit: Limit) -> io::Result<()> {
        while !self.is_woken() {
            if matches!(limit, Limit::Never) {
                thread::park();
                continue;
            }
            thread::yield_now();
            if !self.is_woken() {
                return Err(cancel::timed_out_error());
            }
        }
        Ok(())
    }
}
