//! What std does not offer of sockets, for the floors and the load generators.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

/// Accepts a connection that does not block; none if nobody waits.
pub fn accept(listener: RawFd) -> io::Result<Option<RawFd>> {
    const FLAGS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null pointers mean that the address is not wanted.
    let fd = unsafe { libc::accept4(listener, ptr::null_mut(), ptr::null_mut(), FLAGS) };
    if fd >= 0 {
        return Ok(Some(fd));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}

/// Sets TCP_NODELAY.
pub fn no_delay(connection: RawFd) -> io::Result<()> {
    set(connection, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)
}

/// Makes the end of this stream a reset, which leaves no port waiting: thousands of them would
/// change what the next contestant finds.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

fn set<T>(socket: RawFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is valid for reads of the given size.
    let done =
        unsafe { libc::setsockopt(socket, level, option, std::ptr::from_ref(value).cast(), size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
