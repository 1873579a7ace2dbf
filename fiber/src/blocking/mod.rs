//! Blocking calls, made on threads of a pool while the fiber is parked.
//!
//! The surprising rule: a fiber that stops waiting takes its closure back if no thread has begun
//! it; one that has begun runs to its end, and its result is dropped on the pool's thread. So what
//! a closure uses must be its own: nothing of the fiber's stack may be lent to it.

mod pool;

pub use pool::{
    BLOCKING_IDLE_TIMEOUT_DEFAULT, BLOCKING_QUEUE_MAX_DEFAULT, BLOCKING_THREADS_MAX_DEFAULT,
    BlockingMetrics,
};
pub(crate) use pool::{Pool, PoolConfig};

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::quiet::quietly;
use crate::shard;
use crate::wait::{Park, RemoteTicket, Wait, WaitKind};

/// Runs a blocking closure on a thread of the runtime's pool and parks the fiber until it has
/// ended. Outside of a runtime it runs in place.
///
/// When all threads are busy and the queue is full, the fiber waits for its turn, in the order of
/// arrival. The settings are [`RuntimeBuilder::blocking_threads_max`] and its neighbours.
///
/// [`RuntimeBuilder::blocking_threads_max`]: crate::RuntimeBuilder::blocking_threads_max
///
/// # Errors
///
/// A cancel or a deadline of the fiber. A closure that has begun by then goes on, and its result is
/// dropped; one that has not is dropped without being run. Also when the system has no thread to
/// give, and while the runtime shuts down.
///
/// # Panics
///
/// When the closure panics, with its payload: this is a call, and a call that panics unwinds its
/// caller.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// let sum = cede::blocking(|| (1..=100_u64).sum::<u64>())?;
/// assert_eq!(sum, 5050);
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[track_caller]
pub fn blocking<F, T>(f: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    call(f, false)
}

/// Like [`blocking`], but does not wait for a place in the queue.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when all threads are busy and the queue is full; else
/// as [`blocking`].
///
/// # Panics
///
/// As [`blocking`].
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// // At a limit an answer at once is better than a place in a queue.
/// let sum = cede::try_blocking(|| (1..=1_000_u64).sum::<u64>())?;
/// assert_eq!(sum, 500_500);
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[track_caller]
pub fn try_blocking<F, T>(f: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    call(f, true)
}

/// What the blocking pool of this runtime is doing; all zero on a thread without a runtime.
#[must_use]
pub fn blocking_metrics() -> BlockingMetrics {
    shard::with(|shard| shard.runtime.blocking.metrics()).unwrap_or_default()
}

#[track_caller]
fn call<F, T>(f: F, refuse: bool) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let Some(pool) = shard::with_current(|shard, _| Arc::clone(&shard.runtime.blocking)) else {
        return Ok(f());
    };
    let park = Park::begin()?;
    let slot = Arc::new(Slot { state: Mutex::new(SlotState::Waiting(park.remote_ticket())) });
    let work = {
        let slot = Arc::clone(&slot);
        Box::new(move || slot.finish(catch_unwind(AssertUnwindSafe(f))))
    };
    let number = pool.submit(work, refuse)?;
    let waiting = Waiting { pool: &pool, slot: &slot, number };
    let _outside = OutsideWork::begin();
    let mut park = park;
    loop {
        let waited = park.wait(Wait::new(WaitKind::Blocking, number), None);
        if let Some(result) = slot.take() {
            std::mem::forget(waiting);
            return result.map_or_else(|payload| resume_unwind(payload), Ok);
        }
        // Dropping `waiting` gives the call up.
        waited?;
        park = Park::begin()?;
        slot.waits_again(park.remote_ticket());
    }
}

/// Where thread and fiber meet.
struct Slot<T> {
    /// Held for a few instructions.
    state: Mutex<SlotState<T>>,
}

enum SlotState<T> {
    Waiting(RemoteTicket),
    Done(Result<T, Box<dyn Any + Send>>),
    /// Nobody waits any more, or the result was taken.
    Over,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, SlotState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the pool's thread. A result that nobody waits for is dropped here.
    fn finish(&self, result: Result<T, Box<dyn Any + Send>>) {
        let mut state = self.lock();
        let former = match &*state {
            SlotState::Over => {
                drop(state);
                drop_quietly(result);
                return;
            }
            _ => std::mem::replace(&mut *state, SlotState::Done(result)),
        };
        drop(state);
        if let SlotState::Waiting(ticket) = former {
            ticket.wake();
        }
    }

    fn take(&self) -> Option<Result<T, Box<dyn Any + Send>>> {
        let mut state = self.lock();
        if !matches!(*state, SlotState::Done(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, SlotState::Over) {
            SlotState::Done(result) => Some(result),
            _ => None,
        }
    }

    fn waits_again(&self, ticket: RemoteTicket) {
        let mut state = self.lock();
        if matches!(*state, SlotState::Done(_)) {
            drop(state);
            ticket.wake();
        } else {
            *state = SlotState::Waiting(ticket);
        }
    }

    fn give_up(&self) -> SlotState<T> {
        std::mem::replace(&mut *self.lock(), SlotState::Over)
    }
}

fn drop_quietly<T>(result: Result<T, Box<dyn Any + Send>>) {
    quietly("the result of an abandoned blocking call", || drop(result));
}

/// Gives a call up when its wait ends early, by an error or because a shutdown unwinds the fiber.
struct Waiting<'a, T> {
    pool: &'a Pool,
    slot: &'a Slot<T>,
    number: u64,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        // User code in both destructors: no lock is held.
        drop(self.pool.withdraw(self.number));
        drop(self.slot.give_up());
    }
}

/// Says that something outside of this shard will wake a fiber here, so that its sleep is no
/// deadlock.
#[derive(Debug)]
pub(crate) struct OutsideWork(std::marker::PhantomData<*const ()>);

impl OutsideWork {
    pub(crate) fn begin() -> Self {
        shard::with(|shard| shard.jobs.set(shard.jobs.get() + 1));
        Self(std::marker::PhantomData)
    }
}

impl Drop for OutsideWork {
    fn drop(&mut self) {
        shard::with(|shard| shard.jobs.set(shard.jobs.get() - 1));
    }
}
