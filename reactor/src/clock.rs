//! Where time comes from.
//!
//! Inside cede a moment is [`Nanos`]: nanoseconds since the clock's origin. `Instant` appears only
//! at the public edge, because adding and comparing plain integers is what the timer wheel and
//! every deadline do all day.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A moment in nanoseconds since the origin of a clock. 2^64 ns are 584 years.
pub type Nanos = u64;

/// A monotonic source of time.
///
/// `now` never goes back. A clock may be shared by threads, hence `Send + Sync`.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The moment that counts as 0.
    fn origin(&self) -> Instant;

    /// Nanoseconds since the origin.
    fn now(&self) -> Nanos;

    /// Whether this clock can be moved: a scheduler that has nothing to do then skips ahead instead
    /// of sleeping.
    fn skips(&self) -> bool {
        false
    }

    /// Called when a scheduler has nothing to do before `deadline` and [`skips`](Self::skips) is
    /// true. Returns whether the clock was moved.
    fn skip_to(&self, deadline: Nanos) -> bool {
        let _ = deadline;
        false
    }

    /// The moment of an `Instant` on this clock; one before the origin is 0, one too far ahead is
    /// `Nanos::MAX`.
    fn nanos(&self, at: Instant) -> Nanos {
        let since = at.saturating_duration_since(self.origin());
        u64::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
    }

    /// The `Instant` of a moment, `None` where it is too far ahead to be one.
    fn instant(&self, at: Nanos) -> Option<Instant> {
        self.origin().checked_add(Duration::from_nanos(at))
    }
}

/// The clock of the operating system (`CLOCK_MONOTONIC` on Linux).
#[derive(Debug, Clone)]
pub struct Monotonic {
    origin: Instant,
}

impl Monotonic {
    /// A clock whose origin is this moment.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for Monotonic {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Monotonic {
    fn origin(&self) -> Instant {
        self.origin
    }

    #[inline]
    fn now(&self) -> Nanos {
        // Not checked: an overflow is 584 years away.
        self.origin.elapsed().as_nanos() as Nanos
    }
}

/// A clock that stands still until it is moved, by hand or by a scheduler that has nothing else to
/// do.
///
/// Sleeping an hour then takes no time at all, and always in the same order. Clones share the same
/// time. It is meant for one shard: a second one that still works would see time jump.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cede_reactor::{Clock, Virtual};
///
/// let clock = Virtual::new();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now(), 3_600_000_000_000);
/// ```
#[derive(Debug, Clone)]
pub struct Virtual {
    origin: Instant,
    now: Arc<AtomicU64>,
}

impl Virtual {
    /// A clock that shows 0.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), now: Arc::new(AtomicU64::new(0)) }
    }

    /// Moves the clock ahead.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(Nanos::MAX);
        let _ = self
            .now
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(by)));
    }
}

impl Default for Virtual {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Virtual {
    fn origin(&self) -> Instant {
        self.origin
    }

    fn now(&self) -> Nanos {
        self.now.load(Ordering::Acquire)
    }

    fn skips(&self) -> bool {
        true
    }

    fn skip_to(&self, deadline: Nanos) -> bool {
        self.now.fetch_max(deadline, Ordering::AcqRel);
        true
    }
}
