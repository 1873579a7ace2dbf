//! A descriptor registered with the shard's reactor, and the loop that every operation on it is.
//!
//! Try first; on "would block" park until the reactor says that it is worth trying again. The rule
//! of this file: a descriptor is registered at its first "would block" and not before, so one that
//! never waits costs no system call for it, and it belongs to the shard of the thread it is on.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use cede_reactor::{Direction, Nanos, Reactor, SourceKey};

use crate::cancel;
use crate::record::Outcome;
use crate::shard;
use crate::wait::{self, Park, Ticket, Wait, WaitKind};

/// Operations in a row that succeed at once before a fiber gives way to others: a peer that never
/// lets it wait must not keep the shard.
pub(crate) const OPERATIONS_PER_TURN: u32 = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Source {
    /// Declared, and so dropped, before the descriptor that it is about.
    registration: Registration,
    fd: OwnedFd,
    /// Successful operations since the last wait.
    turn: Cell<u32>,
    /// "Would block" is handed to the caller instead of waited for.
    nonblocking: Cell<bool>,
}

/// What the reactor knows of a descriptor.
#[derive(Debug)]
struct Registration {
    raw: RawFd,
    /// `None` until the first wait.
    key: Cell<Option<SourceKey>>,
    /// A duplicate may outlive this descriptor, so the poller must be told when it is closed.
    duplicated: Cell<bool>,
    /// The key belongs to the reactor of this thread.
    marker: PhantomData<*const ()>,
}

impl Source {
    /// Takes a descriptor, which must not block.
    ///
    /// # Errors
    ///
    /// On a thread without a runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        shard::with(|_| ()).ok_or_else(cancel::not_in_fiber_error)?;
        let registration = Registration {
            raw: fd.as_raw_fd(),
            key: Cell::new(None),
            duplicated: Cell::new(false),
            marker: PhantomData,
        };
        Ok(Self { registration, fd, turn: Cell::new(0), nonblocking: Cell::new(false) })
    }

    /// Takes a descriptor that others may hold duplicates of.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn foreign(fd: OwnedFd) -> io::Result<Self> {
        let source = Self::new(fd)?;
        source.registration.duplicated.set(true);
        Ok(source)
    }

    /// A duplicate of the descriptor, with a registration of its own.
    ///
    /// # Errors
    ///
    /// When descriptors have run out.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        let fd = self.fd.try_clone()?;
        self.registration.duplicated.set(true);
        let source = Self::foreign(fd)?;
        source.nonblocking.set(self.nonblocking.get());
        Ok(source)
    }

    /// The descriptor, of which the reactor knows nothing any more.
    pub(crate) fn into_fd(self) -> OwnedFd {
        let Self { registration, fd, .. } = self;
        registration.duplicated.set(true);
        fd
    }

    pub(crate) fn set_nonblocking(&self, on: bool) {
        self.nonblocking.set(on);
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking.get()
    }

    /// Runs an operation until it does not say "would block".
    #[inline]
    #[track_caller]
    pub(crate) fn run<T>(
        &self,
        direction: Direction,
        limit: Option<Nanos>,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.turn.get() >= OPERATIONS_PER_TURN {
            self.end_turn()?;
        }
        loop {
            if !self.is_ready(direction) {
                self.wait(direction, limit)?;
            }
            match operation(self.fd.as_fd()) {
                Ok(value) => {
                    self.turn.set(self.turn.get() + 1);
                    return Ok(value);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.nonblocking.get() {
                        return Err(error);
                    }
                    self.blocked(direction)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.turn.set(self.turn.get() + 1);
                    return Err(error);
                }
            }
        }
    }

    /// Runs an operation, if it may succeed; "would block" is for the caller.
    #[inline]
    pub(crate) fn attempt<T>(
        &self,
        direction: Direction,
        operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.turn.get() >= OPERATIONS_PER_TURN && self.is_ready(direction) {
            self.end_turn()?;
        }
        self.attempt_in_place(direction, operation)
    }

    /// [`attempt`](Self::attempt) for a caller that may not give way, and that does not try again.
    #[inline]
    pub(crate) fn attempt_in_place<T>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.is_ready(direction) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            let result = operation(self.fd.as_fd());
            match &result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked(direction)?;
                }
                _ => self.turn.set(self.turn.get() + 1),
            }
            return result;
        }
    }

    /// Parks until an operation may succeed; registers the descriptor if this is the first wait.
    #[inline]
    #[track_caller]
    pub(crate) fn ready(&self, direction: Direction, limit: Option<Nanos>) -> io::Result<()> {
        if self.registration.key.get().is_none() {
            self.blocked(direction)?;
        }
        while !self.is_ready(direction) {
            self.wait(direction, limit)?;
        }
        Ok(())
    }

    /// Notes that an operation would block; registers the descriptor if this is the first time.
    ///
    /// What happens between that operation and the registration is not lost: a poller reports what
    /// is ready when a descriptor is added.
    ///
    /// # Errors
    ///
    /// What the poller says: `EPERM` for a regular file, `ENOSPC` at the limit on watches.
    pub(crate) fn blocked(&self, direction: Direction) -> io::Result<()> {
        shard::with(|shard| {
            let mut reactor = shard.reactor.borrow_mut();
            let key = self.registration.key(&mut reactor, direction)?;
            reactor.clear_ready(key, direction);
            Ok(())
        })
        .ok_or_else(cancel::not_in_fiber_error)?
    }

    /// Notes that a read from a byte stream brought less than was asked for.
    #[inline]
    pub(crate) fn short_read(&self) {
        if let Some(key) = self.registration.key.get() {
            shard::with(|shard| shard.reactor.borrow_mut().short_read(key));
        }
    }

    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        let Some(key) = self.registration.key.get() else { return true };
        self.nonblocking.get()
            || shard::with(|shard| {
                let reactor = shard.reactor.borrow();
                reactor.is_ready(key, direction) || !reactor.knows(key)
            })
            .unwrap_or(true)
    }

    /// Counts an operation of a task, which is polled instead of parked.
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    pub(crate) fn count_operation(&self) {
        self.turn.set(self.turn.get() + 1);
    }

    /// Whether a task is to give way before its next operation; asked once.
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    pub(crate) fn ends_turn(&self) -> bool {
        let ends = self.turn.get() >= OPERATIONS_PER_TURN;
        if ends {
            self.turn.set(0);
        }
        ends
    }

    /// Whether an operation may succeed, as far as is known; a descriptor that never waited is
    /// registered, and what there is to know comes with the reactor's next look.
    ///
    /// # Errors
    ///
    /// As [`blocked`](Self::blocked).
    pub(crate) fn is_ready_or_watched(&self, direction: Direction) -> io::Result<Option<()>> {
        if self.registration.key.get().is_none() {
            self.blocked(direction)?;
        }
        Ok(self.is_ready(direction).then_some(()))
    }

    /// Lets a ticket wait for a direction. False when that is ready.
    pub(crate) fn wait_with(&self, direction: Direction, ticket: Ticket) -> bool {
        let Some(key) = self.registration.key.get() else { return false };
        shard::with(|shard| shard.reactor.borrow_mut().wait(key, direction, ticket)) == Some(true)
    }

    /// Takes back a ticket of [`wait_with`](Self::wait_with).
    pub(crate) fn unwait_with(&self, direction: Direction, ticket: Ticket) {
        if let Some(key) = self.registration.key.get() {
            shard::with(|shard| shard.reactor.borrow_mut().unwait(key, direction, ticket));
        }
    }

    /// Gives way, and fails where a wait would have: a peer that never lets the fiber wait must not
    /// keep it from its cancel or its deadline. Before an operation, so that nothing is lost.
    #[cold]
    fn end_turn(&self) -> io::Result<()> {
        self.turn.set(0);
        shard::with_current(|shard, _| shard.is_look_due.set(true));
        crate::yield_now();
        wait::check_now()
    }

    /// Parks until the direction is ready.
    #[track_caller]
    fn wait(&self, direction: Direction, limit: Option<Nanos>) -> io::Result<()> {
        self.turn.set(0);
        let Some(key) = self.registration.key.get() else { return Ok(()) };
        wait_for(key, self.fd.as_raw_fd(), direction, limit)
    }
}

