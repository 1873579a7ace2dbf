//! A TCP proxy that does to a connection what networks and peers do, by a seed.
//!
//! The rule of this file: it is made of std's sockets and threads, so that none of what it does
//! depends on what is tested with it. Nothing of it outlives its drop.
#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::common::Random;

/// How often a thread that waits looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(2);
/// The most that one read takes.
const PART_BYTES_MAX: usize = 16 * 1024;
/// Beyond so many small parts they grow: a body is no test of patience.
const SMALL_PARTS_MAX: usize = 300;

/// What is done to every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    Clean,
    /// Each part comes some milliseconds late.
    Delay,
    /// Parts of one byte up to a random size.
    SmallParts,
    /// Some bytes each millisecond, and no more.
    Bandwidth,
    /// One byte on the way becomes another one.
    Corrupt,
    /// The first byte ends the connection.
    CloseOnData,
    /// It ends after a random number of bytes.
    CloseAfter,
    /// It is reset after a random number of bytes.
    Reset,
    /// One direction ends after a random number of bytes; the other one goes on.
    HalfClose,
    /// It is accepted, and nothing more.
    Stall,
    /// What the server answers is thrown away.
    DropAnswers,
}

impl Condition {
    pub(crate) const ALL: [Self; 11] = [
        Self::Clean,
        Self::Delay,
        Self::SmallParts,
        Self::Bandwidth,
        Self::Corrupt,
        Self::CloseOnData,
        Self::CloseAfter,
        Self::Reset,
        Self::HalfClose,
        Self::Stall,
        Self::DropAnswers,
    ];

    /// Whether it comes after a number of bytes that not every connection has.
    fn is_of_one_moment(self) -> bool {
        matches!(self, Self::Corrupt | Self::CloseAfter | Self::Reset | Self::HalfClose)
    }

    /// Whether all bytes arrive, each as it was sent.
    pub(crate) fn is_faithful(self) -> bool {
        matches!(self, Self::Clean | Self::Delay | Self::SmallParts | Self::Bandwidth)
    }
}

/// What the threads of a proxy share.
#[derive(Default)]
struct State {
    ending: AtomicBool,
    /// Connections that something was done to.
    hits: AtomicUsize,
}

/// It listens until it is dropped; connections that are there then are closed.
pub(crate) struct Proxy {
    addr: SocketAddr,
    state: Arc<State>,
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of a server.
    pub(crate) fn start(server: SocketAddr, condition: Condition, mut random: Random) -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let acceptor = {
            let (listener, state) = (Arc::clone(&listener), Arc::clone(&state));
            thread::spawn(move || {
                let mut connections = Vec::new();
                while let Ok((client, _)) = listener.accept() {
                    if state.ending.load(Ordering::SeqCst) {
                        break;
                    }
                    // A server that refuses shows as a connection that is closed at once.
                    let Ok(server) = TcpStream::connect(server) else { continue };
                    let random = random.fork();
                    let connection = Connection::new(client, server, condition, &state);
                    connections.push(thread::spawn(move || connection.run(random)));
                }
                connections.into_iter().for_each(|thread| thread.join().unwrap());
            })
        };
        Self { addr, state, listener, acceptor: Some(acceptor) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections met the condition.
    pub(crate) fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ending.store(true, Ordering::SeqCst);
        // Ends the wait of `accept`.
        SockRef::from(&*self.listener).shutdown(Shutdown::Both).unwrap();
        let ended = self.acceptor.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || thread::panicking(), "the proxy panicked");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    condition: Condition,
    proxy: Arc<State>,
    hit: AtomicBool,
    ended: AtomicBool,
}

impl Connection {
    fn new(client: TcpStream, server: TcpStream, condition: Condition, proxy: &Arc<State>) -> Self {
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(GLANCE)).unwrap();
            stream.set_write_timeout(Some(GLANCE)).unwrap();
        }
        let (hit, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { client, server, condition, proxy: Arc::clone(proxy), hit, ended }
    }

    fn run(&self, mut random: Random) {
        if self.condition == Condition::Stall {
            self.meets();
            while !self.proxy.ending.load(Ordering::SeqCst) {
                thread::sleep(GLANCE);
            }
            return;
        }
        let victim = if random.below(2) == 0 { Way::ToServer } else { Way::ToClient };
        let at = match random.below(4) {
            0 => 0,
            1 => random.below(16),
            2 => random.below(200),
            _ => random.below(5_000),
        };
        let largest = [1, 3, 64, 1_500][random.below(4)];
        let (there, back) = (random.fork(), random.fork());
        let pump = |way, random| {
            let at = (way == victim).then_some(at);
            let mut pump = Pump { way, at, largest, random, passed: 0, parts: 0 };
            // An error on one side is one on the other.
            if pump.run(self).is_err() {
                self.close();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| pump(Way::ToServer, there));
            pump(Way::ToClient, back);
        });
        if self.condition == Condition::Reset {
            for stream in [&self.client, &self.server] {
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }

    fn meets(&self) {
        if !self.hit.swap(true, Ordering::SeqCst) {
            self.proxy.hits.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::SeqCst) || self.proxy.ending.load(Ordering::SeqCst)
    }

    /// Ends both directions of both sides. Those of a reset end when their descriptors close.
    fn close(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if self.condition != Condition::Reset {
            // What is closed already needs no end.
            let _ = self.client.shutdown(Shutdown::Both);
            let _ = self.server.shutdown(Shutdown::Both);
        }
    }
}

