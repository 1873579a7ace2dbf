//! The end of a fiber and what it leaves behind.
//!
//! The result lies in a packet shared by the fiber and its handle. The fiber's half is a guard:
//! however the fiber ends, by returning, by a panic, unwound by a shutdown or without having run at
//! all, the packet gets a result and whoever waits for it is woken.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::cancel::{self, Unwound};
use crate::counted::Counted;
use crate::fiber::Fiber;
use crate::local;
use crate::quiet::quietly;
use crate::record::Record;
use crate::scope::ScopeData;
use crate::shard::{self, ShardState};
use crate::shared::FiberShared;
use crate::tickets::Tickets;
use crate::wait::{Park, Wait, WaitKind};

/// Why [`JoinHandle::join`] has no value to give.
///
/// Boxed, so that the result of a fiber that did well is no larger than what it returned.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let error = cede::spawn(|| panic!("no such thing")).join().map(|()| ()).unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.to_string(), "the fiber panicked: no such thing");
/// # }).unwrap();
/// ```
pub struct JoinError(Box<Why>);

enum Why {
    /// In a mutex only to make the error `Sync`; it is never contended.
    Panicked(Mutex<Box<dyn Any + Send>>),
    ShutDown,
    Wait(io::Error),
}

impl JoinError {
    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        if payload.is::<Unwound>() {
            Self::shut_down()
        } else {
            Self(Box::new(Why::Panicked(Mutex::new(payload))))
        }
    }

    pub(crate) fn shut_down() -> Self {
        Self(Box::new(Why::ShutDown))
    }

    pub(crate) fn wait(error: io::Error) -> Self {
        Self(Box::new(Why::Wait(error)))
    }

    /// Whether the fiber panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, Why::Panicked(_))
    }

    /// Whether the fiber was never run, or was unwound, because its runtime shut down.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        matches!(*self.0, Why::ShutDown)
    }

    /// The payload of the panic, as [`std::thread::JoinHandle::join`] gives it.
    ///
    /// # Errors
    ///
    /// The error itself, when it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        match *self.0 {
            Why::Panicked(payload) => {
                Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            other => Err(Self(Box::new(other))),
        }
    }

    /// The text of the panic, where it has one.
    #[must_use]
    pub fn panic_message(&self) -> Option<String> {
        let Why::Panicked(payload) = &*self.0 else { return None };
        let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_string());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Why::Panicked(_) => match self.panic_message() {
                Some(text) => write!(f, "the fiber panicked: {text}"),
                None => f.write_str("the fiber panicked"),
            },
            Why::ShutDown => f.write_str("the fiber did not finish: its runtime shut down"),
            Why::Wait(error) => write!(f, "the wait for the fiber's end was cut short: {error}"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            Why::Wait(error) => Some(error),
            _ => None,
        }
    }
}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        match *error.0 {
            Why::Wait(error) => error,
            why => Self::other(JoinError(Box::new(why))),
        }
    }
}

/// What fiber and handle share.
pub(crate) struct Packet<T> {
    result: Cell<Option<Result<T, JoinError>>>,
    finished: Cell<bool>,
    waiters: Tickets,
    /// Of the task that awaits the fiber's end.
    waker: Cell<Option<Box<Waker>>>,
    /// The scope that waits for the fiber, and the fiber's number there.
    scope: Option<(Rc<ScopeData>, usize)>,
    /// The fiber's, which its own record forgets with its end.
    name: OnceCell<Arc<str>>,
}

impl<T> Packet<T> {
    #[inline(always)]
    pub(crate) fn new(scope: Option<(Rc<ScopeData>, usize)>) -> Counted<Self> {
        Counted::new(|| Self {
            result: Cell::new(None),
            finished: Cell::new(false),
            waiters: Tickets::default(),
            waker: Cell::new(None),
            scope,
            name: OnceCell::new(),
        })
    }

    /// Keeps the name of a fiber that has one.
    pub(crate) fn keep_name(&self, name: &Arc<str>) {
        // A new packet has no name yet.
        let _ = self.name.set(Arc::clone(name));
    }

