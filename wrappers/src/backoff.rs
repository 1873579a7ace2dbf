//! How long to wait before the next attempt to connect.
//!
//! The rule of this file: the wait is a random part of a bound that doubles, so that the clients of a
//! server that comes back do not all come at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The bound of the first wait.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The bound of every wait once it has grown so far.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The waits of one client.
#[derive(Debug)]
pub(crate) struct Backoff {
    bound: Duration,
    random: u64,
}

impl Backoff {
    /// Of a client that has not failed yet.
    pub(crate) fn new() -> Self {
        // Never 0, from which xorshift does not move.
        Self::with_seed(RandomState::new().build_hasher().finish() | 1)
    }

    fn with_seed(random: u64) -> Self {
        Self { bound: BACKOFF_MIN, random }
    }

    /// An attempt has failed: how long to wait, between half of the bound and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bound = self.bound;
        self.bound = (bound * 2).min(BACKOFF_MAX);
        let part = (self.random >> 32) as u32;
        bound / 2 + bound.mul_f64(f64::from(part) / f64::from(u32::MAX) / 2.0)
    }

    /// An attempt has succeeded.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn reset(&mut self) {
        self.bound = BACKOFF_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_bound_and_begins_again() {
        for seed in [1, 2, 0x1234_5678_9abc_def1, u64::MAX] {
            let mut backoff = Backoff::with_seed(seed);
            let mut bound = BACKOFF_MIN;
            for _ in 0..20 {
                let wait = backoff.next();
                assert!(wait >= bound / 2 && wait <= bound, "{wait:?} of {bound:?}, seed {seed}");
                bound = (bound * 2).min(BACKOFF_MAX);
            }
            assert_eq!(bound, BACKOFF_MAX);
            backoff.reset();
            assert!(backoff.next() <= BACKOFF_MIN);
        }
    }

    #[test]
    fn clients_do_not_wait_alike() {
        let (mut one, mut other) = (Backoff::with_seed(1), Backoff::with_seed(2));
        let differ = (0..10).filter(|_| one.next() != other.next()).count();
        assert!(differ > 5, "{differ} of 10");
    }
}
