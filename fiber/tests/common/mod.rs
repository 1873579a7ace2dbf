//! What the integration tests share: a guard against hangs, counted destructors, seeds.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A test that takes this long hangs. It is far above what any test needs on a busy machine.
const HANG: Duration = Duration::from_secs(120);
/// Races are tried this many times less often without optimisation.
const DEBUG_DIVISOR: usize = 20;

/// Runs a test on a thread of its own and fails when it hangs, instead of hanging too.
pub(crate) fn guarded<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = test();
        // The receiver is gone only when the test was given up.
        let _ = done.send(());
        result
    });
    if let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(HANG) {
        panic!("the test hangs: no end after {HANG:?}");
    }
    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// How often to try a race that is tried `release` times in an optimised build.
pub(crate) fn rounds(release: usize) -> usize {
    if cfg!(debug_assertions) { release / DEBUG_DIVISOR } else { release }
}

/// Counts how many of its guards live and how many have been dropped.
#[derive(Clone, Default)]
pub(crate) struct Drops {
    made: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Drops {
    pub(crate) fn guard(&self) -> DropGuard {
        self.made.fetch_add(1, Ordering::SeqCst);
        DropGuard(Arc::clone(&self.dropped))
    }

    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// See [`Drops`].
pub(crate) struct DropGuard(Arc<AtomicUsize>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs a closure when it is dropped.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn new(f: F) -> Self {
        Self(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// Random numbers whose seed is printed, and can be given by `CEDE_SEED` to repeat a run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let given = std::env::var("CEDE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos() as u64
        });
        println!("CEDE_SEED={seed}");
        Self(seed)
    }

    /// The next number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Numbers of their own for a part of the test.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
