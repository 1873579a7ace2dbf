//! The places for the answers that are to come.
//!
//! The rule of this file: a place is an index, so that who has given up costs no more than one, and an
//! answer goes to it without a search.

use std::collections::VecDeque;

use cede_fiber::Ticket;
use redis::Value;

/// What a fiber and the reader have in common: the place for an answer.
#[derive(Debug)]
pub(super) enum Slot {
    Free,
    /// One answer is waited for; the command begins at this byte.
    Waiting(Ticket, u64),
    Answered(Value),
    /// Several are.
    Collecting(Box<Batch>),
    Collected(Box<Batch>),
    /// Nobody waits for this many answers.
    Abandoned(usize),
    /// The connection was lost. Whether the command was still here then.
    Lost {
        unsent: bool,
    },
}

/// The answers of a pipeline.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ticket: Ticket,
    pub(super) begins_at: u64,
    /// How many answers are still to come that are only looked at for errors: those before EXEC.
    pub(super) skip: usize,
    pub(super) left: usize,
    pub(super) skipped: Vec<Value>,
    pub(super) values: Vec<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Whose answers come next. Indices into `slots`.
    pub(super) order: VecDeque<u32>,
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Queue {
    #[inline]
    pub(super) fn push(&mut self, slot: Slot) -> u32 {
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.order.push_back(index);
        index
    }

    #[inline]
    pub(super) fn take(&mut self, index: u32) -> Slot {
        let slot = std::mem::replace(&mut self.slots[index as usize], Slot::Free);
        self.free.push(index);
        slot
    }
}

impl Batch {
    pub(super) fn push(&mut self, value: Value) {
        self.left -= 1;
        if self.skip > 0 {
            self.skip -= 1;
            self.skipped.push(value);
        } else {
            self.values.push(value);
        }
    }
}
