//! TCP over real sockets: what peers do to a server, and what must not follow from it.
//!
//! The peers are plain std sockets on threads of their own wherever that shows more than cede
//! against cede would. Names begin with the row of the table of runtime properties.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use cede::net::{TcpListener, TcpStream};
use common::{HANG, Random, eventually, fds, within_reason};
use socket2::{SockRef, Socket};

/// Debug builds do a fifth.
const fn scaled(rounds: usize) -> usize {
    if cfg!(debug_assertions) { rounds / 5 } else { rounds }
}

/// Runs a test as the first fiber of a runtime.
fn fiber(test: impl FnOnce() -> io::Result<()> + Send + 'static) {
    within_reason(move || cede::run(test).unwrap().unwrap());
}

thread_local! {
    /// One for each test: a port of its own for each connection would use up the ports of the
    /// system, which remembers for a minute those that were closed.
    static LISTENER: net::TcpListener = net::TcpListener::bind("127.0.0.1:0").unwrap();
}

/// A stream of cede's and its peer, a blocking one of std's.
fn with_peer() -> io::Result<(TcpStream, net::TcpStream)> {
    let stream = TcpStream::connect(LISTENER.with(net::TcpListener::local_addr)?)?;
    let (peer, addr) = LISTENER.with(net::TcpListener::accept)?;
    assert_eq!(addr, stream.local_addr()?);
    // A peer that hangs must fail the test, not outlive it.
    peer.set_read_timeout(Some(HANG))?;
    peer.set_write_timeout(Some(HANG))?;
    Ok((stream, peer))
}

/// Two connected streams of cede's.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

/// Makes the next close send a reset.
fn reset_on_close(peer: &net::TcpStream) {
    SockRef::from(peer).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A listener that answers nobody: its queue is full.
struct Deaf {
    listener: Socket,
    _in_queue: Vec<Socket>,
}

impl Deaf {
    fn new() -> Self {
        let listener = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let in_queue = (0..4).map(|_| {
            let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&addr);
            socket
        });
        let _in_queue = in_queue.collect();
        Self { listener, _in_queue }
    }

    fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }
}

// ---- reads and writes in pieces

