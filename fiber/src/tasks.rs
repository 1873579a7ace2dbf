//! Async tasks that wait for readiness of a descriptor.
//!
//! The reactor knows tickets only. A task gets a ticket whose slot no fiber can have; when it is
//! used, the waker behind it is set aside and called by the scheduler, because waking is user code
//! and the reactor is borrowed at that moment.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::Waker;

use crate::wait::Ticket;

/// The slot of all tickets of tasks.
const SLOT: u32 = u32::MAX;

/// See the module.
#[derive(Default)]
pub(crate) struct Tasks {
    waiting: RefCell<HashMap<u64, Waker>>,
    woken: RefCell<Vec<Waker>>,
    has_woken: Cell<bool>,
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    next: Cell<u64>,
}

impl Tasks {
    /// A ticket for a task.
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    pub(crate) fn add(&self, waker: Waker) -> Ticket {
        let number = self.next.get();
        self.next.set(number + 1);
        self.waiting.borrow_mut().insert(number, waker);
        Ticket::new(SLOT, number)
    }

    /// Gives a ticket another waker; the one that is not kept is returned, so that it is dropped
    /// outside of the borrow. `None`: the ticket was used.
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    pub(crate) fn replace(&self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.get_mut(&ticket.generation)?;
        Some(std::mem::replace(place, waker))
    }

    /// Takes back a ticket.
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    pub(crate) fn remove(&self, ticket: Ticket) -> Option<Waker> {
        self.waiting.borrow_mut().remove(&ticket.generation)
    }

    /// The ticket was used. False when it is none of a task, or was used before.
    #[cold]
    pub(crate) fn wake(&self, ticket: Ticket) -> bool {
        if ticket.slot != SLOT {
            return false;
        }
        let Some(waker) = self.waiting.borrow_mut().remove(&ticket.generation) else {
            return false;
        };
        self.woken.borrow_mut().push(waker);
        self.has_woken.set(true);
        true
    }

    #[inline]
    pub(crate) fn has_woken(&self) -> bool {
        self.has_woken.get()
    }

    /// The wakers to be called.
    #[cold]
    pub(crate) fn take_woken(&self) -> Vec<Waker> {
        self.has_woken.set(false);
        self.woken.take()
    }
}
