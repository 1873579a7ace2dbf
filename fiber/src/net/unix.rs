//! Unix stream sockets.
//!
//! The surprising rule: a short read does not end a read loop here. A receive stops in front of
//! bytes that carry descriptors or other credentials, so less than was asked for may come while
//! more is there, and only "would block" proves that it is not.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{
    SocketAddr, UnixListener as StdUnixListener, UnixStream as StdUnixStream,
};
use std::path::Path;
use std::time::Duration;

use cede_reactor::Direction;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::backoff::{Backoff, Endless};
use super::listener::BACKLOG_DEFAULT;
use super::socket::{
    AsStd, Timeouts, accept, asked, receive, receive_vectored, send, send_vectored, set_nonblocking,
};
use super::source::Source;
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};

/// Between two attempts to connect to a listener whose queue is full: no event says that there is
/// room again.
const CONNECT_RETRY: Duration = Duration::from_millis(1);

/// Accepts connections at a path; each `accept` parks the fiber until there is one.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::io::{Read, Write};
///
/// use cede::net::{UnixListener, UnixStream};
///
/// let path = std::env::temp_dir().join(format!("cede-socket-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let mut client = UnixStream::connect(&path)?;
/// let (mut server, _) = listener.accept()?;
/// client.write_all(b"hi")?;
/// let mut bytes = [0; 2];
/// server.read_exact(&mut bytes)?;
/// assert_eq!(&bytes, b"hi");
/// # std::fs::remove_file(&path)
/// # }).unwrap().unwrap();
/// ```
pub struct UnixListener {
    source: Source,
    backoff: Backoff,
}

impl UnixListener {
    /// Listens at a path, which must not exist. The file stays when the listener is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`std::os::unix::net::UnixListener::bind`], and on a thread without a runtime.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::listen(&SockAddr::unix(path)?)
    }

    /// Listens at an address: a path or, on Linux, an abstract name.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<Self> {
        let listener = StdUnixListener::bind_addr(addr)?;
        SockRef::from(&listener).listen(BACKLOG_DEFAULT)?;
        set_nonblocking(listener.as_fd(), true)?;
        Ok(Self { source: Source::new(listener.into())?, backoff: Backoff::default() })
    }

    fn listen(addr: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG_DEFAULT)?;
        Ok(Self { source: Source::new(socket.into())?, backoff: Backoff::default() })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`](super::TcpListener::accept).
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (socket, addr) = self.source.run(Direction::Read, None, accept)?;
        Ok((UnixStream::new(socket)?, std_address(&addr)?))
    }

    /// Waits for a connection, also while descriptors have run out; see
    /// [`TcpListener::accept_with_backoff`](super::TcpListener::accept_with_backoff).
    ///
    /// # Errors
    ///
    /// A cancel or a deadline.
    #[track_caller]
    pub fn accept_with_backoff(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.backoff.accept(|| self.accept())
    }

    /// An iterator that accepts until the fiber is cancelled or its deadline has passed.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self, endless: Endless::new() }
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        AsStd::<StdUnixListener>::new(self.source.as_fd()).local_addr()
    }

    /// Another value for the same listener; each connection goes to one of them.
    ///
    /// # Errors
    ///
    /// When descriptors have run out.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { source: self.source.duplicate()?, backoff: Backoff::default() })
    }

    /// Takes a listener of std's and makes it one of this shard's.
    ///
    /// # Errors
    ///
    /// What the system says, and on a thread without a runtime.
    pub fn from_std(listener: StdUnixListener) -> io::Result<Self> {
        let fd = OwnedFd::from(listener);
        set_nonblocking(fd.as_fd(), true)?;
        Ok(Self { source: Source::foreign(fd)?, backoff: Backoff::default() })
    }

    /// Gives the listener to std, whose `accept` blocks the thread.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<StdUnixListener> {
        let fd = self.source.into_fd();
        set_nonblocking(fd.as_fd(), false)?;
        Ok(fd.into())
    }
}

fn std_address(addr: &SockAddr) -> io::Result<SocketAddr> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = addr.as_abstract_namespace() {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    // Whoever connected without a name has an address of no bytes.
    addr.as_unix().map_or_else(|| SocketAddr::from_pathname(""), Ok)
}

socket_options!(UnixListener, StdUnixListener);
descriptor!(UnixListener, StdUnixListener, local_addr);

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}

/// See [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
    endless: Endless,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.endless.next(|| self.listener.accept_with_backoff().map(|(stream, _)| stream))
    }
}

/// A connection between processes of one machine whose reads and writes park the fiber.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut a, mut b) = UnixStream::pair()?;
/// let writer = cede::spawn(move || a.write_all(b"hello"));
/// let mut text = String::new();
/// b.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # writer.join().unwrap()
/// # }).unwrap().unwrap();
/// ```
pub struct UnixStream {
    source: Source,
    timeouts: Timeouts,
}

impl UnixStream {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { source: Source::new(fd)?, timeouts: Timeouts::default() })
    }

    /// Connects to a listener at a path. When its queue is full, this waits for room.
    ///
    /// # Errors
    ///
    /// Those of [`std::os::unix::net::UnixStream::connect`], a cancel or a deadline.
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_to(&SockAddr::unix(path)?)
    }

    /// Connects to an address: a path or, on Linux, an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    #[track_caller]
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<Self> {
        if let Some(path) = addr.as_pathname() {
            return Self::connect(path);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(addr) {
            // The system tells an abstract name by the zero in front of it.
            let name = [&[0], name].concat();
            let path = std::os::unix::ffi::OsStrExt::from_bytes(&name);
            return Self::connect_to(&SockAddr::unix::<&std::ffi::OsStr>(path)?);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "an address without a name"))
    }

    #[track_caller]
    fn connect_to(addr: &SockAddr) -> io::Result<Self> {
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
            match socket.connect(addr) {
                Ok(()) => return Self::new(socket.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(socket);
                    crate::sleep(CONNECT_RETRY)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Two streams that are each other's peer.
    ///
    /// # Errors
    ///
    /// When descriptors have run out, and on a thread without a runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        Ok((Self::new(a.into())?, Self::new(b.into())?))
    }

    fn std(&self) -> AsStd<'_, StdUnixStream> {
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

    pub(super) fn source(&self) -> (&Source, Option<cede_reactor::Nanos>) {
        (&self.source, self.timeouts.write_limit())
    }
}

socket_common!(UnixStream, StdUnixStream);
stream_io!(UnixStream, short_read_drains: false);
descriptor!(UnixStream, StdUnixStream, local_addr);
