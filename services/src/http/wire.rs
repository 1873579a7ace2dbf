//! The sending side of a connection: bytes are collected and sent together.
//!
//! The rule of this file: whoever is about to wait for the peer calls [`Wire::flush`] first, or
//! both could wait for each other. A handler that waits for something else does not know of what
//! was collected before it ran: for that there is the [`Flusher`], a fiber that is made ready when
//! such a handler is called, and so runs as soon as the handler gives up control. After a send that
//! failed nothing is sent any more: a response behind a torn one would be read as a part of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::Fiber;
use cede_fiber::net::TcpStream;

use super::body_writer::Outgoing;
use super::config::OUT_BYTES_MAX;
use super::pace::{Pace, Waited};
use super::watch::Link;

/// What a connection has to send; the flusher sees it too.
#[derive(Default)]
pub(super) struct Output {
    /// Borrowed across a write's wait by the connection's own fiber. Empty while it is idle.
    bytes: RefCell<Vec<u8>>,
    /// A streamed response has begun here and none of it is sent: it can still be taken back.
    held: Cell<Option<usize>>,
    /// The flusher has it on its list.
    is_listed: Cell<bool>,
}

impl Output {
    /// Sends what the socket takes at once. Errors are for the connection's own fiber to find.
    fn send_some(&self, stream: &TcpStream) {
        let Ok(mut bytes) = self.bytes.try_borrow_mut() else { return };
        let held = self.held.get();
        let ready = bytes.get(..held.unwrap_or(bytes.len())).unwrap_or_default();
        if ready.is_empty() {
            return;
        }
        if let Ok(n) = stream.write_in_place(ready) {
            bytes.drain(..n);
            self.held.set(held.map(|start| start - n));
        }
    }
}

/// Sends the responses of earlier requests when the handler of a later one waits.
///
/// A handler that does not wait is done before the flusher runs, and then nothing is left to send:
/// requests that came together are still answered by one write.
#[derive(Default)]
pub(super) struct Flusher {
    list: RefCell<Vec<Rc<Link>>>,
    fiber: OnceCell<Fiber>,
}

impl Flusher {
    /// Says which fiber [runs](Self::run) it.
    pub(super) fn set_fiber(&self, fiber: Fiber) {
        // There is one for each shard, set once.
        let _ = self.fiber.set(fiber);
    }

    /// A handler is about to be called on a connection that may have something to send.
    #[inline]
    pub(super) fn before_handler(&self, link: &Rc<Link>) {
        let output = &link.output;
        if !output.bytes.borrow().is_empty() && !output.is_listed.replace(true) {
            self.list.borrow_mut().push(Rc::clone(link));
            if let Some(fiber) = self.fiber.get() {
                fiber.wakeup();
            }
        }
    }

    /// Serves until the fiber is cancelled.
    pub(super) fn run(&self) {
        while cede_fiber::park().is_ok() {
            while let Some(link) = self.next() {
                link.output.is_listed.set(false);
                link.output.send_some(&link.stream);
            }
        }
    }

    fn next(&self) -> Option<Rc<Link>> {
        self.list.borrow_mut().pop()
    }
}

/// The output of one connection while it is busy.
pub(super) struct Wire<'c> {
    pub(super) stream: &'c TcpStream,
    /// What is to be sent.
    pub(super) out: &'c RefCell<Vec<u8>>,
    held: &'c Cell<Option<usize>>,
    /// A send has failed, and the peer may have got a part of what was to be sent.
    broken: Cell<bool>,
    pace: Pace,
    waited: Cell<Waited>,
    /// The body of a streamed response.
    pub(super) body: RefCell<Option<Outgoing>>,
}

impl<'c> Wire<'c> {
    /// With an empty buffer to collect in.
    pub(super) fn new(link: &'c Link, out: Vec<u8>, pace: Pace) -> Self {
        let Output { bytes, held, .. } = &link.output;
        bytes.replace(out);
        held.set(None);
        let (broken, body, waited) = (Cell::new(false), RefCell::new(None), Cell::default());
        Self { stream: &link.stream, out: bytes, held, broken, pace, waited, body }
    }

    /// Hands the buffer back.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.out.take()
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

    /// Whether a send has failed: the peer has gone, or takes nothing.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
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
        let result = self.send_all(bytes);
        if let Err(error) = &result {
            self.broken.set(true);
            if error.kind() == io::ErrorKind::TimedOut {
                // Else the system would keep megabytes for a peer that does not take them, for
                // minutes after this end has closed.
                let _ = self.stream.set_linger(Some(Duration::ZERO));
            }
        }
        result
    }

    /// Sends all of `bytes`. The socket's buffer takes most responses at once, and then no clock is
    /// read for the time-out.
    #[inline]
    fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.try_write(bytes) {
            Ok(n) if n == bytes.len() => Ok(()),
            Ok(n) => self.send_slowly(bytes.get(n..).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.send_slowly(bytes),
            Err(error) => Err(error),
        }
    }

    /// Waits for room as long as the peer keeps its pace. The system says that there is room when a
    /// third of its buffer is free, which may be megabytes: so at the end of a wait it is asked what
    /// the peer has taken meanwhile.
    #[cold]
    fn send_slowly(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut waited = self.waited.get();
        let mut queued = self.stream.unacknowledged().unwrap_or(0);
        while !bytes.is_empty() {
            let mut stream = self.stream;
            let sent = waited.wait(self.pace, |left| {
                stream.set_write_timeout(Some(left))?;
                stream.write(bytes)
            });
            let now = self.stream.unacknowledged().unwrap_or(0);
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                // A deadline of the handler's own is none of the peer's doing.
                Err(_) if waited.is_used_up(self.pace) && now < queued => {
                    waited.progress(queued - now, self.pace);
                }
                Err(error) => return Err(error),
            }
            queued = now;
        }
        self.waited.set(waited);
        Ok(())
    }
}
