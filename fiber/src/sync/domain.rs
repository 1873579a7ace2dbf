//! Where a primitive may be used: between all threads, or between the fibers of one shard.
//!
//! Every state machine of [`sync`](crate::sync) is written once, over a [`Domain`]. [`Shared`] puts
//! the state under a short lock and wakes fibers and threads anywhere; [`Local`] has neither locks
//! nor atomics. The rule of both: while the state is locked nothing runs but the few lines of its
//! state machine. No wait, no wakeup, no user code: what is to be woken or dropped is carried out
//! of the lock first.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::cancel;
use crate::mail::Request;
use crate::shard;
use crate::shared::FiberShared;
use crate::sync::brief::{Brief, BriefGuard};
use crate::sync::limit::Limit;
use crate::sync::primitive::{AtomicUsize, Ordering, const_fn};
use crate::sync::select::AnyParker;
use crate::sync::sole::{Sole, SoleGuard};
use crate::sync::spot::Spot;
use crate::wait::{Park, Refusal, Wait, Waiter};

/// A place where primitives live; [`Shared`] and [`Local`] are the two that there are.
pub trait Domain: sealed::Sealed + Sized + 'static {
    /// The state of a primitive.
    type State<S>: State<S>;
    /// A word that the fast paths use outside of the state.
    type Word: Word;
    /// What the two ends of a channel hold together.
    type Ptr<T>: Deref<Target = T> + Clone;
    /// A place for a value that is written once.
    type Once<T>: Once<T>;
    /// Who waits: kept in the node of a queue.
    type Who;
    /// A wakeup to be sent when the state is unlocked again.
    type Wake;
    /// The beginning of a wait.
    type Parker;

    #[doc(hidden)]
    fn ptr<T>(value: T) -> Self::Ptr<T>;
    #[doc(hidden)]
    fn ptr_eq<T>(a: &Self::Ptr<T>, b: &Self::Ptr<T>) -> bool;
    #[doc(hidden)]
    fn try_unwrap<T>(ptr: Self::Ptr<T>) -> Result<T, Self::Ptr<T>>;
    /// Begins a wait of the fiber or thread that calls. Runs no user code and does not give way: the
    /// state is locked. One that is refused gives way when the lock is released.
    #[doc(hidden)]
    fn begin() -> Result<Self::Parker, Refusal>;
    #[doc(hidden)]
    fn who(parker: &Self::Parker) -> Self::Who;
    /// Who waits in a `select!`.
    #[doc(hidden)]
    fn who_selects(parker: &AnyParker) -> io::Result<Self::Who>;
    /// Turns a waiter into a wakeup.
    ///
    /// # Safety
    ///
    /// The waiter must still be in its wait: its node is linked, and the state is locked. The
    /// wakeup is sent before this fiber or thread gives up control or runs code of the user's.
    #[doc(hidden)]
    unsafe fn wakeup(who: Self::Who) -> Self::Wake;
    #[doc(hidden)]
    fn wake(wake: Self::Wake);
    #[doc(hidden)]
    #[track_caller]
    fn wait(parker: Self::Parker, what: Wait, limit: Limit) -> io::Result<()>;
}

/// The state of a primitive: reached by one caller at a time.
pub trait State<S> {
    /// Reaches the state.
    type Guard<'a>: DerefMut<Target = S>
    where
        Self: 'a;

    #[doc(hidden)]
    fn new(state: S) -> Self;
    /// The state, for a few lines that neither wait nor call user code.
    #[doc(hidden)]
    fn lock(&self) -> Self::Guard<'_>;
    /// Runs `f` with the state, which must neither wait nor call user code.
    #[doc(hidden)]
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        f(&mut self.lock())
    }
}

/// A word for fast paths.
pub trait Word {
    #[doc(hidden)]
    fn load(&self) -> usize;
    #[doc(hidden)]
    fn store(&self, value: usize);
    /// True when it was `from` and is `to` now.
    #[doc(hidden)]
    fn exchange(&self, from: usize, to: usize) -> bool;
}

