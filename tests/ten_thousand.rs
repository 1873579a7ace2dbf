//! An echo server and a chat with ten thousand connections over real sockets, on one shard and on
//! two.
//!
//! The server is an example in a process of its own; the load comes from this process, a fiber per
//! connection. Every byte that comes back is verified.

mod common;
#[path = "common/server.rs"]
mod server;

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use cede::net::TcpStream;
use cede::{Fiber, JoinHandle};
use common::within_reason;
use server::Server;

/// Debug builds take a fifth.
const CONNECTIONS: usize = if cfg!(debug_assertions) { 2_000 } else { 10_000 };
/// With fewer the test would show nothing.
const CONNECTIONS_MIN: usize = 2_000;
/// Descriptors that are not connections.
const SPARE: usize = 200;
/// Connects under way at one time: less than the queue of a listener.
const CONNECTS_AT_ONCE: usize = 200;

/// One test at a time has the descriptors.
static ALONE: Mutex<()> = Mutex::new(());

/// As many connections as the limit on descriptors allows. The server inherits the limit.
fn connections() -> usize {
    let limit = common::raise_descriptors();
    let connections = CONNECTIONS.min(limit.saturating_sub(SPARE));
    assert!(connections >= CONNECTIONS_MIN, "{limit} descriptors are too few: raise ulimit -n");
    if connections < CONNECTIONS {
        println!("{limit} descriptors allow for {connections} connections only");
    }
    connections
}

/// Lets no fiber through before all have come.
struct Barrier {
    missing: Cell<usize>,
    waiting: RefCell<Vec<Fiber>>,
}

impl Barrier {
    fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { missing: Cell::new(count), waiting: RefCell::default() })
    }

    /// True for the last one.
    fn wait(&self) -> io::Result<bool> {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.waiting.take().iter().for_each(Fiber::wakeup);
            return Ok(true);
        }
        self.waiting.borrow_mut().push(cede::current());
        while self.missing.get() > 0 {
            cede::park()?;
        }
        Ok(false)
    }
}

/// Waits for all others, then for the end of the server.
fn end(all_done: &Barrier, ctrl_c: &dyn Fn(), mut stream: &TcpStream) -> io::Result<()> {
    if all_done.wait()? {
        ctrl_c();
    }
    assert_eq!(stream.read(&mut [0; 1])?, 0);
    Ok(())
}

/// Opens the connections, a few at a time, and makes a fiber for each.
fn with_each<T: 'static>(
    addr: SocketAddr,
    count: usize,
    serve: impl Fn(usize, TcpStream) -> io::Result<T> + 'static,
) -> io::Result<Vec<T>> {
    let (next, serve) = (Rc::new(Cell::new(0)), Rc::new(serve));
    let connectors: Vec<JoinHandle<io::Result<Vec<_>>>> = (0..CONNECTS_AT_ONCE)
        .map(|_| {
            let (next, serve) = (Rc::clone(&next), Rc::clone(&serve));
            cede::spawn(move || {
                let mut fibers = Vec::new();
                while next.get() < count {
                    let number = next.replace(next.get() + 1);
                    let (stream, serve) = (TcpStream::connect(addr)?, Rc::clone(&serve));
                    stream.set_nodelay(true)?;
                    fibers.push(cede::spawn(move || serve(number, stream)));
                }
                Ok(fibers)
            })
        })
        .collect();
    let mut results = Vec::with_capacity(count);
    for connector in connectors {
        for fiber in connector.join().unwrap()? {
            results.push(fiber.join().unwrap()?);
        }
    }
    Ok(results)
}

/// Puts load on a server, and ends it while all connections are open. That way the connections that
/// the system remembers for a minute are all at the server's port, and none occupies another one.
type Load = fn(SocketAddr, usize, Box<dyn Fn()>) -> io::Result<()>;

fn test(name: &'static str, shards: usize, load: Load) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    within_reason(move || {
        let count = connections();
        let server = Server::start(name, shards);
        let (addr, ctrl_c) = (server.addr, Box::new(server.ctrl_c()));
        cede::run(|| load(addr, count, ctrl_c)).unwrap().unwrap();
        let (status, complaints) = server.end();
        assert!(status.success(), "{status} {complaints}");
    });
}

/// Every connection sends its own text several times while all are open.
fn echo(addr: SocketAddr, count: usize, ctrl_c: Box<dyn Fn()>) -> io::Result<()> {
    const ROUNDS: usize = 5;
    let (all_here, all_done) = (Barrier::new(count), Barrier::new(count));
    let served = with_each(addr, count, move |number, mut stream| {
        all_here.wait()?;
        for round in 0..ROUNDS {
            let text = format!("connection {number}, round {round};").repeat(1 + number % 50);
            stream.write_all(text.as_bytes())?;
            let mut echo = vec![0; text.len()];
            stream.read_exact(&mut echo)?;
            assert_eq!(echo, text.as_bytes());
        }
        end(&all_done, &*ctrl_c, &stream)
    })?;
    assert_eq!(served.len(), count);
    Ok(())
}

/// Half of all are in one hall, where ten speak; the others are in rooms of fifty, where everybody
/// speaks.
fn chat(addr: SocketAddr, count: usize, ctrl_c: Box<dyn Fn()>) -> io::Result<()> {
    const ROOM: usize = 50;
    const SPEAKERS_IN_HALL: usize = 10;
    const LINES: usize = 2;
    let hall = count / 2;
    let (all_here, all_done) = (Barrier::new(count), Barrier::new(count));
    let heard = with_each(addr, count, move |number, stream| {
        // Who speaks where this one is.
        let (room, speakers) = if number < hall {
            ("hall".to_string(), 0..SPEAKERS_IN_HALL)
        } else {
            let room = (number - hall) / ROOM;
            let first = hall + room * ROOM;
            (format!("room{room}"), first..(first + ROOM).min(count))
        };
        let mut lines = BufReader::new(&stream);
        let mut line = String::new();
        writeln!(&stream, "c{number} {room}")?;
        lines.read_line(&mut line)?;
        assert_eq!(line, format!("* welcome to {room}, c{number}\n"));
        all_here.wait()?;
        if speakers.contains(&number) {
            for n in 0..LINES {
                writeln!(&stream, "line {n} of {number} in {room}")?;
            }
        }
        // From each speaker every line once and in order; the speakers in any order.
        let mut next = vec![0; speakers.len()];
        for _ in 0..speakers.len() * LINES {
            line.clear();
            lines.read_line(&mut line)?;
            let speaker = line.strip_prefix('c').and_then(|rest| rest.split(':').next());
            let speaker: usize = speaker.and_then(|s| s.parse().ok()).expect("a speaker");
            assert!(speakers.contains(&speaker), "{line}");
            let n = &mut next[speaker - speakers.start];
            assert_eq!(line, format!("c{speaker}: line {n} of {speaker} in {room}\n"));
            *n += 1;
        }
        assert!(next.iter().all(|n| *n == LINES));
        assert!(lines.buffer().is_empty(), "nothing was said twice");
        end(&all_done, &*ctrl_c, &stream)
    })?;
    assert_eq!(heard.len(), count);
    Ok(())
}

#[test]
fn echo_of_ten_thousand_connections_on_one_shard() {
    test("echo_server", 1, echo);
}

#[test]
fn echo_of_ten_thousand_connections_on_two_shards() {
    test("echo_server", 2, echo);
}

#[test]
fn chat_of_ten_thousand_connections_on_one_shard() {
    test("chat", 1, chat);
}

#[test]
fn chat_of_ten_thousand_connections_on_two_shards() {
    test("chat", 2, chat);
}
