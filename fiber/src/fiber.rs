//! A handle to a fiber, and the verbs that a fiber uses on itself: yield and park.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cede_reactor::Nanos;

use crate::cancel;
use crate::deadline::Deadline;
use crate::mail::Request;
use crate::shard;
use crate::shared::FiberShared;
use crate::wait::{Park, Wait, WaitKind};

/// Names a fiber: the number of its shard and its own there, which is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiberId {
    shard: u32,
    serial: u64,
}

impl FiberId {
    pub(crate) fn new(shard: u32, serial: u64) -> Self {
        Self { shard, serial }
    }

    /// The number of the shard.
    #[must_use]
    pub fn shard(self) -> u32 {
        self.shard
    }

    /// The number of the fiber in its shard.
    #[must_use]
    pub fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Display for FiberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shard, self.serial)
    }
}

/// A handle to a fiber: wakes it or cancels it from any thread. It may outlive the fiber and then
/// does nothing.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let waiting = cede::spawn(cede::park);
/// let fiber = waiting.fiber().clone(); // may go to any thread
/// std::thread::spawn(move || fiber.wakeup());
/// waiting.join().unwrap().unwrap();
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Fiber {
    shared: Arc<FiberShared>,
}

impl Fiber {
    pub(crate) fn new(shared: Arc<FiberShared>) -> Self {
        Self { shared }
    }

    /// Lets the fiber leave [`park`].
    ///
    /// When it is not in `park`, the wakeup is remembered and its next `park` returns at once;
    /// several count as one. Waits for something else are not disturbed, but for a
    /// [`select!`](crate::select) that asks for it. On a fiber that has ended it does nothing.
    #[inline]
    pub fn wakeup(&self) {
        let fiber = &self.shared;
        // SAFETY: the reference is used in this call only.
        if let Some(shard) = unsafe { shard::local() }
            && Arc::as_ptr(&shard.shared) == Arc::as_ptr(&fiber.shard)
        {
            // SAFETY: this is the thread of the fiber's shard, and the reference is used in this
            // call only.
            if let Some(record) = unsafe { fiber.record() } {
                shard.wakeup(record);
            }
            return;
        }
        FiberShared::post(fiber, Request::Wakeup);
    }

    /// [`wakeup`](Self::wakeup), by the name that std has for it.
    #[inline]
    pub fn unpark(&self) {
        self.wakeup();
    }

    /// Asks the fiber to end: its waits fail from now on with an error that
    /// [`is_cancelled`](crate::is_cancelled) knows.
    pub fn cancel(&self) {
        let fiber = &self.shared;
        let local = shard::with(|shard| {
            let local = Arc::as_ptr(&shard.shared) == Arc::as_ptr(&fiber.shard);
            // SAFETY: this is the thread of the fiber's shard, and the reference is used in this
            // block only.
            if local && let Some(record) = unsafe { fiber.record() } {
                shard.cancel(record);
            }
            local
        });
        if local != Some(true) {
            FiberShared::post(fiber, Request::Cancel);
        }
    }

    /// The fiber's number.
    #[must_use]
    pub fn id(&self) -> FiberId {
        FiberId::new(self.shared.shard.id, self.shared.serial)
    }

    /// The name that it was given.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// Whether the fiber has ended. On another thread the answer may be old.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.finished.load(Ordering::Relaxed)
    }
}

impl PartialEq for Fiber {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared.shard, &other.shared.shard)
            && self.shared.serial == other.shared.serial
    }
}

impl Eq for Fiber {}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fiber")
            .field("id", &format_args!("{}", self.id()))
            .field("name", &self.name())
            .finish()
    }
}

/// The fiber that calls.
///
/// # Panics
///
/// Outside of a fiber; [`try_current`] asks first.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let own_name = || cede::current().name().map(str::to_owned);
/// let worker = cede::Builder::new().name(String::from("worker")).spawn(own_name).unwrap();
/// assert_eq!(worker.join().unwrap().as_deref(), Some("worker"));
/// # }).unwrap();
/// ```
#[must_use]
#[track_caller]
pub fn current() -> Fiber {
    try_current().expect("current() was called outside of a fiber: call it inside of cede::run")
}

/// The fiber that calls; `None` outside of one.
#[must_use]
pub fn try_current() -> Option<Fiber> {
    shard::with_current(|shard, record| Fiber::new(Arc::clone(shard.shared_of(record))))
}

/// Lets every other fiber that is ready run first, then goes on.
///
/// While a panic unwinds it does nothing; outside of a fiber it yields the thread.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let other = cede::spawn(|| "it ran");
/// assert!(!other.is_finished());
/// cede::yield_now();
/// assert!(other.is_finished());
/// # }).unwrap();
/// ```
#[inline(always)]
pub fn yield_now() {
    // SAFETY: the references are used in this call only.
    let Some((shard, record)) = (unsafe { shard::here() }) else {
        std::thread::yield_now();
        return;
    };
    if !std::thread::panicking() {
        shard.give_way(record);
    }
}

/// Waits for a [`wakeup`](Fiber::wakeup) of this fiber. One that came before is used up and `park`
/// returns at once.
///
/// # Errors
///
/// When the fiber is cancelled or its deadline passes, and outside of a fiber. A wakeup that came
/// as well wins.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let main = cede::current();
/// cede::spawn(move || main.wakeup());
/// cede::park().unwrap();
/// # }).unwrap();
/// ```
#[inline(always)]
#[track_caller]
pub fn park() -> io::Result<()> {
    park_until(Nanos::MAX)
}

/// Like [`park`], for at most this long.
///
/// # Errors
///
/// As [`park`]; [`TimedOut`](io::ErrorKind::TimedOut) when no wakeup came in time.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::io::ErrorKind;
/// use std::time::Duration;
///
/// let nobody = cede::park_timeout(Duration::from_millis(1));
/// assert_eq!(nobody.unwrap_err().kind(), ErrorKind::TimedOut);
/// cede::current().wakeup(); // is remembered
/// assert!(cede::park_timeout(Duration::from_secs(60)).is_ok());
/// # }).unwrap();
/// ```
#[track_caller]
pub fn park_timeout(timeout: Duration) -> io::Result<()> {
    let limit = shard::with(|shard| Deadline::from(timeout).nanos(&*shard.clock));
    park_until(limit.ok_or_else(cancel::not_in_fiber_error)?)
}

#[inline(always)]
#[track_caller]
fn park_until(limit: Nanos) -> io::Result<()> {
    let at = std::panic::Location::caller();
    // SAFETY: the references are used in this call only.
    let Some((shard, record)) = (unsafe { shard::here() }) else {
        return Err(cancel::not_in_fiber_error());
    };
    if record.permit.take() {
        return Ok(());
    }
    Park::check(shard, record)?;
    shard.begin_wait(record);
    record.in_park.set(true);
    let outcome = shard.wait(record, Wait::new(WaitKind::Park, 0), limit, at);
    record.in_park.set(false);
    outcome.into_result()
}
