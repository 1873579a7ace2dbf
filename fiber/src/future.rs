//! The bridge to async code: run a future on a fiber, which parks while the future is pending.
//!
//! A waker is the fiber's own handle, so a future that is ready costs no allocation. Waking sets a
//! permit of its own, apart from that of `park`, because a future may be woken while code that it
//! calls is parked for something else.

use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use cede_reactor::Nanos;

use crate::cancel;
use crate::mail::Request;
use crate::record::Record;
use crate::shard::{self, ShardState};
use crate::shared::FiberShared;
use crate::wait::{self, Park, Wait, WaitKind};

/// Runs a future to its end on the current fiber; other fibers run while it is pending.
///
/// It works with every future that needs no particular executor. For crates that insist on tokio,
/// see the feature `compat-tokio`.
///
/// # Errors
///
/// When the fiber is cancelled or its deadline passes while the future is pending; the future is
/// then dropped. Outside of a fiber.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let child = cede::spawn(|| 41);
/// let answer = cede::block_on(async { child.await.unwrap() + 1 }).unwrap();
/// assert_eq!(answer, 42);
/// # }).unwrap();
/// ```
#[inline(always)]
#[track_caller]
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let at = Location::caller();
    // SAFETY: the references are used in this call only.
    let Some((shard, record)) = (unsafe { shard::here() }) else {
        return Err(cancel::not_in_fiber_error());
    };
    let nested = Nested::enter(record);
    let shared = Arc::clone(shard.shared_of(record));
    // SAFETY: the waker borrows `shared`, which outlives it; it is never dropped, so it gives back
    // no reference that it does not own. Clones of it own one each.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw(Arc::as_ptr(&shared))) });
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut woke_itself = false;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            drop(nested);
            return Ok(value);
        }
        if record.poll_permit.take() {
            // What woke it counts before a cancel; but who wakes itself each time is asking to let
            // others run, and is not to go on for ever.
            if std::mem::replace(&mut woke_itself, true) {
                Park::check(shard, record)?;
                wait::check_now()?;
            }
            crate::yield_now();
            continue;
        }
        woke_itself = false;
        Park::check(shard, record)?;
        shard.begin_wait(record);
        record.in_poll.set(true);
        let outcome = shard.wait(record, Wait::new(WaitKind::Future, 0), Nanos::MAX, at);
        record.in_poll.set(false);
        outcome.into_result()?;
    }
}

/// A `block_on` within a `block_on` may use up the permit of the outer one, which is therefore
/// polled again when the inner one ends.
struct Nested<'a>(&'a Record);

impl<'a> Nested<'a> {
    #[inline]
    fn enter(record: &'a Record) -> Self {
        record.polls.set(record.polls.get() + 1);
        Self(record)
    }
}

impl Drop for Nested<'_> {
    #[inline]
    fn drop(&mut self) {
        let outer = self.0.polls.get() - 1;
        self.0.polls.set(outer);
        self.0.poll_permit.set(outer > 0);
    }
}

impl ShardState {
    /// A waker of the fiber was used.
    #[inline]
    pub(crate) fn wake_poll(&self, record: &Record) {
        if record.in_poll.get() {
            self.end_wait(record);
        } else {
            record.poll_permit.set(true);
        }
    }
}

fn raw(fiber: *const FiberShared) -> RawWaker {
    RawWaker::new(fiber.cast(), &VTABLE)
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

// The data of all four is a pointer from `Arc::as_ptr` or `Arc::into_raw`. An owned waker stands
// for one reference count.

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the pointer came from an Arc of this type that the waker being cloned keeps alive.
    unsafe { Arc::increment_strong_count(data.cast::<FiberShared>()) };
    raw(data.cast())
}

unsafe fn wake(data: *const ()) {
    // SAFETY: as in `clone`; the owned waker is used up, and its reference is given back here.
    let fiber = unsafe { Arc::from_raw(data.cast::<FiberShared>()) };
    wake_fiber(&fiber);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `clone`; the reference is borrowed, so it is not given back.
    let fiber = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<FiberShared>()) });
    wake_fiber(&fiber);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: as in `wake`.
    drop(unsafe { Arc::from_raw(data.cast::<FiberShared>()) });
}

#[inline]
fn wake_fiber(fiber: &Arc<FiberShared>) {
    // SAFETY: the reference is used in this call only.
    if let Some(shard) = unsafe { shard::local() }
        && Arc::as_ptr(&shard.shared) == Arc::as_ptr(&fiber.shard)
    {
        // SAFETY: this is the thread of the fiber's shard; the reference is used in this call only.
        if let Some(record) = unsafe { fiber.record() } {
            shard.wake_poll(record);
        }
        return;
    }
    FiberShared::post(fiber, Request::Poll);
}
