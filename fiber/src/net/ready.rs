//! Waiting for any descriptor that can be polled, without owning it.
//!
//! The surprising rule: each wait registers and deregisters. Nothing is known of the descriptor's
//! owner, who may close it as soon as the borrow has ended, and then nothing of it may be left in
//! the poller.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use cede_reactor::{Direction, SourceKey};

use super::source::wait_for;
use crate::cancel;
use crate::shard;

/// Parks the fiber until a read of the descriptor would not block. Several fibers may wait for one
/// descriptor.
///
/// # Errors
///
/// A cancel or a deadline; `EPERM` for what cannot be polled, such as a regular file; outside of a
/// fiber.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
///
/// let (mine, mut other) = UnixStream::pair()?;
/// let waiter = cede::spawn(move || cede::net::wait_readable(&mine));
/// cede::yield_now();
/// other.write_all(b"!")?;
/// # waiter.join().unwrap()
/// # }).unwrap().unwrap();
/// ```
#[track_caller]
pub fn wait_readable(fd: impl AsFd) -> io::Result<()> {
    wait(fd.as_fd(), Direction::Read)
}

/// Parks the fiber until a write to the descriptor would not block.
///
/// # Errors
///
/// As [`wait_readable`].
#[track_caller]
pub fn wait_writable(fd: impl AsFd) -> io::Result<()> {
    wait(fd.as_fd(), Direction::Write)
}

#[track_caller]
fn wait(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<()> {
    match Once::register(fd.as_raw_fd(), direction) {
        Ok(once) => once.wait(direction),
        // It is registered here already, by its owner or for another fiber that waits: a duplicate
        // has a registration of its own.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            let duplicate = fd.try_clone_to_owned()?;
            Once::register(duplicate.as_raw_fd(), direction)?.wait(direction)
        }
        Err(error) => Err(error),
    }
}

/// A registration for one wait.
struct Once {
    key: SourceKey,
    raw: RawFd,
}

impl Once {
    fn register(raw: RawFd, direction: Direction) -> io::Result<Self> {
        let key = shard::with(|shard| {
            // SAFETY: the caller of `wait` lends the descriptor for the time of the call (or `wait`
            // owns the duplicate), and the destructor of the value returned, which does not leave
            // the call, deregisters it.
            unsafe { shard.reactor.borrow_mut().register_for(raw, direction) }
        });
        Ok(Self { key: key.ok_or_else(cancel::not_in_fiber_error)??, raw })
    }

    #[track_caller]
    fn wait(&self, direction: Direction) -> io::Result<()> {
        wait_for(self.key, self.raw, direction, None)
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        shard::with(|shard| {
            // Nobody else waits under this key, and an error says that the system does not know
            // the descriptor, which is what is wanted.
            let _ = shard.reactor.borrow_mut().deregister(self.key, self.raw, |_| {});
        });
    }
}
