//! A request that was sent, and what has come of its answer.
//!
//! The rule of this file: a request is answered up to its own `ReadyForQuery`, whether anybody still
//! waits for that or not. Until then it keeps its place in the queue of its connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use cede_fiber::Ticket;
use postgres_protocol::message::backend::Message;

use super::error::Error;
use super::row::Row;
use super::statement::Statement;

/// What is to be done with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Collect the rows, and wake the fiber at the end.
    Rows,
    /// Drop the rows, and wake the fiber at the end.
    Count,
    /// Collect what describes a statement, and wake the fiber at the end.
    Description,
    /// Wake the fiber at each row.
    Stream,
    /// Wake the fiber at what belongs to COPY.
    Copy,
}

/// A part of an answer that is waited for.
pub(super) enum Item {
    Row(Row),
    /// What one message of COPY carried.
    Data(Bytes),
    Message(Message),
    /// The end of a command of COPY.
    Complete,
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Row(row) => row.bytes(),
            Self::Data(bytes) => bytes.len() + size_of::<Self>(),
            Self::Message(_) | Self::Complete => size_of::<Self>(),
        }
    }
}

/// Why a request that failed may be sent once more: it left nothing behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    No,
    /// The connection was lost before anything of it was sent.
    NotSent,
    /// A cancel that was meant for another request of this connection met it.
    Hit,
    /// The server does not know the statement any more, or not like this.
    Stale,
}

/// A request, from the moment that it is sent.
pub(super) struct Pending {
    pub(super) want: Want,
    /// Whose rows come.
    pub(super) statement: Option<Statement>,
    /// Whether it belongs to the transaction that owns the connection.
    pub(super) is_own: bool,
    /// Its number on its connection.
    pub(super) serial: u64,
    /// Where it begins in all that was ever sent on its connection.
    pub(super) start: u64,
    pub(super) rows: RefCell<Vec<Row>>,
    items: RefCell<VecDeque<Item>>,
    /// Of what is in `rows` or `items`.
    pub(super) bytes: Cell<usize>,
    /// The number in the last CommandComplete.
    pub(super) affected: Cell<u64>,
    /// The last CommandComplete was that of a ROLLBACK.
    pub(super) was_rollback: Cell<bool>,
    /// Of the transaction, from ReadyForQuery: `I`, `T` or `E`.
    pub(super) status: Cell<u8>,
    pub(super) error: RefCell<Option<Error>>,
    pub(super) again: Cell<Again>,
    pub(super) has_begun: Cell<bool>,
    is_done: Cell<bool>,
    is_abandoned: Cell<bool>,
    ticket: Cell<Option<Ticket>>,
}

impl Pending {
    pub(super) fn new(
        want: Want,
        statement: Option<Statement>,
        is_own: bool,
        serial: u64,
        start: u64,
    ) -> Self {
        Self {
            want,
            statement,
            is_own,
            serial,
            start,
            rows: RefCell::default(),
            items: RefCell::default(),
            bytes: Cell::new(0),
            affected: Cell::new(0),
            was_rollback: Cell::new(false),
            status: Cell::new(b'I'),
            error: RefCell::default(),
            again: Cell::new(Again::No),
            has_begun: Cell::new(false),
            is_done: Cell::new(false),
            is_abandoned: Cell::new(false),
            ticket: Cell::new(None),
        }
    }

    /// Whether the answer is complete.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.is_done.get()
    }

    /// Whether nobody waits for it any more.
    #[inline]
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.get()
    }

    /// Lets a ticket wait for what comes next.
    #[inline]
    pub(super) fn wait_with(&self, ticket: Ticket) {
        self.ticket.set(Some(ticket));
    }

    #[inline]
    fn wake(&self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.wake();
        }
    }

    /// The answer is complete.
    #[inline]
    pub(super) fn finish(&self, status: u8) {
        self.status.set(status);
        self.is_done.set(true);
        self.wake();
    }

    /// The first error of an answer counts; the rest of it is still to come.
    pub(super) fn set_error(&self, error: Error) {
        self.error.borrow_mut().get_or_insert(error);
        if matches!(self.want, Want::Stream | Want::Copy) {
            self.wake();
        }
    }

    /// There is no more of the answer.
    pub(super) fn fail(&self, error: Error) {
        self.error.borrow_mut().get_or_insert(error);
        self.finish(b'E');
    }

    /// Nobody waits for it any more; what has come is dropped. True if it was not so before.
    pub(super) fn abandon(&self) -> bool {
        if self.is_done.get() || self.is_abandoned.replace(true) {
            return false;
        }
        self.rows.take();
        self.items.take();
        self.bytes.set(0);
        true
    }

    /// Appends a row to a result that is collected.
    #[inline]
    pub(super) fn push_row(&self, row: Row) {
        self.bytes.set(self.bytes.get() + row.bytes());
        self.rows.borrow_mut().push(row);
    }

    /// Appends to what is waited for one by one.
    pub(super) fn push(&self, item: Item) {
        self.bytes.set(self.bytes.get() + item.bytes());
        self.items.borrow_mut().push_back(item);
        if self.want != Want::Description {
            self.wake();
        }
    }

    /// The next of what was pushed.
    pub(super) fn pop(&self) -> Option<Item> {
        let item = self.items.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - item.bytes());
        Some(item)
    }
}
