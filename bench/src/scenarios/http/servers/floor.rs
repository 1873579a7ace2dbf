//! The floor: an epoll loop with one receive and one send for what has come.
//!
//! It parses nothing: it takes what it receives for whole requests of the known length, and closes
//! the connection if that is not so, which the load generator would see.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Place;
use crate::epoll::Epoll;
use crate::sample::Miss;
use crate::scenarios::http::exchange::{Exchange, HELLO};
use crate::socket;

const LISTENER: u64 = u64::MAX;
/// As much as one receive may bring: more than a full batch of pipelined requests.
const BUFFER_BYTES: usize = 16 * 1024;
/// Requests that are answered with one send at most.
const DEPTH_MAX: usize = 64;

pub fn keep_alive(place: &Place) -> Result<(), Miss> {
    serve(place, &Exchange::hello(place.address).request, false)
}

pub fn once(place: &Place) -> Result<(), Miss> {
    serve(place, &Exchange::last_hello(place.address).request, true)
}

fn serve(place: &Place, request: &[u8], once: bool) -> Result<(), Miss> {
    let listener = TcpListener::bind(place.address)?;
    listener.set_nonblocking(true)?;
    let listener = listener.as_raw_fd();
    // Connections inherit it.
    socket::no_delay(listener)?;
    let mut answers = Answers::new(once);
    let mut epoll = Epoll::new()?;
    epoll.add(listener, LISTENER)?;
    let mut accepted = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let tokens = epoll.wait(-1)?;
        answers.date_from_clock();
        for token in tokens {
            if token == LISTENER {
                while let Some(connection) = socket::accept(listener)? {
                    // One that is to be answered once need not be registered if it has asked.
                    if !once || answer(connection, request, &answers, &mut buffer) == After::Open {
                        accepted.push(connection);
                    }
                }
            } else {
                answer(token as RawFd, request, &answers, &mut buffer);
            }
        }
        for connection in accepted.drain(..) {
            epoll.add(connection, connection as u64)?;
        }
    }
}

/// What became of a connection.
#[derive(PartialEq)]
enum After {
    Open,
    Closed,
}

fn answer(connection: RawFd, request: &[u8], answers: &Answers, buffer: &mut [u8]) -> After {
    // SAFETY: the pointer is valid for writes of the length.
    let got = unsafe { libc::recv(connection, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if got < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        return After::Open;
    }
    let got = usize::try_from(got).unwrap_or(0);
    let (count, rest) = (got / request.len(), got % request.len());
    if count > 0 && count <= DEPTH_MAX && rest == 0 {
        let bytes = answers.bytes(count);
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: the pointer is valid for reads of the length.
        let sent = unsafe { libc::send(connection, start, length, libc::MSG_NOSIGNAL) };
        if !answers.once && sent == length as isize {
            return After::Open;
        }
    }
    // SAFETY: the descriptor is this server's, and nothing uses it any more.
    unsafe { libc::close(connection) };
    After::Closed
}

/// The answer, as many times as it may have to be sent at once.
struct Answers {
    bytes: Vec<u8>,
    /// Of one.
    length: usize,
    date_at: usize,
    /// The second that the date names.
    second: u64,
    /// Whether an answer is the last one of its connection.
    once: bool,
}

impl Answers {
    fn new(once: bool) -> Answers {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let close = if once { "Connection: close\r\n" } else { "" };
        let length = HELLO.len();
        let before = format!("{head}Content-Length: {length}\r\n{close}Date: ");
        let one = format!("{before}{}\r\n\r\n{HELLO}", date(0));
        Answers {
            bytes: one.as_bytes().repeat(DEPTH_MAX),
            length: one.len(),
            date_at: before.len(),
            second: 0,
            once,
        }
    }

    fn bytes(&self, count: usize) -> &[u8] {
        self.bytes.get(..count * self.length).unwrap_or_default()
    }

    fn date_from_clock(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if since.as_secs() == self.second {
            return;
        }
        self.second = since.as_secs();
        let date = date(self.second);
        for one in self.bytes.chunks_mut(self.length) {
            if let Some(mut place) = one.get_mut(self.date_at..) {
                // Shorter than its place, so it is written whole.
                let _ = place.write_all(date.as_bytes());
            }
        }
    }
}

/// The date of a second, as RFC 9110 section 5.6.7 has it.
fn date(second: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::http::exchange::Checker;

    #[test]
    fn the_floor_answers_what_it_must() {
        let exchanges = [Exchange::hello(([127, 0, 0, 1], 80).into())];
        let mut checker = Checker::new(&exchanges);
        for once in [false, true] {
            let mut answers = Answers::new(once);
            answers.date_from_clock();
            let two = answers.bytes(2);
            assert_eq!(checker.check(0, two), Ok(Some(two.len() / 2)));
            assert!(answers.second > 0);
        }
    }
}
