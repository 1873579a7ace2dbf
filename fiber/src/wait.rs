//! What a fiber waits for, and the two halves of every wait: the fiber's and the waker's.
//!
//! ```text
//!   let park = Park::begin()?;          a new generation; a stale ticket no longer matches
//!   queue.push(park.ticket());          register the event
//!   park.wait(Wait::..., None)?;        give control to the scheduler
//!   ...                                 woken: go on with the data
//! ```
//!
//! A ticket used before `wait` is remembered, and one used after the wait ended does nothing. When
//! an event, a cancel and a deadline meet, the event wins: what was handed over is never lost.

use std::fmt;
use std::io;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use cede_reactor::Nanos;

use crate::cancel;
use crate::mail::Request;
use crate::record::{Outcome, Record};
use crate::shard::{self, ShardState};
use crate::shared::FiberShared;

/// What a fiber waits for. Recorded at each park, for little more than two stores, and shown by
/// [`fibers`](crate::fibers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    kind: WaitKind,
    /// Whether another thread may end it without holding a handle to the fiber.
    outside_wakers: bool,
    /// What it is about: a descriptor, a fiber, an address.
    object: u64,
}

/// The kinds of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitKind {
    /// [`park`](crate::park): a wakeup of this very fiber.
    Park,
    /// A moment.
    Sleep,
    /// The end of a fiber.
    Join,
    /// The end of all children of a scope.
    Scope,
    /// A descriptor to become readable.
    Read,
    /// A descriptor to become writable.
    Write,
    /// The answer of another shard.
    Call,
    /// Work on a thread of the blocking pool.
    Blocking,
    /// A lock.
    Lock,
    /// A condition variable or a notification.
    Notify,
    /// Permits of a semaphore.
    Semaphore,
    /// Something to receive from a channel.
    Receive,
    /// Room in a channel.
    Send,
    /// A future that is pending.
    Future,
    /// The first of several things.
    Select,
    /// Anything else; the layer above knows.
    Other,
}

impl Wait {
    /// A wait of this kind for this object (a descriptor, an address, a number that the reader of a
    /// dump can use).
    #[must_use]
    pub const fn new(kind: WaitKind, object: u64) -> Self {
        Self { kind, outside_wakers: false, object }
    }

    /// The same, but other threads can end it by what they hold, be it a lock or the end of a
    /// channel: the check for deadlocks must not think that nobody can.
    #[must_use]
    pub(crate) const fn with_outside_wakers(mut self) -> Self {
        self.outside_wakers = true;
        self
    }

    pub(crate) const fn has_outside_wakers(self) -> bool {
        self.outside_wakers
    }

    /// The kind.
    #[must_use]
    pub const fn kind(self) -> WaitKind {
        self.kind
    }

    /// The object, 0 where there is none.
    #[must_use]
    pub const fn object(self) -> u64 {
        self.object
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object;
        match self.kind {
            WaitKind::Park => f.write_str("a wakeup"),
            WaitKind::Sleep => f.write_str("a moment (sleep)"),
            WaitKind::Join => write!(f, "the end of fiber {object}"),
            WaitKind::Scope => write!(f, "the children of its scope ({object} left)"),
            WaitKind::Read => write!(f, "fd {object} to be readable"),
            WaitKind::Write => write!(f, "fd {object} to be writable"),
            WaitKind::Call => write!(f, "an answer of shard {object}"),
            WaitKind::Blocking => f.write_str("a blocking call on a thread"),
            WaitKind::Lock => write!(f, "a lock at {object:#x}"),
            WaitKind::Notify => write!(f, "a notification at {object:#x}"),
            WaitKind::Semaphore => write!(f, "a semaphore at {object:#x}"),
            WaitKind::Receive => write!(f, "a message on channel {object:#x}"),
            WaitKind::Send => write!(f, "room in channel {object:#x}"),
            WaitKind::Future => f.write_str("a future"),
            WaitKind::Select => write!(f, "one of {object} things (select)"),
            WaitKind::Other => write!(f, "something else ({object:#x})"),
        }
    }
}

/// Ends one wait of one fiber, from the same shard. It may be copied, kept and used at any time;
/// only the first use while that wait lasts does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
    /// A ticket means nothing on another thread.
    marker: std::marker::PhantomData<*const ()>,
}

impl Ticket {
    pub(crate) fn new(slot: u32, generation: u64) -> Self {
        Self { slot, generation, marker: std::marker::PhantomData }
    }

    /// Ends the wait. False when it was over already; what was to be handed over must then go to
    /// somebody else.
    #[inline]
    pub fn wake(self) -> bool {
        // SAFETY: the reference is used in this call only.
        unsafe { shard::local() }.is_some_and(|shard| shard.wake(self, Outcome::EVENT))
    }
}

/// A fiber in one of its waits, to be woken on its own shard without a look at the table of fibers.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    record: NonNull<Record>,
    generation: u64,
}

// A panic leaves no record half changed.
impl UnwindSafe for Waiter {}
impl RefUnwindSafe for Waiter {}

