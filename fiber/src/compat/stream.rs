//! cede's streams with the I/O traits of async crates.
//!
//! A poll that would block registers the task's waker with the shard's reactor: the fiber that runs
//! the future is not parked in the middle of a poll, so other futures joined with it go on.

#![allow(private_interfaces, reason = "the sealed trait hands out what nobody outside can name")]

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use cede_reactor::Direction;

use crate::net::{Source, TcpStream, UnixStream};
use crate::shard;
use crate::wait::Ticket;

/// A stream of cede with `AsyncRead` and `AsyncWrite` of futures-io (feature `compat-futures`) and
/// of tokio (feature `compat-tokio`).
///
/// It is bound to its shard like the stream inside, and for use in
/// [`block_on`](crate::block_on). One task at a time may wait for reading and one for writing: of
/// two readers the one that asked last is woken.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # use std::io::Write;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::compat::Async;
/// use cede::net::UnixStream;
///
/// let (ours, mut theirs) = UnixStream::pair()?;
/// cede::spawn(move || theirs.write_all(b"hi"));
/// let stream = Async::new(ours);
/// let mut buffer = [0; 2];
/// let n = cede::block_on(stream.read(&mut buffer))??;
/// assert_eq!(&buffer[..n], b"hi");
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub struct Async<S: AsyncStream> {
    stream: S,
    reader: Slot,
    writer: Slot,
}

mod sealed {
    use super::io;
    use crate::net::Source;

    pub trait Sealed {
        /// Whether a read that brings less than was asked for proves that there is no more. Not for
        /// a Unix stream, where it may have stopped at a message with descriptors.
        const SHORT_READ_DRAINS: bool;

        fn io(&self) -> &Source;
        fn close_write(&self) -> io::Result<()>;
    }
}

/// Streams that [`Async`] can hold: [`TcpStream`] and [`UnixStream`].
pub trait AsyncStream: sealed::Sealed {}

impl AsyncStream for TcpStream {}
impl AsyncStream for UnixStream {}

/// The place of the task that waits in one direction: the last one that polled.
#[derive(Debug, Default)]
struct Slot(Cell<Option<Ticket>>);

impl Slot {
    /// Tries an operation; on "would block" the task is registered and nothing is parked.
    fn poll<T>(
        &self,
        source: &Source,
        direction: Direction,
        context: &Context<'_>,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if source.ends_turn() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if !source.is_ready(direction) && self.register(source, direction, context.waker())? {
                return Poll::Pending;
            }
            match operation(source.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.blocked(direction)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    source.count_operation();
                    return Poll::Ready(done);
                }
            }
        }
    }

    /// Registers a waker. False: the direction has become ready.
    fn register(&self, source: &Source, direction: Direction, waker: &Waker) -> io::Result<bool> {
        let mut waker = waker.clone();
        let registered = shard::with(|shard| {
            if let Some(ticket) = self.0.get()
                && let Some(former) = shard.tasks.replace(ticket, waker.clone())
            {
                waker = former;
                return true;
            }
            let ticket = shard.tasks.add(waker.clone());
            let waits = source.wait_with(direction, ticket);
            self.0.set(waits.then_some(ticket));
            if !waits {
                drop(shard.tasks.remove(ticket));
            }
            waits
        });
        registered.ok_or_else(crate::cancel::not_in_fiber_error)
    }
}

impl<S: AsyncStream> Async<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, reader: Slot::default(), writer: Slot::default() }
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Reads some bytes; 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// As the stream's own read.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read_bytes(context, buf)).await
    }

    /// Writes some bytes and returns how many.
    ///
    /// # Errors
    ///
    /// As the stream's own write.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_write_bytes(context, buf)).await
    }

    fn poll_read_bytes(&self, context: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let asked = buf.len();
        let receive = |fd: BorrowedFd<'_>| crate::net::receive(fd, buf, 0);
        let polled = self.reader.poll(self.stream.io(), Direction::Read, context, receive);
        if let Poll::Ready(Ok(n)) = polled
            && S::SHORT_READ_DRAINS
            && (1..asked).contains(&n)
        {
            self.stream.io().short_read();
        }
        polled
    }

    fn poll_write_bytes(&self, context: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let send = |fd: BorrowedFd<'_>| crate::net::send(fd, buf);
        self.writer.poll(self.stream.io(), Direction::Write, context, send)
    }
}

impl<S: AsyncStream> Drop for Async<S> {
    fn drop(&mut self) {
        for (slot, direction) in [(&self.reader, Direction::Read), (&self.writer, Direction::Write)]
        {
            if let Some(ticket) = slot.0.take() {
                self.stream.io().unwait_with(direction, ticket);
                drop(shard::with(|shard| shard.tasks.remove(ticket)));
            }
        }
    }
}

impl<S: AsyncStream + fmt::Debug> fmt::Debug for Async<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(&self.stream).finish()
    }
}

impl sealed::Sealed for TcpStream {
    const SHORT_READ_DRAINS: bool = true;

    fn io(&self) -> &Source {
        self.io()
    }

    fn close_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl sealed::Sealed for UnixStream {
    const SHORT_READ_DRAINS: bool = false;

    fn io(&self) -> &Source {
        self.io()
    }

    fn close_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// A peer that is gone needs no goodbye.
fn closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}

#[cfg(feature = "compat-futures")]
impl<S: AsyncStream + Unpin> futures_io::AsyncRead for Async<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_bytes(context, buf)
    }
}

#[cfg(feature = "compat-futures")]
impl<S: AsyncStream + Unpin> futures_io::AsyncWrite for Async<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(closed(self.stream.close_write()))
    }
}

#[cfg(feature = "compat-tokio")]
impl<S: AsyncStream + Unpin> tokio::io::AsyncRead for Async<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = std::task::ready!(self.poll_read_bytes(context, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "compat-tokio")]
impl<S: AsyncStream + Unpin> tokio::io::AsyncWrite for Async<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(closed(self.stream.close_write()))
    }
}
