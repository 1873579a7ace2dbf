//! What `select!` can wait for of the fiber itself and of its sockets.
//!
//! The surprising rule: both are bound to a shard, so a plain thread gets an error for them.

use std::cell::Cell;
use std::io;

use cede_reactor::Direction;

use crate::cancel;
use crate::net::Source;
use crate::shard;
use crate::sync::select::{AnyParker, Branch};
use crate::wait::Ticket;

/// A [`wakeup`](crate::Fiber::wakeup) of this fiber, as [`park`](crate::park()) waits for it.
pub fn park() -> Parks {
    Parks(())
}

/// Something to read from a socket, its end, or a connection to accept. A read after it may still
/// find nothing.
pub fn readable<S: CanRead>(socket: S) -> S::Branch {
    socket.into_branch()
}

/// What `readable(..)` takes: a socket of [`net`](crate::net).
pub trait CanRead {
    #[doc(hidden)]
    type Branch: Branch;
    #[doc(hidden)]
    fn into_branch(self) -> Self::Branch;
}

/// See [`park`].
#[derive(Debug)]
pub struct Parks(());

impl Branch for Parks {
    type Output = ();

    fn try_complete(&self) -> Option<()> {
        shard::with_current(|_, record| record.permit.take()).unwrap_or(false).then_some(())
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        let AnyParker::Fiber(park) = parker else { return Err(cancel::not_in_fiber_error()) };
        shard::with_current(|_, record| record.select_wait.set(park.waiter().generation()));
        Ok(false)
    }

    fn unregister(&self) {
        shard::with_current(|_, record| record.select_wait.set(0));
    }
}

/// See [`readable`].
#[derive(Debug)]
pub struct Readable<'a> {
    source: &'a Source,
    /// With which it is registered.
    ticket: Cell<Option<Ticket>>,
}

impl<'a> Readable<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self { source, ticket: Cell::new(None) }
    }
}

impl Branch for Readable<'_> {
    type Output = io::Result<()>;

    fn try_complete(&self) -> Option<io::Result<()>> {
        self.source.is_ready_or_watched(Direction::Read).transpose()
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        let AnyParker::Fiber(park) = parker else { return Err(cancel::not_in_fiber_error()) };
        let ticket = park.ticket();
        if !self.source.wait_with(Direction::Read, ticket) {
            return Ok(true);
        }
        self.ticket.set(Some(ticket));
        Ok(false)
    }

    fn unregister(&self) {
        if let Some(ticket) = self.ticket.take() {
            self.source.unwait_with(Direction::Read, ticket);
        }
    }
}
