//! A connection that speaks another protocol from here on.
//!
//! The surprising rule: bytes of the new protocol may have come with the request; they are read
//! first, and who takes the stream out has to take them too.

use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;

use cede_fiber::net::TcpStream;

use super::watch::Link;

/// The raw stream of a connection, after the head of the response.
pub struct Upgraded {
    link: Rc<Link>,
    buffered: Vec<u8>,
    start: usize,
}

impl Upgraded {
    pub(super) fn new(link: Rc<Link>, buffered: Vec<u8>) -> Self {
        Self { link, buffered, start: 0 }
    }

    /// The stream, for its address and time-outs. Reads from it miss what has come already.
    pub fn stream(&self) -> &TcpStream {
        &self.link.stream
    }

    /// Another value for the stream, and the bytes that have come and are to be read before any of
    /// the stream's. The connection ends when that value is dropped and the closure has returned.
    ///
    /// # Errors
    ///
    /// When descriptors have run out.
    pub fn into_parts(mut self) -> io::Result<(TcpStream, Vec<u8>)> {
        self.buffered.drain(..self.start);
        Ok((self.link.stream.try_clone()?, self.buffered))
    }
}

impl Read for Upgraded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.buffered.get(self.start..).unwrap_or_default();
        if rest.is_empty() {
            return (&self.link.stream).read(buf);
        }
        let n = rest.read(buf)?;
        self.start += n;
        Ok(n)
    }
}

impl Write for Upgraded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.link.stream).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.link.stream).flush()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").field("stream", &self.link.stream).finish_non_exhaustive()
    }
}
