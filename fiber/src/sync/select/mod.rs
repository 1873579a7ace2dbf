//! Waiting for the first of several things.
//!
//! ```text
//!   try each --> begin one wait --> register with each --> wait --> try each --> unregister all
//!      |                                                               |
//!      +----> the first that is there is taken; of the others nothing  +
//! ```
//!
//! Registering asks to be told and takes nothing, so the value of a branch that is not taken stays
//! where it was. A branch that was told and is not taken tells the next who waits.

mod branch;
mod events;
mod rules;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};

pub use branch::{
    Awaits, CanRecv, CanSend, Joins, JoinsRemote, Receives, ReceivesCast, ReceivesOne, Sends,
    Sleep, Watches, future, join, recv, send, sleep, sleep_until, timeout,
};
pub use events::{CanRead, Parks, Readable, park, readable};

use crate::sync::domain::{Domain, Shared, SharedParker};
use crate::sync::limit::Limit;
use crate::sync::spot::Spot;
use crate::wait::{Refusal, RemoteTicket, Wait, WaitKind, with_current};

/// The one wait of a `select!`, of a fiber or a thread.
pub type AnyParker = SharedParker;

/// Something that [`select!`](crate::select) can wait for.
///
/// The methods take `&self`, because a registered branch is known by its address.
pub trait Branch {
    /// What it gives when it is taken.
    type Output;

    /// Completes, if it can without waiting.
    fn try_complete(&self) -> Option<Self::Output>;

    /// Asks to be woken when it may be able to complete. `true`: it may be now.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for here.
    ///
    /// # Safety
    ///
    /// The caller calls [`unregister`](Self::unregister) before the branch moves or goes.
    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool>;

    /// Undoes `register`, also after a completion; does nothing without one.
    fn unregister(&self);

    /// When it completes by itself.
    fn limit(&self) -> Limit {
        Limit::Never
    }
}

/// The branches of one `select!`: `(first, (second, ()))`.
pub trait Branches {
    #[doc(hidden)]
    type Output;
    #[doc(hidden)]
    const COUNT: usize;
    #[doc(hidden)]
    fn try_at(&self, index: usize) -> Option<Self::Output>;
    /// # Safety
    ///
    /// As [`Branch::register`].
    #[doc(hidden)]
    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool>;
    #[doc(hidden)]
    fn unregister(&self);
    #[doc(hidden)]
    fn limit(&self) -> Limit;
}

/// What one of two gave.
#[derive(Debug)]
pub enum Either<A, B> {
    #[doc(hidden)]
    First(A),
    #[doc(hidden)]
    Rest(B),
}

impl Branches for () {
    type Output = Infallible;
    const COUNT: usize = 0;

    fn try_at(&self, _index: usize) -> Option<Infallible> {
        None
    }

    unsafe fn register(&self, _parker: &AnyParker) -> io::Result<bool> {
        Ok(false)
    }

    fn unregister(&self) {}

    fn limit(&self) -> Limit {
        Limit::Never
    }
}

impl<B: Branch, R: Branches> Branches for (B, R) {
    type Output = Either<B::Output, R::Output>;
    const COUNT: usize = 1 + R::COUNT;

    #[inline]
    fn try_at(&self, index: usize) -> Option<Self::Output> {
        match index {
            0 => self.0.try_complete().map(Either::First),
            _ => self.1.try_at(index - 1).map(Either::Rest),
        }
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        unsafe { Ok(self.0.register(parker)? || self.1.register(parker)?) }
    }

    fn unregister(&self) {
        self.0.unregister();
        self.1.unregister();
    }

    fn limit(&self) -> Limit {
        self.0.limit().earlier(self.1.limit())
    }
}

/// A branch with a condition.
#[derive(Debug)]
pub struct OnlyIf<B> {
    branch: B,
    on: bool,
}

impl<B> OnlyIf<B> {
    #[doc(hidden)]
    pub fn new(branch: B, on: bool) -> Self {
        Self { branch, on }
    }
}

impl<B: Branch> Branch for OnlyIf<B> {
    type Output = B::Output;

    #[inline]
    fn try_complete(&self) -> Option<B::Output> {
        if self.on { self.branch.try_complete() } else { None }
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        if self.on { unsafe { self.branch.register(parker) } } else { Ok(false) }
    }

    fn unregister(&self) {
        if self.on {
            self.branch.unregister();
        }
    }

    fn limit(&self) -> Limit {
        if self.on { self.branch.limit() } else { Limit::Never }
    }
}

thread_local! {
    /// Which branch is tried first. A sequence without a pattern that a program could fall into
    /// step with (a linear congruential generator).
    static TURN: Cell<u64> = const { Cell::new(1) };
}

fn turn(count: usize) -> usize {
    let next = TURN.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    TURN.set(next);
    (next >> 33) as usize % count.max(1)
}

/// Unregisters all branches, however the wait ends.
struct Registered<'a, B: Branches>(&'a B);

impl<B: Branches> Drop for Registered<'_, B> {
    fn drop(&mut self) {
        self.0.unregister();
    }
}

fn try_all<B: Branches>(branches: &B, first: usize) -> Option<B::Output> {
    (first..B::COUNT).chain(0..first).find_map(|index| branches.try_at(index))
}

/// Completes one branch if one can.
#[doc(hidden)]
pub fn poll<B: Branches>(branches: &B, biased: bool) -> Option<B::Output> {
    try_all(branches, if biased { 0 } else { turn(B::COUNT) })
}

/// Whether the fiber has waited since this wait began: a future may do so when it is polled. Tickets
/// of this wait end nothing any more then, so all is asked again.
#[inline]
fn is_stale(parker: &AnyParker) -> bool {
    let AnyParker::Fiber(park) = parker else { return false };
    let generation = park.ticket().generation;
    with_current(|_, record| record.generation.get() != generation).unwrap_or(false)
}

/// Waits until one branch completes.
#[doc(hidden)]
#[inline]
#[track_caller]
pub fn wait<B: Branches>(branches: &B, biased: bool) -> io::Result<B::Output> {
    crate::sync::turn::spend()?;
    let first = if biased { 0 } else { turn(B::COUNT) };
    if let Some(output) = try_all(branches, first) {
        return Ok(output);
    }
    loop {
        let parker = AnyParker::begin().map_err(Refusal::give_way)?;
        let registered = Registered(branches);
        // SAFETY: the branches are borrowed, and `registered` unregisters them before this ends.
        let ready = unsafe { branches.register(&parker)? } || is_stale(&parker);
        let waited = if ready {
            Ok(())
        } else {
            let what = Wait::new(WaitKind::Select, B::COUNT as u64);
            Shared::wait(parker, what, branches.limit())
        };
        // Before the end of the registration: a place that was reserved is used, not given back.
        let output = try_all(branches, first);
        drop(registered);
        if let Some(output) = output {
            return Ok(output);
        }
        waited?;
    }
}

/// Wakes the fiber or thread of a `select!` for those that know wakers only.
struct Alarm {
    whom: Whom,
}

enum Whom {
    Fiber(RemoteTicket),
    Thread(Arc<Spot>),
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        match &self.whom {
            Whom::Fiber(ticket) => ticket.wake(),
            Whom::Thread(spot) => spot.wake(),
        }
    }
}

impl AnyParker {
    /// A waker that ends this wait.
    pub(crate) fn waker(&self) -> Waker {
        let whom = match self {
            Self::Fiber(park) => Whom::Fiber(park.remote_ticket()),
            Self::Thread(spot) => Whom::Thread(Arc::clone(spot)),
        };
        Arc::new(Alarm { whom }).into()
    }
}
