//! The short lock around the state of a [`Shared`](crate::sync::generic::Shared) primitive.
//!
//! Half of what a `std::sync::Mutex` costs uncontended, because unlocking is a plain store: some 5
//! of 10 ns, in every send and receive. What is given up is a queue of those that wait for it. They
//! need none: the lock is held for some ten nanoseconds at a time, never across a wait, a wakeup or
//! user code. Should its owner lose the processor meanwhile, the others give theirs up, and after a
//! while they sleep, so that an owner of lower priority gets on.

#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    thread,
    time::Duration,
};

use crate::sync::primitive::{AtomicBool, Ordering, const_fn};

/// Turns of a busy wait before the processor is given up, and before the thread sleeps.
#[cfg(not(loom))]
const SPINS: u32 = 100;
#[cfg(not(loom))]
const YIELDS: u32 = 200;
#[cfg(not(loom))]
const NAP: Duration = Duration::from_micros(50);

/// Whether the lock is taken.
pub(crate) struct Flag(AtomicBool);

impl Flag {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }

    /// True: it is ours, and what the owner before us wrote is visible.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// For the owner.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        self.0.store(false, Ordering::Release);
    }

    #[cfg(not(loom))]
    #[cold]
    fn wait(&self) {
        let mut turns = 0;
        while self.0.load(Ordering::Relaxed) || !self.try_take() {
            match turns {
                ..SPINS => std::hint::spin_loop(),
                SPINS..YIELDS => thread::yield_now(),
                YIELDS.. => thread::sleep(NAP),
            }
            turns = turns.saturating_add(1);
        }
    }
}

/// See the module.
#[cfg(not(loom))]
pub(crate) struct Brief<S> {
    flag: Flag,
    state: UnsafeCell<S>,
}

// SAFETY: the lock lets one thread at a time reach the state, which needs Send only.
#[cfg(not(loom))]
unsafe impl<S: Send> Sync for Brief<S> {}

#[cfg(not(loom))]
impl<S> Brief<S> {
    pub(crate) const fn new(state: S) -> Self {
        Self { flag: Flag::new(), state: UnsafeCell::new(state) }
    }

    /// Takes the lock.
    #[inline(always)]
    pub(crate) fn lock(&self) -> BriefGuard<'_, S> {
        if !self.flag.try_take() {
            self.flag.wait();
        }
        BriefGuard(self, PhantomData)
    }
}

/// The state, until this is dropped; also when its user panics, which none does. It stays on its
/// thread, because `S` need not be Sync.
#[cfg(not(loom))]
pub struct BriefGuard<'a, S>(&'a Brief<S>, PhantomData<*mut S>);

#[cfg(not(loom))]
impl<S> Deref for BriefGuard<'_, S> {
    type Target = S;

    #[inline(always)]
    fn deref(&self) -> &S {
        // SAFETY: the flag is ours until this guard goes, so nobody else is here.
        unsafe { &*self.0.state.get() }
    }
}

#[cfg(not(loom))]
impl<S> DerefMut for BriefGuard<'_, S> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.0.state.get() }
    }
}

#[cfg(not(loom))]
impl<S> Drop for BriefGuard<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.flag.give_back();
    }
}

/// For the model checker, which cannot follow a busy wait, a lock of its own; the flag has a model
/// by itself.
#[cfg(loom)]
pub(crate) struct Brief<S>(loom::sync::Mutex<S>);

#[cfg(loom)]
pub use loom::sync::MutexGuard as BriefGuard;

#[cfg(loom)]
impl<S> Brief<S> {
    pub(crate) fn new(state: S) -> Self {
        Self(loom::sync::Mutex::new(state))
    }

    pub(crate) fn lock(&self) -> BriefGuard<'_, S> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
