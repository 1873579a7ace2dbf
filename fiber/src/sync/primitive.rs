//! The atomics and threads of this module; `--cfg loom` swaps in those of the model checker.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// What a thread sleeps by. It may ring for no reason.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Bell(std::thread::Thread);

#[cfg(not(loom))]
impl Bell {
    /// For the current thread.
    pub(crate) fn new() -> Self {
        Self(std::thread::current())
    }

    pub(crate) fn ring(&self) {
        self.0.unpark();
    }

    /// Sleeps until the bell rings. False: the time has passed.
    pub(crate) fn wait(&self, until: Option<Instant>) -> bool {
        let Some(until) = until else {
            std::thread::park();
            return true;
        };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::park_timeout(left);
        }
        !left.is_zero()
    }
}

/// The model checker has no clock: a wait that has an end may end at any moment. (Its `unpark` also
/// ends waits that are not parks.)
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Bell(loom::sync::Notify);

#[cfg(loom)]
impl Bell {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Notify::new())
    }

    pub(crate) fn ring(&self) {
        self.0.notify();
    }

    pub(crate) fn wait(&self, until: Option<Instant>) -> bool {
        match until {
            None => self.0.wait(),
            Some(_) => loom::thread::yield_now(),
        }
        until.is_none()
    }
}

/// Makes a function `const`, except for the model checker, whose atomics cannot be made at compile
/// time.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        $vis const fn $($rest)*

        $(#[$meta])*
        #[cfg(loom)]
        $vis fn $($rest)*
    };
}
pub(crate) use const_fn;
