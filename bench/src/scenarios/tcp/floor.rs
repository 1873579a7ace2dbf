//! The floor: an epoll loop with the fewest system calls that the service needs.
//!
//! It takes a message for one segment, which holds for 100 bytes on loopback; the client would see
//! it if it did not.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use super::Service;
use crate::epoll::Epoll;
use crate::sample::Miss;
use crate::socket;

const LISTENER: u64 = u64::MAX;

pub fn eager(listener: TcpListener, service: Service) -> Result<(), Miss> {
    serve(&listener, service, true)
}

pub fn registering(listener: TcpListener, service: Service) -> Result<(), Miss> {
    serve(&listener, service, false)
}

/// What became of a connection.
#[derive(PartialEq)]
enum After {
    Open,
    Closed,
}

fn serve(listener: &TcpListener, service: Service, eager: bool) -> Result<(), Miss> {
    listener.set_nonblocking(true)?;
    let fd = listener.as_raw_fd();
    let mut epoll = Epoll::new()?;
    epoll.add(fd, LISTENER)?;
    let mut accepted = Vec::new();
    loop {
        for token in epoll.wait(-1)? {
            if token == LISTENER {
                while let Some(connection) = socket::accept(fd)? {
                    if !eager || answer(connection, service) == After::Open {
                        accepted.push(connection);
                    }
                }
            } else {
                answer(token as RawFd, service);
            }
        }
        for connection in accepted.drain(..) {
            epoll.add(connection, connection as u64)?;
        }
    }
}

fn answer(fd: RawFd, service: Service) -> After {
    let mut buffer = [0_u8; 1024];
    // SAFETY: the pointer is valid for writes of the length.
    let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if got > 0 {
        // SAFETY: the pointer is valid for reads of what was just received.
        unsafe { libc::send(fd, buffer.as_ptr().cast(), got as usize, libc::MSG_NOSIGNAL) };
        if service == Service::Echo {
            return After::Open;
        }
    } else if got < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        return After::Open;
    }
    // SAFETY: the descriptor is this server's, and nothing uses it any more.
    unsafe { libc::close(fd) };
    After::Closed
}
