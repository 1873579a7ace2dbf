//! The atomics and threads of this module; `--cfg loom` swaps in those of the model checker.

#[cfg(loom)]
pub(crate) use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{self, Thread},
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{self, Thread},
};

/// Turns of a busy wait before the processor is given up, and before the thread sleeps.
#[cfg(not(loom))]
const SPINS: u32 = 100;
#[cfg(not(loom))]
const YIELDS: u32 = 200;
#[cfg(not(loom))]
const NAP: std::time::Duration = std::time::Duration::from_micros(50);

/// Lets some time pass in a busy wait that has taken so many turns.
#[cfg(not(loom))]
pub(crate) fn pause(turns: u32) {
    if turns < SPINS {
        std::hint::spin_loop();
    } else if turns < SPINS + YIELDS {
        thread::yield_now();
    } else {
        thread::sleep(NAP);
    }
}

/// The model checker must be told that only another thread can help.
#[cfg(loom)]
pub(crate) fn pause(_turns: u32) {
    thread::yield_now();
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
