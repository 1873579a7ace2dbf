//! TCP connections.
//!
//! The surprising rule: a read that brings less than was asked for is taken as the end of what is
//! there, so a request and its answer are one receive, one send and a share of one wait.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use cede_reactor::{Direction, Nanos};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{
    AsStd, Timeouts, asked, limit, receive, receive_vectored, send, send_vectored, set_nonblocking,
    set_receive_low_water, unacknowledged,
};
use super::source::Source;
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};

/// A TCP connection whose reads and writes park the fiber.
///
/// Two fibers may use one stream through `&`, as with std: one that reads and one that writes, for
/// example.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::io::{Read, Write};
///
/// use cede::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let server = cede::spawn(move || -> std::io::Result<()> {
///     let (stream, _) = listener.accept()?;
///     std::io::copy(&mut &stream, &mut &stream)?; // reads and writes by `&`
///     Ok(())
/// });
/// let mut stream = TcpStream::connect(addr)?;
/// stream.write_all(b"hello")?;
/// stream.shutdown(std::net::Shutdown::Write)?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
/// server.join().unwrap()
/// # }).unwrap().unwrap();
/// ```
pub struct TcpStream {
    source: Source,
    timeouts: Timeouts,
}

impl TcpStream {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { source: Source::new(fd)?, timeouts: Timeouts::default() })
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
        Self::connect_until(*addr, limit(timeout))
    }

    #[track_caller]
    fn connect_until(addr: SocketAddr, limit: Option<Nanos>) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        let connected = socket.connect(&addr.into());
        let stream = Self::new(socket.into())?;
        match connected {
            Ok(()) => return Ok(stream),
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) => return Err(e),
        }
        stream.source.blocked(Direction::Write)?;
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
        // Registered anew, for reading only: the poller would report each time that there is room.
        Self::new(stream.source.into_fd())
    }

    fn std(&self) -> AsStd<'_, StdTcpStream> {
        AsStd::new(self.source.as_fd())
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// Ends one direction or both.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.std().set_nodelay(on)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.std().nodelay()
    }

    /// How many bytes must have come before a read that waits is woken (`SO_RCVLOWAT`); 1 is the
    /// default, and the end of the stream wakes it anyhow. A read that need not wait still takes
    /// what there is.
    ///
    /// Who raises it must know that so much comes, or wait with a deadline and lower it then, which
    /// wakes a read for what has come by then.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_receive_low_water(&self, bytes: usize) -> io::Result<()> {
        set_receive_low_water(self.source.as_fd(), bytes)
    }

    /// How many bytes have been written that the peer's system has not acknowledged. That it becomes
    /// less is progress, also where the system waits for more room before a write goes on.
    ///
    /// # Errors
    ///
    /// What the system says; [`Unsupported`](io::ErrorKind::Unsupported) elsewhere than on Linux.
    pub fn unacknowledged(&self) -> io::Result<usize> {
        unacknowledged(self.source.as_fd())
    }

    /// How many hops packets may travel.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// How many hops packets may travel.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// For how long closing waits for what is not sent yet (`SO_LINGER`). With a duration above
    /// zero the close blocks the shard's thread; zero resets the connection at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(&self.source).set_linger(linger)
    }

    /// What [`set_linger`](Self::set_linger) was given.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(&self.source).linger()
    }

    /// Reads without taking the bytes out.
    ///
    /// # Errors
    ///
    /// As a read.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = self.timeouts.read_limit();
        self.source.run(Direction::Read, limit, |fd| receive(fd, buf, libc::MSG_PEEK))
    }

    /// What async adapters poll.
    #[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
    pub(crate) fn io(&self) -> &Source {
        &self.source
    }

    /// Waits until there is something to read, or the end of the stream, without a buffer for it:
    /// what a connection does that may be idle for long. A read after it may still find nothing. The
    /// read time-out is for reads and does not count here.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline.
    #[inline]
    #[track_caller]
    pub fn readable(&self) -> io::Result<()> {
        self.source.ready(Direction::Read, None)
    }

    /// Reads what has come, without waiting.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing has; what the system says.
    #[inline]
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let asked = buf.len();
        let n = self.source.attempt(Direction::Read, |fd| receive(fd, buf, 0))?;
        if n < asked && n > 0 {
            self.source.short_read();
        }
        Ok(n)
    }

    /// Writes what there is room for, without waiting.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is no room; what the system says.
    #[inline]
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.attempt(Direction::Write, |fd| send(fd, buf))
    }

    /// [`try_write`](Self::try_write) on behalf of another fiber, with a guarantee: this one does
    /// not give way before the call returns, not even to be fair to others.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn write_in_place(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.attempt_in_place(Direction::Write, |fd| send(fd, buf))
    }

    pub(super) fn source(&self) -> (&Source, Option<Nanos>) {
        (&self.source, self.timeouts.write_limit())
    }
}

socket_common!(TcpStream, StdTcpStream);
stream_io!(TcpStream, short_read_drains: true);
descriptor!(TcpStream, StdTcpStream, local_addr);
