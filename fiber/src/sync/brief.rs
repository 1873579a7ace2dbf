//! The short lock around the state of a [`Shared`](crate::sync::generic::Shared) primitive.
//!
//! Half of what a `std::sync::Mutex` costs uncontended, because unlocking is a plain store: some 5
//! of 10 ns, in every send and receive. What is given up is a queue of those that wait for it. They
//! need none: the lock is held for some ten nanoseconds at a time, never across a wait, a wakeup or
//! user code. Should its owner lose the processor meanwhile, the others give theirs up, and after a
//! while they sleep, so that an owner of lower priority gets on.

use std::cell::UnsafeCell;

use crate::sync::primitive::{AtomicBool, Ordering, const_fn, pause};

/// See the module.
pub(crate) struct Brief<S> {
    locked: AtomicBool,
    state: UnsafeCell<S>,
}

// SAFETY: the lock lets one thread at a time reach the state, which needs Send only.
unsafe impl<S: Send> Sync for Brief<S> {}

impl<S> Brief<S> {
    const_fn! {
        pub(crate) fn new(state: S) -> Self {
            Self { locked: AtomicBool::new(false), state: UnsafeCell::new(state) }
        }
    }

    /// Runs `f` with the state.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        if self.locked.swap(true, Ordering::Acquire) {
            self.wait();
        }
        let _unlock = Unlock(&self.locked);
        // SAFETY: the flag was false and is true by our swap, so nobody else is here before it is
        // false again, and what was written before that is visible (acquire, release).
        f(unsafe { &mut *self.state.get() })
    }

    #[cold]
    fn wait(&self) {
        let mut turns = 0;
        loop {
            while self.locked.load(Ordering::Relaxed) {
                pause(turns);
                turns += 1;
            }
            if !self.locked.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }
}

/// Also when `f` panics, which none does.
struct Unlock<'a>(&'a AtomicBool);

impl Drop for Unlock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
