//! What a listener does when the process or the system has run out of descriptors.
//!
//! The connection stays in the kernel's queue and the listener stays readable, so trying again at
//! once would keep a core busy for nothing. It sleeps instead, longer each time, and says so now
//! and then.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

/// The first sleep of a listener that found no free descriptor.
pub const ACCEPT_BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest one. A descriptor that comes free is used within this time.
pub const ACCEPT_BACKOFF_LAST: Duration = Duration::from_secs(1);
/// Between two log events of one listener.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Whether an accept failed because something has run out that others may give back.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// The state of one listener.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Sleeps since the last accepted connection.
    sleeps: Cell<u32>,
    logged: Cell<Option<Instant>>,
}

impl Backoff {
    /// Accepts; sleeps and tries again as long as descriptors have run out.
    #[track_caller]
    pub(crate) fn accept<T>(&self, accept: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match accept() {
                Err(error) if is_exhausted(&error) => {
                    self.log(&error);
                    crate::sleep(self.next())?;
                }
                done => {
                    self.sleeps.set(0);
                    return done;
                }
            }
        }
    }

    fn next(&self) -> Duration {
        let sleeps = self.sleeps.get();
        self.sleeps.set(sleeps.saturating_add(1));
        ACCEPT_BACKOFF_FIRST.saturating_mul(1 << sleeps.min(16)).min(ACCEPT_BACKOFF_LAST)
    }

    fn log(&self, error: &io::Error) {
        if self.logged.get().is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged.set(Some(Instant::now()));
            tracing::warn!(%error, "a listener cannot accept; it tries again in a while");
        }
    }
}

/// Accepts for ever, for `incoming()`: ends after an error that every further wait would repeat.
#[derive(Debug)]
pub(crate) struct Endless {
    over: Cell<bool>,
}

impl Endless {
    pub(crate) fn new() -> Self {
        Self { over: Cell::new(false) }
    }

    /// A cancelled fiber's waits all fail at once, and so do those after its deadline: a loop that
    /// passes over errors would never end, nor let another fiber run.
    pub(crate) fn next<T>(&self, accept: impl FnOnce() -> io::Result<T>) -> Option<io::Result<T>> {
        if self.over.get() {
            return None;
        }
        let result = accept();
        if let Err(error) = &result {
            let lasting = error.kind() == io::ErrorKind::TimedOut || error.raw_os_error().is_none();
            self.over.set(lasting && error.kind() != io::ErrorKind::WouldBlock);
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_grow_to_their_limit_and_start_anew() {
        let backoff = Backoff::default();
        let sleeps: Vec<u128> = (0..9).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(sleeps, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(backoff.accept(|| Ok(())).is_ok());
        assert_eq!(backoff.next(), ACCEPT_BACKOFF_FIRST);
    }
}
