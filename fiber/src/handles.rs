//! The parts of fibers that handles hold, kept for the next fiber when one has ended.
//!
//! A handle may outlive its fiber, also for a moment on another thread that has just woken it. So
//! the surprising rule: one is put back whether somebody holds it or not, and looked at when it is
//! wanted again, the oldest first; one that is still held goes to the end of the queue.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::Record;
use crate::shared::{FiberShared, ShardShared};

/// Spare ones that a shard keeps, unless it reserves more.
const SPARES_MAX_DEFAULT: usize = 256;
/// Spare ones looked at before a new one is made.
const LOOKS_MAX: usize = 8;

/// The spare ones of one shard.
#[derive(Debug)]
pub(crate) struct Handles {
    spares: VecDeque<Arc<FiberShared>>,
    max: usize,
}

impl Handles {
    pub(crate) fn new() -> Self {
        Self { spares: VecDeque::new(), max: SPARES_MAX_DEFAULT }
    }

    /// Makes so many at once.
    pub(crate) fn reserve(&mut self, count: usize, shard: &Arc<ShardShared>) {
        self.max = self.max.max(count);
        self.spares.reserve_exact(self.max);
        let spare = || FiberShared::gone(Arc::clone(shard), 0, 0, None);
        self.spares.extend(std::iter::repeat_with(spare).take(count));
    }

    /// The part of a live fiber that handles hold.
    pub(crate) fn make(&mut self, shard: &Arc<ShardShared>, record: &Record) -> Arc<FiberShared> {
        for _ in 0..self.spares.len().min(LOOKS_MAX) {
            let Some(mut spare) = self.spares.pop_front() else { break };
            if let Some(unheld) = Arc::get_mut(&mut spare) {
                unheld.renew(record);
                return spare;
            }
            self.spares.push_back(spare);
        }
        FiberShared::new(Arc::clone(shard), record)
    }

    /// Takes back that of a fiber that has ended.
    pub(crate) fn put_back(&mut self, handle: Arc<FiberShared>) {
        if self.spares.len() < self.max {
            self.spares.push_back(handle);
        }
    }
}
