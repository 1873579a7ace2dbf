//! What the scheduler knows of one fiber.
//!
//! The record lies in the top bytes of the fiber's own stack, so a resume touches one page for
//! both, and a parked fiber costs that page and nothing else. It lives from the spawn to the end of
//! the fiber; tables hold pointers to it exactly that long.

use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::io;
use std::panic::Location;
use std::sync::Arc;

use cede_reactor::Nanos;
use corosensei::{Coroutine, Yielder};

use crate::cancel;
use crate::local::Locals;
use crate::shared::FiberShared;
use crate::stack::{Stack, StackView};
use crate::wait::Wait;

/// What a resumed fiber is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    Run,
    /// Unwind its stack: the shard shuts down.
    Unwind,
}

pub(crate) type FiberCoroutine = Coroutine<Resume, (), (), StackView>;
pub(crate) type FiberYielder = Yielder<Resume, ()>;

/// ```text
///   spawn --> Ready --> Running --> Finished
///               ^          |
///               |          v
///               +------ Parked
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Running,
    Parked,
}

/// What came while a fiber waited; several things may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(u8);

impl Outcome {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const EVENT: Self = Self(1);
    pub(crate) const CANCEL: Self = Self(2);
    pub(crate) const TIMEOUT: Self = Self(4);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The event wins over the cancel, the cancel over the deadline.
    #[inline]
    pub(crate) fn into_result(self) -> io::Result<()> {
        if self.has(Self::EVENT) {
            Ok(())
        } else if self.has(Self::CANCEL) {
            Err(cancel::cancelled_error())
        } else {
            Err(cancel::timed_out_error())
        }
    }
}

/// See the module.
///
/// In the order of use: a switch touches the first cache line, a wait the second as well, the
/// rest is for spawns, ends and dumps. Among many fibers each line is a miss.
#[repr(C)]
pub(crate) struct Record {
    /// `Some` from the spawn to the end. Borrowed by the scheduler while the fiber runs; the fiber
    /// itself never looks.
    pub(crate) coroutine: UnsafeCell<Option<FiberCoroutine>>,
    /// Where the fiber's code gives up control. Set when it first runs, exchanged by
    /// `on_large_stack`.
    pub(crate) yielder: Cell<*const FiberYielder>,
    pub(crate) state: Cell<State>,
    /// What the current wait has brought so far.
    pub(crate) outcome: Cell<Outcome>,
    /// A wakeup came while the fiber was not in `park`.
    pub(crate) permit: Cell<bool>,
    /// Set once, by the first cancel.
    pub(crate) cancel_requested: Cell<bool>,
    /// How often the shutdown tried to unwind this fiber; 0 in normal life.
    pub(crate) unwinds: Cell<u32>,
    /// The fiber is in `park`, where a plain wakeup ends the wait.
    pub(crate) in_park: Cell<bool>,
    /// The fiber's waker was used while it was not waiting in `block_on`.
    pub(crate) poll_permit: Cell<bool>,
    /// The fiber waits in `block_on`, where its waker ends the wait.
    pub(crate) in_poll: Cell<bool>,
    /// It may borrow from frames outside of it: a scope's child, or the main fiber.
    pub(crate) borrows: Cell<bool>,
    /// The wait that is on, 0 outside of one.
    pub(crate) generation: Cell<u64>,
    /// Of the innermost `with_deadline`; `Nanos::MAX` for none.
    pub(crate) deadline: Cell<Nanos>,
    pub(crate) wait: Cell<Wait>,
    pub(crate) wait_at: Cell<&'static Location<'static>>,
    /// By the shard's coarse clock.
    pub(crate) wait_since: Cell<Nanos>,
    /// Never used twice in a shard.
    pub(crate) serial: u64,
    /// Index in the shard's table.
    pub(crate) slot: u32,
    /// How many `shield`s the fiber is in: no cancel is delivered then.
    pub(crate) shields: Cell<u32>,
    /// How many `block_on`s the fiber is in.
    pub(crate) polls: Cell<u32>,
    /// The wait of a `select!` that a plain wakeup ends, 0 for none. Not a flag: a future in that
    /// `select!` may wait for something else while it is polled, and that is not to be ended.
    pub(crate) select_wait: Cell<u64>,
    /// Made when somebody first asks for a handle.
    pub(crate) shared: OnceCell<Arc<FiberShared>>,
    pub(crate) locals: RefCell<Locals>,
    pub(crate) parent: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) spawned_since: Nanos,
    /// Set before the fiber first runs, if at all.
    pub(crate) name: OnceCell<Arc<str>>,
    pub(crate) stack: Stack,
    /// While the fiber runs work of another thread: whom to tell if a shutdown leaves it behind.
    pub(crate) sender: Cell<Option<Arc<dyn LeftBehind>>>,
    /// Guards of the stacks that `on_large_stack` put on top; the innermost one last.
    pub(crate) large_guard: Cell<(usize, usize)>,
}

