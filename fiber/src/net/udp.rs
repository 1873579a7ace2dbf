//! UDP.
//!
//! The rule of this file: a datagram is read whole or cut, never in parts, so a short read says
//! nothing of what else is there, and a socket is read until it says "would block".

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use cede_reactor::Direction;

use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{AsStd, Timeouts, set_nonblocking};
use super::source::Source;

/// A UDP socket whose sends and receives park the fiber.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::net::UdpSocket;
///
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// a.send_to(b"ping", b.local_addr()?)?;
/// let mut buf = [0; 16];
/// let (n, from) = b.recv_from(&mut buf)?;
/// assert_eq!((&buf[..n], from), (&b"ping"[..], a.local_addr()?));
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub struct UdpSocket {
    source: Source,
    timeouts: Timeouts,
}

impl UdpSocket {
    /// A socket at an address; port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// Those of [`std::net::UdpSocket::bind`], and on a thread without a runtime.
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        each_address(addr, |addr| {
            // A bind to an address in digits does not wait.
            let fd = OwnedFd::from(StdUdpSocket::bind(addr)?);
            set_nonblocking(fd.as_fd(), true)?;
            Ok(Self { source: Source::new(fd)?, timeouts: Timeouts::default() })
        })
    }

    fn std(&self) -> AsStd<'_, StdUdpSocket> {
        AsStd::new(self.source.as_fd())
    }

    /// Receives a datagram and who sent it. What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// What the system says, a time-out, a cancel or a deadline.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let limit = self.timeouts.read_limit();
        self.source.run(Direction::Read, limit, |fd| AsStd::<StdUdpSocket>::new(fd).recv_from(buf))
    }

    /// Like [`recv_from`](Self::recv_from), but the datagram stays where it is.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let limit = self.timeouts.read_limit();
        self.source.run(Direction::Read, limit, |fd| AsStd::<StdUdpSocket>::new(fd).peek_from(buf))
    }

    /// Sends a datagram to the first of these addresses.
    ///
    /// # Errors
    ///
    /// What the system says, a time-out, a cancel or a deadline.
    #[track_caller]
    pub fn send_to(&self, buf: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let first = addr.to_socket_addrs()?.next();
        let addr = first.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to")
        })?;
        let limit = self.timeouts.write_limit();
        self.source
            .run(Direction::Write, limit, |fd| AsStd::<StdUdpSocket>::new(fd).send_to(buf, addr))
    }

    /// Fixes the peer: [`send`](Self::send) goes there, and [`recv`](Self::recv) takes only what
    /// comes from there.
    ///
    /// # Errors
    ///
    /// What the system says, and what resolving the name says.
    #[track_caller]
    pub fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        each_address(addr, |addr| self.std().connect(addr))
    }

    /// Receives a datagram from the peer.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = self.timeouts.read_limit();
        self.source.run(Direction::Read, limit, |fd| AsStd::<StdUdpSocket>::new(fd).recv(buf))
    }

    /// Like [`recv`](Self::recv), but the datagram stays where it is.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = self.timeouts.read_limit();
        self.source.run(Direction::Read, limit, |fd| AsStd::<StdUdpSocket>::new(fd).peek(buf))
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        let limit = self.timeouts.write_limit();
        self.source.run(Direction::Write, limit, |fd| AsStd::<StdUdpSocket>::new(fd).send(buf))
    }
}

/// Calls that are std's, with std's names.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl UdpSocket {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn $name(&self, $($arg: $type),*) -> io::Result<$result> {
                self.std().$name($($arg),*)
            }
        )*}
    };
}

options! {
    /// The address of this end.
    local_addr() -> SocketAddr;
    /// The address of the peer, once connected.
    peer_addr() -> SocketAddr;
    /// Whether it may send to broadcast addresses.
    set_broadcast(on: bool) -> ();
    /// Whether it may send to broadcast addresses.
    broadcast() -> bool;
    /// How many hops datagrams may travel.
    set_ttl(ttl: u32) -> ();
    /// How many hops datagrams may travel.
    ttl() -> u32;
    /// Whether this host receives what it sends to a group (IPv4).
    set_multicast_loop_v4(on: bool) -> ();
    /// Whether this host receives what it sends to a group (IPv4).
    multicast_loop_v4() -> bool;
    /// How many hops datagrams to a group may travel (IPv4).
    set_multicast_ttl_v4(ttl: u32) -> ();
    /// How many hops datagrams to a group may travel (IPv4).
    multicast_ttl_v4() -> u32;
    /// Whether this host receives what it sends to a group (IPv6).
    set_multicast_loop_v6(on: bool) -> ();
    /// Whether this host receives what it sends to a group (IPv6).
    multicast_loop_v6() -> bool;
    /// Joins a group on the interface with this address.
    join_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Joins a group on the interface with this index; 0 lets the system choose.
    join_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
    /// Leaves a group.
    leave_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Leaves a group.
    leave_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
}

socket_common!(UdpSocket, StdUdpSocket);
descriptor!(UdpSocket, StdUdpSocket, local_addr);
