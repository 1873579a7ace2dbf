//! The parent's ends of a child's standard streams.
//!
//! The surprising rule: a pipe has an open file description for each end, so making this end
//! non-blocking is not seen by the child. An end that is handed to another child is made blocking
//! again first.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process as std_process;

use cede_reactor::Direction;

use super::Stdio;
use crate::net::{Source, by_reference, set_nonblocking};

fn source(fd: OwnedFd) -> io::Result<Source> {
    set_nonblocking(fd.as_fd(), true)?;
    Source::foreign(fd)
}

fn read(source: &Source, buf: &mut [u8]) -> io::Result<usize> {
    if buf.is_empty() {
        return Ok(0);
    }
    let n = source.run(Direction::Read, None, |fd| {
        // SAFETY: `buf` is valid for writes of its length.
        let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    })?;
    if n < buf.len() && n > 0 {
        // A pipe in its normal mode is a byte stream, and its end is an event of its own.
        source.short_read();
    }
    Ok(n)
}

fn write(source: &Source, buf: &[u8]) -> io::Result<usize> {
    if buf.is_empty() {
        return Ok(0);
    }
    source.run(Direction::Write, None, |fd| {
        // SAFETY: `buf` is valid for reads of its length. A write to a pipe that nobody reads
        // raises SIGPIPE, which Rust's runtime has ignored since the start of the program, as std's
        // own pipes rely on.
        let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    })
}

macro_rules! pipe {
    ($(#[$doc:meta])* $type:ident, $std:ty) => {
        $(#[$doc])*
        pub struct $type {
            source: Source,
        }

        impl $type {
            pub(super) fn new(pipe: $std) -> io::Result<Self> {
                Ok(Self { source: source(pipe.into())? })
            }

            /// Gives the pipe away, blocking again.
            ///
            /// # Errors
            ///
            /// What the system says; the pipe is closed then.
            pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
                let fd = self.source.into_fd();
                set_nonblocking(fd.as_fd(), false)?;
                Ok(fd)
            }
        }

        /// The descriptor, which blocks again.
        impl From<$type> for OwnedFd {
            fn from(pipe: $type) -> Self {
                let fd = pipe.source.into_fd();
                // It is open, and that is all that the call could complain about.
                let _ = set_nonblocking(fd.as_fd(), false);
                fd
            }
        }

        impl IntoRawFd for $type {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl From<$type> for Stdio {
            /// The pipe as a stream of another child. Should the system refuse to make it blocking
            /// again, which it never has a reason to, that child has no stream.
            fn from(pipe: $type) -> Self {
                pipe.into_owned_fd().map_or_else(|_| Stdio::null(), Stdio::from)
            }
        }

        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.source.as_fd()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.source.as_raw_fd()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).field("fd", &self.as_raw_fd()).finish()
            }
        }
    };
}

pipe! {
    /// What the child reads; dropping it is the end of its input.
    ChildStdin, std_process::ChildStdin
}
pipe! {
    /// What the child writes.
    ChildStdout, std_process::ChildStdout
}
pipe! {
    /// What the child writes as errors.
    ChildStderr, std_process::ChildStderr
}

impl Write for &ChildStdin {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        write(&self.source, buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        bufs.iter().find(|buf| !buf.is_empty()).map_or(Ok(0), |buf| self.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! reads {
    ($($type:ident),*) => {$(
        impl Read for &$type {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                read(&self.source, buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                bufs.iter_mut().find(|buf| !buf.is_empty()).map_or(Ok(0), |buf| self.read(buf))
            }
        }

        by_reference!(Read for $type);
    )*};
}

by_reference!(Write for ChildStdin);
reads!(ChildStdout, ChildStderr);
