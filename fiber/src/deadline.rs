//! A moment after which the waits of a fiber fail.
//!
//! Deadlines nest and the nearest one wins. A fiber hands the one in force to the fibers that it
//! spawns, and clients can read it to put it on a wire.

use std::time::{Duration, Instant};

use cede_reactor::{Clock, Nanos};

use crate::record::Record;
use crate::shard::{self, ShardState};

/// A moment, given as an [`Instant`] or as a [`Duration`] from now; one too far ahead to be
/// represented means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(When);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(Instant),
    In(Duration),
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Self(When::At(at))
    }
}

impl From<Duration> for Deadline {
    fn from(after: Duration) -> Self {
        Self(When::In(after))
    }
}

impl Deadline {
    /// On the shard's clock; `Nanos::MAX` for one too far ahead.
    pub(crate) fn nanos(self, clock: &dyn Clock) -> Nanos {
        match self.0 {
            When::At(at) => clock.nanos(at),
            When::In(after) => {
                let after = u64::try_from(after.as_nanos()).unwrap_or(Nanos::MAX);
                clock.now().saturating_add(after)
            }
        }
    }
}

/// Runs `f` with a deadline: a wait inside that is not over by then ends with
/// [`TimedOut`](std::io::ErrorKind::TimedOut).
///
/// Code that does not wait is not interrupted. Outside of a fiber, where nothing waits, `f` just
/// runs.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::io::ErrorKind;
/// use std::time::Duration;
/// let result = cede::with_deadline(Duration::from_millis(5), || cede::park());
/// assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
/// # }).unwrap();
/// ```
pub fn with_deadline<R>(deadline: impl Into<Deadline>, f: impl FnOnce() -> R) -> R {
    struct Restore<'a>(&'a Record, Nanos);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            self.0.deadline.set(self.1);
        }
    }
    let deadline = deadline.into();
    let mut f = Some(f);
    let result = shard::with_current(|shard, record| {
        let outer = record.deadline.get();
        record.deadline.set(outer.min(deadline.nanos(&*shard.clock)));
        let _restore = Restore(record, outer);
        f.take().map(|f| f())
    });
    match (result.flatten(), f) {
        (Some(result), _) => result,
        (None, Some(f)) => f(),
        (None, None) => unreachable!("a closure that was taken has returned"),
    }
}

/// The deadline in force for the current fiber, if any.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::time::{Duration, Instant};
///
/// assert_eq!(cede::deadline(), None);
/// cede::with_deadline(Duration::from_secs(9), || {
///     let left = cede::deadline().unwrap().saturating_duration_since(Instant::now());
///     assert!(left <= Duration::from_secs(9));
/// });
/// # }).unwrap();
/// ```
#[must_use]
pub fn deadline() -> Option<Instant> {
    shard::with_current(|shard: &ShardState, record| match record.deadline.get() {
        Nanos::MAX => None,
        at => shard.clock.instant(at),
    })?
}