    pub(crate) fn scope(&self) -> Option<&(Rc<ScopeData>, usize)> {
        self.scope.as_ref()
    }

    /// A packet of a fiber that will never be.
    pub(crate) fn refused() -> Counted<Self> {
        let packet = Self::new(None);
        packet.finish(Err(JoinError::shut_down()));
        packet
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// The result, for a join.
    pub(crate) fn take(&self) -> Option<Result<T, JoinError>> {
        let result = self.result.take();
        if let Some((scope, _)) = &self.scope
            && matches!(&result, Some(Err(error)) if error.is_panic())
        {
            scope.panic_taken();
        }
        result
    }

    #[inline]
    fn finish(&self, result: Result<T, JoinError>) {
        self.result.set(Some(result));
        self.finished.set(true);
        self.waiters.wake_all();
        if let Some(waker) = self.waker.take() {
            // User code, and there is nothing above but the scheduler.
            quietly("the waker of a task that awaits a fiber", || waker.wake());
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait(&self, serial: u64) -> io::Result<()> {
        while !self.finished.get() {
            let park = Park::begin()?;
            let ticket = park.ticket();
            self.waiters.push(ticket);
            if let Err(error) = park.wait(Wait::new(WaitKind::Join, serial), None) {
                self.waiters.remove(ticket);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// The fiber's half of a packet: gives it a result however the fiber ends.
pub(crate) struct Completer<T> {
    packet: Counted<Packet<T>>,
}

impl<T> Completer<T> {
    pub(crate) fn new(packet: Counted<Packet<T>>) -> Self {
        Self { packet }
    }

    #[inline]
    fn complete(&self, result: Result<T, JoinError>) {
        if let Some((scope, _)) = &self.packet.scope
            && result.as_ref().is_err_and(JoinError::is_panic)
        {
            scope.child_panicked();
        }
        self.packet.finish(result);
    }

    /// Drops a result that nobody will ask for, while the fiber still lives: its destructor may
    /// wait, and its panic must not reach the scheduler.
    #[inline]
    fn discard(&self) {
        let result = self.packet.result.take();
        if !std::mem::needs_drop::<T>() && matches!(result, Some(Ok(_))) {
            return;
        }
        quietly("the result of a fiber that nobody joined", || drop(result));
    }
}

impl<T> Drop for Completer<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.packet.is_finished() {
            self.packet.finish(Err(JoinError::shut_down()));
        }
        if self.packet.is_last() {
            self.discard();
        }
        // After the result, which may borrow from the scope's surroundings. If somebody holds the
        // handle, it is still there, and the borrow checker keeps the handle inside of them.
        if let Some((scope, number)) = &self.packet.scope {
            scope.child_ended(*number);
        }
    }
}

/// The whole life of a fiber: run the closure, drop its locals, leave the result. Never unwinds.
pub(crate) fn life<F: FnOnce() -> T, T>(f: Quiet<F>, completer: Completer<T>) {
    let result = catch_unwind(AssertUnwindSafe(|| f.call()));
    drop_locals();
    completer.complete(result.map_err(JoinError::panicked));
}

/// The same for a fiber that nobody can join.
pub(crate) fn detached_life<F: FnOnce()>(f: Quiet<F>) {
    let result = catch_unwind(AssertUnwindSafe(|| f.call()));
    drop_locals();
    if let Err(payload) = result {
        quietly("the panic of a detached fiber", || drop(payload));
    }
}

#[inline(always)]
fn drop_locals() {
    // SAFETY: the reference is used in this expression only.
    let has_locals =
        unsafe { shard::here() }.is_some_and(|(_, record)| !record.locals.borrow().is_empty());
    if has_locals {
        quietly("a fiber local", local::drop_locals);
    }
}

/// A closure whose destructor does not unwind, for the case that it is never called.
pub(crate) struct Quiet<F>(ManuallyDrop<F>);

impl<F> Quiet<F> {
    pub(crate) fn new(f: F) -> Self {
        Self(ManuallyDrop::new(f))
    }

    pub(crate) fn call<T>(self) -> T
    where
        F: FnOnce() -> T,
    {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the closure is taken once.
        let f = unsafe { ManuallyDrop::take(&mut this.0) };
        f()
    }
}

impl<F> Drop for Quiet<F> {
    fn drop(&mut self) {
        quietly("the closure of a fiber that never ran", || {
            // SAFETY: `call` forgets `self`, so the closure is still here, and is dropped once.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        });
    }
}

/// Owns the end of a fiber: waits for it and takes its result. Dropping it lets the fiber go on by
/// itself.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let fast = cede::spawn(|| 42);
/// assert_eq!(fast.join().unwrap(), 42);
///
/// let endless = cede::spawn(cede::park);
/// cede::yield_now();
/// endless.cancel(); // its wait returns an error
/// assert!(cede::is_cancelled(&endless.join().unwrap().unwrap_err()));
/// # }).unwrap();
/// ```
pub struct JoinHandle<T> {
    packet: Counted<Packet<T>>,
    slot: u32,
    serial: u64,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(packet: Counted<Packet<T>>, slot: u32, serial: u64) -> Self {
        Self { packet, slot, serial }
    }

    /// Waits for the fiber's end and returns what it returned.
    ///
    /// # Errors
    ///
    /// The payload of the fiber's panic; that its runtime shut down before it had ended; or that
    /// the wait was cut short by the deadline or the cancel of the waiting fiber. In the last case
    /// the fiber goes on; use [`wait`](Self::wait) to keep the handle.
    #[inline(always)]
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.wait().map_err(JoinError::wait)?;
        // Taken once: `join` consumes the handle, and nothing else takes.
        self.packet.take().unwrap_or_else(|| Err(JoinError::shut_down()))
    }

    /// Waits for the fiber's end and keeps the handle; [`join`](Self::join) then returns at once.
    ///
    /// # Errors
    ///
    /// When the wait was cut short by the deadline or the cancel of the waiting fiber, or this is
    /// not a fiber.
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) -> io::Result<()> {
        self.packet.wait(self.serial)
    }

    /// Asks the fiber to end: its waits fail from now on with an error that
    /// [`is_cancelled`](crate::is_cancelled) knows.
    pub fn cancel(&self) {
        shard::with(|shard| {
            if let Some(record) = self.record(shard) {
                shard.cancel(record);
            }
        });
    }

    /// The fiber's record while it has no result. The result is asked for first, because a handle
    /// may outlive its runtime, and the next one on this thread counts its fibers anew.
    fn record<'a>(&self, shard: &'a ShardState) -> Option<&'a Record> {
        if self.is_finished() { None } else { shard.find(self.slot, self.serial) }
    }

    /// Whether the fiber has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.packet.is_finished()
    }

    /// The fiber, for waking it and for its name.
    ///
    /// # Panics
    ///
    /// On a thread without a runtime, where no handle can be.
    #[must_use]
    pub fn fiber(&self) -> Fiber {
        shard::with(|shard| match self.record(shard) {
            Some(record) => Fiber::new(Arc::clone(shard.shared_of(record))),
            None => {
                let shard = Arc::clone(&shard.shared);
                let name = self.packet.name.get().cloned();
                Fiber::new(FiberShared::gone(shard, self.slot, self.serial, name))
            }
        })
        .unwrap_or_else(|| panic!("{}", cancel::not_in_fiber_error()))
    }
}

/// The fiber's end as a future, for [`block_on`](crate::block_on).
impl<T> JoinHandle<T> {
    /// [`fiber`](Self::fiber), by the name that std has for it.
    ///
    /// # Panics
    ///
    /// As [`fiber`](Self::fiber).
    #[must_use]
    pub fn thread(&self) -> Fiber {
        self.fiber()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.packet.finished.get() {
            return Poll::Ready(self.packet.take().unwrap_or_else(|| Err(JoinError::shut_down())));
        }
        // One handle is awaited by one task at a time: what an earlier poll left is stale. Cloning
        // and dropping a waker is user code, which may look at this packet: it is in order then.
        let waker = Box::new(context.waker().clone());
        drop(self.packet.waker.replace(Some(waker)));
        Poll::Pending
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("serial", &self.serial)
            .field("finished", &self.is_finished())
            .finish()
    }
}
