//! A connection from its first byte to its end, in a fiber of its own.
//!
//! The surprising rule: the socket may go before the fiber does. Once a task was handed out, the
//! fiber and its block stay until the task has ended, whatever the client does.

use std::io::{self, Read, Write};

use cede::net::TcpStream;
use cede::select;

use crate::block::Block;
use crate::options::Delegate;
use crate::request::{Kind, Parser, REQUEST_BYTES_MAX};
use crate::server::{Shared, debug};
use crate::task_holder::TaskHolder;
use crate::work::{Notice, RESPONSE, SlowTask, SocketTask, Work};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    /// The client has gone, or has sent what it should not.
    CutOff,
    /// Somebody else has the socket, and counts its end.
    HandedOver,
}

/// Serves an accepted connection.
pub(crate) fn serve(stream: TcpStream, block: &Block) {
    let shared = &block.blocks.shared;
    let end = request(&stream, shared).and_then(|kind| match kind {
        Some(Kind::Slow) if shared.options.worker_threads > 0 => delegate(stream, block),
        Some(_) => answer(stream),
        None => Ok(End::CutOff),
    });
    debug!(shared, "{end:?}");
    match end {
        Ok(End::Answered) => shared.counters.answered.add(),
        Ok(End::CutOff) | Err(_) => shared.counters.cut_off.add(),
        Ok(End::HandedOver) => {}
    }
}

/// Reads the request; `None` for one that is none.
fn request(stream: &TcpStream, shared: &Shared) -> io::Result<Option<Kind>> {
    let read = || read_request(stream, shared);
    match shared.options.request_timeout {
        Some(timeout) => cede::with_deadline(timeout, read),
        None => read(),
    }
}

fn read_request(mut stream: &TcpStream, shared: &Shared) -> io::Result<Option<Kind>> {
    let mut buffer = [0; REQUEST_BYTES_MAX];
    let (mut filled, mut parser) = (0, Parser::new());
    loop {
        // A full buffer makes this a read of nothing, and that an end; the parser says so before.
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let n = stream.read(free)?;
        if n == 0 {
            return Ok(None);
        }
        filled += n;
        let input = buffer.get(..filled).unwrap_or_default();
        match parser.advance(input) {
            // More than a request: a fast one is answered all the same, as it would be had the rest
            // come later; a slow one ends, as it would then.
            Ok(Some((Kind::Slow, used))) if used < filled => return Ok(None),
            Ok(Some((kind, _))) => return Ok(Some(kind)),
            Ok(None) => {}
            Err(_) => {
                if filled >= REQUEST_BYTES_MAX {
                    debug!(shared, "Not enough buffer!");
                }
                return Ok(None);
            }
        }
    }
}

fn answer(mut stream: TcpStream) -> io::Result<End> {
    stream.write_all(RESPONSE)?;
    Ok(End::Answered)
}

/// Has a worker do it.
fn delegate(stream: TcpStream, block: &Block) -> io::Result<End> {
    let shared = &block.blocks.shared;
    let done = Notice::to_this_fiber();
    match shared.options.delegate {
        Delegate::Task => {
            let task = SlowTask { shared: shared.clone(), done };
            hand_over(shared, Work::Slow(task))?;
            let waited = wait_for_task(&stream);
            if let Ok(true) = waited {
                return answer(stream);
            }
            // At once, however long the task takes.
            drop(stream);
            debug!(shared, "the client has gone or has said too much; its task goes on");
            cede::park()?;
            waited.map(|_| End::CutOff)
        }
        Delegate::Socket => {
            let task = SocketTask { socket: stream.into_std()?, shared: shared.clone(), done };
            hand_over(shared, Work::Socket(task))?;
            cede::park()?;
            Ok(End::HandedOver)
        }
        Delegate::Loop => {
            let task = SocketTask { socket: stream.into_std()?, shared: shared.clone(), done };
            let event_loop = shared.event_loop()?;
            shared.counters.delegated.add();
            event_loop.push(task).map_err(|_| no_place())?;
            cede::park()?;
            Ok(End::HandedOver)
        }
    }
}

fn hand_over(shared: &Shared, work: Work) -> io::Result<()> {
    shared.counters.delegated.add();
    shared.tasks.push(TaskHolder::new(work)).map_err(|_| no_place())
}

/// There is a place for a task of each connection, so this is a server that stops.
fn no_place() -> io::Error {
    io::ErrorKind::QuotaExceeded.into()
}

/// Waits for the end of the task, and for the client: any byte of it, or its end, is the end of the
/// connection. Whether it was the task.
fn wait_for_task(stream: &TcpStream) -> io::Result<bool> {
    loop {
        let task = select! {
            biased;
            _ = park() => true,
            read = readable(stream) => {
                read?;
                false
            }
        };
        if task? {
            return Ok(true);
        }
        if !is_silent(stream)? {
            return Ok(false);
        }
    }
}

/// Whether a client that was said to be readable has nothing to say, and has not gone.
///
/// # Errors
///
/// When the connection has failed.
pub(crate) fn is_silent(stream: &TcpStream) -> io::Result<bool> {
    match stream.try_read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        spoken => spoken.map(|_| false),
    }
}
