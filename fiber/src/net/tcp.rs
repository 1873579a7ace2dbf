//! TCP.
//!
//! A stream is registered once and read until it has nothing: a read that brings less than was
//! asked for is taken as the end of what is there, so a request and its answer are one receive, one
//! send and a share of one wait.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use cede_reactor::{Direction, Nanos};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::source::Source;
use crate::deadline::Deadline;
use crate::shard;

/// Connections that wait to be accepted, unless a listener is told otherwise. The kernel cuts it to
/// `net.core.somaxconn`.
pub const BACKLOG_DEFAULT: i32 = 4096;

/// Accepts TCP connections; each `accept` parks the fiber until there is one.
pub struct TcpListener {
    source: Source,
}

impl TcpListener {
    /// Listens at an address; port 0 lets the system choose one.
    ///
    /// The address may be used again at once after a listener there has gone (`SO_REUSEADDR`), as
    /// std does it on Unix.
    ///
    /// # Errors
    ///
    /// Those of [`std::net::TcpListener::bind`], and on a thread without a runtime.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        each_address(addr, |addr| Self::listen(addr, BACKLOG_DEFAULT, false))
    }

    /// Listens at an address that others may listen at too: the kernel spreads connections over
    /// them. With one such listener per shard no connection has to change its thread.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_shared(addr: impl ToSocketAddrs) -> io::Result<Self> {
        each_address(addr, |addr| Self::listen(addr, BACKLOG_DEFAULT, true))
    }

    fn listen(addr: SocketAddr, backlog: i32, shared: bool) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(addr),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(shared)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog)?;
        Ok(Self { source: Source::new(socket.into())? })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline; `EMFILE` and `ENFILE` when descriptors have run out: the connection
    /// stays in the queue, and the caller should close something or wait before it tries again.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.source.run(Direction::Read, None, accept) {
                Ok((socket, addr)) => return Ok((TcpStream::new(socket)?, address(Ok(addr))?)),
                // The peer was gone before it was accepted: that is not this listener's failure.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// An iterator that accepts for ever; it yields what [`accept`](Self::accept) returns, without
    /// the address.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(SockRef::from(&self.source).local_addr())
    }
}

/// See [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// A TCP connection whose reads and writes park the fiber.
///
/// Two fibers may use one stream through `&`, as with std: one that reads and one that writes, for
/// example.
pub struct TcpStream {
    source: Source,
    read_timeout: Cell<Option<Duration>>,
    write_timeout: Cell<Option<Duration>>,
}

impl TcpStream {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let source = Source::new(fd)?;
        Ok(Self { source, read_timeout: Cell::new(None), write_timeout: Cell::new(None) })
    }

    /// Connects to an address; of several, to the first that answers.
    ///
    /// # Errors
    ///
    /// Those of [`std::net::TcpStream::connect`], a cancel or a deadline, and outside of a fiber.
    #[track_caller]
    pub fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        each_address(addr, |addr| Self::connect_until(addr, None))
    }

    /// Connects to an address, for at most this long.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`TimedOut`](io::ErrorKind::TimedOut); a duration of zero is
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    #[track_caller]
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        if timeout.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a connect needs a time-out above zero",
            ));
        }
        Self::connect_until(*addr, limit(Some(timeout)))
    }

    #[track_caller]
    fn connect_until(addr: SocketAddr, limit: Option<Nanos>) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(addr),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        match socket.connect(&addr.into()) {
            Ok(()) => return Self::new(socket.into()),
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) => return Err(e),
        }
        let stream = Self::new(socket.into())?;
        stream.source.run(Direction::Write, limit, |fd| {
            let socket = SockRef::from(&fd);
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            match socket.peer_addr() {
                Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                other => other.map(drop),
            }
        })?;
        Ok(stream)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address(SockRef::from(&self.source).peer_addr())
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(SockRef::from(&self.source).local_addr())
    }

    /// Ends one direction or both.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&self.source).shutdown(how)
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        SockRef::from(&self.source).set_tcp_nodelay(on)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(&self.source).tcp_nodelay()
    }

    /// The longest that one read may wait; `None` for ever. A read that takes longer fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a duration of zero, as std has it.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(checked(timeout)?);
        Ok(())
    }

    /// The longest that one write may wait.
    ///
    /// # Errors
    ///
    /// As [`set_read_timeout`](Self::set_read_timeout).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(checked(timeout)?);
        Ok(())
    }

    /// What [`set_read_timeout`](Self::set_read_timeout) was given.
    ///
    /// # Errors
    ///
    /// None; the result is std's signature.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.read_timeout.get())
    }

    /// What [`set_write_timeout`](Self::set_write_timeout) was given.
    ///
    /// # Errors
    ///
    /// None; the result is std's signature.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.write_timeout.get())
    }

    /// Reads without taking the bytes out.
    ///
    /// # Errors
    ///
    /// As a read.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.run(Direction::Read, limit(self.read_timeout.get()), |fd| {
            receive(fd, buf, libc::MSG_PEEK)
        })
    }
}

