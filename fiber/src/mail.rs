//! What other threads want of one fiber: a wakeup, a cancel, the end of one wait.
//!
//! ```text
//!   63                                  4      3        2        1        0
//!   +-----------------------------------+------+--------+--------+--------+
//!   | generation of the wait that ended | poll | cancel | permit | queued |
//!   +-----------------------------------+------+--------+--------+--------+
//! ```
//!
//! The word only gathers; the fiber's own shard empties it and decides. `queued` says that the
//! fiber's link is in the inbox, so a thousand wakeups that come before the shard looks take one
//! place in it: the inbox is bounded by the number of fibers.

use crate::primitive::{AtomicU64, Ordering};

const QUEUED: u64 = 1;
const PERMIT: u64 = 2;
const CANCEL: u64 = 4;
const POLL: u64 = 8;
const GENERATION_SHIFT: u32 = 4;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// A permit to leave `park`.
    Wakeup,
    /// Every wait ends with an error from now on.
    Cancel,
    /// The future that the fiber runs wants to be polled.
    Poll,
    /// The wait of this generation is over.
    EndWait(u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mail(AtomicU64);

/// What had gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gathered {
    pub(crate) permit: bool,
    pub(crate) cancel: bool,
    pub(crate) poll: bool,
    /// 0: no wait was ended.
    pub(crate) generation: u64,
}

impl Mail {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds a request. True: the caller must put the fiber's link into the inbox.
    ///
    /// A generation replaces an older one, which is stale by then: a fiber is in one wait at a
    /// time.
    pub(crate) fn add(&self, request: Request) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let new = QUEUED
                | match request {
                    Request::Wakeup => word | PERMIT,
                    Request::Cancel => word | CANCEL,
                    Request::Poll => word | POLL,
                    Request::EndWait(generation) => {
                        let flags = word & (QUEUED | PERMIT | CANCEL | POLL);
                        flags | (word >> GENERATION_SHIFT).max(generation) << GENERATION_SHIFT
                    }
                };
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return word & QUEUED == 0,
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes what has gathered. To be called when the link has left the inbox, because it may be
    /// pushed again at once.
    pub(crate) fn take(&self) -> Gathered {
        let word = self.0.swap(0, Ordering::AcqRel);
        Gathered {
            permit: word & PERMIT != 0,
            cancel: word & CANCEL != 0,
            poll: word & POLL != 0,
            generation: word >> GENERATION_SHIFT,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    const EMPTY: Gathered = Gathered { permit: false, cancel: false, poll: false, generation: 0 };

    #[test]
    fn p01_requests_gather_and_the_first_one_queues() {
        let mail = Mail::new();
        assert!(mail.add(Request::Wakeup));
        assert!(!mail.add(Request::EndWait(7)));
        assert!(!mail.add(Request::Poll));
        assert!(!mail.add(Request::EndWait(5)), "older, and stale by then");
        assert!(!mail.add(Request::Cancel));
        let all = Gathered { permit: true, cancel: true, poll: true, generation: 7 };
        assert_eq!(mail.take(), all);
        assert_eq!(mail.take(), EMPTY);
        assert!(mail.add(Request::EndWait(5)), "the link has left the inbox");
    }

    /// With real threads; every interleaving is tried by `loom_tests/mail.rs`.
    #[test]
    fn p04_threads_gather_and_the_newest_generation_wins() {
        const EACH: u64 = if cfg!(miri) { 50 } else { 10_000 };
        let (mail, queued) = (Mail::new(), AtomicU64::new(0));
        let mut newest = 0;
        thread::scope(|s| {
            for parity in 0..2 {
                let (mail, queued) = (&mail, &queued);
                s.spawn(move || {
                    for n in 1..=EACH {
                        let added = mail.add(Request::EndWait(2 * n + parity));
                        queued.fetch_add(u64::from(added), Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..EACH {
                newest = newest.max(mail.take().generation);
            }
        });
        newest = newest.max(mail.take().generation);
        assert_eq!(newest, 2 * EACH + 1);
        assert!(queued.load(Ordering::Relaxed) >= 1);
    }
}
