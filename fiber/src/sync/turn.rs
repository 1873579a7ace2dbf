//! How long a fiber may go on without a wait: receives that find something at once are counted, and
//! now and then one gives way to other fibers first.
//!
//! The surprising rule: the count is the thread's and not the fiber's, and waits do not reset it.
//! That makes it one counter without a branch but the last, and a yield too many per
//! `OPERATIONS_PER_TURN` costs next to nothing.

use std::cell::Cell;
use std::io;

use crate::net::OPERATIONS_PER_TURN;
use crate::shard;
use crate::wait;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(OPERATIONS_PER_TURN) };
}

/// Counts an operation that may not have to wait. Called before it, so that nothing is lost when a
/// shutdown unwinds the fiber here, or when it fails as a wait would have: senders who never let
/// the fiber wait must not keep it from its cancel or its deadline.
#[inline(always)]
pub(crate) fn spend() -> io::Result<()> {
    let left = LEFT.get() - 1;
    LEFT.set(left);
    if left == 0 { end() } else { Ok(()) }
}

#[cold]
fn end() -> io::Result<()> {
    LEFT.set(OPERATIONS_PER_TURN);
    // A plain thread has nobody to give way to.
    if shard::with_current(|shard, _| shard.is_look_due.set(true)).is_none() {
        return Ok(());
    }
    crate::yield_now();
    wait::check_now()
}
