//! TLS for the clients.
//!
//! The rule of this module: it is rustls without any I/O of its own; bytes come and go by the sockets
//! of fibers, and files are read on the blocking pool.

mod config;
#[cfg(feature = "postgres")]
mod digest;
mod stream;
#[cfg(test)]
mod tests;

use std::io;

use cede_fiber::net::TcpStream;

pub(crate) use config::{Roots, TlsConfig, TlsOptions, Verify};
pub(crate) use stream::TlsStream;

use crate::stream::Stream;

/// Does the handshake; the host's name, or its address, is what the certificate must be for.
///
/// # Errors
///
/// What the handshake says: an error of rustls is [`InvalidData`](io::ErrorKind::InvalidData) and
/// says what to do. What the socket says; a cancel or a deadline.
pub(crate) fn connect(stream: TcpStream, host: &str, config: &TlsConfig) -> io::Result<Stream> {
    TlsStream::connect(stream, host, config).map(|stream| Stream::Tls(Box::new(stream)))
}
