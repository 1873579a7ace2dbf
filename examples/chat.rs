//! A chat over all shards: what one says in a room, everybody in it reads.
//!
//!     cargo run --release --example chat -- --addr 127.0.0.1:7001 --shards 2
//!
//! The first line of a client says who it is and where, `NAME ROOM`; every further line is said
//! there. A client that does not read what is said is put out, and the others go on.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;

use cede::net::{TcpListener, TcpStream};
use cede::{Fiber, Runtime, Shard};

/// Lines that wait for one client at most: a second's worth of a loud room.
const QUEUE_LINES_MAX: usize = 1024;
/// The longest line, with its end.
const LINE_BYTES_MAX: usize = 4096;

struct Member {
    stream: TcpStream,
    queue: RefCell<VecDeque<Arc<str>>>,
    writer: OnceCell<Fiber>,
}

thread_local! {
    /// The members of each room that are on this shard. Fibers never change their thread, so this
    /// needs no lock.
    static ROOMS: RefCell<HashMap<String, BTreeMap<u64, Rc<Member>>>> = RefCell::default();
}

fn main() -> anyhow::Result<()> {
    let (mut addr, mut shards) = ("127.0.0.1:7001".to_string(), 1);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        match arg.as_str() {
            "--addr" => addr = value,
            "--shards" => shards = value.parse()?,
            _ => anyhow::bail!("chat [--addr HOST:PORT] [--shards N]"),
        }
    }
    Runtime::builder().shards(shards).run(|| serve(&addr))?
}

fn serve(addr: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind_shared(addr)?;
    let addr = listener.local_addr()?;
    for shard in cede::shards().split_off(1) {
        shard.spawn(move || accept(&TcpListener::bind_shared(addr)?))?;
    }
    cede::spawn(move || accept(&listener));
    let mut ctrl_c = cede::signal::ctrl_c()?;
    println!("chat on {addr}; try: nc {} {} and type: ann lobby", addr.ip(), addr.port());
    Ok(ctrl_c.recv()?) // the end of this fiber cancels all others
}

fn accept(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        cede::spawn(move || {
            if let Err(error) = converse(stream) {
                eprintln!("a client is gone: {error}");
            }
        });
    }
    Ok(())
}

/// The life of a connection: this fiber reads, another one writes.
fn converse(stream: TcpStream) -> io::Result<()> {
    let (queue, writer) = (RefCell::default(), OnceCell::new());
    let member = Rc::new(Member { stream, queue, writer });
    let mut lines = BufReader::new(&member.stream);
    let Some(first) = read_line(&mut lines)? else { return Ok(()) };
    let Some((name, room)) = first.trim().split_once(' ') else {
        return (&member.stream).write_all(b"* the first line is: NAME ROOM\n");
    };
    let for_writer = Rc::clone(&member);
    let writer = cede::spawn(move || {
        let written = for_writer.write_queued();
        // The reader learns of it by the end of its stream.
        for_writer.stream.shutdown(Shutdown::Both).and(written)
    });
    let _ = member.writer.set(writer.fiber()); // set once, here
    let number = cede::current().id().serial();
    ROOMS.with_borrow_mut(|rooms| {
        rooms.entry(room.to_string()).or_default().insert(number, Rc::clone(&member));
    });
    member.send(&Arc::from(format!("* welcome to {room}, {name}\n")));
    let talked = talk(&mut lines, name, room);
    ROOMS.with_borrow_mut(|rooms| {
        let members = rooms.get_mut(room).map(|members| (members.remove(&number), members.len()));
        if matches!(members, Some((_, 0))) {
            rooms.remove(room);
        }
    });
    writer.cancel();
    talked
}

fn talk(lines: &mut impl BufRead, name: &str, room: &str) -> io::Result<()> {
    while let Some(line) = read_line(lines)? {
        let line: Arc<str> = Arc::from(format!("{name}: {line}"));
        for shard in cede::shards() {
            if shard.id() == Shard::current().id() {
                deliver(room, &line);
            } else {
                // A shard that is too busy refuses: then it is the speaker who goes.
                let (room, line) = (room.to_string(), Arc::clone(&line));
                shard.spawn(move || deliver(&room, &line))?;
            }
        }
    }
    Ok(())
}

fn read_line(lines: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    match lines.take(LINE_BYTES_MAX as u64).read_line(&mut line)? {
        _ if line.ends_with('\n') => Ok(Some(line)),
        LINE_BYTES_MAX => Err(io::Error::other("a line is too long")),
        _ => Ok(None), // the end, perhaps in the middle of a line
    }
}

/// Gives a line to all members on this shard. Nothing here waits, so no other fiber comes between.
fn deliver(room: &str, line: &Arc<str>) {
    ROOMS.with_borrow(|rooms| {
        rooms.get(room).into_iter().flatten().for_each(|(_, member)| member.send(line));
    });
}

impl Member {
    fn send(&self, line: &Arc<str>) {
        if self.queue.borrow().len() == QUEUE_LINES_MAX {
            // Too slow. Its reader and its writer find the stream at its end.
            let _ = self.stream.shutdown(Shutdown::Both);
            return;
        }
        self.queue.borrow_mut().push_back(Arc::clone(line));
        if let Some(writer) = self.writer.get() {
            writer.wakeup();
        }
    }

    fn write_queued(&self) -> io::Result<()> {
        loop {
            let lines = self.queue.take();
            if lines.is_empty() {
                cede::park()?;
                continue;
            }
            let text: Vec<u8> = lines.iter().flat_map(|line| line.bytes()).collect();
            (&self.stream).write_all(&text)?;
        }
    }
}
