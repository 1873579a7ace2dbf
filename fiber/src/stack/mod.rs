//! Stacks of fibers: where they come from and how their ends are guarded.
//!
//! ```text
//!   one mapping (slab)
//!   +-------+----------------------+-------+----------------------+--
//!   | guard |  usable, grows down  | guard |  usable, grows down  | ...
//!   +-------+----------------------+-------+----------------------+--
//!           ^ bottom            top ^
//!                          the fiber's record lies in the last bytes below `top`
//! ```
//!
//! Stacks are reused last in, first out, so that a new fiber starts on pages that are warm. They
//! are given back to the system only when the pool goes; until then a stale pointer to a stack
//! still points to mapped memory.

mod overflow;
mod pool;
mod slab;

use std::num::NonZeroUsize;

pub(crate) use overflow::{AlternateStack, install_handler};
pub(crate) use pool::{StackPool, class_bytes};
pub use slab::StackGuard;

/// Bytes below each stack that fault when touched. More than one page, because C code built without
/// stack probes may step over a single one.
pub(crate) const GUARD_BYTES: usize = 16 * 1024;

/// The smallest usable stack: a panic with its backtrace needs about this much.
pub const STACK_BYTES_MIN: usize = 16 * 1024;
/// The largest usable stack: more than this is a mistake in a unit.
pub const STACK_BYTES_MAX: usize = 1 << 30;
/// What a fiber gets unless told otherwise. Only touched pages cost memory.
pub const STACK_BYTES_DEFAULT: usize = 256 * 1024;

/// One stack, owned by whoever holds this value. It is `Copy` in spirit only: exactly one fiber
/// uses it at a time.
#[derive(Debug)]
pub(crate) struct Stack {
    /// One past the highest usable byte.
    pub(crate) top: NonZeroUsize,
    /// Usable bytes below `top`; the guard follows below them.
    pub(crate) usable: usize,
}

impl Stack {
    /// The lowest usable byte.
    pub(crate) fn bottom(&self) -> usize {
        self.top.get() - self.usable
    }

    /// The addresses that fault.
    pub(crate) fn guard(&self) -> std::ops::Range<usize> {
        self.bottom() - GUARD_BYTES..self.bottom()
    }
}

/// A stack as corosensei sees it: from below the fiber's record to the end of the guard.
#[derive(Debug)]
pub(crate) struct StackView {
    base: NonZeroUsize,
    limit: NonZeroUsize,
}

impl StackView {
    /// # Safety
    ///
    /// `base` must lie in `stack`, be aligned to 16 bytes and leave at least
    /// [`corosensei::stack::MIN_STACK_SIZE`] below itself; nothing else may use the bytes from the
    /// guard to `base` while the view exists.
    pub(crate) unsafe fn new(stack: &Stack, base: NonZeroUsize) -> Self {
        let limit = NonZeroUsize::new(stack.guard().start).unwrap_or(NonZeroUsize::MIN);
        Self { base, limit }
    }
}

// SAFETY: `base` is aligned and has MIN_STACK_SIZE usable bytes below it (promised to `new`);
// `limit` is the far end of a guard that faults, so an overflow is caught.
#[cfg(unix)]
unsafe impl corosensei::stack::Stack for StackView {
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    fn limit(&self) -> NonZeroUsize {
        self.limit
    }
}