/// A place for a value that is written once.
pub trait Once<T>: Default {
    #[doc(hidden)]
    fn get(&self) -> Option<&T>;
    #[doc(hidden)]
    fn get_mut(&mut self) -> Option<&mut T>;
    #[doc(hidden)]
    fn set(&self, value: T) -> Result<(), T>;
    #[doc(hidden)]
    fn into_inner(self) -> Option<T>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Shared {}
    impl Sealed for super::Local {}
}

// ---- between all threads

/// Between the fibers of all shards, and plain threads.
#[derive(Debug, Clone, Copy)]
pub struct Shared(());

/// The state of a [`Shared`] primitive.
pub struct SharedState<S>(Brief<S>);

impl<S> SharedState<S> {
    const_fn! {
        pub(crate) fn of(state: S) -> Self {
            Self(Brief::new(state))
        }
    }
}

impl<S> State<S> for SharedState<S> {
    type Guard<'a>
        = BriefGuard<'a, S>
    where
        S: 'a;

    fn new(state: S) -> Self {
        Self(Brief::new(state))
    }

    #[inline(always)]
    fn lock(&self) -> BriefGuard<'_, S> {
        self.0.lock()
    }
}

impl<S> fmt::Debug for SharedState<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedState")
    }
}

/// The word of a [`Shared`] primitive.
#[derive(Debug)]
pub struct SharedWord(AtomicUsize);

impl SharedWord {
    const_fn! {
        pub(crate) fn of(value: usize) -> Self {
            Self(AtomicUsize::new(value))
        }
    }
}