/// Accepts a connection that does not block and is closed on exec.
fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    // SAFETY: the storage is valid for writes of the length given, and `accept4` says how much it
    // wrote.
    let (socket, addr) = unsafe {
        SockAddr::try_init(|storage, len| {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            match libc::accept4(fd.as_raw_fd(), storage.cast(), len, flags) {
                -1 => Err(io::Error::last_os_error()),
                socket => Ok(socket),
            }
        })?
    };
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    Ok((unsafe { OwnedFd::from_raw_fd(socket) }, addr))
}

#[inline]
fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    // SAFETY: `buf` is valid for writes of its length, and the kernel writes no more than that.
    let n = unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

#[inline]
fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // MSG_NOSIGNAL: a peer that is gone is an error of this write, not a signal that ends the
    // process.
    // SAFETY: `buf` is valid for reads of its length.
    let n =
        unsafe { libc::send(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

impl Read for &TcpStream {
    #[inline]
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self
            .source
            .run(Direction::Read, limit(self.read_timeout.get()), |fd| receive(fd, buf, 0))?;
        if n < buf.len() && n > 0 {
            self.source.short_read();
        }
        Ok(n)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let asked: usize = bufs.iter().map(|b| b.len()).sum();
        if asked == 0 {
            return Ok(0);
        }
        let count = bufs.len().min(libc::UIO_MAXIOV as usize);
        let n = self.source.run(Direction::Read, limit(self.read_timeout.get()), |fd| {
            // SAFETY: `IoSliceMut` is an `iovec` by its documented layout; each is valid for writes
            // of its length.
            let n =
                unsafe { libc::readv(fd.as_raw_fd(), bufs.as_ptr().cast(), count as libc::c_int) };
            usize::try_from(n).map_err(|_| io::Error::last_os_error())
        })?;
        if n < asked && n > 0 && count == bufs.len() {
            self.source.short_read();
        }
        Ok(n)
    }
}

impl Write for &TcpStream {
    #[inline]
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.source.run(Direction::Write, limit(self.write_timeout.get()), |fd| send(fd, buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|b| b.is_empty()) {
            return Ok(0);
        }
        let count = bufs.len().min(libc::UIO_MAXIOV as usize);
        self.source.run(Direction::Write, limit(self.write_timeout.get()), |fd| {
            // SAFETY: a message header of zeros is valid; `IoSlice` is an `iovec` by its documented
            // layout and each is valid for reads of its length. sendmsg, unlike writev, takes
            // MSG_NOSIGNAL.
            let n = unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = bufs.as_ptr().cast_mut().cast();
                message.msg_iovlen = count as _;
                libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
            };
            usize::try_from(n).map_err(|_| io::Error::last_os_error())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
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

impl Write for TcpStream {
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
        Ok(())
    }
}

macro_rules! descriptor {
    ($type:ty) => {
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
                let mut debug = f.debug_struct(stringify!($type));
                debug
                    .field("fd", &self.as_raw_fd())
                    .field("local", &self.local_addr().ok())
                    .finish()
            }
        }
    };
}

descriptor!(TcpListener);
descriptor!(TcpStream);

fn limit(timeout: Option<Duration>) -> Option<Nanos> {
    let timeout = timeout?;
    shard::with(|shard| Deadline::from(timeout).nanos(&*shard.clock))
}

fn checked(timeout: Option<Duration>) -> io::Result<Option<Duration>> {
    if timeout == Some(Duration::ZERO) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a time-out of zero; None waits for ever",
        ));
    }
    Ok(timeout)
}

fn address(addr: io::Result<socket2::SockAddr>) -> io::Result<SocketAddr> {
    addr?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
}

/// Tries each address in turn; the last error is the one that is told.
#[track_caller]
fn each_address<T>(
    addr: impl ToSocketAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for addr in addr.to_socket_addrs()? {
        match f(addr) {
            Ok(value) => return Ok(value),
            Err(error) => last = error,
        }
    }
    Err(last)
}
