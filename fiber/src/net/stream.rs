//! What the byte streams have in common, as macros over a field `source` and a field `timeouts`.
//!
//! The rule of this file: only a stream whose receive buffer has no inner boundaries may take a
//! short read for an empty buffer. A Unix stream has them: a receive stops at a message that
//! carries descriptors, with more bytes behind it.

/// `AsFd`, `AsRawFd`, `Debug` of a socket, the way from and to descriptors, and its place in a
/// `select!`.
macro_rules! descriptor {
    ($type:ident, $std:ty, $addr:ident) => {
        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.source.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.source.as_raw_fd()
            }
        }

        /// The descriptor, which blocks again.
        impl From<$type> for OwnedFd {
            fn from(socket: $type) -> Self {
                let fd = socket.source.into_fd();
                // It is open, and that is all that the call could complain about.
                let _ = set_nonblocking(fd.as_fd(), false);
                fd
            }
        }

        /// The descriptor, which blocks again.
        impl std::os::fd::IntoRawFd for $type {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        /// As `from_std`.
        impl TryFrom<$std> for $type {
            type Error = io::Error;

            fn try_from(socket: $std) -> io::Result<Self> {
                Self::from_std(socket)
            }
        }

        /// As `from_std`, with a descriptor that must be of this type.
        impl TryFrom<OwnedFd> for $type {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                Self::from_std(fd.into())
            }
        }

        impl<'a> crate::sync::select::CanRead for &'a $type {
            type Branch = crate::sync::select::Readable<'a>;

            fn into_branch(self) -> Self::Branch {
                crate::sync::select::Readable::new(&self.source)
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut debug = f.debug_struct(stringify!($type));
                debug.field("fd", &std::os::fd::AsRawFd::as_raw_fd(self));
                debug.field("addr", &self.$addr().ok()).finish()
            }
        }
    };
}

/// What every socket has: time-outs, `take_error`, `set_nonblocking`, and the way from and to std.
macro_rules! socket_common {
    ($type:ident, $std:ty) => {
        impl $type {
            /// The longest that one read may wait; `None` for ever. A read that takes longer fails
            /// with [`TimedOut`](std::io::ErrorKind::TimedOut).
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) for a duration of zero, as std
            /// has it.
            pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.timeouts.set_read(timeout)
            }

            /// The longest that one write may wait; `None` for ever.
            ///
            /// # Errors
            ///
            /// As [`set_read_timeout`](Self::set_read_timeout).
            pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.timeouts.set_write(timeout)
            }

            /// What [`set_read_timeout`](Self::set_read_timeout) was given.
            ///
            /// # Errors
            ///
            /// None; the result is std's signature.
            pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.timeouts.read())
            }

            /// What [`set_write_timeout`](Self::set_write_timeout) was given.
            ///
            /// # Errors
            ///
            /// None; the result is std's signature.
            pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.timeouts.write())
            }

            /// Another value for the same socket, with a registration of its own. What one of them
            /// sets on the socket holds for both; time-outs are copied and then separate.
            ///
            /// # Errors
            ///
            /// When descriptors have run out.
            pub fn try_clone(&self) -> io::Result<Self> {
                Ok(Self { source: self.source.duplicate()?, timeouts: self.timeouts.clone() })
            }

            /// Takes a socket of std's and makes it one of this shard's.
            ///
            /// # Errors
            ///
            /// What the system says, and on a thread without a runtime.
            pub fn from_std(socket: $std) -> io::Result<Self> {
                let fd = OwnedFd::from(socket);
                set_nonblocking(fd.as_fd(), true)?;
                let timeouts = Timeouts::default();
                Ok(Self { source: Source::foreign(fd)?, timeouts })
            }

            /// Gives the socket to std, which blocks the thread. It may then go to another shard
            /// and become a fiber's there with [`from_std`](Self::from_std).
            ///
            /// # Errors
            ///
            /// What the system says; the socket is closed then.
            pub fn into_std(self) -> io::Result<$std> {
                let fd = self.source.into_fd();
                set_nonblocking(fd.as_fd(), false)?;
                Ok(fd.into())
            }
        }

        socket_options!($type, $std);
    };
}

/// What listeners have as well.
macro_rules! socket_options {
    ($type:ident, $std:ty) => {
        impl $type {
            /// Takes the error that the socket has met since the last call.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                AsStd::<$std>::new(self.source.as_fd()).take_error()
            }

            /// Whether the calls of this value return
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) where they would park the fiber.
            ///
            /// # Errors
            ///
            /// None; the result is std's signature.
            pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
                self.source.set_nonblocking(on);
                Ok(())
            }
        }
    };
}

/// `Read` and `Write` of a stream, for it and for `&` of it.
macro_rules! stream_io {
    ($type:ident, short_read_drains: $drains:expr) => {
        impl Read for &$type {
            #[inline]
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if buf.is_empty() {
                    return Ok(0);
                }
                let n = self
                    .source
                    .run(Direction::Read, self.timeouts.read_limit(), |fd| receive(fd, buf, 0))?;
                if $drains && n < buf.len() && n > 0 {
                    self.source.short_read();
                }
                Ok(n)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                let (asked, all) = asked(bufs);
                if asked == 0 {
                    return Ok(0);
                }
                let n = self.source.run(Direction::Read, self.timeouts.read_limit(), |fd| {
                    receive_vectored(fd, bufs)
                })?;
                if $drains && n < asked && n > 0 && all {
                    self.source.short_read();
                }
                Ok(n)
            }
        }

        impl Write for &$type {
            #[inline]
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                if buf.is_empty() {
                    return Ok(0);
                }
                let limit = self.timeouts.write_limit();
                self.source.run(Direction::Write, limit, |fd| send(fd, buf))
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                if bufs.iter().all(|b| b.is_empty()) {
                    return Ok(0);
                }
                let limit = self.timeouts.write_limit();
                self.source.run(Direction::Write, limit, |fd| send_vectored(fd, bufs))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        by_reference!($type);

        impl $type {
            /// Two halves that borrow the stream, one that reads and one that writes.
            pub fn split(&self) -> (ReadHalf<'_, Self>, WriteHalf<'_, Self>) {
                (ReadHalf::new(self), WriteHalf::new(self))
            }

            /// Two halves that own the stream together. When the one that writes is dropped, the
            /// peer sees the end of the stream.
            pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
                split::into_split(self)
            }
        }

        impl split::Stream for $type {
            fn end_of_writing(&self) {
                // A peer that is gone needs no end of the stream.
                let _ = self.shutdown(Shutdown::Write);
            }
        }
    };
}

/// `Read` and `Write` of a type whose reference has them.
macro_rules! by_reference {
    ($type:ident) => {
        $crate::net::by_reference!(Read for $type);
        $crate::net::by_reference!(Write for $type);
    };
    (Read for $type:ident) => {
        impl Read for $type {
            #[inline]
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }
    };
    (Write for $type:ident) => {
        impl Write for $type {
            #[inline]
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            fn flush(&mut self) -> io::Result<()> {
                (&*self).flush()
            }
        }
    };
}
pub(crate) use by_reference;
