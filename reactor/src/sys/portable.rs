//! Everywhere else: polling's own wait, edge-triggered where the platform can.
//!
//! Where it cannot (Windows, some kqueue descriptors), registrations are armed again after each
//! event.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use super::RawSource;
use crate::readiness::{Direction, Readiness};

#[derive(Debug)]
pub(crate) struct Backend {
    poller: Arc<Poller>,
    events: Events,
}

impl Backend {
    /// polling does not ask for the end of a stream as an event of its own.
    #[cfg_attr(test, allow(dead_code, reason = "the tests run on Linux, whose backend has its own"))]
    pub(crate) const REPORTS_READ_CLOSED: bool = false;
    /// polling asks for a delete before the close.
    #[cfg_attr(test, allow(dead_code, reason = "the tests run on Linux, whose backend has its own"))]
    pub(crate) const CLOSE_DELETES: bool = false;

    pub(crate) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        if !poller.supports_edge() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the poller of this platform has no edge-triggered events, which cede needs",
            ));
        }
        Ok(Self { poller: Arc::new(poller), events: Events::new() })
    }

    pub(crate) fn notifier(&self) -> Notifier {
        Notifier { poller: Arc::clone(&self.poller) }
    }

    /// # Safety
    ///
    /// The source must stay open until it is deleted.
    pub(crate) unsafe fn add(&self, source: RawSource, token: u64) -> io::Result<()> {
        // SAFETY: handed on to the caller.
        unsafe { self.poller.add_with_mode(source, Event::all(token as usize), PollMode::Edge) }
    }

    /// Adds for both directions, whatever is asked for; adding again changes nothing.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add).
    #[cfg_attr(test, allow(dead_code, reason = "the tests run on Linux, whose backend has its own"))]
    pub(crate) unsafe fn add_or_replace(
        &self,
        source: RawSource,
        _writes: bool,
        token: u64,
    ) -> io::Result<()> {
        // SAFETY: handed on to the caller.
        match unsafe { self.add(source, token) } {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }

    /// Adds for one direction.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add).
    #[cfg_attr(test, allow(dead_code, reason = "the tests run on Linux, whose backend has its own"))]
    pub(crate) unsafe fn add_for(
        &self,
        source: RawSource,
        direction: Direction,
        token: u64,
    ) -> io::Result<()> {
        let event = match direction {
            Direction::Read => Event::readable(token as usize),
            Direction::Write => Event::writable(token as usize),
        };
        // SAFETY: handed on to the caller.
        unsafe { self.poller.add_with_mode(source, event, PollMode::Edge) }
    }

    pub(crate) fn delete(&self, source: RawSource) -> io::Result<()> {
        #[cfg(unix)]
        // SAFETY: the caller of `add` keeps the source open until this call.
        let source = unsafe { std::os::fd::BorrowedFd::borrow_raw(source) };
        #[cfg(windows)]
        // SAFETY: the caller of `add` keeps the source open until this call.
        let source = unsafe { std::os::windows::io::BorrowedSocket::borrow_raw(source) };
        self.poller.delete(source)
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        match self.poller.wait(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(drop),
        }
    }

    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, Readiness)) {
        for event in self.events.iter() {
            let mut ready = Readiness::NONE;
            if event.readable {
                ready |= Readiness::READABLE;
            }
            if event.writable {
                ready |= Readiness::WRITABLE;
            }
            if event.is_interrupt() || event.is_err().unwrap_or(false) {
                ready |= Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
            }
            f(event.key as u64, ready);
        }
    }
}

/// Wakes a reactor that sleeps, from any thread. Clones wake the same one.
#[derive(Debug, Clone)]
pub struct Notifier {
    poller: Arc<Poller>,
}

impl Notifier {
    /// Ends the current wait of the reactor, or the next one.
    pub fn notify(&self) {
        // A poller that cannot be notified has lost its descriptor; nobody waits on it then.
        let _ = self.poller.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn reports_a_connection_and_a_notification() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut backend = Backend::new().unwrap();
        // SAFETY: `server` is closed after the delete below.
        unsafe { backend.add(server.as_raw_fd(), 7).unwrap() };
        client.write_all(b"x").unwrap();
        let mut seen = Readiness::NONE;
        while !seen.intersects(Readiness::READABLE) {
            backend.wait(None).unwrap();
            backend.for_each(|token, ready| {
                assert_eq!(token, 7);
                seen |= ready;
            });
        }
        backend.delete(server.as_raw_fd()).unwrap();
        backend.notifier().notify();
        backend.wait(None).unwrap();
        backend.for_each(|_, _| panic!("a notification is not an event"));
    }
}