/// Parks until a registered descriptor is ready in this direction.
#[track_caller]
pub(super) fn wait_for(
    key: SourceKey,
    raw: RawFd,
    direction: Direction,
    limit: Option<Nanos>,
) -> io::Result<()> {
    let park = Park::begin()?;
    let ticket = park.ticket();
    let waits = shard::with(|shard| shard.reactor.borrow_mut().wait(key, direction, ticket));
    if waits != Some(true) {
        return Ok(());
    }
    let kind = match direction {
        Direction::Read => WaitKind::Read,
        Direction::Write => WaitKind::Write,
    };
    // A shutdown unwinds out of the wait; the reactor must not keep the ticket then either.
    let waiting = Waiting { key, direction, ticket };
    let result = park.wait(Wait::new(kind, raw as u64), limit);
    if result.is_ok() {
        std::mem::forget(waiting);
    }
    result
}

/// Takes the ticket back when a wait ends without its event.
struct Waiting {
    key: SourceKey,
    direction: Direction,
    ticket: Ticket,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        shard::with(|shard| {
            shard.reactor.borrow_mut().unwait(self.key, self.direction, self.ticket);
        });
    }
}

impl Registration {
    /// The key in this thread's reactor. A descriptor that has outlived the runtime that it was
    /// made in is unknown to the next one and registered anew.
    ///
    /// Most descriptors wait for reading only. One that waits for writing will read as well.
    fn key(&self, reactor: &mut Reactor<Ticket>, direction: Direction) -> io::Result<SourceKey> {
        let writes = direction == Direction::Write;
        if let Some(key) = self.key.get()
            && reactor.knows(key)
        {
            if writes {
                // SAFETY: `raw` is the descriptor that `adopt` gave this key to, below.
                unsafe { reactor.ask_writes(key, self.raw)? };
            }
            return Ok(key);
        }
        // SAFETY: `raw` is the descriptor that is owned by the source around this value, whose
        // destructor runs before the descriptor is closed and deregisters it.
        let key = unsafe { reactor.adopt(self.raw, writes)? };
        self.key.set(Some(key));
        Ok(key)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(key) = self.key.get() else { return };
        shard::with(|shard| {
            let mut reactor = shard.reactor.borrow_mut();
            let wake = |ticket| {
                shard.wake(ticket, Outcome::EVENT);
            };
            // An error says that the system does not know the descriptor any more, which is what is
            // wanted.
            let _ = if self.duplicated.get() {
                reactor.deregister(key, self.raw, wake)
            } else {
                reactor.forget(key, self.raw, wake)
            };
        });
    }
}

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
