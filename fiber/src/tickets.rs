//! A list of those who wait for one thing on one shard. Nearly always one, who then costs no
//! allocation.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::wait::Ticket;

#[derive(Debug, Default)]
pub(crate) struct Tickets {
    first: Cell<Option<Ticket>>,
    more: RefCell<VecDeque<Ticket>>,
}

impl Tickets {
    #[inline]
    pub(crate) fn push(&self, ticket: Ticket) {
        if self.first.get().is_none() {
            self.first.set(Some(ticket));
        } else {
            self.more.borrow_mut().push_back(ticket);
        }
    }

    /// Takes out one that gave up.
    pub(crate) fn remove(&self, ticket: Ticket) {
        if self.first.get() == Some(ticket) {
            self.first.set(self.more.borrow_mut().pop_front());
        } else {
            self.more.borrow_mut().retain(|t| *t != ticket);
        }
    }

    #[inline]
    pub(crate) fn wake_all(&self) {
        if let Some(first) = self.first.take() {
            first.wake();
            if !self.more.borrow().is_empty() {
                self.wake_more();
            }
        }
    }

    #[cold]
    fn wake_more(&self) {
        for ticket in self.more.take() {
            ticket.wake();
        }
    }
}