impl Word for SharedWord {
    #[inline(always)]
    fn load(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn store(&self, value: usize) {
        self.0.store(value, Ordering::Release);
    }

    #[inline(always)]
    fn exchange(&self, from: usize, to: usize) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl<T> Once<T> for OnceLock<T> {
    #[inline(always)]
    fn get(&self) -> Option<&T> {
        self.get()
    }

    fn get_mut(&mut self) -> Option<&mut T> {
        self.get_mut()
    }

    fn set(&self, value: T) -> Result<(), T> {
        self.set(value)
    }

    fn into_inner(self) -> Option<T> {
        self.into_inner()
    }
}

/// A fiber of any shard, or a plain thread.
#[derive(Debug)]
pub struct SharedWho(Who);

#[derive(Debug)]
enum Who {
    /// The pointer is good while the fiber is in the wait; see `Shared::wakeup`.
    Fiber {
        waiter: Waiter,
        fiber: NonNull<FiberShared>,
    },
    Thread(Arc<Spot>),
}

/// A wakeup of a fiber of this shard, of one elsewhere, or of a thread.
#[derive(Debug)]
pub struct SharedWake(Wakeup);

#[derive(Debug)]
enum Wakeup {
    Here(Waiter),
    There(Arc<FiberShared>, u64),
    Thread(Arc<Spot>),
}

/// The beginning of a wait of a fiber or a thread.
#[derive(Debug)]
pub enum SharedParker {
    #[doc(hidden)]
    Fiber(Park),
    #[doc(hidden)]
    Thread(Arc<Spot>),
}

impl SharedParker {
    #[inline(always)]
    pub(crate) fn begin() -> Result<Self, Refusal> {
        // SAFETY: the reference is used in this expression only.
        match unsafe { shard::local() }.is_some() {
            true => Park::begin_locked().map(Self::Fiber),
            false => Ok(Self::Thread(Spot::new())),
        }
    }

    #[inline(always)]
    pub(crate) fn who(&self) -> SharedWho {
        match self {
            Self::Fiber(park) => {
                // SAFETY: the references are used in this call only; the pointer is followed only
                // while the fiber is in this wait (contract of `wakeup`).
                let Some((shard, record)) = (unsafe { shard::here() }) else {
                    unreachable!("a Park exists only in a fiber")
                };
                let fiber = shard.shared_of(record);
                SharedWho(Who::Fiber { waiter: park.waiter(), fiber: NonNull::from(&**fiber) })
            }
            Self::Thread(spot) => SharedWho(Who::Thread(Arc::clone(spot))),
        }
    }
}

impl Domain for Shared {
    type State<S> = SharedState<S>;
    type Word = SharedWord;
    type Ptr<T> = Arc<T>;
    type Once<T> = OnceLock<T>;
    type Who = SharedWho;
    type Wake = SharedWake;
    type Parker = SharedParker;

    fn ptr<T>(value: T) -> Arc<T> {
        Arc::new(value)
    }

    fn ptr_eq<T>(a: &Arc<T>, b: &Arc<T>) -> bool {
        Arc::ptr_eq(a, b)
    }

    fn try_unwrap<T>(ptr: Arc<T>) -> Result<T, Arc<T>> {
        Arc::try_unwrap(ptr)
    }

    #[inline(always)]
    fn begin() -> Result<SharedParker, Refusal> {
        SharedParker::begin()
    }

    #[inline(always)]
    fn who(parker: &SharedParker) -> SharedWho {
        parker.who()
    }

    fn who_selects(parker: &AnyParker) -> io::Result<SharedWho> {
        Ok(parker.who())
    }

    #[inline(always)]
    unsafe fn wakeup(who: SharedWho) -> SharedWake {
        match who.0 {
            Who::Fiber { waiter, fiber } => {
                // SAFETY: the fiber is in its wait (contract), so its record is live, and the
                // record owns one reference of this Arc. The fiber cannot leave before the state is
                // unlocked: it looks for its node first, or is woken by what is made here.
                let home = unsafe { &fiber.as_ref().shard };
                // SAFETY: the reference is used in this expression only.
                if unsafe { shard::local() }.is_some_and(|shard| Arc::ptr_eq(&shard.shared, home)) {
                    return SharedWake(Wakeup::Here(waiter));
                }
                // SAFETY: as above.
                let fiber = unsafe {
                    Arc::increment_strong_count(fiber.as_ptr());
                    Arc::from_raw(fiber.as_ptr())
                };
                SharedWake(Wakeup::There(fiber, waiter.generation()))
            }
            Who::Thread(spot) => SharedWake(Wakeup::Thread(spot)),
        }
    }

    #[inline(always)]
    fn wake(wake: SharedWake) {
        match wake.0 {
            Wakeup::Here(waiter) => wake_here(waiter),
            Wakeup::There(fiber, generation) => {
                FiberShared::post(&fiber, Request::EndWait(generation));
            }
            Wakeup::Thread(spot) => spot.wake(),
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait(parker: SharedParker, what: Wait, limit: Limit) -> io::Result<()> {
        match parker {
            SharedParker::Fiber(park) => park.wait_begun(what.with_outside_wakers(), limit.nanos()),
            SharedParker::Thread(spot) => spot.wait(limit),
        }
    }
}

// ---- between the fibers of one shard

/// Between the fibers of one shard.
#[derive(Debug, Clone, Copy)]
pub struct Local(std::marker::PhantomData<*const ()>);

/// The state of a [`Local`] primitive.
pub struct LocalState<S>(Sole<S>);

impl<S> LocalState<S> {
    pub(crate) const fn of(state: S) -> Self {
        Self(Sole::new(state))
    }
}

impl<S> State<S> for LocalState<S> {
    type Guard<'a>
        = SoleGuard<'a, S>
    where
        S: 'a;

    fn new(state: S) -> Self {
        Self::of(state)
    }

    #[inline(always)]
    fn lock(&self) -> SoleGuard<'_, S> {
        self.0.lock()
    }
}

impl<S> fmt::Debug for LocalState<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalState")
    }
}

/// The word of a [`Local`] primitive.
#[derive(Debug)]
pub struct LocalWord(Cell<usize>);

impl LocalWord {
    pub(crate) const fn of(value: usize) -> Self {
        Self(Cell::new(value))
    }
}

impl Word for LocalWord {
    #[inline(always)]
    fn load(&self) -> usize {
        self.0.get()
    }

    #[inline(always)]
    fn store(&self, value: usize) {
        self.0.set(value);
    }

    #[inline(always)]
    fn exchange(&self, from: usize, to: usize) -> bool {
        let equal = self.0.get() == from;
        if equal {
            self.0.set(to);
        }
        equal
    }
}

impl<T> Once<T> for OnceCell<T> {
    #[inline(always)]
    fn get(&self) -> Option<&T> {
        self.get()
    }

