//! Fibers that borrow from the fiber that made them.
//!
//! `scope` does not return, and does not let a panic pass, before all of its children have ended. A
//! cancel of the parent is handed to the children, and the wait for them goes on: they hold
//! references into the parent's frames.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

use slab::Slab;

use crate::builder::Builder;
use crate::cancel;
use crate::join::{JoinError, JoinHandle};
use crate::shard;
use crate::tickets::Tickets;
use crate::wait::{Park, Wait, WaitKind};

/// What a scope knows of its children.
pub(crate) struct ScopeData {
    /// Slot and serial of those that live.
    children: RefCell<Slab<(u32, u64)>>,
    /// Children that panicked and whose panic nobody has taken by a join.
    panics: Cell<usize>,
    /// The parent, once it waits.
    parent: Tickets,
}

impl ScopeData {
    pub(crate) fn child_began(&self) -> usize {
        self.children.borrow_mut().insert((u32::MAX, 0))
    }

    pub(crate) fn child_is(&self, number: usize, slot: u32, serial: u64) {
        if let Some(child) = self.children.borrow_mut().get_mut(number) {
            *child = (slot, serial);
        }
    }

    pub(crate) fn child_panicked(&self) {
        self.panics.set(self.panics.get() + 1);
    }

    /// A join has taken the panic of a child.
    pub(crate) fn panic_taken(&self) {
        self.panics.set(self.panics.get() - 1);
    }

    pub(crate) fn child_ended(&self, number: usize) {
        self.children.borrow_mut().try_remove(number);
        if self.children.borrow().is_empty() {
            self.parent.wake_all();
        }
    }

    fn cancel_children(&self) {
        let children: Vec<(u32, u64)> =
            self.children.borrow().iter().map(|(_, child)| *child).collect();
        shard::with(|shard| {
            for (slot, serial) in children {
                if let Some(record) = shard.find(slot, serial) {
                    shard.cancel(record);
                }
            }
        });
    }

    /// Waits until no child lives, whatever happens to the parent meanwhile.
    fn wait_for_children(&self, at: &'static Location<'static>) {
        let mut told = false;
        loop {
            let left = self.children.borrow().len() as u64;
            if left == 0 {
                return;
            }
            // The first waits notice a cancel of the parent and hand it on; after that only the
            // children's end counts.
            let wait = || self.wait_once(left, at);
            let waited = if told { cancel::shield(wait) } else { wait() };
            if waited.is_err() {
                if told {
                    // A shielded wait fails only while a panic unwinds, and a scope that is entered
                    // then has no children. To return here would leave them with dangling borrows.
                    std::process::abort();
                }
                told = true;
                self.cancel_children();
            }
        }
    }

    fn wait_once(&self, left: u64, at: &'static Location<'static>) -> io::Result<()> {
        let park = Park::begin()?;
        let ticket = park.ticket();
        self.parent.push(ticket);
        let waited = park.wait_at(Wait::new(WaitKind::Scope, left), None, at);
        if waited.is_err() {
            self.parent.remove(ticket);
        }
        waited
    }
}

/// Where children are made; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    data: Rc<ScopeData>,
    /// Invariant in both: `'scope` must not be made longer or shorter than the scope lasts.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Owns the end of a scoped fiber.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    marker: PhantomData<&'scope ()>,
}

/// Runs `f`, in which fibers can be made that borrow from the surroundings, and returns when all of
/// them have ended.
///
/// When the calling fiber is cancelled or its deadline passes, its children are cancelled, and
/// still waited for. Outside of a fiber no children can be made.
///
/// # Panics
///
/// When `f` panics, or a child did whose handle was not joined; in both cases after all children
/// have ended.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let mut numbers = vec![1, 2, 3];
/// let sum = cede::scope(|s| {
///     let sum = s.spawn(|| numbers.iter().sum::<i32>());
///     s.spawn(|| assert_eq!(numbers.len(), 3));
///     sum.join().unwrap()
/// });
/// numbers.push(sum);
/// assert_eq!(numbers, [1, 2, 3, 6]);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let at = Location::caller();
    let data = Rc::new(ScopeData {
        children: RefCell::new(Slab::new()),
        panics: Cell::new(0),
        parent: Tickets::default(),
    });
    let scope = Scope { data: Rc::clone(&data), scope: PhantomData, env: PhantomData };
    // Caught so that the wait for the children does not happen while the panic unwinds: no fiber
    // parks then.
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result.is_err() {
        data.cancel_children();
    }
    data.wait_for_children(at);
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if data.panics.get() > 0 => panic!("a scoped fiber panicked"),
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Makes a fiber that may borrow whatever outlives the scope.
    ///
    /// While a panic unwinds (in a destructor), or the runtime shuts down, the closure is dropped
    /// unrun and `join` says so: the scope could not wait for it.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn); [`Builder::spawn_scoped`] returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        match self.spawn_with(Builder::new(), f) {
            Ok(handle) => handle,
            Err(error) => panic!("cannot spawn a scoped fiber: {error}"),
        }
    }

    /// See [`Builder::spawn_scoped`].
    #[track_caller]
    pub(crate) fn spawn_with<F, T>(
        &'scope self,
        builder: Builder,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        if shard::with_current(|_, _| ()).is_none() {
            return Err(cancel::not_in_fiber_error());
        }
        if std::thread::panicking() {
            drop(f);
            let packet = crate::join::Packet::refused();
            let handle = JoinHandle::new(packet, u32::MAX, 0);
            return Ok(ScopedJoinHandle { handle, marker: PhantomData });
        }
        // SAFETY: `scope` does not return before this child has ended, however it itself ends: it
        // catches panics, its wait is not cut short by cancel or deadline, and a shutdown unwinds
        // younger fibers, so children, first, and aborts when one does not end. Only the fiber that
        // runs `scope`, which is alive, or its children can reach this `Scope`.
        let handle = unsafe { builder.spawn_unchecked(f, Some(&self.data))? };
        Ok(ScopedJoinHandle { handle, marker: PhantomData })
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the fiber's end and returns what it returned. See [`JoinHandle::join`].
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.handle.join()
    }

    /// Waits for the fiber's end and keeps the handle.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::wait`].
    #[track_caller]
    pub fn wait(&self) -> io::Result<()> {
        self.handle.wait()
    }

    /// Asks the fiber to end.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// Whether the fiber has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// The fiber, for waking it.
    #[must_use]
    pub fn fiber(&self) -> crate::Fiber {
        self.handle.fiber()
    }

    /// [`fiber`](Self::fiber), by the name that std has for it.
    #[must_use]
    pub fn thread(&self) -> crate::Fiber {
        self.handle.fiber()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("children", &self.data.children.borrow().len()).finish()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
