//! Whose turn it is to send.
//!
//! The rule of this file: requests pass together, each until it is sent; a transaction, a savepoint
//! or a COPY passes alone. All in the order of asking.

use std::cell::Cell;

use cede_fiber::FiberId;
use cede_fiber::sync::local::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::{Error, ErrorKind, Phase};

/// What a client, or a transaction, sends through. Its errors name no host.
pub(super) struct Turnstile {
    lock: RwLock<()>,
    /// The fiber that has it for itself.
    owner: Cell<Option<FiberId>>,
    is_over: Cell<bool>,
}

impl Turnstile {
    pub(super) fn new() -> Self {
        Self { lock: RwLock::new(()), owner: Cell::new(None), is_over: Cell::new(false) }
    }

    /// Waits for the turn of a request.
    ///
    /// # Errors
    ///
    /// When this fiber has it for itself; when it is over; a cancel or a deadline.
    #[inline]
    pub(super) fn pass(&self) -> Result<RwLockReadGuard<'_, ()>, Error> {
        match self.lock.try_read() {
            Ok(guard) if !self.is_over.get() => Ok(guard),
            _ => {
                self.refuse()?;
                self.lock.read().map_err(|error| Error::io(Phase::Send, error))
            }
        }
    }

    /// Waits until it belongs to this fiber alone: what others send waits until the result is
    /// dropped.
    ///
    /// # Errors
    ///
    /// As [`pass`](Self::pass).
    pub(super) fn own(&self) -> Result<Turn<'_>, Error> {
        self.refuse()?;
        let guard = self.lock.write().map_err(|error| Error::io(Phase::Send, error))?;
        self.owner.set(cede_fiber::try_current().map(|fiber| fiber.id()));
        Ok(Turn { turnstile: self, _guard: guard })
    }

    /// Nobody passes any more.
    pub(super) fn end(&self) {
        self.is_over.set(true);
    }

    #[cold]
    fn refuse(&self) -> Result<(), Error> {
        let id = cede_fiber::try_current().map(|fiber| fiber.id());
        let message = if self.is_over.get() {
            "the savepoint has ended"
        } else if id.is_some() && id == self.owner.get() {
            "the client waits for the transaction (or the savepoint, or the COPY) that this fiber \
             is inside of: use what the closure was given"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::State, Phase::Send, message))
    }
}

/// It belongs to one fiber; see [`Turnstile::own`].
pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
    _guard: RwLockWriteGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turnstile.owner.set(None);
    }
}
