//! Making fibers.

use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use cede_reactor::Nanos;

use crate::cancel;
use crate::deadline::Deadline;
use crate::join::{Completer, JoinHandle, Packet, Quiet, detached_life, life};
use crate::local::Locals;
use crate::record::Record;
use crate::scope::{Scope, ScopeData, ScopedJoinHandle};
use crate::shard::{self, Phase, ShardState};

/// Makes a fiber on this shard. It runs when the current fiber next gives up control.
///
/// It inherits the deadline and the inheritable locals of the current fiber, and keeps running when
/// the handle is dropped. While the runtime shuts down the closure is dropped unrun and `join` says
/// so.
///
/// # Panics
///
/// Outside of a fiber, and when there is no memory or no place for another fiber;
/// [`Builder::spawn`] returns an error instead.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let shared = std::rc::Rc::new(40); // nothing needs to be Send
/// let answer = cede::spawn(move || *shared + 2).join().unwrap();
/// assert_eq!(answer, 42);
/// # }).unwrap();
/// ```
#[inline]
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    // SAFETY: the closure and its result are 'static.
    match unsafe { Builder::new().spawn_unchecked(f, None) } {
        Ok(handle) => handle,
        Err(error) => panic!("cannot spawn a fiber: {error}"),
    }
}

/// Makes a fiber with a name, a stack of its own size, or a deadline of its own.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # fn main() -> std::io::Result<()> {
/// # cede::run(|| -> std::io::Result<()> {
/// let handle = cede::Builder::new().name("parser".into()).stack_size(1 << 20).spawn(|| 6 * 7)?;
/// assert_eq!(handle.fiber().name(), Some("parser"));
/// assert_eq!(handle.join().unwrap(), 42);
/// # Ok(())
/// # }).unwrap()
/// # }
/// ```
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<Arc<str>>,
    stack_size: Option<usize>,
    deadline: Inherited,
    /// See `Record::borrows`.
    borrows: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum Inherited {
    #[default]
    Parents,
    None,
    Own(Deadline),
}

