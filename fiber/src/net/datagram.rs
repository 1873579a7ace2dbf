//! Unix datagram sockets.
//!
//! The surprising rule: a send waits when the *receiver's* queue is full, and the kernel reports
//! room there only to a socket that is connected to it. A send to an unconnected peer therefore
//! tries again after a short sleep.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::path::Path;
use std::time::Duration;

use cede_reactor::Direction;

use super::socket::{AsStd, Timeouts, set_nonblocking};
use super::source::Source;

/// Between two attempts to send to a peer, by name, whose queue is full.
const SEND_RETRY: Duration = Duration::from_millis(1);

/// A socket for datagrams between processes of one machine whose sends and receives park the fiber.
pub struct UnixDatagram {
    source: Source,
    timeouts: Timeouts,
}

impl UnixDatagram {
    fn new(socket: StdUnixDatagram) -> io::Result<Self> {
        let fd = OwnedFd::from(socket);
        set_nonblocking(fd.as_fd(), true)?;
        Ok(Self { source: Source::new(fd)?, timeouts: Timeouts::default() })
    }

    /// A socket at a path, which must not exist. The file stays when the socket is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`std::os::unix::net::UnixDatagram::bind`], and on a thread without a runtime.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(StdUnixDatagram::bind(path)?)
    }

    /// A socket at an address: a path or, on Linux, an abstract name.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<Self> {
        Self::new(StdUnixDatagram::bind_addr(addr)?)
    }

    /// A socket without a name, which can send and, once connected, receive.
    ///
    /// # Errors
    ///
    /// When descriptors have run out, and on a thread without a runtime.
    pub fn unbound() -> io::Result<Self> {
        Self::new(StdUnixDatagram::unbound()?)
    }

    /// Two sockets that are each other's peer.
    ///
    /// # Errors
    ///
    /// As [`unbound`](Self::unbound).
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = StdUnixDatagram::pair()?;
        Ok((Self::new(a)?, Self::new(b)?))
    }

    fn std(&self) -> AsStd<'_, StdUnixDatagram> {
        AsStd::new(self.source.as_fd())
    }

    /// Fixes the peer.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.std().connect(path)
    }

    /// Fixes the peer.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.std().connect_addr(addr)
    }

    /// Receives a datagram and who sent it. What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// What the system says, a time-out, a cancel or a deadline.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let limit = self.timeouts.read_limit();
        self.source
            .run(Direction::Read, limit, |fd| AsStd::<StdUnixDatagram>::new(fd).recv_from(buf))
    }

    /// Receives a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = self.timeouts.read_limit();
        self.source.run(Direction::Read, limit, |fd| AsStd::<StdUnixDatagram>::new(fd).recv(buf))
    }

    /// Sends a datagram to the socket at a path.
    ///
    /// # Errors
    ///
    /// What the system says, a time-out, a cancel or a deadline.
    #[track_caller]
    pub fn send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_by_name(|socket| socket.send_to(buf, path.as_ref()))
    }

    /// Sends a datagram to the socket at an address.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    #[track_caller]
    pub fn send_to_addr(&self, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
        self.send_by_name(|socket| socket.send_to_addr(buf, addr))
    }

    #[track_caller]
    fn send_by_name(
        &self,
        send: impl Fn(&StdUnixDatagram) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let attempt = || loop {
            match send(&self.std()) {
                Err(e)
                    if e.kind() == io::ErrorKind::WouldBlock && !self.source.is_nonblocking() =>
                {
                    crate::sleep(SEND_RETRY)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        };
        match self.timeouts.write() {
            Some(timeout) => crate::with_deadline(timeout, attempt),
            None => attempt(),
        }
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        let limit = self.timeouts.write_limit();
        self.source.run(Direction::Write, limit, |fd| AsStd::<StdUnixDatagram>::new(fd).send(buf))
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// The address of the peer.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// Ends one direction or both.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }
}

socket_common!(UnixDatagram, StdUnixDatagram);
descriptor!(UnixDatagram, StdUnixDatagram, local_addr);
