//! Accepting TCP connections.
//!
//! The surprising rule: a connection that was accepted is not registered with the reactor until it
//! first has to wait, so one whose request is there already costs no more than its own calls.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, OwnedFd};

use cede_reactor::Direction;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::backoff::{Backoff, Endless};
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{AsStd, accept, set_nonblocking};
use super::source::Source;
use super::tcp::TcpStream;

/// Connections that wait to be accepted, unless a listener is told otherwise. The kernel cuts it to
/// `net.core.somaxconn`.
pub const BACKLOG_DEFAULT: i32 = 4096;

/// Settings of a listener that does not listen yet; see [`TcpListener::builder`].
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::net::TcpListener;
///
/// let listener = TcpListener::builder().backlog(4096).nodelay(true).bind("127.0.0.1:0")?;
/// assert_ne!(listener.local_addr()?.port(), 0);
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it binds"]
pub struct TcpListenerBuilder {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
    nodelay: bool,
}

impl TcpListenerBuilder {
    /// How many connections may wait to be accepted. Default: [`BACKLOG_DEFAULT`].
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether the address may be used again at once after a listener there has gone. Default: yes.
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether others may listen at the address too; the kernel spreads connections over them. With
    /// one such listener per shard no connection has to change its thread. Default: no.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether a listener at an IPv6 address takes no IPv4 connections. Default: the system's.
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = Some(on);
        self
    }

    /// Whether the accepted connections send small writes at once (`TCP_NODELAY`, which they
    /// inherit). Default: no.
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    #[track_caller]
    pub fn bind(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        each_address(addr, |addr| self.listen(addr))
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(self.reuse_address)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only), true) = (self.only_v6, addr.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(self.backlog)?;
        Ok(TcpListener { source: Source::new(socket.into())?, backoff: Backoff::default() })
    }
}

/// Accepts TCP connections; each `accept` parks the fiber until there is one.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let client = cede::spawn(move || TcpStream::connect(addr)?.write_all(b"hello"));
/// let (mut stream, _) = listener.accept()?;
/// let mut text = String::new();
/// stream.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # client.join().unwrap()
/// # }).unwrap().unwrap();
/// ```
pub struct TcpListener {
    source: Source,
    backoff: Backoff,
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
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::builder().bind(addr)
    }

    /// Listens at an address that others may listen at too; short for
    /// [`reuse_port`](TcpListenerBuilder::reuse_port).
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    #[track_caller]
    pub fn bind_shared(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::builder().reuse_port(true).bind(addr)
    }

    /// Settings for a listener.
    pub fn builder() -> TcpListenerBuilder {
        TcpListenerBuilder {
            backlog: BACKLOG_DEFAULT,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            nodelay: false,
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline; `EMFILE` and `ENFILE` when descriptors have run out: the connection
    /// stays in the queue, and the caller should close something or wait before it tries again, as
    /// [`accept_with_backoff`](Self::accept_with_backoff) does.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.source.run(Direction::Read, None, accept) {
                Ok((socket, addr)) => {
                    let addr = addr.as_socket();
                    let addr = addr.ok_or_else(|| io::Error::other("not an internet address"))?;
                    return Ok((TcpStream::new(socket)?, addr));
                }
                // The peer was gone before it was accepted: that is not this listener's failure.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a connection, also while descriptors have run out: then it sleeps, from
    /// [`ACCEPT_BACKOFF_FIRST`](super::ACCEPT_BACKOFF_FIRST) doubling to
    /// [`ACCEPT_BACKOFF_LAST`](super::ACCEPT_BACKOFF_LAST), and logs a warning once a second.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline.
    #[track_caller]
    pub fn accept_with_backoff(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.backoff.accept(|| self.accept())
    }

    /// An iterator that accepts for ever, like
    /// [`accept_with_backoff`](Self::accept_with_backoff). It ends only when the fiber was
    /// cancelled or its deadline has passed, after it has yielded that error.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, endless: Endless::new() }
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        AsStd::<StdTcpListener>::new(self.source.as_fd()).local_addr()
    }

    /// How many hops packets of accepted connections may travel.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        SockRef::from(&self.source).set_ttl_v4(ttl)
    }

    /// What [`set_ttl`](Self::set_ttl) was given.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        SockRef::from(&self.source).ttl_v4()
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
    pub fn from_std(listener: StdTcpListener) -> io::Result<Self> {
        let fd = OwnedFd::from(listener);
        set_nonblocking(fd.as_fd(), true)?;
        Ok(Self { source: Source::foreign(fd)?, backoff: Backoff::default() })
    }

    /// Gives the listener to std, whose `accept` blocks the thread.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<StdTcpListener> {
        let fd = self.source.into_fd();
        set_nonblocking(fd.as_fd(), false)?;
        Ok(fd.into())
    }
}

socket_options!(TcpListener, StdTcpListener);
descriptor!(TcpListener, StdTcpListener, local_addr);

impl<'a> IntoIterator for &'a TcpListener {
    type Item = io::Result<TcpStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

/// See [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    endless: Endless,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.endless.next(|| self.listener.accept_with_backoff().map(|(stream, _)| stream))
    }
}
