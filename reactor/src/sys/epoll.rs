//! Linux: one `epoll_wait` per wait.
//!
//! `polling` makes five system calls per wait on Linux (it arms a timerfd, and clears and re-arms
//! its notifier), and its event mask lacks `EPOLLRDHUP`. Its epoll descriptor is public, so
//! registrations and waits go to it directly: with an edge-triggered eventfd of our own that never
//! needs to be read, and a time-out in the wait itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use polling::Poller;

use crate::readiness::{Direction, Readiness};

/// How many events one wait brings at most. More stay in the kernel for the next one.
const EVENTS_PER_WAIT_MAX: usize = 512;

/// The token of the notifier. Its upper half is 0, which is no registration's generation.
const NOTIFIER_TOKEN: u64 = 0;

const INTEREST: u32 =
    (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET) as u32;

#[derive(Debug)]
pub(crate) struct Backend {
    poller: Poller,
    notifier: Notifier,
    events: Vec<libc::epoll_event>,
    /// Cleared when the kernel (before 5.11) lacks `epoll_pwait2`.
    has_pwait2: bool,
}

impl Backend {
    pub(crate) const REPORTS_READ_CLOSED: bool = true;
    /// The kernel forgets a descriptor when the last duplicate of it is closed.
    pub(crate) const CLOSE_DELETES: bool = true;

    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened just now and belongs to nobody else.
        let notifier = Notifier { eventfd: Arc::new(unsafe { OwnedFd::from_raw_fd(fd) }) };
        let backend = Self {
            poller: Poller::new()?,
            events: Vec::with_capacity(EVENTS_PER_WAIT_MAX),
            has_pwait2: true,
            notifier,
        };
        let interest = (libc::EPOLLIN | libc::EPOLLET) as u32;
        backend.control(libc::EPOLL_CTL_ADD, fd, interest, NOTIFIER_TOKEN)?;
        Ok(backend)
    }

    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// # Safety
    ///
    /// `fd` must stay open until it is deleted. (epoll itself would forgive; the portable poller
    /// would not.)
    pub(crate) unsafe fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, INTEREST, token)
    }

    /// Adds for reading only or for both directions, or changes to that what epoll knows under this
    /// descriptor. Either way it reports what is ready now.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add).
    pub(crate) unsafe fn add_or_replace(
        &self,
        fd: RawFd,
        writes: bool,
        token: u64,
    ) -> io::Result<()> {
        let interest = if writes { INTEREST } else { INTEREST & !(libc::EPOLLOUT as u32) };
        match self.control(libc::EPOLL_CTL_ADD, fd, interest, token) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
            }
            done => done,
        }
    }

    /// Adds for one direction.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add).
    pub(crate) unsafe fn add_for(
        &self,
        fd: RawFd,
        direction: Direction,
        token: u64,
    ) -> io::Result<()> {
        let interest = match direction {
            Direction::Read => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET,
            Direction::Write => libc::EPOLLOUT | libc::EPOLLET,
        };
        self.control(libc::EPOLL_CTL_ADD, fd, interest as u32, token)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: RawFd,
        interest: u32,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token };
        // SAFETY: `event` is a live epoll_event that the kernel only reads; a bad `fd` is an error,
        // not a fault.
        let done = unsafe {
            libc::epoll_ctl(self.poller.as_fd().as_raw_fd(), operation, fd, &raw mut event)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(crate) fn delete(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: Linux ignores the event pointer of EPOLL_CTL_DEL (null since 2.6.9).
        let done = unsafe {
            libc::epoll_ctl(
                self.poller.as_fd().as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd,
                std::ptr::null_mut(),
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        let count = match timeout {
            Some(t) if !t.is_zero() && self.has_pwait2 => self.wait_precise(t),
            other => self.wait_millis(other),
        };
        if count >= 0 {
            // SAFETY: the kernel wrote `count` events, at most the capacity that it was given.
            unsafe { self.events.set_len(count as usize) };
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // A signal: the caller looks at its clock and comes back.
            Some(libc::EINTR) => Ok(()),
            Some(libc::ENOSYS) if self.has_pwait2 => {
                self.has_pwait2 = false;
                self.wait(timeout)
            }
            _ => Err(error),
        }
    }

    /// Waits with nanoseconds in the time-out; only for one that is not zero, because the plain
    /// call is cheaper.
    fn wait_precise(&mut self, timeout: Duration) -> i64 {
        let timeout = libc::timespec {
            // Every libc's type of seconds holds these 68 years; whoever waits longer waits again.
            tv_sec: timeout.as_secs().min(i32::MAX as u64) as _,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: the buffer has room for EVENTS_PER_WAIT_MAX events, `timeout` outlives the call,
        // and a null signal mask leaves the mask alone (its size is then not read).
        unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.poller.as_fd().as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_PER_WAIT_MAX as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        }
    }

    fn wait_millis(&mut self, timeout: Option<Duration>) -> i64 {
        let timeout = match timeout {
            None => -1,
            // Rounded up: a wait that ends early would spin until the deadline.
            Some(t) => libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX),
        };
        // By its number, because glibc's function is a place where a thread can be cancelled, and says
        // so before and after with an atomic each.
        // SAFETY: the buffer has room for EVENTS_PER_WAIT_MAX events; a null signal mask leaves the
        // mask alone (its size is then not read).
        unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                self.poller.as_fd().as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_PER_WAIT_MAX as libc::c_int,
                timeout,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        }
    }

    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, Readiness)) {
        for event in &self.events {
            // The struct is packed: copy the fields out.
            let (flags, token) = (event.events as libc::c_int, event.u64);
            if token == NOTIFIER_TOKEN {
                continue;
            }
            f(token, readiness(flags));
        }
    }
}

fn readiness(flags: libc::c_int) -> Readiness {
    let mut ready = Readiness::NONE;
    if flags & libc::EPOLLIN != 0 {
        ready |= Readiness::READABLE;
    }
    if flags & libc::EPOLLOUT != 0 {
        ready |= Readiness::WRITABLE;
    }
    if flags & libc::EPOLLPRI != 0 {
        ready |= Readiness::READABLE | Readiness::PRIORITY;
    }
    if flags & libc::EPOLLRDHUP != 0 {
        ready |= Readiness::READ_CLOSED;
    }
    if flags & (libc::EPOLLHUP | libc::EPOLLERR) != 0 {
        ready |= Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    }
    ready
}

/// Wakes a reactor that sleeps, from any thread. Clones wake the same one; it may outlive the
/// reactor.
#[derive(Debug, Clone)]
pub struct Notifier {
    eventfd: Arc<OwnedFd>,
}

impl Notifier {
    /// Ends the current wait of the reactor, or the next one.
    pub fn notify(&self) {
        let one = 1u64;
        // SAFETY: eight bytes are read from `one`. The only failure is EAGAIN when 2^64-2
        // notifications are pending, and then the reactor wakes anyway.
        let _ = unsafe { libc::write(self.eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}
