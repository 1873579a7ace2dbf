//! System calls and helpers that the socket types share.
//!
//! The rule of this file: every descriptor is made non-blocking and closed on exec by the call that
//! makes it, so that no other thread's fork can inherit it half made.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use cede_reactor::Nanos;
use socket2::SockAddr;

use crate::deadline::Deadline;
use crate::shard;

/// The time-outs of a socket: those of std, but kept on this side.
#[derive(Debug, Default)]
pub(crate) struct Timeouts {
    read: Cell<Option<Duration>>,
    write: Cell<Option<Duration>>,
}

impl Timeouts {
    pub(crate) fn set_read(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read.set(checked(timeout)?);
        Ok(())
    }

    pub(crate) fn set_write(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write.set(checked(timeout)?);
        Ok(())
    }

    pub(crate) fn read(&self) -> Option<Duration> {
        self.read.get()
    }

    pub(crate) fn write(&self) -> Option<Duration> {
        self.write.get()
    }

    /// When a read that begins now must be over.
    #[inline]
    pub(crate) fn read_limit(&self) -> Option<Nanos> {
        self.read.get().and_then(limit)
    }

    /// When a write that begins now must be over.
    #[inline]
    pub(crate) fn write_limit(&self) -> Option<Nanos> {
        self.write.get().and_then(limit)
    }
}

impl Clone for Timeouts {
    fn clone(&self) -> Self {
        Self { read: Cell::new(self.read.get()), write: Cell::new(self.write.get()) }
    }
}

/// A moment on the shard's clock.
pub(crate) fn limit(timeout: Duration) -> Option<Nanos> {
    shard::with(|shard| Deadline::from(timeout).nanos(&*shard.clock))
}

fn checked(timeout: Option<Duration>) -> io::Result<Option<Duration>> {
    if timeout == Some(Duration::ZERO) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a time-out of zero; None waits for ever",
        ));
    }
    Ok(timeout)
}

/// A descriptor seen as one of std's types for the time of a borrow: what need not wait is std's
/// own code.
pub(crate) struct AsStd<'a, T> {
    inner: ManuallyDrop<T>,
    marker: std::marker::PhantomData<BorrowedFd<'a>>,
}

impl<'a, T: FromRawFd> AsStd<'a, T> {
    pub(crate) fn new(fd: BorrowedFd<'a>) -> Self {
        // SAFETY: the descriptor is open for 'a (it is borrowed), and the value made of it is never
        // dropped, so it is not closed here.
        let inner = ManuallyDrop::new(unsafe { T::from_raw_fd(fd.as_raw_fd()) });
        Self { inner, marker: std::marker::PhantomData }
    }
}

impl<T> Deref for AsStd<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

fn check(n: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Accepts a connection that does not block and is closed on exec.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    // SAFETY: the storage is valid for writes of the length given, and `accept4` says how much it
    // wrote.
    let (socket, addr) = unsafe {
        SockAddr::try_init(|storage, len| {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            match libc::accept4(fd.as_raw_fd(), storage.cast(), len, flags) {
                -1 => Err(io::Error::last_os_error()),
                socket => Ok(socket),
            }
        })?
    };
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    Ok((unsafe { OwnedFd::from_raw_fd(socket) }, addr))
}

/// A system call by its number on Linux: glibc's own functions are places where a thread can be
/// cancelled, and say so before and after with an atomic each. Nobody cancels threads here.
#[cfg(target_os = "linux")]
macro_rules! call {
    (recv($fd:expr, $buf:expr, $len:expr, $flags:expr)) => {{
        let (addr, addr_len) = (ptr::null_mut::<libc::c_void>(), ptr::null_mut::<libc::c_void>());
        libc::syscall(libc::SYS_recvfrom, $fd, $buf, $len, $flags, addr, addr_len) as libc::ssize_t
    }};
    (send($fd:expr, $buf:expr, $len:expr, $flags:expr)) => {{
        let (addr, addr_len) = (ptr::null::<libc::c_void>(), 0_usize);
        libc::syscall(libc::SYS_sendto, $fd, $buf, $len, $flags, addr, addr_len) as libc::ssize_t
    }};
}
#[cfg(not(target_os = "linux"))]
macro_rules! call {
    ($name:ident($($argument:expr),*)) => { libc::$name($($argument),*) };
}

/// MSG_DONTWAIT: whoever has a duplicate, a child for example, may have made the socket block.
#[inline]
pub(crate) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    let (at, len) = (buf.as_mut_ptr().cast::<libc::c_void>(), buf.len());
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: `buf` is valid for writes of its length, and the kernel writes no more than that; no
    // address is asked for.
    check(unsafe { call!(recv(fd.as_raw_fd(), at, len, flags)) })
}

/// MSG_NOSIGNAL: a peer that is gone is an error of this write, not a signal that ends the process.
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let (at, len) = (buf.as_ptr().cast::<libc::c_void>(), buf.len());
    // SAFETY: `buf` is valid for reads of its length; no address is given.
    check(unsafe { call!(send(fd.as_raw_fd(), at, len, SEND_FLAGS)) })
}

/// Also says whether all buffers were handed to the kernel, which takes a limited number.
pub(crate) fn receive_vectored(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    let count = bufs.len().min(libc::UIO_MAXIOV as usize);
    // SAFETY: a message header of zeros is valid; `IoSliceMut` is an `iovec` by its documented layout
    // and each is valid for writes of its length. recvmsg, unlike readv, takes MSG_DONTWAIT.
    check(unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = bufs.as_mut_ptr().cast();
        message.msg_iovlen = count as _;
        libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT)
    })
}

pub(crate) fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = bufs.len().min(libc::UIO_MAXIOV as usize);
    // SAFETY: a message header of zeros is valid; `IoSlice` is an `iovec` by its documented layout
    // and each is valid for reads of its length. sendmsg, unlike writev, takes MSG_NOSIGNAL.
    check(unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = bufs.as_ptr().cast_mut().cast();
        message.msg_iovlen = count as _;
        libc::sendmsg(fd.as_raw_fd(), &raw const message, SEND_FLAGS)
    })
}

/// `SO_RCVLOWAT`: how many bytes make a socket readable.
pub(crate) fn set_receive_low_water(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes.max(1)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the value is valid for reads of the size given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    check(result as libc::ssize_t).map(drop)
}

/// How many bytes have been written that the peer's system has not acknowledged (`SIOCOUTQ`).
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, of which SIOCOUTQ is the name for sockets, writes one int, which lives for
    // the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    check(done as libc::ssize_t)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged(_: BorrowedFd<'_>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How many bytes a vectored read asks the kernel for, and whether that is all of them.
pub(crate) fn asked(bufs: &[IoSliceMut<'_>]) -> (usize, bool) {
    (bufs.iter().map(|b| b.len()).sum(), bufs.len() <= libc::UIO_MAXIOV as usize)
}

/// Sets or clears `O_NONBLOCK` of the open file description.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut value = libc::c_int::from(on);
    // SAFETY: FIONBIO reads one int, which lives for the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut value) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
