//! One connection of the load generator: requests that wait for their answers, in order.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::sample::Miss;
use crate::scenarios::http::exchange::Checker;
use crate::scenarios::http::response::wrong;
use crate::socket;

/// As many bytes as one receive may bring: more than a full batch of pipelined answers.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// A server that does not listen after this time never will.
const START_SECONDS_MAX: u64 = 10;

/// What one receive has brought.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// Bytes, maybe of several answers.
    Some,
    /// The end of the stream.
    End,
}

pub struct Connection {
    stream: TcpStream,
    /// The exchanges that were asked and not answered, and what the caller noted of each.
    asked: VecDeque<(usize, Instant)>,
    /// The beginning of an answer that is not complete.
    rest: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        socket::reset_on_close(&stream)?;
        Ok(Connection { stream, asked: VecDeque::new(), rest: Vec::new() })
    }

    /// The same, for a server that is only starting.
    pub fn open_patiently(address: SocketAddr) -> Result<Connection, Miss> {
        let start = Instant::now();
        loop {
            match Connection::open(address) {
                // A port that nobody listens at may be given to this very connection.
                Ok(connection) if connection.stream.local_addr()? != address => {
                    return Ok(connection);
                }
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => {}
            }
            if start.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(Miss::Failed(format!("nobody listens at {address}")));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Requests without an answer yet.
    pub fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// Sends a request; `when` is what its answer is told with.
    pub fn ask(&mut self, which: usize, request: &[u8], when: Instant) -> io::Result<()> {
        self.asked.push_back((which, when));
        (&self.stream).write_all(request)
    }

    /// Sends the same request several times at once; `batch` holds them all.
    pub fn ask_batch(
        &mut self,
        which: usize,
        batch: &[u8],
        count: usize,
        when: Instant,
    ) -> io::Result<()> {
        self.asked.extend(std::iter::repeat_n((which, when), count));
        (&self.stream).write_all(batch)
    }

    /// Receives once and checks what is complete; `answered` is told of each right answer.
    pub fn hear(
        &mut self,
        scratch: &mut [u8],
        checker: &mut Checker<'_>,
        mut answered: impl FnMut(usize, Instant),
    ) -> Result<Heard, Miss> {
        let got = match (&self.stream).read(scratch)? {
            0 => return Ok(Heard::End),
            got => scratch.get(..got).unwrap_or_default(),
        };
        let held = std::mem::take(&mut self.rest);
        let joined;
        let mut bytes = match held.is_empty() {
            true => got,
            false => {
                joined = [held.as_slice(), got].concat();
                joined.as_slice()
            }
        };
        while !bytes.is_empty() {
            let Some(&(which, when)) = self.asked.front() else {
                return Err(wrong("the server sent more than it was asked for"));
            };
            let Some(length) = checker.check(which, bytes)? else { break };
            self.asked.pop_front();
            answered(which, when);
            bytes = bytes.get(length..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
        Ok(Heard::Some)
    }
}

/// Opens connections and has each answer one request, which proves that it was accepted.
pub fn open_all(
    address: SocketAddr,
    count: usize,
    checker: &mut Checker<'_>,
) -> Result<Vec<Connection>, Miss> {
    /// No more than any server's backlog has room for.
    const AT_A_TIME: usize = 64;
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut connections = Vec::with_capacity(count);
    // The server may be only starting when the first one comes.
    while connections.len() < count {
        let first = connections.len();
        for _ in first..count.min(first + AT_A_TIME) {
            let mut connection = match connections.is_empty() {
                true => Connection::open_patiently(address)?,
                false => Connection::open(address)?,
            };
            let exchange = checker.exchanges().first().ok_or_else(|| wrong("nothing to ask"))?;
            connection.ask(0, &exchange.request, Instant::now())?;
            connections.push(connection);
        }
        for connection in connections.iter_mut().skip(first) {
            while connection.waiting() > 0 {
                if connection.hear(&mut scratch, checker, |_, _| {})? == Heard::End {
                    return Err(closed_early());
                }
            }
        }
    }
    Ok(connections)
}

pub fn closed_early() -> Miss {
    wrong("the server closed a connection early")
}
