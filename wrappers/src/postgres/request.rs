//! The fiber's side of a request: it waits for the answer, and gives it up when it must not wait
//! any longer.

use std::rc::Rc;

use cede_fiber::{Park, Wait, WaitKind};

use super::connection::Connection;
use super::error::{Error, Phase};
use super::pending::{Again, Item, Pending};
use super::row::Row;
use super::statement::Statement;

/// An answer that is waited for. Dropped before it is complete, it is given up: the connection
/// drains the rest of it.
pub(super) struct Request {
    connection: Rc<Connection>,
    pending: Rc<Pending>,
}

impl Request {
    pub(super) fn new(connection: Rc<Connection>, pending: Rc<Pending>) -> Self {
        Self { connection, pending }
    }

    #[inline]
    fn wait(&self) -> Result<(), Error> {
        let waited = Park::begin().and_then(|park| {
            self.pending.wait_with(park.ticket());
            let connection = Rc::as_ptr(&self.connection) as u64;
            park.wait(Wait::new(WaitKind::Receive, connection), None)
        });
        waited.map_err(|error| self.give_up(error))
    }

    #[cold]
    fn give_up(&self, error: std::io::Error) -> Error {
        self.connection.abandon(&self.pending);
        let error = Error::io(self.phase(), error).at(&self.connection.host);
        error.maybe_run(!self.was_taken_back())
    }

    fn phase(&self) -> Phase {
        if self.was_taken_back() {
            Phase::Send
        } else if self.pending.has_begun.get() {
            Phase::Receive
        } else {
            Phase::Execute
        }
    }

    /// Whether it was given up before it was sent, and never will be.
    pub(super) fn was_taken_back(&self) -> bool {
        self.pending.is_taken_back()
    }

    /// Waits until the answer is complete.
    ///
    /// # Errors
    ///
    /// What the server said; the end of the connection; a cancel or a deadline.
    #[inline]
    pub(super) fn finish(&self) -> Result<(), Error> {
        while !self.pending.is_done() {
            self.wait()?;
        }
        match self.pending.error.take() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// All rows.
    #[inline]
    pub(super) fn rows(&self) -> Result<Vec<Row>, Error> {
        self.finish()?;
        Ok(self.pending.rows.take())
    }

    /// The next part that has come already.
    pub(super) fn take(&self) -> Option<Item> {
        self.pending.pop()
    }

    /// The next part of the answer; `None` when it is complete.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish). An error of the server comes when the answer is complete.
    pub(super) fn next(&self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.pending.pop() {
                self.connection.taken(&self.pending);
                return Ok(Some(item));
            }
            if self.pending.is_done() {
                return self.finish().map(|()| None);
            }
            self.wait()?;
        }
    }

    /// The next part of an answer whose end the server does not send of its own accord; `None` when
    /// it has failed.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline.
    pub(super) fn next_or_error(&self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.pending.pop() {
                return Ok(Some(item));
            }
            if self.has_failed() {
                return Ok(None);
            }
            self.wait()?;
        }
    }

    /// Whether the server has said that it failed; the answer may not be complete.
    pub(super) fn has_failed(&self) -> bool {
        self.pending.is_done() || self.pending.error.borrow().is_some()
    }

    /// The number of rows in the last CommandComplete.
    pub(super) fn affected(&self) -> u64 {
        self.pending.affected.get()
    }

    pub(super) fn was_rollback(&self) -> bool {
        self.pending.was_rollback.get()
    }

    /// The state of the transaction behind it.
    pub(super) fn status(&self) -> u8 {
        self.pending.status.get()
    }

    /// Whether it may be sent once more now that it has failed.
    pub(super) fn again(&self) -> Again {
        self.pending.again.get()
    }

    /// The statement, if it was one that returns rows.
    pub(super) fn statement(&self) -> Option<&Statement> {
        self.pending.statement.as_ref()
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.pending.is_done() {
            self.connection.abandon(&self.pending);
        }
    }
}
