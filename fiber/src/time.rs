//! Sleeping.
//!
//! Time is the shard's [`Clock`](crate::Clock): never early, late by a microsecond and whatever the
//! shard was busy with. A shard with nothing to do sleeps in the system, which adds its own.

use std::io;
use std::panic::Location;
use std::time::{Duration, Instant};

use cede_reactor::Nanos;

use crate::cancel;
use crate::deadline::Deadline;
use crate::record::{Outcome, Record};
use crate::shard::ShardState;
use crate::wait::{self, Park, Wait, WaitKind};

/// Waits for this long, and never less.
///
/// Where the shard has nothing else to do it sleeps in the system, which may add its timer slack:
/// 50 us on Linux, unless the thread has set another (`PR_SET_TIMERSLACK`, prctl(2)).
///
/// # Errors
///
/// When the fiber is cancelled or its own deadline comes first, and outside of a fiber.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::time::{Duration, Instant};
///
/// let begin = Instant::now();
/// cede::sleep(Duration::from_millis(3))?; // the other fibers run meanwhile
/// assert!(begin.elapsed() >= Duration::from_millis(3));
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> io::Result<()> {
    let at = Location::caller();
    wait::with_current(|shard, record| {
        let until = Deadline::from(duration).nanos(&*shard.clock);
        sleep_until_nanos(shard, record, until, at)
    })?
}

/// Waits until this moment; one that has passed gives way to other fibers once.
///
/// # Errors
///
/// When the fiber is cancelled or its own deadline comes first, and outside of a fiber.
#[track_caller]
pub fn sleep_until(at: Instant) -> io::Result<()> {
    let caller = Location::caller();
    wait::with_current(|shard, record| {
        sleep_until_nanos(shard, record, shard.clock.nanos(at), caller)
    })?
}

fn sleep_until_nanos(
    shard: &ShardState,
    record: &Record,
    until: Nanos,
    at: &'static Location<'static>,
) -> io::Result<()> {
    Park::check(shard, record)?;
    let limit = record.deadline.get();
    shard.begin_wait(record);
    let outcome = shard.wait(record, Wait::new(WaitKind::Sleep, 0), until, at);
    if outcome.has(Outcome::CANCEL) {
        return Err(cancel::cancelled_error());
    }
    if limit < until { Err(cancel::timed_out_error()) } else { Ok(()) }
}

/// What an [`Interval`] does about ticks that were missed because the fiber was busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MissedTicks {
    /// All of them at once, then the old rhythm: the number of ticks is right.
    #[default]
    Burst,
    /// None of them; the next tick is the next one of the old rhythm.
    Skip,
    /// None of them; the rhythm starts anew from the late tick, so two ticks are never closer than
    /// a period.
    Delay,
}

/// A rhythm; see [`interval`].
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::time::Duration;
///
/// let mut ticks = cede::interval(Duration::from_millis(1));
/// for _ in 0..3 {
///     ticks.tick()?;
/// }
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct Interval {
    period: Nanos,
    /// When the next tick is due; `None` before the first.
    next: Option<Nanos>,
    missed: MissedTicks,
}

/// Ticks at once and then every `period`.
///
/// # Panics
///
/// When the period is zero.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::time::Duration;
/// let mut heartbeat = cede::interval(Duration::from_millis(2));
/// for _ in 0..3 {
///     heartbeat.tick()?;
/// }
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[must_use]
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "the period of an interval must not be zero");
    let period = u64::try_from(period.as_nanos()).unwrap_or(Nanos::MAX);
    Interval { period, next: None, missed: MissedTicks::default() }
}

impl Interval {
    /// Says what to do about missed ticks.
    #[must_use]
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick and returns the moment at which it was due.
    ///
    /// # Errors
    ///
    /// When the fiber is cancelled or its deadline comes first; the tick is then still to come.
    /// Outside of a fiber.
    #[track_caller]
    pub fn tick(&mut self) -> io::Result<Instant> {
        let at = Location::caller();
        wait::with_current(|shard, record| {
            let due = self.next.unwrap_or_else(|| shard.clock.now());
            // Also for a tick that was missed: it gives way to other fibers, and notices a cancel.
            sleep_until_nanos(shard, record, due, at)?;
            let now = shard.clock.now();
            self.next = Some(self.after(due, now));
            Ok(shard.clock.instant(due).unwrap_or_else(Instant::now))
        })?
    }

    /// The tick after the one due at `due`, which came at `now`.
    fn after(&self, due: Nanos, now: Nanos) -> Nanos {
        let next = due.saturating_add(self.period);
        if next > now {
            return next;
        }
        match self.missed {
            MissedTicks::Burst => next,
            MissedTicks::Skip => {
                let passed = (now - due) / self.period;
                due.saturating_add((passed + 1).saturating_mul(self.period))
            }
            MissedTicks::Delay => now.saturating_add(self.period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(missed: MissedTicks, due: Nanos, now: Nanos, expected: Nanos) {
        let interval = Interval { period: 10, next: None, missed };
        assert_eq!(interval.after(due, now), expected, "{missed:?} due {due} now {now}");
    }

    #[test]
    fn missed_ticks_follow_the_policy() {
        for missed in [MissedTicks::Burst, MissedTicks::Skip, MissedTicks::Delay] {
            check(missed, 100, 100, 110);
            check(missed, 100, 109, 110);
        }
        check(MissedTicks::Burst, 100, 145, 110);
        check(MissedTicks::Skip, 100, 145, 150);
        check(MissedTicks::Skip, 100, 150, 160);
        check(MissedTicks::Delay, 100, 145, 155);
    }
}