impl Waiter {
    #[inline(always)]
    pub(crate) fn generation(self) -> u64 {
        self.generation
    }

    /// Ends the wait, if it is still on.
    ///
    /// # Safety
    ///
    /// On the fiber's own shard, which must not have run another fiber, nor code of the user's,
    /// since this fiber was seen between the beginning and the end of its call that waits.
    #[inline(always)]
    pub(crate) unsafe fn wake(self, shard: &ShardState) {
        // SAFETY: the fiber cannot have ended meanwhile, so its record is live (contract).
        let record = unsafe { self.record.as_ref() };
        // A `select!` may have begun another wait, in code of the user's, with its nodes linked.
        if record.generation.get() == self.generation {
            shard.end_wait(record);
        }
    }
}

/// Ends one wait of one fiber, from any thread.
///
/// Whether the wait was still on cannot be told at once; a structure that hands something over must
/// decide that by an atomic of its own.
#[derive(Debug, Clone)]
pub struct RemoteTicket {
    fiber: Arc<FiberShared>,
    generation: u64,
}

impl RemoteTicket {
    /// Whether both end the same wait.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fiber, &other.fiber) && self.generation == other.generation
    }

    /// Ends the wait, if it is still on.
    pub fn wake(&self) {
        let fiber = &self.fiber;
        let here = shard::with(|shard| {
            // Not by its number, which every runtime counts from 0.
            let here = Arc::ptr_eq(&shard.shared, &fiber.shard);
            if here {
                shard.wake(Ticket::new(fiber.slot, self.generation), Outcome::EVENT);
            }
            here
        });
        if here != Some(true) {
            FiberShared::post(fiber, Request::EndWait(self.generation));
        }
    }
}

/// The beginning of a wait of the current fiber: the way to build a primitive of one's own.
///
/// Four steps: begin, register a ticket with whatever will bring the event, give control to the
/// scheduler, go on when the event has come. A wait that ends in an error takes its ticket back.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use cede::{Park, Ticket, Wait, WaitKind};
///
/// /// Everybody waits until it is opened.
/// #[derive(Default)]
/// struct Gate(RefCell<Option<Vec<Ticket>>>);
///
/// impl Gate {
///     fn pass(&self) -> std::io::Result<()> {
///         let park = Park::begin()?;
///         match &mut *self.0.borrow_mut() {
///             None => return Ok(()), // open
///             Some(waiting) => waiting.push(park.ticket()),
///         }
///         park.wait(Wait::new(WaitKind::Other, 0), None)
///     }
///
///     fn open(&self) {
///         for ticket in self.0.take().into_iter().flatten() {
///             ticket.wake();
///         }
///     }
/// }
///
/// cede::run(|| {
///     let gate = Rc::new(Gate(RefCell::new(Some(Vec::new()))));
///     let there = Rc::clone(&gate);
///     let fiber = cede::spawn(move || there.pass());
///     cede::yield_now();
///     gate.open();
///     assert!(fiber.join().unwrap().is_ok());
/// })
/// .unwrap();
/// ```
#[derive(Debug)]
pub struct Park {
    /// It belongs to the fiber that began it.
    waiter: Waiter,
}

impl Park {
    /// Begins a wait; every earlier ticket of this fiber is stale from here on.
    ///
    /// # Errors
    ///
    /// When this is not a fiber; when a panic unwinds, because switching stacks then would show
    /// another fiber a panic that is not its own; when the fiber was cancelled.
    #[inline]
    pub fn begin() -> io::Result<Self> {
        // SAFETY: the references are used in this call only.
        let Some((shard, record)) = (unsafe { shard::here() }) else {
            return Err(cancel::not_in_fiber_error());
        };
        Self::check(shard, record)?;
        Ok(Self::of(shard, record))
    }

    /// [`begin`](Self::begin) for a caller that holds a brief lock. A fiber that is refused must
    /// give way, but not here, for it would take the lock with it: see [`Refusal::give_way`].
    #[inline(always)]
    pub(crate) fn begin_locked() -> Result<Self, Refusal> {
        // SAFETY: the references are used in this call only.
        let Some((shard, record)) = (unsafe { shard::here() }) else {
            return Err(Refusal::NotInFiber);
        };
        if std::thread::panicking() {
            return Err(Refusal::Unwinding);
        }
        if record.is_cancelled() {
            return Err(Refusal::Cancelled);
        }
        Ok(Self::of(shard, record))
    }

    #[inline(always)]
    fn of(shard: &ShardState, record: &Record) -> Self {
        let generation = shard.begin_wait(record);
        Self { waiter: Waiter { record: NonNull::from(record), generation } }
    }

    #[inline(always)]
    pub(crate) fn waiter(&self) -> Waiter {
        self.waiter
    }

    /// Whether this fiber may wait at all.
    #[inline(always)]
    pub(crate) fn check(shard: &ShardState, record: &Record) -> io::Result<()> {
        if std::thread::panicking() {
            return Err(cancel::unwinding_error());
        }
        if record.is_cancelled() {
            return Err(Self::refuse(shard, record));
        }
        Ok(())
    }

