//! As much of epoll as the floors and the load generators need.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::sample::Miss;

/// Events of one wait at most.
const EVENTS_MAX: usize = 512;

/// A server that says nothing for so long is stuck.
const PATIENCE_MILLIS: i32 = 10_000;

pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX] })
    }

    /// Readable, by level; the end of the stream counts as readable.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: the event is valid for the call.
        let done = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The same with a finer clock: an ordinary wait knows only milliseconds.
    pub fn wait_for(&mut self, time: Duration) -> io::Result<impl Iterator<Item = u64> + '_> {
        if !time.is_zero() {
            let mut ready =
                libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let time = libc::timespec {
                tv_sec: time.as_secs() as libc::time_t,
                tv_nsec: time.subsec_nanos().into(),
            };
            // SAFETY: the pointers are valid for the call; a null pointer leaves the signals alone.
            // Whatever it returns, the wait below tells what is ready.
            unsafe { libc::ppoll(&raw mut ready, 1, &raw const time, std::ptr::null()) };
        }
        self.wait(0)
    }

    /// The tokens of what is ready; none if the time (-1: for ever) is over.
    pub fn wait(&mut self, millis: i32) -> io::Result<impl Iterator<Item = u64> + '_> {
        let (fd, room) = (self.fd.as_raw_fd(), self.events.len() as i32);
        let got = loop {
            // SAFETY: the pointer is valid for writes of as many events as are allowed.
            let got = unsafe { libc::epoll_wait(fd, self.events.as_mut_ptr(), room, millis) };
            if got >= 0 {
                break got as usize;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };
        Ok(self.events.iter().take(got).map(|event| event.u64))
    }
}

/// Waits, and gives the tokens of what is ready; an error if the server is silent.
pub fn ready(epoll: &mut Epoll, tokens: &mut Vec<usize>) -> Result<(), Miss> {
    tokens.clear();
    tokens.extend(epoll.wait(PATIENCE_MILLIS)?.map(|token| token as usize));
    if tokens.is_empty() {
        return Err(Miss::Failed("the server is silent".to_owned()));
    }
    Ok(())
}
