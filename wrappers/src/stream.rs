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