/// One direction.
struct Pump {
    way: Way,
    /// After how many bytes something happens to it.
    at: Option<usize>,
    /// The largest of small parts.
    largest: usize,
    random: Random,
    passed: usize,
    parts: usize,
}

impl Pump {
    fn run(&mut self, connection: &Connection) -> io::Result<()> {
        let (mut from, to) = match self.way {
            Way::ToServer => (&connection.client, &connection.server),
            Way::ToClient => (&connection.server, &connection.client),
        };
        let mut buf = vec![0; PART_BYTES_MAX];
        while !connection.is_over() {
            match from.read(&mut buf) {
                Ok(0) => {
                    // It may be gone altogether.
                    let _ = to.shutdown(Shutdown::Write);
                    return Ok(());
                }
                Ok(n) => {
                    if !self.pass(connection, to, &mut buf[..n])? {
                        return Ok(());
                    }
                }
                Err(error) if is_time_out(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Passes on what has come. False: this direction is at its end.
    fn pass(
        &mut self,
        connection: &Connection,
        to: &TcpStream,
        bytes: &mut [u8],
    ) -> io::Result<bool> {
        let hit = self.at.filter(|at| (self.passed..self.passed + bytes.len()).contains(at));
        let hit = hit.map(|at| at - self.passed);
        self.passed += bytes.len();
        if hit.is_some() || !connection.condition.is_of_one_moment() {
            connection.meets();
        }
        match connection.condition {
            Condition::Delay => thread::sleep(Duration::from_micros(self.random.next() % 4_000)),
            Condition::SmallParts => return self.send_parts(connection, to, bytes),
            Condition::Bandwidth => return self.send_slowly(connection, to, bytes),
            Condition::Corrupt => {
                if let Some(at) = hit {
                    bytes[at] ^= 1 + self.random.below(255) as u8;
                }
            }
            Condition::CloseOnData => {
                connection.close();
                return Ok(false);
            }
            Condition::CloseAfter | Condition::Reset => {
                if let Some(at) = hit {
                    send(connection, to, &bytes[..at])?;
                    connection.close();
                    return Ok(false);
                }
            }
            Condition::HalfClose => {
                if let Some(at) = hit {
                    send(connection, to, &bytes[..at])?;
                    to.shutdown(Shutdown::Write)?;
                    return Ok(false);
                }
            }
            Condition::DropAnswers if self.way == Way::ToClient => return Ok(true),
            Condition::DropAnswers | Condition::Clean | Condition::Stall => {}
        }
        send(connection, to, bytes)?;
        Ok(true)
    }

    fn send_parts(
        &mut self,
        connection: &Connection,
        to: &TcpStream,
        mut bytes: &[u8],
    ) -> io::Result<bool> {
        while !bytes.is_empty() {
            self.parts += 1;
            let largest = if self.parts > SMALL_PARTS_MAX { PART_BYTES_MAX } else { self.largest };
            let (part, rest) = bytes.split_at((1 + self.random.below(largest)).min(bytes.len()));
            send(connection, to, part)?;
            bytes = rest;
            // Lets the other end read what there is.
            thread::yield_now();
        }
        Ok(true)
    }

    fn send_slowly(
        &mut self,
        connection: &Connection,
        to: &TcpStream,
        bytes: &[u8],
    ) -> io::Result<bool> {
        for part in bytes.chunks(2_000) {
            thread::sleep(Duration::from_millis(1));
            send(connection, to, part)?;
        }
        Ok(true)
    }
}

/// Sends all, unless the connection ends meanwhile.
fn send(connection: &Connection, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() && !connection.is_over() {
        match to.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if is_time_out(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
