//! A request that was sent, and what has come of its answer.
//!
//! The rule of this file: a request that was sent is answered up to its own `ReadyForQuery`, whether
//! anybody still waits for that or not. Until then it keeps its place in the queue of its connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

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
    /// Collect rows of text with what describes them, and wake the fiber at the end.
    Texts,
    /// Wake the fiber at each row.
    Stream,
    /// Wake the fiber at what belongs to COPY.
    Copy,
}

/// A part of an answer that is waited for.
pub(super) enum Item {
    Row(Row),
    /// What one message of COPY carried, or a row of text.
    Data(Bytes),
    Message(Message),
    /// The end of a command, with its number of rows.
    Complete(u64),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Row(row) => row.bytes(),
            Self::Data(bytes) => bytes.len() + size_of::<Self>(),
            Self::Message(_) | Self::Complete(_) => size_of::<Self>(),
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
    /// If it belongs to the transaction that owns the connection: the state of that.
    pub(super) own: Option<Rc<Cell<u8>>>,
    /// Its number on its connection.
    pub(super) serial: u64,
    /// Where it begins in all that was ever sent on its connection, and how long it is.
    pub(super) start: Cell<u64>,
    pub(super) len: usize,
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
    is_taken_back: Cell<bool>,
    ticket: Cell<Option<Ticket>>,
}

impl Pending {
    pub(super) fn new(
        want: Want,
        statement: Option<Statement>,
        own: Option<Rc<Cell<u8>>>,
        serial: u64,
        start: u64,
        len: usize,
    ) -> Self {
        Self {
            want,
            statement,
            own,
            serial,
            start: Cell::new(start),
            len,
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
            is_taken_back: Cell::new(false),
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
        self.drop_result();
        true
    }

    /// Nobody is to have what has come.
    pub(super) fn drop_result(&self) {
        self.rows.take();
        self.items.take();
        self.bytes.set(0);
    }

    /// It was given up before it was sent, and never will be: there is no answer.
    pub(super) fn take_back(&self) {
        self.is_taken_back.set(true);
        self.finish(b'E');
    }

    /// Whether it was given up before it was sent.
    #[inline]
    pub(super) fn is_taken_back(&self) -> bool {
        self.is_taken_back.get()
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
        if matches!(self.want, Want::Stream | Want::Copy) {
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
