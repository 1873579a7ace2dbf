//! What is to be sent on a connection that many fibers use.
//!
//! ```text
//!   fiber 1 --append--+
//!   fiber 2 --append--+--> bytes --swap--> one write by the writer's fiber
//!   fiber 3 --append--+
//! ```
//!
//! The surprising rule: nobody decides how much is sent together. The first append wakes the writer,
//! which runs behind all fibers that are ready by then; what those append goes out with it.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};

use cede_fiber::{Park, Ticket, Wait, WaitKind};

use crate::stream::Stream;

/// With so much to be sent appends wait, until the writer has taken it.
pub(crate) const OUT_BYTES_MAX: usize = 256 * 1024;
/// A buffer that has grown further than this is given back once it is sent.
const OUT_BYTES_KEPT: usize = 1024 * 1024;

/// Bytes gathered by many fibers of a shard, and sent by one of them.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: RefCell<Vec<u8>>,
    /// The writer, while it waits for the first byte.
    writer: Cell<Option<Ticket>>,
    /// Who waits for room, in the order of coming.
    waiting: RefCell<Vec<Ticket>>,
    is_closed: Cell<bool>,
    /// Appends since the writer has last taken the bytes.
    gathered: Cell<usize>,
    /// Bytes that were ever appended, and how many of these the stream has taken.
    appended: Cell<u64>,
    taken: Cell<u64>,
}

impl Outbox {
    /// Waits until there is room for another request.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline; [`NotConnected`](io::ErrorKind::NotConnected) when it is closed.
    pub(crate) fn wait_for_room(&self) -> io::Result<()> {
        loop {
            if self.is_closed.get() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            if self.bytes.borrow().len() < OUT_BYTES_MAX {
                return Ok(());
            }
            let park = Park::begin()?;
            self.waiting.borrow_mut().push(park.ticket());
            // The ticket of a wait that was given up is stale, and gone with the next write.
            park.wait(Wait::new(WaitKind::Send, std::ptr::from_ref(self) as u64), None)?;
        }
    }

    /// Appends to what is to be sent; `encode` must not park. Nothing is appended when it fails.
    ///
    /// # Errors
    ///
    /// What `encode` says; [`NotConnected`](io::ErrorKind::NotConnected) when it is closed.
    pub(crate) fn append<E: From<io::Error>>(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.gather(encode)?;
        self.rouse();
        Ok(())
    }

    /// The same, but the writer is not woken: that is left to a later append, or to
    /// [`rouse`](Self::rouse).
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    #[inline]
    pub(crate) fn gather<E: From<io::Error>>(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_closed.get() {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        }
        let mut bytes = self.bytes.borrow_mut();
        let len = bytes.len();
        if let Err(error) = encode(&mut bytes) {
            bytes.truncate(len);
            return Err(error);
        }
        self.appended.set(self.appended.get() + (bytes.len() - len) as u64);
        self.gathered.set(self.gathered.get() + 1);
        Ok(())
    }

    /// Has what is gathered sent.
    #[inline]
    pub(crate) fn rouse(&self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// How many appends wait for the writer.
    #[inline]
    pub(crate) fn gathered(&self) -> usize {
        self.gathered.get()
    }

    /// Sends what is gathered, again and again: the life of the writer's fiber. It ends well when
    /// the outbox is closed and everything is sent.
    ///
    /// # Errors
    ///
    /// Those of a write; a cancel.
    pub(crate) fn run(&self, stream: &Stream) -> io::Result<()> {
        let mut sending = Vec::new();
        loop {
            self.wait_for_bytes()?;
            std::mem::swap(&mut *self.bytes.borrow_mut(), &mut sending);
            self.gathered.set(0);
            for ticket in self.waiting.take() {
                ticket.wake();
            }
            if sending.is_empty() {
                return Ok(());
            }
            self.send(stream, &sending)?;
            sending.clear();
            if sending.capacity() > OUT_BYTES_KEPT {
                sending = Vec::new();
            }
        }
    }

    fn send(&self, mut stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.taken.set(self.taken.get() + n as u64);
                    bytes = &bytes[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stream.flush()
    }

    /// Takes back what was appended at this place, if the writer has not taken it; what is behind it
    /// moves up.
    #[cfg(feature = "postgres")]
    pub(crate) fn take_back(&self, start: u64, len: usize) -> bool {
        let mut bytes = self.bytes.borrow_mut();
        let first = self.appended.get() - bytes.len() as u64;
        let Some(at) = start.checked_sub(first) else { return false };
        let at = at as usize;
        bytes.drain(at..at + len);
        self.appended.set(self.appended.get() - len as u64);
        self.gathered.set(self.gathered.get().saturating_sub(1));
        if bytes.len() < OUT_BYTES_MAX {
            // The writer may have nothing left to take, and would not wake them.
            for ticket in self.waiting.take() {
                ticket.wake();
            }
        }
        true
    }

    /// Whether an append need not wait.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_closed.get() && self.bytes.borrow().len() < OUT_BYTES_MAX
    }

    /// How many bytes were ever appended: where the next request begins.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.get()
    }

