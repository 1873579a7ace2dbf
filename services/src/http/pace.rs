//! How long a transfer may wait for its peer, all its waits together.
//!
//! ```text
//!   patience:  full = the time-out     waits use it up     bytes bring it back, up to full
//! ```
//!
//! The surprising rule: the time-out of a wait is what is left of the patience. A peer that stops has
//! the whole time-out, one that moves a byte just before it ends has what that byte is worth the next
//! time, and one that keeps to the least rate never runs out.

use std::io;
use std::time::{Duration, Instant};

/// What transfers in one direction may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The longest wait without progress.
    pub(super) timeout: Duration,
    /// Bytes in a second, on average; zero for no such limit.
    pub(super) rate_min: u32,
}

/// How much of a transfer's patience its waits have used up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waited(Duration);

impl Waited {
    /// Notes bytes that have come or gone.
    #[inline]
    pub(super) fn progress(&mut self, bytes: usize, pace: Pace) {
        if self.0 > Duration::ZERO {
            self.0 = match pace.rate_min {
                0 => Duration::ZERO,
                rate => {
                    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / u64::from(rate);
                    self.0.saturating_sub(Duration::from_nanos(nanos))
                }
            };
        }
    }

    /// Whether no patience is left.
    pub(super) fn is_used_up(self, pace: Pace) -> bool {
        self.0 >= pace.timeout
    }

    /// Runs an operation that waits no longer than it is told to.
    ///
    /// # Errors
    ///
    /// Those of the operation; [`TimedOut`](io::ErrorKind::TimedOut) without running it when no
    /// patience is left.
    pub(super) fn wait(
        &mut self,
        pace: Pace,
        operation: impl FnOnce(Duration) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let left = pace.timeout.saturating_sub(self.0);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let began = Instant::now();
        let result = operation(left);
        self.0 += began.elapsed();
        if let Ok(bytes) = result {
            self.progress(bytes, pace);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { timeout: Duration::from_secs(60), rate_min: 240 };

    /// The patience left after waits of so long, each of which brings so many bytes.
    fn left(pace: Pace, waits: usize, wait: Duration, bytes: usize) -> Option<Duration> {
        let mut waited = Waited::default();
        for _ in 0..waits {
            waited.0 += wait;
            waited.progress(bytes, pace);
            pace.timeout.checked_sub(waited.0)?;
        }
        Some(pace.timeout - waited.0)
    }

    #[test]
    fn a_byte_now_and_then_uses_the_patience_up() {
        let nearly = PACE.timeout - Duration::from_millis(1);
        assert!(left(PACE, 1, nearly, 1).is_some());
        assert_eq!(left(PACE, 2, nearly, 1), None);
        assert_eq!(left(PACE, 62, Duration::from_secs(1), 1), None);
    }

    #[test]
    fn who_keeps_to_the_rate_never_runs_out() {
        for (wait, bytes) in [(1, 240), (10, 2400), (59, 59 * 240), (1, 1 << 30)] {
            assert_eq!(left(PACE, 10_000, Duration::from_secs(wait), bytes), Some(PACE.timeout));
        }
        // What was fast before is no credit for later.
        let mut waited = Waited::default();
        waited.progress(1 << 40, PACE);
        assert_eq!(waited.0, Duration::ZERO);
    }

    #[test]
    fn without_a_rate_each_wait_has_the_whole_time() {
        let pace = Pace { rate_min: 0, ..PACE };
        assert_eq!(left(pace, 1000, Duration::from_secs(59), 1), Some(pace.timeout));
    }

    #[test]
    fn a_wait_is_told_what_is_left() {
        let mut waited = Waited(Duration::from_secs(59));
        let told = waited.wait(PACE, |left| {
            assert_eq!(left, Duration::from_secs(1));
            Ok(1 << 20)
        });
        assert_eq!((told.unwrap(), waited.0), (1 << 20, Duration::ZERO));
        let mut waited = Waited(PACE.timeout);
        let told = waited.wait(PACE, |_| unreachable!("no patience is left"));
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
