//! A descriptor registered with the shard's reactor, and the loop that every operation on it is.
//!
//! Try first; on "would block" park until the reactor says that it is worth trying again. A
//! descriptor belongs to the shard on which it was registered and is deregistered when it is
//! dropped there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use cede_reactor::{Direction, Nanos, SourceKey};

use crate::cancel;
use crate::record::Outcome;
use crate::shard;
use crate::wait::{self, Park, Wait, WaitKind};

/// Operations in a row that succeed at once before a fiber gives way to others: a peer that never
/// lets it wait must not keep the shard.
const OPERATIONS_PER_TURN: u32 = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Source {
    fd: OwnedFd,
    key: SourceKey,
    /// Successful operations since the last wait.
    turn: std::cell::Cell<u32>,
    /// The key belongs to the reactor of this thread.
    marker: std::marker::PhantomData<*const ()>,
}

impl Source {
    /// Registers a descriptor, which must not block.
    ///
    /// # Errors
    ///
    /// On a thread without a runtime, and what the poller says.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let key = shard::with(|shard| {
            // SAFETY: the descriptor is owned by the value that is returned, whose destructor
            // deregisters it before it closes it.
            unsafe { shard.reactor.borrow_mut().register(fd.as_raw_fd()) }
        })
        .ok_or_else(cancel::not_in_fiber_error)??;
        Ok(Self { fd, key, turn: std::cell::Cell::new(0), marker: std::marker::PhantomData })
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    shard::with(|shard| {
                        shard.reactor.borrow_mut().clear_ready(self.key, direction)
                    })
                    .ok_or_else(cancel::not_in_fiber_error)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    self.turn.set(self.turn.get() + 1);
                    return done;
                }
            }
        }
    }

    /// Notes that a read from a byte stream brought less than was asked for.
    #[inline]
    pub(crate) fn short_read(&self) {
        shard::with(|shard| shard.reactor.borrow_mut().short_read(self.key));
    }

    #[inline]
    fn is_ready(&self, direction: Direction) -> bool {
        shard::with(|shard| shard.reactor.borrow().is_ready(self.key, direction)).unwrap_or(true)
    }

    /// Gives way, and fails where a wait would have: a peer that never lets the fiber wait must not
    /// keep it from its cancel or its deadline. Before an operation, so that nothing is lost.
    #[cold]
    fn end_turn(&self) -> io::Result<()> {
        self.turn.set(0);
        crate::yield_now();
        wait::check_now()
    }

    /// Parks until the direction is ready.
    #[track_caller]
    pub(crate) fn wait(&self, direction: Direction, limit: Option<Nanos>) -> io::Result<()> {
        self.turn.set(0);
        let park = Park::begin()?;
        let ticket = park.ticket();
        let waits =
            shard::with(|shard| shard.reactor.borrow_mut().wait(self.key, direction, ticket));
        if waits != Some(true) {
            // Not ready, and yet the reactor lets nobody wait: it does not know the descriptor.
            return if self.is_ready(direction) { Ok(()) } else { Err(orphan_error()) };
        }
        let kind = match direction {
            Direction::Read => WaitKind::Read,
            Direction::Write => WaitKind::Write,
        };
        let result = park.wait(Wait::new(kind, self.fd.as_raw_fd() as u64), limit);
        if result.is_err() {
            shard::with(|shard| shard.reactor.borrow_mut().unwait(self.key, direction, ticket));
        }
        result
    }
}

#[cold]
fn orphan_error() -> io::Error {
    io::Error::other("this descriptor was opened in a runtime that has ended: nobody watches it")
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

impl Drop for Source {
    fn drop(&mut self) {
        shard::with(|shard| {
            let mut reactor = shard.reactor.borrow_mut();
            // An error says that the system does not know the descriptor any more, which is what is
            // wanted.
            let _ = reactor.deregister(self.key, self.fd.as_raw_fd(), |ticket| {
                shard.wake(ticket, Outcome::EVENT);
            });
        });
    }
}
