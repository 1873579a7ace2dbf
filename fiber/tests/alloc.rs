//! Fibers of a server's kind allocate nothing: spawned detached, woken by another thread, waiting
//! for sockets and timers.
//!
//! The rule of this file: it holds one test, because the counter is the process's.

#[path = "support/counting.rs"]
mod counting;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cede_fiber::net::{TcpListener, TcpStream};
use cede_fiber::{Builder, Fiber, Runtime, select, with_deadline};
use counting::ALLOCATIONS;

/// Connections at one time.
const CONNECTIONS: usize = 300;
/// Those of the first round, in which the standard library makes what it keeps for each thread.
const FIRST: usize = 4;
const ROUNDS: usize = 3;
/// The main fiber, the listener and its accept.
const SERVICE: usize = 8;

const LONG: Duration = Duration::from_secs(60);

/// Reads a byte, has a thread wake this fiber while it watches its peer, and sends it back.
fn serve(mut stream: &TcpStream, waker: &mpsc::SyncSender<Fiber>) {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    waker.send(cede_fiber::current()).unwrap();
    let mut woken = false;
    while !woken {
        let waited = select! {
            _ = park() => woken = true,
            _ = readable(stream) => {
                let read = stream.try_read(&mut [0]);
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            }
            _ = sleep(LONG) => panic!("nobody wakes it"),
        };
        waited.unwrap();
    }
    stream.write_all(&byte).unwrap();
}

/// As many connections at one time, from the first byte to the end of all; how often anybody in
/// this process has allocated meanwhile.
fn round(addr: SocketAddr, streams: &mut Vec<StdTcpStream>, count: usize) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..count {
        streams.push(StdTcpStream::connect(addr).unwrap());
    }
    for stream in &mut *streams {
        stream.write_all(b"x").unwrap();
    }
    for mut stream in streams.drain(..) {
        assert_eq!(stream.read(&mut [0; 2]).unwrap(), 1);
        assert_eq!(stream.read(&mut [0; 2]).unwrap(), 0);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn fibers_with_sockets_timers_and_wakeups_allocate_nothing() {
    let (waker, wakes) = mpsc::sync_channel::<Fiber>(CONNECTIONS);
    let wakers = thread::spawn(move || wakes.iter().for_each(|fiber| fiber.wakeup()));
    let (ready, addr) = mpsc::channel();
    let clients = thread::spawn(move || {
        let addr = addr.recv().unwrap();
        let mut streams = Vec::with_capacity(CONNECTIONS);
        round(addr, &mut streams, FIRST);
        let counts = [(); ROUNDS].map(|()| round(addr, &mut streams, CONNECTIONS));
        // The end of the main fiber, and not before: it would cancel the others.
        StdTcpStream::connect(addr).unwrap();
        counts
    });
    let runtime = Runtime::builder().fibers_reserved(CONNECTIONS + SERVICE);
    let served = runtime.run(|| -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ready.send(listener.local_addr()?).unwrap();
        for _ in 0..FIRST + ROUNDS * CONNECTIONS {
            let (stream, _) = with_deadline(LONG, || listener.accept())?;
            let waker = waker.clone();
            Builder::new().no_deadline().spawn_detached(move || serve(&stream, &waker))?;
        }
        with_deadline(LONG, || listener.accept()).map(drop)
    });
    served.unwrap().unwrap();
    drop(waker);
    wakers.join().unwrap();
    assert_eq!(clients.join().unwrap(), [0; ROUNDS]);
}
