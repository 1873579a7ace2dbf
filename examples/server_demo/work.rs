//! What a slow request is to the worker that does it, and the notice that it is done.
//!
//! The surprising rule: the notice is sent when it is dropped. However a task ends, the fiber of
//! its connection wakes, and the block of the connection is returned.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use cede::Fiber;

use crate::server::Shared;
use crate::task_holder::Task;

/// The whole response, byte for byte.
pub(crate) const RESPONSE: &[u8; 57] =
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Wakes the fiber of a connection when a task for it has ended.
pub(crate) struct Notice {
    fiber: Fiber,
}

impl Notice {
    /// For the fiber that calls.
    pub(crate) fn to_this_fiber() -> Self {
        Self { fiber: cede::current() }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.fiber.wakeup();
    }
}

/// The work alone. Its connection waits for the notice, or is gone by then.
pub(crate) struct SlowTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) done: Notice,
}

/// The work and the connection, which no event loop knows any more.
pub(crate) struct SocketTask {
    pub(crate) socket: TcpStream,
    pub(crate) shared: Arc<Shared>,
    pub(crate) done: Notice,
}

/// What worker threads are given.
pub(crate) enum Work {
    Slow(SlowTask),
    Socket(SocketTask),
}

impl Task for Work {
    fn run(self) {
        match self {
            Self::Slow(SlowTask { shared, done }) => {
                thread::sleep(shared.options.slow_duration);
                drop(done);
            }
            Self::Socket(SocketTask { socket, shared, done }) => {
                thread::sleep(shared.options.slow_duration);
                match answer_if_silent(&socket) {
                    Ok(true) => shared.counters.answered.add(),
                    Ok(false) | Err(_) => shared.counters.cut_off.add(),
                }
                // The client must not wait for the end of the connection's block.
                drop(socket);
                drop(done);
            }
        }
    }
}

/// Answers, unless the client has said more than its request or has gone.
fn answer_if_silent(mut socket: &TcpStream) -> io::Result<bool> {
    socket.set_nonblocking(true)?;
    match socket.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        more => return more.map(|_| false),
    }
    // Nothing was sent before, so there is room for all of it: this does not wait either.
    socket.write_all(RESPONSE)?;
    Ok(true)
}
