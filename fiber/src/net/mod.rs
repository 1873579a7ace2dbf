//! Sockets with std's names: a call that would block parks the fiber instead.
//!
//! Every stream implements [`Read`](std::io::Read) and [`Write`](std::io::Write) for itself and for
//! `&` of itself, like std's, so what is generic over them works unchanged. The types stay on their
//! shard; what moves to another one is std's type, by `into_std` here and `from_std` there.
//!
//! `set_nonblocking(true)` does what std's does, for the calls of one value: they return
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock) where they would have parked.
//!
//! | from std | here |
//! |---|---|
//! | `std::net::{TcpListener, TcpStream, UdpSocket, ToSocketAddrs}` | the same names |
//! | `std::os::unix::net::{UnixListener, UnixStream, UnixDatagram}` | the same names |
//! | `std::net::{SocketAddr, IpAddr, Shutdown, ..}` | std's own, re-exported |

#[macro_use]
mod stream;
mod backoff;
mod datagram;
mod listener;
mod ready;
mod resolve;
mod sendfile;
mod socket;
mod source;
mod split;
mod tcp;
mod udp;
mod unix;

pub use backoff::{ACCEPT_BACKOFF_FIRST, ACCEPT_BACKOFF_LAST};
pub use datagram::UnixDatagram;
pub use listener::{BACKLOG_DEFAULT, Incoming, TcpListener, TcpListenerBuilder};
pub use ready::{wait_readable, wait_writable};
pub use resolve::{NAME_BYTES_MAX, NAME_KEPT, NAMES_KEPT_MAX, ToSocketAddrs};
pub use sendfile::{SENDFILE_BYTES_MAX, SendFile, copy, copy_file, sendfile};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tcp::TcpStream;
pub use udp::UdpSocket;
pub use unix::{UnixIncoming, UnixListener, UnixStream};

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};

pub(crate) use socket::set_nonblocking;
#[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
pub(crate) use socket::{receive, send};
pub(crate) use source::{OPERATIONS_PER_TURN, Source};
pub(crate) use stream::by_reference;