#[test]
fn p32_bytes_one_at_a_time_arrive_in_order() {
    fiber(|| {
        let (mut stream, mut peer) = with_peer()?;
        peer.set_nodelay(true)?;
        let writer = thread::spawn(move || {
            for n in 0..2_000u32 {
                peer.write_all(&[n as u8]).unwrap();
                if n % 64 == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        });
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        writer.join().unwrap();
        assert_eq!(all, (0..2_000u32).map(|n| n as u8).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn p32_pieces_of_random_size_arrive_whole_both_ways() {
    const TOTAL: usize = 2 << 20;
    fn byte(at: usize) -> u8 {
        (at * 31 + at / 251) as u8
    }
    /// Sends the pattern in pieces, a third of them vectored.
    fn send(mut to: impl Write, mut random: Random) -> io::Result<()> {
        let all: Vec<u8> = (0..TOTAL).map(byte).collect();
        let mut at = 0;
        while at < TOTAL {
            let end = (at + 1 + random.below(100_000)).min(TOTAL);
            let middle = at + random.below(end - at + 1);
            at += if random.below(3) == 0 {
                to.write_vectored(&[
                    IoSlice::new(&all[at..middle]),
                    IoSlice::new(&all[middle..end]),
                ])?
            } else {
                to.write(&all[at..end])?
            };
        }
        Ok(())
    }
    fn receive(mut from: impl Read, mut random: Random) -> io::Result<()> {
        let (mut at, mut a, mut b) = (0, vec![0; 70_000], vec![0; 70_000]);
        loop {
            let (x, y) = (1 + random.below(a.len()), random.below(b.len()));
            let n = if random.below(3) == 0 {
                from.read_vectored(&mut [
                    IoSliceMut::new(&mut a[..x]),
                    IoSliceMut::new(&mut b[..y]),
                ])?
            } else {
                from.read(&mut a[..x])?
            };
            if n == 0 {
                assert_eq!(at, TOTAL);
                return Ok(());
            }
            for byte_read in a[..x].iter().chain(&b).take(n) {
                assert_eq!(*byte_read, byte(at), "at {at}");
                at += 1;
            }
        }
    }
    let mut seeds = Random::new();
    for _ in 0..4 {
        let random: [Random; 4] = std::array::from_fn(|_| seeds.fork());
        fiber(move || {
            let [a, b, c, d] = random;
            let (stream, peer) = with_peer()?;
            let stream = Rc::new(stream);
            let other = peer.try_clone()?;
            let peer_sends = thread::spawn(move || {
                send(&peer, a).unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
            });
            let peer_receives = thread::spawn(move || receive(&other, b).unwrap());
            // Two fibers on one stream, each through `&`.
            let sender = cede::spawn({
                let stream = Rc::clone(&stream);
                move || {
                    send(&*stream, c)?;
                    stream.shutdown(Shutdown::Write)
                }
            });
            receive(&*stream, d)?;
            sender.join().unwrap()?;
            peer_sends.join().unwrap();
            peer_receives.join().unwrap();
            Ok(())
        });
    }
}

/// The last bytes and the end of the stream often come in one segment and as one event. A read
/// that is shorter than its buffer stands for "would block" here; the end must be seen all the same.
#[test]
fn p32_data_and_end_in_one_segment_never_hang_a_reader() {
    let mut random = Random::new();
    fiber(move || {
        for round in 0..scaled(5_000) {
            let (mut stream, mut peer) = with_peer()?;
            let length = 1 + random.below(3000);
            let late = random.below(3);
            let write = move || {
                if late == 1 {
                    thread::yield_now();
                }
                // Held back until the end of the stream is known, so both leave together.
                SockRef::from(&peer).set_tcp_cork(true).unwrap();
                peer.write_all(&vec![7; length]).unwrap();
                drop(peer);
            };
            // All there before the first read, or coming while the reader is parked.
            let writer = if late == 0 {
                write();
                None
            } else {
                Some(thread::spawn(write))
            };
            let mut buf = vec![0; [1, 1000, 4096][round % 3].max(length / 2)];
            let mut total = 0;
            loop {
                match stream.read(&mut buf)? {
                    0 => break,
                    n => total += n,
                }
            }
            assert_eq!(total, length);
            assert_eq!(stream.read(&mut buf)?, 0, "the end stays the end");
            if let Some(writer) = writer {
                writer.join().unwrap();
            }
        }
        Ok(())
    });
}

#[test]
fn p32_half_closed_stream_still_carries_the_other_direction() {
    fiber(|| {
        let (mut stream, mut peer) = with_peer()?;
        let peer = thread::spawn(move || {
            let mut question = String::new();
            peer.read_to_string(&mut question).unwrap();
            assert_eq!(question, "how much?");
            // The reader is parked by now, with the write side shut.
            thread::sleep(Duration::from_millis(5));
            peer.write_all(&vec![42; 1 << 20]).unwrap();
        });
        stream.write_all(b"how much?")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        assert_eq!(answer.len(), 1 << 20);
        assert_eq!(stream.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        peer.join().unwrap();

        // And the other way round: the peer has said all, and still listens.
        let (mut stream, mut peer) = with_peer()?;
        peer.shutdown(Shutdown::Write)?;
        assert_eq!(stream.read(&mut [0; 9])?, 0);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all.len()
        });
        stream.write_all(&vec![1; 3 << 20])?;
        drop(stream);
        assert_eq!(reader.join().unwrap(), 3 << 20);
        Ok(())
    });
}

#[test]
fn p32_reset_in_the_middle_of_a_read_is_an_error_to_all_who_wait() {
    fiber(|| {
        for _ in 0..scaled(500) {
            let (stream, peer) = with_peer()?;
            let stream = Rc::new(stream);
            let waits: Vec<_> = (0..3)
                .map(|_| {
                    let stream = Rc::clone(&stream);
                    cede::spawn(move || (&*stream).read(&mut [0; 100]))
                })
                .collect();
            cede::yield_now();
            reset_on_close(&peer);
            drop(peer);
            let mut resets = 0;
            for wait in waits {
                // The first one gets the reset; after it, the stream has ended.
                match wait.join().unwrap() {
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => resets += 1,
                    other => assert_eq!(other?, 0),
                }
            }
            assert_eq!(resets, 1);
        }
        Ok(())
    });
}

#[test]
fn p32_bytes_before_a_reset_do_not_hang_the_reader() {
    fiber(|| {
        for _ in 0..scaled(500) {
            let (mut stream, mut peer) = with_peer()?;
            peer.write_all(b"not all of it")?;
            reset_on_close(&peer);
            drop(peer);
            let mut buf = [0; 100];
            // The kernel may throw the bytes away; it does not hide the end.
            let end = loop {
                match stream.read(&mut buf) {
                    Ok(n) if n > 0 => assert_eq!(&buf[..n], b"not all of it"),
                    other => break other,
                }
            };
            assert!(end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        }
        Ok(())
    });
}

/// A read stops at the urgent mark, so there a short read does not mean that nothing is left.
#[test]
fn p32_urgent_data_does_not_hang_a_reader() {
    let mut random = Random::new();
    fiber(move || {
        for _ in 0..scaled(500) {
            let (mut stream, mut peer) = with_peer()?;
            let (before, after) = (random.below(500), 1 + random.below(500));
            let parked_first = random.below(2) == 0;
            let write = move || {
                peer.write_all(&vec![1; before]).unwrap();
                assert_eq!(SockRef::from(&peer).send_out_of_band(b"!").unwrap(), 1);
                peer.write_all(&vec![2; after]).unwrap();
                // The peer keeps the connection until everything was read: no end of the stream
                // comes to the reader's help.
                assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            };
            let writer = thread::spawn(write);
            if !parked_first {
                thread::sleep(Duration::from_micros(200));
            }
            let mut buf = [0; 4096];
            let mut total = 0;
            while total < before + after {
                let n = stream.read(&mut buf)?;
                assert_ne!(n, 0);
                total += n;
            }
            assert_eq!(total, before + after);
            drop(stream);
            writer.join().unwrap();
        }
        Ok(())
    });
}

#[test]
fn p32_peek_leaves_the_bytes() {
    fiber(|| {
        let (mut stream, mut peer) = with_peer()?;
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(2));
            peer.write_all(b"abc").unwrap();
            peer
        });
        let mut buf = [0; 10];
        for _ in 0..3 {
            assert_eq!(stream.peek(&mut buf)?, 3);
        }
        assert_eq!(stream.read(&mut buf)?, 3);
        drop(late.join().unwrap());
        assert_eq!((stream.peek(&mut buf)?, stream.read(&mut buf)?), (0, 0));
        assert_eq!(stream.read(&mut [])?, 0);
        assert_eq!(stream.write(&[])?, 0);
        Ok(())
    });
}

// ---- connecting and accepting

#[test]
fn p32_refused_connect_says_so() {
    fiber(|| {
        // Bound, so that nobody else gets the port, and not listening.
        let mute = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        mute.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let addr = mute.local_addr()?.as_socket().expect("an internet address");
        for _ in 0..scaled(500) {
            let error = TcpStream::connect(addr).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
        // Of several addresses, the first that answers.
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(&[addr, listener.local_addr()?][..])?;
        assert_eq!(stream.peer_addr()?, listener.local_addr()?);
        assert_eq!(listener.accept()?.1, stream.local_addr()?);
        Ok(())
    });
}

#[test]
fn p32_connect_to_nobody_ends_by_time_out_deadline_or_cancel() {
    fiber(|| {
        let deaf = Deaf::new();
        let (addr, short) = (deaf.addr(), Duration::from_millis(5));
        let error = TcpStream::connect_timeout(&addr, short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let error = cede::with_deadline(short, || TcpStream::connect(addr)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let connecting = cede::spawn(move || TcpStream::connect(addr).map(drop));
        cede::yield_now();
        connecting.cancel();
        assert!(cede::is_cancelled(&connecting.join().unwrap().unwrap_err()));
        let error = TcpStream::connect_timeout(&addr, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn p32_ipv6_works_like_ipv4() {
    fiber(|| {
        let addr = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let listener = match TcpListener::bind(addr) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                println!("this machine has no IPv6");
                return Ok(());
            }
            other => other?,
        };
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, addr) = listener.accept()?;
        assert!(addr.is_ipv6());
        assert_eq!(addr, client.local_addr()?);
        client.write_all(b"six")?;
        let mut buf = [0; 3];
        server.read_exact(&mut buf)?;
        assert_eq!(&buf, b"six");
        Ok(())
    });
}

#[test]
fn p32_accept_and_read_keep_their_deadlines() {
    fiber(|| {
        let short = Duration::from_millis(5);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let error = cede::with_deadline(short, || listener.accept()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        // What came meanwhile is not lost.
        let (mut server, _) = cede::with_deadline(short, || listener.accept())?;
        client.set_read_timeout(Some(short))?;
        for _ in 0..3 {
            assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        }
        server.set_write_timeout(Some(short))?;
        let error = loop {
            if let Err(error) = server.write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // Both go on after that.
        assert!(client.read(&mut [0; 1])? == 1);
        let error = client.set_read_timeout(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn p32_fibers_that_share_a_listener_get_every_connection_once() {
    const ACCEPTORS: usize = 5;
    fiber(|| {
        let connections = scaled(500);
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0")?);
        let addr = listener.local_addr()?;
        let accepted = Rc::new(RefCell::new(Vec::new()));
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let (listener, accepted) = (Rc::clone(&listener), Rc::clone(&accepted));
                cede::spawn(move || -> io::Result<()> {
                    loop {
                        let (_, peer) = listener.accept()?;
                        accepted.borrow_mut().push(peer.port());
                    }
                })
            })
            .collect();
        let clients = thread::spawn(move || {
            let ports = (0..connections).map(|_| {
                let client = net::TcpStream::connect(addr).unwrap();
                client.local_addr().unwrap().port()
            });
            ports.collect::<Vec<_>>()
        });
        while accepted.borrow().len() < connections {
            cede::sleep(Duration::from_millis(1))?;
        }
        let (mut accepted, mut connected) = (accepted.take(), clients.join().unwrap());
        accepted.sort_unstable();
        connected.sort_unstable();
        assert_eq!(accepted, connected);
        for acceptor in acceptors {
            acceptor.cancel();
            assert!(cede::is_cancelled(&acceptor.join().unwrap().unwrap_err()));
        }
        Ok(())
    });
}

#[test]
fn p32_shared_listeners_spread_connections_over_shards() {
    within_reason(|| {
        let result = cede::Runtime::builder().shards(2).run(|| -> io::Result<()> {
            let first = TcpListener::bind_shared("127.0.0.1:0")?;
            let addr = first.local_addr()?;
            // Says on which shard a connection was accepted.
            fn serve(listener: &TcpListener) -> io::Result<()> {
                loop {
                    let (mut stream, _) = listener.accept()?;
                    stream.write_all(&[cede::Shard::current().id() as u8])?;
                }
            }
            let _others =
                cede::shards()[1].spawn(move || serve(&TcpListener::bind_shared(addr).unwrap()))?;
            cede::spawn(move || serve(&first));
            let mut seen = [0; 2];
            while seen.contains(&0) {
                let mut id = [0; 1];
                TcpStream::connect(addr)?.read_exact(&mut id)?;
                seen[usize::from(id[0])] += 1;
            }
            Ok(())
        });
        result.unwrap().unwrap();
    });
}

// ---- what must not follow

/// A socket is closed with an event pending, and the next one gets its number.
#[test]
fn p08_pending_event_of_a_closed_socket_is_not_the_next_owners() {
    fiber(|| {
        let mut reused = 0;
        for _ in 0..scaled(2_000) {
            let (old, mut old_peer) = with_peer()?;
            let number = old.as_raw_fd();
            let waiting = cede::spawn(move || (&old).read(&mut [0; 10]));
            cede::yield_now();
            // The event is in the kernel's list, and the reader knows nothing of it.
            old_peer.write_all(b"old")?;
            waiting.cancel();
            // The event may win; then the bytes were read.
            let _ = waiting.join().unwrap();
            let (mut new, mut new_peer) = with_peer()?;
            reused += usize::from(new.as_raw_fd() == number);
            let reader = cede::spawn(move || -> io::Result<Vec<u8>> {
                let mut all = Vec::new();
                new.read_to_end(&mut all)?;
                Ok(all)
            });
            cede::yield_now();
            // Neither bytes nor the end of the old one are the new one's.
            let _ = old_peer.write(b"older");
            drop(old_peer);
            for _ in 0..3 {
                cede::sleep(Duration::from_micros(10))?;
                assert!(!reader.is_finished());
            }
            new_peer.write_all(b"new")?;
            drop(new_peer);
            assert_eq!(reader.join().unwrap()?, b"new");
        }
        assert!(reused > 0, "no number was used again: the test shows nothing");
        Ok(())
    });
}

/// A child process holds a duplicate, so the kernel keeps the old connection, and may report it.
#[test]
fn p08_duplicate_in_a_child_does_not_wake_the_next_owner() {
    /// A child that does not outlive the test.
    struct Killed(Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    fiber(|| {
        let (mut children, mut reused) = (Vec::new(), 0);
        for _ in 0..20 {
            let (old, mut old_peer) = with_peer()?;
            let number = old.as_raw_fd();
            let waiting = cede::spawn(move || {
                let duplicate = std::os::fd::AsFd::as_fd(&old).try_clone_to_owned()?;
                let child = Command::new("sleep")
                    .arg("100")
                    .stdin(Stdio::from(duplicate))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                let _ = (&old).read(&mut [0; 10]);
                child.map(Killed)
            });
            cede::yield_now();
            waiting.cancel();
            children.push(waiting.join().unwrap()?);
            let (mut new, mut new_peer) = with_peer()?;
            // Nearly always: other tests open descriptors too.
            reused += usize::from(new.as_raw_fd() == number);
            let reader = cede::spawn(move || {
                let mut buf = [0; 10];
                new.read(&mut buf).map(|n| buf[..n].to_vec())
            });
            for _ in 0..20 {
                old_peer.write_all(b"for the child")?;
                cede::sleep(Duration::from_micros(100))?;
                assert!(!reader.is_finished());
            }
            new_peer.write_all(b"new")?;
            assert_eq!(reader.join().unwrap()?, b"new");
        }
        assert!(reused > 0, "no number was used again: the test shows nothing");
        Ok(())
    });
}

#[test]
fn p21_yielding_fibers_an_always_ready_socket_and_a_timer_all_make_progress() {
    const YIELDERS: usize = 100;
    const ENOUGH: u64 = 1_000;
    const TICKS_ENOUGH: u64 = 20;
    fiber(|| {
        let (mut stream, mut peer) = with_peer()?;
        // The peer always has more.
        let flood = thread::spawn(move || while peer.write(&[5; 65536]).is_ok() {});
        let counts = Rc::new([const { Cell::new(0u64) }; YIELDERS + 2]);
        let count = |index: usize| {
            let counts = Rc::clone(&counts);
            move || counts[index].set(counts[index].get() + 1)
        };
        let stop = Rc::new(Cell::new(false));
        for index in 0..YIELDERS {
            let (count, stop) = (count(index), Rc::clone(&stop));
            cede::spawn(move || {
                while !stop.get() {
                    count();
                    cede::yield_now();
                }
            });
        }
        let (read, stopped) = (count(YIELDERS), Rc::clone(&stop));
        let reader = cede::spawn(move || -> io::Result<()> {
            while !stopped.get() {
                assert_eq!(stream.read(&mut [0; 1])?, 1);
                read();
            }
            Ok(())
        });
        let tick = count(YIELDERS + 1);
        cede::spawn(move || -> io::Result<()> {
            let mut ticks = cede::interval(Duration::from_millis(1));
            loop {
                ticks.tick()?;
                tick();
            }
        });
        // However they are scheduled, all come to their number. What would starve hangs.
        let enough = |index: usize| if index > YIELDERS { TICKS_ENOUGH } else { ENOUGH };
        while counts.iter().enumerate().any(|(index, count)| count.get() < enough(index)) {
            cede::yield_now();
        }
        stop.set(true);
        reader.join().unwrap()?;
        flood.join().unwrap();
        Ok(())
    });
}

/// An acceptor whose connections come faster than it accepts, and a reader like it, are cancelled
/// all the same: an operation that succeeds at once is no wait, but not for ever.
#[test]
fn p21_flooded_reader_could_not_be_cancelled() {
    fiber(|| {
        for by_deadline in [false, true] {
            let (mut stream, mut peer) = with_peer()?;
            let flood = thread::spawn(move || while peer.write(&[5; 65536]).is_ok() {});
            let mut drain = move || loop {
                match stream.read(&mut [0; 16]) {
                    Ok(n) => assert_ne!(n, 0),
                    Err(error) => break error,
                }
            };
            let reader = cede::spawn(move || {
                if by_deadline {
                    cede::with_deadline(Duration::from_millis(20), drain)
                } else {
                    drain()
                }
            });
            if !by_deadline {
                cede::sleep(Duration::from_millis(20))?;
                reader.cancel();
            }
            let error = reader.join().unwrap();
            assert_eq!(cede::is_cancelled(&error), !by_deadline);
            assert_eq!(error.kind() == ErrorKind::TimedOut, by_deadline);
            flood.join().unwrap();
        }
        Ok(())
    });
}

/// The kernel reports the completion of a send without copies as an error event of the socket,
/// which then is neither closed nor readable.
#[test]
fn error_event_without_an_error_made_a_reader_spin() {
    fiber(|| {
        let (mut stream, mut peer) = with_peer()?;
        let on: libc::c_int = 1;
        // SAFETY: the option's value is read from `on`, the bytes sent are static, and both calls
        // are told the right lengths.
        unsafe {
            let set = libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ZEROCOPY,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            );
            if set != 0 {
                println!("this kernel cannot send without copies");
                return Ok(());
            }
            static BYTES: [u8; 4096] = [3; 4096];
            let flags = libc::MSG_ZEROCOPY | libc::MSG_NOSIGNAL;
            let sent = libc::send(stream.as_raw_fd(), BYTES.as_ptr().cast(), BYTES.len(), flags);
            assert_eq!(sent, 4096);
        }
        peer.read_exact(&mut [0; 4096])?;
        let reader = cede::spawn(move || {
            let mut buf = [0; 10];
            stream.read(&mut buf).map(|n| buf[..n].to_vec())
        });
        // A reader that spins would not let this fiber go on.
        for _ in 0..5 {
            cede::sleep(Duration::from_millis(1))?;
        }
        peer.write_all(b"data")?;
        assert_eq!(reader.join().unwrap()?, b"data");
        Ok(())
    });
}

#[test]
fn p25_cancelled_and_timed_out_waits_leave_no_descriptor() {
    // Descriptors are counted for the whole process: other tests must not run meanwhile, so this
    // one counts in a process of its own.
    if std::env::var_os("CEDE_ALONE").is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "p25_cancelled_and_timed_out_waits_leave_no_descriptor",
                "--nocapture",
            ])
            .env("CEDE_ALONE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    fiber(|| {
        let rounds = scaled(10_000) / 2;
        let deaf = Deaf::new();
        let addr = deaf.addr();
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0")?);
        let (silent, _other_end) = pair()?;
        let silent = Rc::new(silent);
        let before = fds();
        for _ in 0..rounds {
            let (accepting, reading) = (Rc::clone(&listener), Rc::clone(&silent));
            let waits = [
                cede::spawn(move || accepting.accept().map(drop)),
                cede::spawn(move || TcpStream::connect(addr).map(drop)),
                cede::spawn(move || (&*reading).read(&mut [0; 1]).map(drop)),
            ];
            cede::yield_now();
            for wait in waits {
                assert!(!wait.is_finished());
                wait.cancel();
                assert!(cede::is_cancelled(&wait.join().unwrap().unwrap_err()));
            }
        }
        assert_eq!(fds(), before);
        for round in 0..rounds {
            let soon = Duration::from_micros(round as u64 % 20);
            let timed_out = [
                cede::with_deadline(soon, || listener.accept().map(drop)),
                cede::with_deadline(soon, || TcpStream::connect(addr).map(drop)),
                cede::with_deadline(soon, || (&*silent).read(&mut [0; 1]).map(drop)),
            ];
            for result in timed_out {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
            }
        }
        assert_eq!(fds(), before);
        // Those that waited are gone, and those that come now are served.
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        server.write_all(b"x")?;
        client.read_exact(&mut [0; 1])
    });
}

#[test]
fn p27_writer_that_waits_for_room_learns_that_its_peer_is_gone() {
    fiber(|| {
        for by_reset in [true, false] {
            let (mut stream, peer) = with_peer()?;
            let writer = cede::spawn(move || {
                let mut writes = 0u64;
                loop {
                    match stream.write(&[0; 65536]) {
                        Ok(0) => panic!("a write of something returned 0"),
                        Ok(_) => writes += 1,
                        Err(error) => break (error, stream, writes),
                    }
                }
            });
            // It fills the buffers and parks.
            cede::sleep(Duration::from_millis(2))?;
            assert!(!writer.is_finished());
            if by_reset {
                reset_on_close(&peer);
            }
            drop(peer);
            let (error, mut stream, _) = writer.join().unwrap();
            assert!(common::is_gone(&error), "{error}");
            // It stays an error, and nothing spins or waits.
            for _ in 0..1000 {
                assert!(common::is_gone(&stream.write(&[0; 1]).unwrap_err()));
            }
            assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
        }
        Ok(())
    });
}

#[test]
fn runtime_that_ends_closes_its_connections() {
    within_reason(|| {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let result = cede::run(|| -> io::Result<()> {
            for _ in 0..50 {
                let mut stream = TcpStream::connect(addr)?;
                cede::spawn(move || stream.read(&mut [0; 1]));
            }
            cede::yield_now();
            Ok(())
        });
        result.unwrap().unwrap();
        for _ in 0..50 {
            let (mut peer, _) = listener.accept().unwrap();
            peer.set_read_timeout(Some(HANG)).unwrap();
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        }
    });
}

/// Connections whose peers leave at random moments, with and without a reset, in the middle of
/// whatever the server does: the server loses none of the others and leaks nothing.
#[test]
fn p32_server_survives_peers_that_leave_at_random_moments() {
    let seeds = Random::new();
    within_reason(move || {
        let (sender, addr) = mpsc::channel();
        let open = Arc::new(AtomicUsize::new(0));
        let served = Arc::clone(&open);
        let server = thread::spawn(move || {
            let serve = || -> io::Result<()> {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                sender.send((listener.local_addr()?, cede::current())).unwrap();
                let acceptor = cede::spawn(move || -> io::Result<()> {
                    loop {
                        let (stream, _) = listener.accept()?;
                        served.fetch_add(1, Ordering::SeqCst);
                        let served = Arc::clone(&served);
                        cede::spawn(move || {
                            let _ = io::copy(&mut &stream, &mut &stream);
                            drop(stream);
                            served.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
                cede::park()?;
                acceptor.cancel();
                Ok(())
            };
            cede::run(serve).unwrap().unwrap();
        });
        let (addr, main) = addr.recv().unwrap();
        let mut seeds = seeds;
        let randoms: Vec<_> = (0..4).map(|_| seeds.fork()).collect();
        let peers =
            randoms.into_iter().map(|random| thread::spawn(move || bad_peers(addr, random)));
        let peers: Vec<_> = peers.collect();
        peers.into_iter().for_each(|peer| peer.join().unwrap());
        // A good one is served as ever.
        let mut good = net::TcpStream::connect(addr).unwrap();
        good.set_read_timeout(Some(HANG)).unwrap();
        good.write_all(b"still there?").unwrap();
        good.read_exact(&mut [0; 12]).unwrap();
        drop(good);
        eventually("every connection is closed", || open.load(Ordering::SeqCst) == 0);
        main.wakeup();
        server.join().unwrap();
    });
}

fn bad_peers(addr: SocketAddr, mut random: Random) {
    for _ in 0..scaled(250) {
        let mut peer = net::TcpStream::connect(addr).unwrap();
        peer.set_read_timeout(Some(HANG)).unwrap();
        peer.set_nonblocking(true).unwrap();
        for _ in 0..random.below(6) {
            let size = 1 + random.below(200_000);
            // Whatever works: the buffers may be full, the server never stops reading for long.
            match random.below(4) {
                0 => drop(peer.read(&mut vec![0; size])),
                1 => drop(SockRef::from(&peer).send_out_of_band(b"!")),
                2 => thread::yield_now(),
                _ => drop(peer.write(&vec![9; size])),
            }
        }
        match random.below(3) {
            0 => reset_on_close(&peer),
            1 => drop(peer.shutdown(Shutdown::Both)),
            _ => {}
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_peer_takes_is_seen_before_there_is_room_again() {
    fiber(|| {
        let (stream, mut peer) = with_peer()?;
        assert_eq!(stream.unacknowledged()?, 0);
        // The buffers of both ends are full.
        while stream.try_write(&[0; 64 * 1024]).is_ok() {}
        let full = stream.unacknowledged()?;
        assert!(full > 0);
        let mut piece = vec![0; 64 * 1024];
        // No more than a piece is taken at a time, until the system of the peer has told of it.
        while stream.unacknowledged()? >= full {
            assert!(peer.read(&mut piece)? > 0);
        }
        reset_on_close(&peer);
        Ok(())
    });
}