/// Who waits for the end of a fiber from outside of its runtime.
pub(crate) trait LeftBehind {
    /// The fiber would not be unwound and never runs again.
    fn left_behind(&self);
}

impl Record {
    /// Whether a wait must end with "cancelled".
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel_requested.get() && self.shields.get() == 0
    }

    /// Begins a wait: what came for an earlier one is forgotten.
    #[inline(always)]
    pub(crate) fn begin(&self, generation: u64) {
        self.generation.set(generation);
        self.outcome.set(Outcome::NONE);
    }

    /// Ends a wait and says what it brought.
    #[inline(always)]
    pub(crate) fn end(&self) -> Outcome {
        self.generation.set(0);
        self.outcome.replace(Outcome::NONE)
    }

    /// Notes what the wait has brought. True: the fiber was parked, is ready now, and must be put
    /// into the run queue.
    #[inline(always)]
    #[must_use]
    pub(crate) fn settle(&self, outcome: Outcome) -> bool {
        self.outcome.set(self.outcome.get().with(outcome));
        let parked = self.state.get() == State::Parked;
        if parked {
            self.state.set(State::Ready);
        }
        parked
    }

    /// A plain wakeup: ends `park`, or is remembered for the next one, which a `select!` looks for.
    /// Returns as `settle` does.
    #[inline(always)]
    #[must_use]
    pub(crate) fn wakeup(&self) -> bool {
        if self.in_park.get() {
            return self.settle(Outcome::EVENT);
        }
        self.permit.set(true);
        let select = self.select_wait.get();
        select != 0 && select == self.generation.get() && self.settle(Outcome::EVENT)
    }

    /// A cancel: ends the wait that is on, if any, and all later ones. Returns as `settle` does.
    #[must_use]
    pub(crate) fn cancel(&self) -> bool {
        self.cancel_requested.set(true);
        self.generation.get() != 0 && self.shields.get() == 0 && self.settle(Outcome::CANCEL)
    }

    /// The effective deadline of a wait with this one of its own.
    #[inline]
    pub(crate) fn nearest(&self, deadline: Nanos) -> Nanos {
        deadline.min(self.deadline.get())
    }
}

#[cfg(all(test, loom))]
impl Record {
    /// A record of a fiber that will never run, for tests of what can be tested without a switch of
    /// stacks.
    #[track_caller]
    pub(crate) fn without_stack(slot: u32, serial: u64) -> Self {
        let at = Location::caller();
        Self {
            coroutine: UnsafeCell::new(None),
            yielder: Cell::new(std::ptr::null()),
            state: Cell::new(State::Ready),
            outcome: Cell::new(Outcome::NONE),
            permit: Cell::new(false),
            cancel_requested: Cell::new(false),
            in_park: Cell::new(false),
            select_wait: Cell::new(0),
            poll_permit: Cell::new(false),
            in_poll: Cell::new(false),
            polls: Cell::new(0),
            shields: Cell::new(0),
            unwinds: Cell::new(0),
            borrows: Cell::new(false),
            generation: Cell::new(0),
            deadline: Cell::new(Nanos::MAX),
            wait: Cell::new(Wait::new(crate::wait::WaitKind::Park, 0)),
            wait_at: Cell::new(at),
            wait_since: Cell::new(0),
            slot,
            serial,
            parent: 0,
            spawned_at: at,
            spawned_since: 0,
            name: OnceCell::new(),
            shared: OnceCell::new(),
            locals: RefCell::new(Locals::default()),
            stack: Stack { top: std::num::NonZeroUsize::MAX, usable: 0 },
            sender: Cell::new(None),
            large_guard: Cell::new((0, 0)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::mem::offset_of;

    use super::Record;

    /// What a switch of stacks touches, and what a wait touches.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_switch_touches_one_cache_line_and_a_wait_two() {
        assert_eq!(offset_of!(Record, yielder) / 64, 0);
        assert_eq!(offset_of!(Record, state) / 64, 0);
        assert_eq!(offset_of!(Record, unwinds) / 64, 0);
        assert_eq!(offset_of!(Record, in_park) / 64, 0);
        assert_eq!(offset_of!(Record, generation) / 64, 1);
        assert_eq!(offset_of!(Record, wait_since) / 64, 1);
    }
}