    /// How many of these the stream has taken. A request that begins there or later has certainly
    /// not reached the peer.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.get()
    }

    fn wait_for_bytes(&self) -> io::Result<()> {
        while self.bytes.borrow().is_empty() && !self.is_closed.get() {
            let park = Park::begin()?;
            self.writer.set(Some(park.ticket()));
            park.wait(Wait::new(WaitKind::Receive, std::ptr::from_ref(self) as u64), None)?;
        }
        Ok(())
    }

    /// Whether it refuses appends.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Refuses further appends and wakes everybody who waits.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        for ticket in self.waiting.take().into_iter().chain(self.writer.take()) {
            ticket.wake();
        }
    }
}

/// What is not sent in time is not sent at all.
#[inline]
pub(crate) fn check_deadline() -> io::Result<()> {
    match cede_fiber::deadline() {
        Some(at) if at <= std::time::Instant::now() => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::rc::Rc;

    use cede_fiber::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Stream::Tcp(stream), listener.accept().unwrap().0)
    }

    fn append(outbox: &Outbox, bytes: &[u8]) -> io::Result<()> {
        outbox.append(|out| {
            out.extend_from_slice(bytes);
            Ok(())
        })
    }

    #[test]
    fn what_fibers_append_in_one_turn_arrives_in_order_and_together() {
        cede_fiber::run(|| {
            let (stream, mut peer) = pair();
            let outbox = Rc::new(Outbox::default());
            let there = Rc::clone(&outbox);
            let writer = cede_fiber::spawn(move || there.run(&stream));
            cede_fiber::yield_now();
            let fibers = [b"one ", b"two ", b"six "].map(|bytes| {
                let outbox = Rc::clone(&outbox);
                cede_fiber::spawn(move || append(&outbox, bytes))
            });
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
            let mut buf = [0; 64];
            let n = peer.read(&mut buf).unwrap();
            assert_eq!(&buf[..n], b"one two six ");
            outbox.close();
            writer.join().unwrap().unwrap();
            assert_eq!(append(&outbox, b"x").unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert_eq!((outbox.appended(), outbox.taken()), (12, 12));
        })
        .unwrap();
    }

    #[test]
    fn a_full_outbox_makes_appends_wait_until_it_is_taken() {
        cede_fiber::run(|| {
            let (stream, peer) = pair();
            let outbox = Rc::new(Outbox::default());
            append(&outbox, &vec![7; OUT_BYTES_MAX]).unwrap();
            let there = Rc::clone(&outbox);
            let late = cede_fiber::spawn(move || {
                there.wait_for_room()?;
                append(&there, b"late")
            });
            cede_fiber::yield_now();
            assert!(!late.is_finished());
            let there = Rc::clone(&outbox);
            let writer = cede_fiber::spawn(move || there.run(&stream));
            let all = cede_fiber::spawn(move || {
                let mut all = Vec::new();
                (&peer).read_to_end(&mut all).map(|_| all)
            });
            late.join().unwrap().unwrap();
            outbox.close();
            writer.join().unwrap().unwrap();
            let all = all.join().unwrap().unwrap();
            assert_eq!(all.len(), OUT_BYTES_MAX + 4);
            assert!(all.ends_with(b"\x07late"));
        })
        .unwrap();
    }

    #[test]
    fn an_encoding_that_fails_leaves_nothing_behind() {
        let outbox = Outbox::default();
        let failed: io::Result<()> = outbox.append(|out| {
            out.extend_from_slice(b"half");
            Err(io::ErrorKind::InvalidInput.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(outbox.bytes.borrow().is_empty());
    }
}