    fn get_mut(&mut self) -> Option<&mut T> {
        self.get_mut()
    }

    fn set(&self, value: T) -> Result<(), T> {
        self.set(value)
    }

    fn into_inner(self) -> Option<T> {
        self.into_inner()
    }
}

/// A wakeup of a fiber of this shard. A type of its own, not copied and made by `wakeup` alone,
/// because sending one is safe: a [`Waiter`] may outlive its fiber.
///
/// ```compile_fail,E0308
/// # use cede_fiber as cede;
/// use cede::sync::generic::{Domain, Local};
///
/// let park = <Local as Domain>::begin().unwrap();
/// <Local as Domain>::wake(<Local as Domain>::who(&park));
/// ```
#[derive(Debug)]
pub struct LocalWake(Waiter);

impl Domain for Local {
    type State<S> = LocalState<S>;
    type Word = LocalWord;
    type Ptr<T> = Rc<T>;
    type Once<T> = OnceCell<T>;
    type Who = Waiter;
    type Wake = LocalWake;
    type Parker = Park;

    fn ptr<T>(value: T) -> Rc<T> {
        Rc::new(value)
    }

    fn ptr_eq<T>(a: &Rc<T>, b: &Rc<T>) -> bool {
        Rc::ptr_eq(a, b)
    }

    fn try_unwrap<T>(ptr: Rc<T>) -> Result<T, Rc<T>> {
        Rc::try_unwrap(ptr)
    }

    #[inline(always)]
    fn begin() -> Result<Park, Refusal> {
        Park::begin_locked()
    }

    #[inline(always)]
    fn who(parker: &Park) -> Waiter {
        parker.waiter()
    }

    fn who_selects(parker: &AnyParker) -> io::Result<Waiter> {
        match parker {
            SharedParker::Fiber(park) => Ok(park.waiter()),
            SharedParker::Thread(_) => Err(cancel::not_in_fiber_error()),
        }
    }

    #[inline(always)]
    unsafe fn wakeup(who: Waiter) -> LocalWake {
        LocalWake(who)
    }

    #[inline(always)]
    fn wake(wake: LocalWake) {
        wake_here(wake.0);
    }

    #[inline(always)]
    #[track_caller]
    fn wait(parker: Park, what: Wait, limit: Limit) -> io::Result<()> {
        parker.wait_begun(what, limit.nanos())
    }
}

/// Sends a wakeup to a fiber of this shard.
#[inline(always)]
fn wake_here(waiter: Waiter) {
    // SAFETY: the reference is used in this call only.
    if let Some(shard) = unsafe { shard::local() } {
        // SAFETY: the fiber's node was linked when this wakeup was made, so the fiber was inside of
        // its wait; and it is one of this thread, which has run nothing else since (contract of
        // `wakeup`). One that was left behind by a shutdown keeps its record, in no wait.
        unsafe { waiter.wake(shard) };
    }
}

// ---- the wait itself

/// Waits for a node that was put into a queue. `Ok`: it was taken out, and what was waited for is
/// there. `Err`: it is no longer in the queue either, and nothing was handed over.
///
/// `give_up` takes the node out of its queue; false: somebody has done so already, so the event
/// came first and wins. `pass_on` is called when the fiber is unwound with something in its hands.
#[inline(always)]
#[track_caller]
pub(crate) fn wait_for<D: Domain>(
    parker: D::Parker,
    what: Wait,
    limit: Limit,
    give_up: impl Fn() -> bool,
    pass_on: impl Fn(),
) -> io::Result<()> {
    let unwound = OnUnwind(|| {
        if !give_up() {
            pass_on();
        }
    });
    let waited = D::wait(parker, what, limit);
    std::mem::forget(unwound);
    match waited {
        Ok(()) => {
            // Only who takes the node out ends this wait with an event: were anything else to, the
            // caller would leave with its node linked.
            debug_assert!(!give_up(), "a wait ended without its event");
            Ok(())
        }
        Err(error) if give_up() => Err(error),
        Err(_) => Ok(()),
    }
}

/// Runs its closure unless it is forgotten.
struct OnUnwind<F: Fn()>(F);

impl<F: Fn()> Drop for OnUnwind<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
