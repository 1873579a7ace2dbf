//! Locks between those who have opened one file, in this process or another: std's, which is
//! `flock` on Linux.
//!
//! The surprising rule: nobody waits on the pool. A thread in `flock` cannot be called back, so who
//! gave up would get the lock in the end and keep it, and as many waiters as the pool has threads
//! would leave none for the owner's own writes. A fiber tries again after a sleep instead.

use std::fs::TryLockError;
use std::io;
use std::time::Duration;

use super::File;

/// The first sleep between two attempts; it doubles until [`RETRY_LAST`].
const RETRY_FIRST: Duration = Duration::from_micros(500);
/// The longest sleep between two attempts.
const RETRY_LAST: Duration = Duration::from_millis(16);

impl File {
    /// Waits until nobody else has the file locked, and locks it. The lock belongs to the open file,
    /// with all its [clones](Self::try_clone), and ends when that is closed. It binds only those who
    /// ask for it.
    ///
    /// Nobody is told when a lock becomes free: a waiting fiber asks every 16 milliseconds, and
    /// there is no order among those who wait.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// # cede::run(|| -> std::io::Result<()> {
    /// use cede::fs::{self, File, TryLockError};
    ///
    /// let path = std::env::temp_dir().join(format!("cede-lock-{}", std::process::id()));
    /// let (one, other) = (File::create(&path)?, File::create(&path)?);
    /// one.lock()?;
    /// assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    /// drop(one);
    /// other.lock()?;
    /// fs::remove_file(path)?;
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn lock(&self) -> io::Result<()> {
        wait(|| self.try_lock())
    }

    /// Waits until nobody has the file locked but by this call, and locks it like that.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_shared(&self) -> io::Result<()> {
        wait(|| self.try_lock_shared())
    }

    /// Locks the file if nobody else has, as [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock) when somebody has; what the system says.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.shared().try_lock()
    }

    /// Locks the file if nobody has, as [`lock_shared`](Self::lock_shared).
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.shared().try_lock_shared()
    }

    /// Unlocks the file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn unlock(&self) -> io::Result<()> {
        self.shared().unlock()
    }
}

/// Outside of a fiber the thread sleeps, as it would in std's call.
#[track_caller]
fn wait(attempt: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    let mut pause = RETRY_FIRST;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if crate::try_current().is_some() {
            crate::sleep(pause)?;
        } else {
            std::thread::sleep(pause);
        }
        pause = (pause * 2).min(RETRY_LAST);
    }
}
