//! The sending side of a connection: bytes are collected and sent together.
//!
//! The rule of this file: whoever is about to wait for the peer calls [`Wire::flush`] first, or
//! both could wait for each other. After a send that failed nothing is sent any more: a response
//! behind a torn one would be read as a part of it.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};

use cede_fiber::net::TcpStream;

use super::body_writer::Outgoing;
use super::config::OUT_BYTES_MAX;

/// The output of one connection while it is busy.
pub(super) struct Wire<'c> {
    pub(super) stream: &'c TcpStream,
    /// What is to be sent. Borrowed across a write's wait by the one fiber that uses it.
    pub(super) out: RefCell<Vec<u8>>,
    /// A streamed response has begun here and none of it is sent: it can still be taken back.
    held: Cell<Option<usize>>,
    /// A send has failed, and the peer may have got a part of what was to be sent.
    broken: Cell<bool>,
    /// The body of a streamed response.
    pub(super) body: RefCell<Option<Outgoing>>,
}

impl<'c> Wire<'c> {
    pub(super) fn new(stream: &'c TcpStream, out: Vec<u8>) -> Self {
        let (held, broken) = (Cell::new(None), Cell::new(false));
        Self { stream, out: RefCell::new(out), held, broken, body: RefCell::new(None) }
    }

    /// A streamed response begins, which an error may still take back.
    pub(super) fn hold(&self) {
        self.held.set(Some(self.out.borrow().len()));
    }

    /// Sends what was collected before the streamed response.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub(super) fn flush_before_held(&self) -> io::Result<()> {
        let Some(start) = self.held.get().filter(|start| *start > 0) else { return Ok(()) };
        let mut out = self.out.borrow_mut();
        let result = self.send(out.get(..start).unwrap_or_default());
        out.drain(..start);
        self.held.set(Some(0));
        result
    }

    /// Whether a streamed response has begun and could be taken back.
    pub(super) fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// Takes the streamed response back; `false` when some of it has been sent.
    pub(super) fn take_back(&self) -> bool {
        let start = self.held.take();
        if let Some(start) = start {
            self.out.borrow_mut().truncate(start);
            self.body.replace(None);
        }
        start.is_some()
    }

    /// The streamed response is as it will be.
    pub(super) fn release(&self) {
        self.held.set(None);
    }

    /// Sends all that was collected.
    ///
    /// # Errors
    ///
    /// What the system says; [`TimedOut`](io::ErrorKind::TimedOut) when the peer takes nothing for
    /// the send time-out. The connection is then of no use any more, and each later flush fails.
    #[inline]
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        if out.is_empty() && !self.broken.get() {
            return Ok(());
        }
        self.held.set(None);
        let result = self.send(&out);
        out.clear();
        result
    }

    /// Sends all that was collected, what is not in a chunk yet included.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub(super) fn flush_body(&self) -> io::Result<()> {
        if let Some(body) = &mut *self.body.borrow_mut() {
            body.put_pending(self)?;
        }
        self.flush()
    }

    /// Sends when much has been collected.
    #[inline]
    pub(super) fn flush_if_full(&self) -> io::Result<()> {
        let full = self.out.borrow().len() >= OUT_BYTES_MAX;
        if full { self.flush() } else { Ok(()) }
    }

    /// Sends what was collected and then these bytes, without a copy of them.
    pub(super) fn send_through(&self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.send(bytes)
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        if self.broken.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let result = send(self.stream, bytes);
        self.broken.set(result.is_err());
        result
    }
}

/// Sends all of `bytes`. The socket's buffer takes most responses at once, and then no clock is
/// read for the time-out.
#[inline]
fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    match stream.try_write(bytes) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(n) => send_slowly(stream, bytes.get(n..).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => send_slowly(stream, bytes),
        Err(error) => Err(error),
    }
}

#[cold]
fn send_slowly(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}
