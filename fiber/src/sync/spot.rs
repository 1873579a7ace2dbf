//! Where a plain thread waits.
//!
//! `thread::park` returns for no reason now and then, so a flag says whether it was meant.

use std::io;
use std::sync::Arc;

use crate::cancel;
use crate::sync::limit::Limit;
use crate::sync::primitive::{AtomicBool, Bell, Ordering};

/// One wait of one thread.
#[derive(Debug)]
pub struct Spot {
    bell: Bell,
    /// Set once, by the waker.
    woken: AtomicBool,
}

impl Spot {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { bell: Bell::new(), woken: AtomicBool::new(false) })
    }

    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.bell.ring();
    }

    pub(crate) fn wait(&self, limit: Limit) -> io::Result<()> {
        while !self.woken.load(Ordering::Acquire) {
            let until = match limit {
                Limit::Thread(until) => Some(until),
                Limit::Never | Limit::Fiber(_) => None,
            };
            if !self.bell.wait(until) && !self.woken.load(Ordering::Acquire) {
                return Err(cancel::timed_out_error());
            }
        }
        Ok(())
    }
}
