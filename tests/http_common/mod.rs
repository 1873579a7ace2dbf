//! A server in this process, and raw sockets against it.
//!
//! The rule of this file: time decides nothing. Whether a connection was kept is told by a last
//! request that is answered or not; every wait ends by an event, and its limit is a hang guard.
#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cede::http::{Request, Response, Router, Server, ServerBuilder, ServerHandle};

/// How long anything may take before it counts as hanging.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// The status of the last request, which shows that a connection was kept.
pub(crate) const LAST: u16 = 299;
pub(crate) const LAST_REQUEST: &[u8] =
    b"GET /status/299 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A server on threads of its own.
pub(crate) struct Lab {
    pub(crate) addr: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder, router)
    }

    pub(crate) fn with(
        settings: impl FnOnce(ServerBuilder) -> ServerBuilder + Send + 'static,
        router: impl FnOnce() -> Router + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let ran = cede::Runtime::builder().shards(2).run(|| -> io::Result<()> {
                let builder = Server::builder().drain_on_signal(false);
                let server = settings(builder).bind("127.0.0.1:0")?;
                sender.send((server.local_addr()?, server.handle())).unwrap();
                server.run(router())
            });
            ran.unwrap().unwrap();
        });
        let (addr, handle) = receiver.recv().unwrap();
        Self { addr, handle, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.set_write_timeout(Some(HANG)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(crate) fn drain(&self) {
        self.handle.drain();
    }

    /// Drains the server and waits for its end.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.handle.drain();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }

    /// Sends the parts, ends the stream, and reads all that comes.
    pub(crate) fn talk<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut stream = self.send(parts);
        let _ = stream.shutdown(Shutdown::Write);
        let bytes = read_all(&mut stream);
        reset(stream);
        bytes
    }

    fn send<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> TcpStream {
        let mut stream = self.connect();
        for part in parts {
            // A server that has refused may have closed already.
            if stream.write_all(part).is_err() {
                break;
            }
        }
        stream
    }

    /// All that comes in answer to `input`, followed by a last request. It is the server that ends
    /// the stream first, so thousands of these leave no ports behind that the system remembers.
    pub(crate) fn answers_and_last<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Answer> {
        let mut stream = self.send(parts.into_iter().chain([LAST_REQUEST]));
        let bytes = read_all(&mut stream);
        reset(stream);
        answers(&bytes)
    }

    /// The statuses of [`answers_and_last`](Self::answers_and_last).
    pub(crate) fn statuses<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u16> {
        self.answers_and_last(parts).iter().map(|answer| answer.status).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

/// Closes a connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    // One that is closed already needs no reset.
    let _ = socket.set_linger(Some(Duration::ZERO));
}

/// Reads to the end of the stream, be it by a reset.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("hangs: {error}, after {:?}", String::from_utf8_lossy(&bytes)),
    }
    bytes
}

/// One response, as read by an eye of another hand.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// All responses in these bytes. Interim ones are responses too.
pub(crate) fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let at = at.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
        bytes = &bytes[at + 4..];
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        if answer.header("transfer-encoding").is_some() {
            while let Some(at) = bytes.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&bytes[..at]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                answer.body.extend_from_slice(&bytes[at + 2..at + 2 + size]);
                bytes = &bytes[at + 4 + size..];
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            answer.body = bytes[..length].to_vec();
            bytes = &bytes[length..];
        }
        answers.push(answer);
    }
    answers
}

/// Blanks the only part of a response that time changes.
pub(crate) fn without_dates(mut response: Vec<u8>) -> Vec<u8> {
    const NAME: &[u8] = b"\r\nDate: ";
    const VALUE_BYTES: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
    let found = response.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    let starts: Vec<_> = found.map(|(at, _)| at + NAME.len()).collect();
    for start in starts {
        let end = (start + VALUE_BYTES).min(response.len());
        response[start..end].fill(b'.');
    }
    response
}

pub(crate) fn router() -> Router {
    Router::new()
        .get("/", |_: &mut Request| "hello")
        .post("/", |_: &mut Request| "posted")
        .any("/echo", |request: &mut Request| {
            request.stream(Response::new(200), |body, out| io::copy(body, out).map(drop))
        })
        .any("/read", |request: &mut Request| request.body_bytes())
        .any("/ignore", |_: &mut Request| "ignored")
        .get("/slow", |_: &mut Request| -> io::Result<&'static str> {
            cede::sleep(Duration::from_millis(30))?;
            Ok("slow")
        })
        .get("/host", |request: &mut Request| {
            request.authority().map(|authority| authority.as_str().to_owned())
        })
        .get("/joined", |request: &mut Request| {
            request.fields().joined("x-y").map(std::borrow::Cow::into_owned)
        })
        .get("/fields", |request: &mut Request| request.header_map().len().to_string())
        .get("/panic", |_: &mut Request| -> &str { panic!("a test's panic") })
        .get("/inject", |_: &mut Request| Response::text("x").with_header("X-Y", "a\r\nB: c"))
        .get("/status/{code}", |request: &mut Request| -> anyhow::Result<Response> {
            Ok(Response::new(request.param("code")?.parse::<u16>()?))
        })
        .get("/echo-path/{*rest}", |request: &mut Request| -> anyhow::Result<String> {
            Ok(request.param("rest")?.into_owned())
        })
        .get("/stream", |_: &mut Request| {
            Response::stream("text/plain", |body| {
                for piece in ["one ", "two ", "three"] {
                    body.write_all(piece.as_bytes())?;
                    body.flush()?;
                }
                Ok(())
            })
        })
        .get("/short", |_: &mut Request| {
            Response::stream("text/plain", |body| body.write_all(b"12345")).with_length(10)
        })
        .get("/long", |_: &mut Request| {
            Response::stream("text/plain", |body| body.write_all(b"12345")).with_length(3)
        })
        .get("/bytes/{n}", |request: &mut Request| -> anyhow::Result<Response> {
            let n = request.param("n")?.parse()?;
            Ok(Response::reader("text/plain", io::repeat(b'x').take(n)).with_length(n))
        })
        .get("/big", |_: &mut Request| {
            Response::reader("text/plain", io::repeat(b'x').take(100 << 20)).with_length(100 << 20)
        })
}