impl Builder {
    /// A fiber like any other.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the fiber, for dumps and messages. As in std a `String`, so that what is written for
    /// [`std::thread::Builder`] (`.name("worker".into())`) compiles.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The usable bytes of its stack, rounded up to a power of two; a touched guard follows below
    /// them. Default: the runtime's, [`STACK_BYTES_DEFAULT`](crate::STACK_BYTES_DEFAULT).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// A deadline of its own instead of the parent's.
    pub fn deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.deadline = Inherited::Own(deadline.into());
        self
    }

    /// No deadline, whatever the parent has: for work that outlives a request.
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Inherited::None;
        self
    }

    /// Says that the closure borrows from outside of the fiber.
    pub(crate) fn borrowing(mut self) -> Self {
        self.borrows = true;
        self
    }

    /// Makes the fiber. See [`spawn`].
    ///
    /// # Errors
    ///
    /// Outside of a fiber; when the runtime shuts down; when the stack size cannot work
    /// ([`InvalidInput`](io::ErrorKind::InvalidInput)); when there is no memory for a stack
    /// ([`OutOfMemory`](io::ErrorKind::OutOfMemory)); at the limit on fibers
    /// ([`QuotaExceeded`](io::ErrorKind::QuotaExceeded)).
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let refuses = shard::with(|shard| shard.phase.get() != Phase::Running);
        if refuses == Some(true) {
            return Err(cancel::shutting_down_error());
        }
        // SAFETY: the closure and its result are 'static.
        unsafe { self.spawn_unchecked(f, None) }
    }

    /// Makes a fiber that may borrow whatever outlives the scope. See [`Scope::spawn`].
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        scope.spawn_with(self, f)
    }

    /// Makes the fiber; a runtime that shuts down gives a handle that says so.
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow must outlive the fiber.
    #[inline]
    #[track_caller]
    pub(crate) unsafe fn spawn_unchecked<F, T>(
        self,
        f: F,
        scope: Option<&Rc<ScopeData>>,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        let at = Location::caller();
        // SAFETY: handed on to the caller.
        shard::with(|shard| unsafe { self.spawn_on(shard, f, scope, at) })
            .ok_or_else(cancel::not_in_fiber_error)?
    }

    /// # Safety
    ///
    /// What `f` and its result borrow must outlive the fiber.
    #[inline]
    pub(crate) unsafe fn spawn_on<F, T>(
        self,
        shard: &ShardState,
        f: F,
        scope: Option<&Rc<ScopeData>>,
        at: &'static Location<'static>,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        let inherited = self.inherited(shard);
        if shard.phase.get() != Phase::Running {
            drop(f);
            return Ok(JoinHandle::new(Packet::refused(), u32::MAX, 0));
        }
        let stack_bytes = self.stack_size.unwrap_or(shard.config().stack_size);
        let packet = Packet::new(scope.map(|scope| (Rc::clone(scope), scope.child_began())));
        let completer = Completer::new(packet.clone());
        let f = Quiet::new(f);
        // SAFETY: `life` never unwinds; the caller vouches for what is borrowed.
        let record = unsafe { shard.spawn(stack_bytes, at, move || life(f, completer))? };
        // SAFETY: the fiber was made just now and has not run, so its record is live; the reference
        // is used in this call only.
        let record = unsafe { record.as_ref() };
        record.borrows.set(self.borrows || scope.is_some());
        if let Some(name) = &self.name {
            packet.keep_name(name);
        }
        self.equip(record, inherited);
        if let Some((scope, number)) = packet.scope() {
            scope.child_is(*number, record.slot, record.serial);
        }
        Ok(JoinHandle::new(packet, record.slot, record.serial))
    }

    /// Makes a fiber that nobody can join: what it leaves behind has no place, so none is allocated.
    /// A panic ends it as quietly as that of a fiber whose handle was dropped.
    ///
    /// On a stack that is there already this allocates nothing, and with
    /// [`RuntimeBuilder::fibers_reserved`](crate::RuntimeBuilder::fibers_reserved) the stacks are
    /// there. It is how a server gives each connection a fiber.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn). The closure is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// # cede::run(|| -> std::io::Result<()> {
    /// let (sender, receiver) = cede::sync::mpsc::channel();
    /// cede::Builder::new().spawn_detached(move || sender.send("done").unwrap())?;
    /// assert_eq!(receiver.recv().unwrap(), "done");
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn spawn_detached<F>(self, f: F) -> io::Result<()>
    where
        F: FnOnce() + 'static,
    {
        let at = Location::caller();
        shard::with(|shard| {
            let inherited = self.inherited(shard);
            if shard.phase.get() != Phase::Running {
                return Err(cancel::shutting_down_error());
            }
            let stack_bytes = self.stack_size.unwrap_or(shard.config().stack_size);
            let f = Quiet::new(f);
            // SAFETY: `detached_life` never unwinds; the closure is 'static.
            let record = unsafe { shard.spawn(stack_bytes, at, move || detached_life(f))? };
            // SAFETY: as in `spawn_on`.
            self.equip(unsafe { record.as_ref() }, inherited);
            Ok(())
        })
        .ok_or_else(cancel::not_in_fiber_error)?
    }

    /// What a new fiber gets from the current one. Asked for before there is a fiber: both call user
    /// code (a clone, a clock), which may wait or panic.
    #[inline(always)]
    fn inherited(&self, shard: &ShardState) -> (Option<Locals>, Option<Nanos>) {
        (Self::inherited_locals(), self.own_deadline(shard))
    }

    /// Gives a new fiber what it was made with.
    #[inline(always)]
    fn equip(self, record: &Record, (locals, deadline): (Option<Locals>, Option<Nanos>)) {
        if let Some(name) = self.name {
            // A new record has no name yet.
            let _ = record.name.set(name);
        }
        if let Some(deadline) = deadline {
            record.deadline.set(deadline);
        }
        if let Some(locals) = locals {
            record.locals.replace(locals);
        }
    }

    /// What the new fiber gets instead of its parent's deadline.
    #[inline(always)]
    fn own_deadline(&self, shard: &ShardState) -> Option<Nanos> {
        match self.deadline {
            Inherited::Parents => None,
            Inherited::None => Some(Nanos::MAX),
            Inherited::Own(deadline) => Some(deadline.nanos(&*shard.clock)),
        }
    }

    #[inline]
    fn inherited_locals() -> Option<Locals> {
        // SAFETY: the reference is used in this expression only.
        let inherits = unsafe { shard::here() }
            .is_some_and(|(_, parent)| parent.locals.borrow().has_inheritable());
        inherits.then(Locals::inherited)
    }
}
