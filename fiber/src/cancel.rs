//! Why a wait ended without its event, and how that is said.
//!
//! A cancel is an error, never a panic: straight-line code leaves through its `?`. It stays: once a
//! fiber is cancelled, every further wait of it fails, after giving way to other fibers once, until
//! it has ended or stands in a [`shield`].

use std::error::Error;
use std::fmt;
use std::io;

use crate::record::Record;
use crate::shard;

/// The payload of the `io::Error` of a cancelled wait.
#[derive(Debug)]
struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fiber was cancelled")
    }
}

impl Error for Cancelled {}

/// The panic payload with which a shutdown unwinds a fiber that did not end by itself.
pub(crate) struct Unwound;

/// Whether an error, or any error below it, says that the fiber was cancelled.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// let fiber = cede::spawn(|| cede::park());
/// fiber.cancel();
/// let error = fiber.join().unwrap().unwrap_err();
/// assert!(cede::is_cancelled(&error));
/// # }).unwrap();
/// ```
#[must_use]
pub fn is_cancelled(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(e) = error {
        if e.is::<Cancelled>() {
            return true;
        }
        // The source of an `io::Error` is that of the error inside, so this way passes all.
        error = match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    false
}

/// Whether the payload of a caught panic is the one with which a shutdown unwinds a fiber. Who
/// catches panics hands it on with [`resume_unwind`](std::panic::resume_unwind).
#[must_use]
pub fn is_shutdown_unwind(payload: &(dyn std::any::Any + Send)) -> bool {
    payload.is::<Unwound>()
}

/// Runs `f` without letting a cancel or an outer deadline end its waits: for a clean-up that must
/// not be cut short.
///
/// Both count again when `f` returns. A deadline that is set inside counts inside.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::time::Duration;
/// let fiber = cede::spawn(|| cede::shield(|| cede::sleep(Duration::from_millis(1))));
/// fiber.cancel();
/// assert!(fiber.join().unwrap().is_ok());
/// # }).unwrap();
/// ```
pub fn shield<R>(f: impl FnOnce() -> R) -> R {
    struct Shield<'a>(&'a Record, u64);
    impl Drop for Shield<'_> {
        fn drop(&mut self) {
            self.0.shields.set(self.0.shields.get() - 1);
            self.0.deadline.set(self.1);
        }
    }
    let mut f = Some(f);
    let shielded = shard::with_current(|_, record| {
        record.shields.set(record.shields.get() + 1);
        let _shield = Shield(record, record.deadline.replace(u64::MAX));
        f.take().map(|f| f())
    });
    match (shielded.flatten(), f) {
        (Some(result), _) => result,
        // Outside of a fiber nothing can be cancelled.
        (None, Some(f)) => f(),
        (None, None) => unreachable!("a closure that was taken has returned"),
    }
}

#[cold]
pub(crate) fn cancelled_error() -> io::Error {
    io::Error::other(Cancelled)
}

#[cold]
pub(crate) fn timed_out_error() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[cold]
pub(crate) fn unwinding_error() -> io::Error {
    io::Error::other("a fiber cannot wait while a panic unwinds its stack")
}

#[cold]
pub(crate) fn not_in_fiber_error() -> io::Error {
    io::Error::other("only a fiber can wait or make another one: call this inside of cede::run")
}

#[cold]
pub(crate) fn shutting_down_error() -> io::Error {
    io::Error::other("the runtime is shutting down and takes no new work")
}

/// Unwinds the current fiber, without the panic hook: nothing went wrong.
#[cold]
pub(crate) fn unwind() -> ! {
    std::panic::resume_unwind(Box::new(Unwound))
}