    /// The error of a wait that a cancelled fiber tries. It gives way once: a loop that ignores
    /// errors, as those of acceptors do, must not keep the shard, and a shutdown can unwind it.
    #[cold]
    fn refuse(shard: &ShardState, record: &Record) -> io::Error {
        shard.give_way(record);
        cancel::cancelled_error()
    }

    /// What ends this wait, for use on this shard.
    #[inline]
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        // SAFETY: the references are used in this call only.
        let slot = unsafe { shard::here() }.map_or(u32::MAX, |(_, record)| record.slot);
        Ticket::new(slot, self.waiter.generation)
    }

    /// What ends this wait, for use on any thread.
    ///
    /// # Panics
    ///
    /// Outside of a fiber, which [`begin`](Self::begin) has excluded.
    #[must_use]
    pub fn remote_ticket(&self) -> RemoteTicket {
        let fiber = shard::with_current(|shard, record| Arc::clone(shard.shared_of(record)))
            .expect("a Park exists only in a fiber");
        RemoteTicket { fiber, generation: self.waiter.generation }
    }

    /// Gives control to the scheduler until the ticket is used, `deadline` or the fiber's own
    /// deadline passes, or the fiber is cancelled.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) for a deadline; an error that
    /// [`is_cancelled`](crate::is_cancelled) knows for a cancel; when a panic unwinds, also one
    /// that began after the wait. Not when the ticket was used as well: the event wins.
    ///
    /// # Panics
    ///
    /// When the fiber has begun another wait since this one began.
    #[inline(always)]
    #[track_caller]
    pub fn wait(self, what: Wait, deadline: Option<Nanos>) -> io::Result<()> {
        self.wait_at(what, deadline, Location::caller())
    }

    /// Like [`wait`](Self::wait), and says where.
    #[inline(always)]
    pub(crate) fn wait_at(
        self,
        what: Wait,
        deadline: Option<Nanos>,
        at: &'static Location<'static>,
    ) -> io::Result<()> {
        // `begin` has looked, but a destructor may end up with a wait that was begun before.
        self.wait_unless(std::thread::panicking(), what, deadline, at)
    }

    /// Like [`wait`](Self::wait), for the call that began this wait: it cannot have come to unwind
    /// since.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn wait_begun(self, what: Wait, deadline: Option<Nanos>) -> io::Result<()> {
        self.wait_unless(false, what, deadline, Location::caller())
    }

    #[inline(always)]
    fn wait_unless(
        self,
        unwinding: bool,
        what: Wait,
        deadline: Option<Nanos>,
        at: &'static Location<'static>,
    ) -> io::Result<()> {
        // SAFETY: the references are used in this call only.
        let Some((shard, record)) = (unsafe { shard::here() }) else {
            return Err(cancel::not_in_fiber_error());
        };
        // Not `assert_eq`, which would keep both numbers in memory.
        let same = record.generation.get() == self.waiter.generation;
        assert!(same, "a wait was begun inside of another one");
        if unwinding && record.outcome.get() == Outcome::NONE {
            record.generation.set(0);
            return Err(cancel::unwinding_error());
        }
        let outcome = shard.wait(record, what, deadline.unwrap_or(Nanos::MAX), at);
        outcome.into_result()
    }
}

/// Why a wait could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a cancelled fiber that is refused must give way"]
pub enum Refusal {
    #[doc(hidden)]
    NotInFiber,
    #[doc(hidden)]
    Unwinding,
    #[doc(hidden)]
    Cancelled,
}

impl Refusal {
    /// The error. A cancelled fiber gives way first, as in [`Park::begin`], so no lock may be held.
    #[cold]
    pub(crate) fn give_way(self) -> io::Error {
        match self {
            Self::NotInFiber => cancel::not_in_fiber_error(),
            Self::Unwinding => cancel::unwinding_error(),
            Self::Cancelled => {
                shard::with_current(Park::refuse).unwrap_or_else(cancel::cancelled_error)
            }
        }
    }
}

/// Runs `f` with the current fiber; an error that says so outside of one.
#[inline(always)]
pub(crate) fn with_current<R>(f: impl FnOnce(&ShardState, &Record) -> R) -> io::Result<R> {
    shard::with_current(f).ok_or_else(cancel::not_in_fiber_error)
}

/// What a wait would fail with that began and ended now: the cancel or the deadline of the current
/// fiber, if there is one.
#[cold]
pub(crate) fn check_now() -> io::Result<()> {
    let checked = shard::with_current(|shard, record| {
        if record.is_cancelled() {
            return Err(cancel::cancelled_error());
        }
        let deadline = record.deadline.get();
        if deadline != Nanos::MAX && deadline <= shard.clock.now() {
            return Err(cancel::timed_out_error());
        }
        Ok(())
    });
    checked.unwrap_or(Ok(()))
}
