//! The stream of a client: TCP, a UNIX socket, or TLS over TCP.
//!
//! The rule of this file: it is read by one fiber and written by another one at the same time, so it
//! reads and writes by shared reference.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use cede_fiber::net::{TcpStream, UnixStream};

/// A connection to a server.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::TlsStream>),
}

impl Stream {
    /// Ends both directions: whoever reads or writes finds the end.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.shutdown(),
        }
    }

    /// Whether the peer has sent nothing that was not read, not even an end.
    #[cfg(feature = "redis")]
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let peeked = match self {
            Self::Tcp(stream) => {
                let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
                stream.set_nonblocking(false).and(peeked)
            }
            Self::Unix(stream) => {
                let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
                stream.set_nonblocking(false).and(peeked)
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => return stream.is_quiet(),
        };
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Stream {
    /// Has reads that wait woken when so many bytes have come; false where that is not possible.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_receive_low_water(&self, bytes: usize) -> bool {
        match self {
            Self::Tcp(stream) => stream.set_receive_low_water(bytes).is_ok(),
            // The poller of Linux does not look at the mark of a UNIX socket.
            Self::Unix(_) => false,
            // A record may be shorter than what is awaited in it.
            #[cfg(feature = "tls")]
            Self::Tls(_) => false,
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => Read::read(&mut &*stream, buf),
            Stream::Unix(stream) => Read::read(&mut &*stream, buf),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Read::read(&mut &**stream, buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => Write::write(&mut &*stream, buf),
            Stream::Unix(stream) => Write::write(&mut &*stream, buf),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Write::write(&mut &**stream, buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Write::flush(&mut &**stream),
        }
    }
}
