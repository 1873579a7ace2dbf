//! TCP beyond reading and writing: reuse of descriptors, limits, halves, names, files.
//!
//! Real sockets on ports that the system chooses; what counts descriptors or sets limits runs in a
//! process of its own.

mod support;

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::net::{
    SocketAddr, TcpListener, TcpStream, ToSocketAddrs, copy, copy_file, sendfile, wait_readable,
    wait_writable,
};
use cede_fiber::{fs, run, spawn, with_deadline, yield_now};

const ROUNDS: usize = if cfg!(debug_assertions) { 200 } else { 5_000 };

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn in_fiber(body: impl FnOnce()) {
    run(body).unwrap();
}

/// Property 8: what happened to a descriptor that was closed never reaches the next one of its
/// number.
#[test]
fn a_closed_descriptors_events_do_not_reach_its_successor() {
    in_fiber(|| {
        for _ in 0..ROUNDS {
            let (mut client, server) = pair();
            server.set_read_timeout(Some(Duration::from_micros(50))).unwrap();
            // Registered by a wait that ends without an event.
            assert_eq!((&server).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            let number = server.as_raw_fd();
            client.write_all(b"for the old one").unwrap();
            // The event is in the kernel; the descriptor is closed before anybody has polled.
            drop(server);
            let (other, successor) = {
                let (a, b) = pair();
                if a.as_raw_fd() == number { (b, a) } else { (a, b) }
            };
            successor.set_read_timeout(Some(Duration::from_micros(300))).unwrap();
            let error = (&successor).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            (&other).write_all(b"x").unwrap();
            successor.set_read_timeout(None).unwrap();
            assert_eq!((&successor).read(&mut [0; 8]).unwrap(), 1);
        }
    });
}

/// Property 8: a duplicate in a child keeps the socket alive in the poller; its events are
/// nobody's.
#[test]
fn a_duplicate_that_outlives_its_descriptor_does_no_harm() {
    in_fiber(|| {
        let (mut client, server) = pair();
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!((&server).read(&mut [0]).is_err());
        // Outside of cede's sight, as a child inherits it.
        let duplicate = server.as_fd().try_clone_to_owned().unwrap();
        drop(server);
        let (mut a, b) = pair();
        client.write_all(b"to the duplicate").unwrap();
        b.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        assert_eq!((&b).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        // The duplicate comes back under a number that the poller may still know.
        let back = TcpStream::from_std(std::net::TcpStream::from(duplicate)).unwrap();
        let mut text = [0; 16];
        (&back).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"to the duplicate");
        let reader = spawn(move || (&back).read(&mut [0; 4]));
        yield_now();
        client.write_all(b"more").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 4);
        a.write_all(b"x").unwrap();
        assert_eq!((&b).read(&mut [0; 4]).unwrap(), 1);
    });
}

/// A clone takes the number of the one that it was cloned from: the poller must not refuse it.
#[test]
fn clones_have_registrations_of_their_own() {
    in_fiber(|| {
        let (mut client, mut server) = pair();
        for i in 0..100_u8 {
            let clone = server.try_clone().unwrap();
            let reader = spawn(move || {
                let mut byte = [0];
                (&clone).read_exact(&mut byte)?;
                Ok::<_, io::Error>((byte[0], clone))
            });
            yield_now();
            client.write_all(&[i]).unwrap();
            let (byte, clone) = reader.join().unwrap().unwrap();
            assert_eq!(byte, i);
            // The older one goes; the next clone may get its number.
            server = clone;
        }
    });
}

/// A descriptor that was made in one runtime works in the next one of the same thread.
#[test]
fn a_listener_may_outlive_its_runtime() {
    let listener = run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepted = with_deadline(Duration::from_millis(1), || listener.accept());
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
        listener
    })
    .unwrap();
    in_fiber(|| {
        // Has the key that the listener had in its own reactor, were keys not unique.
        let (_a, b) = pair();
        b.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!((&b).read(&mut [0]).is_err());
        let addr = listener.local_addr().unwrap();
        let client = spawn(move || {
            cede_fiber::sleep(Duration::from_millis(2)).unwrap();
            TcpStream::connect(addr).map(drop)
        });
        listener.accept().unwrap();
        client.join().unwrap().unwrap();
    });
}

/// Property 9: out of descriptors, a listener neither spins nor dies.
#[test]
fn running_out_of_descriptors_neither_spins_nor_ends_the_listener() {
    support::alone("running_out_of_descriptors_neither_spins_nor_ends_the_listener", || {
        in_fiber(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            // The clients are another process's, or they would need descriptors here.
            let script = "for i in $(seq 60); do exec {fd}<>/dev/tcp/127.0.0.1/$0; done; sleep 0.4";
            let mut clients = std::process::Command::new("bash")
                .args(["-c", script, &addr.port().to_string()])
                .spawn()
                .unwrap();
            set_descriptor_limit(40);
            let plain = loop {
                match listener.accept() {
                    Ok((stream, _)) => std::mem::forget(stream),
                    Err(error) => break error,
                }
            };
            assert_eq!(plain.raw_os_error(), Some(libc::EMFILE), "accept tells the error");
            let cpu = cpu_time();
            let patient =
                with_deadline(Duration::from_millis(300), || listener.incoming().next().unwrap());
            assert_eq!(patient.unwrap_err().kind(), ErrorKind::TimedOut);
            let spent = cpu_time() - cpu;
            assert!(spent < Duration::from_millis(15), "spun for {spent:?} of 300 ms");
            // It recovers when there is room again.
            set_descriptor_limit(1000);
            assert!(listener.incoming().next().unwrap().is_ok());
            clients.wait().unwrap();
        });
    });
}

/// Only the soft limit: no user but root can take the hard one back.
fn set_descriptor_limit(max: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = max.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

fn cpu_time() -> Duration {
    // SAFETY: a timespec of zeros is valid, and the call writes one.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn an_endless_accept_loop_ends_with_its_fiber() {
    in_fiber(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // As std programs write it: errors are passed over.
        let server = spawn(move || listener.incoming().filter_map(Result::err).count());
        yield_now();
        server.cancel();
        assert_eq!(server.join().unwrap(), 1);
    });
}

#[test]
fn listeners_take_their_settings() {
    in_fiber(|| {
        let (only_v6, address) = match support::has_ipv6() {
            true => (true, "[::1]:0"),
            false => (false, "127.0.0.1:0"),
        };
        let builder = TcpListener::builder().only_v6(only_v6).backlog(5).nodelay(true);
        let listener = builder.bind(address).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let (server, from) = listener.accept().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert!(server.nodelay().unwrap() && !client.nodelay().unwrap());
        // SO_REUSEPORT lets a second one listen at the same address.
        let first = TcpListener::builder().reuse_port(true).bind("127.0.0.1:0").unwrap();
        let addr = first.local_addr().unwrap();
        TcpListener::builder().reuse_port(true).bind(addr).unwrap();
        let plain = TcpListener::bind(addr).unwrap_err();
        assert_eq!(plain.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn options_are_set_and_told() {
    in_fiber(|| {
        let (a, _b) = pair();
        a.set_ttl(42).unwrap();
        a.set_nodelay(true).unwrap();
        a.set_linger(Some(Duration::from_secs(3))).unwrap();
        a.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        assert_eq!((a.ttl().unwrap(), a.nodelay().unwrap()), (42, true));
        assert_eq!(a.linger().unwrap(), Some(Duration::from_secs(3)));
        a.set_linger(None).unwrap();
        assert_eq!(a.write_timeout().unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(
            a.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(a.take_error().unwrap().is_none());
    });
}

#[test]
fn nonblocking_calls_return_where_they_would_park() {
    in_fiber(|| {
        let (mut client, server) = pair();
        server.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            assert_eq!((&server).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        client.write_all(b"hi").unwrap();
        // No poll in between: the system is asked each time.
        assert_eq!((&server).read(&mut [0; 8]).unwrap(), 2);
        server.set_nonblocking(false).unwrap();
        let reader = spawn(move || (&server).read(&mut [0; 8]));
        yield_now();
        client.write_all(b"you").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 3);
    });
}

/// Property 27: a peer that closes in the middle of a write is an error, once and for all.
#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    in_fiber(|| {
        // SAFETY: no pointers; the default action of SIGPIPE would end this process.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (client, mut server) = pair();
        let writer = spawn(move || {
            let mut client = client;
            let error = client.write_all(&vec![1; 64 << 20]).unwrap_err();
            let again = client.write_vectored(&[IoSlice::new(b"x")]).unwrap_err();
            (error.kind(), again.kind())
        });
        server.read_exact(&mut [0; 1000]).unwrap();
        drop(server);
        let (first, second) = writer.join().unwrap();
        assert!(matches!(first, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{first}");
        assert_eq!(second, ErrorKind::BrokenPipe);
    });
}

/// Property 32: writes are cut by a full buffer and reads come in pieces; nothing is lost.
#[test]
fn partial_reads_and_writes_lose_nothing() {
    in_fiber(|| {
        let (client, server) = pair();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i ^ (i >> 9)) as u8).collect();
        let expected = sent.clone();
        let writer = spawn(move || {
            let (mut rest, mut size) = (&sent[..], 1);
            while !rest.is_empty() {
                size = size * 7 % 99_991 + 1;
                let (a, b) = rest.split_at(rest.len().min(size));
                let n = (&client).write_vectored(&[IoSlice::new(&[]), IoSlice::new(a)])?;
                rest = if n == a.len() { b } else { &rest[n..] };
            }
            client.shutdown(Shutdown::Write)?;
            // The other direction is still open.
            assert_eq!((&client).read(&mut [0; 4])?, 2);
            Ok::<_, io::Error>(())
        });
        let (mut got, mut size) = (Vec::new(), 1);
        let (mut a, mut b) = (vec![0; 40_000], vec![0; 40_000]);
        loop {
            size = size * 11 % 39_989 + 1;
            let mut bufs = [IoSliceMut::new(&mut a[..size]), IoSliceMut::new(&mut b[..size])];
            let n = (&server).read_vectored(&mut bufs).unwrap();
            if n == 0 {
                break;
            }
            got.extend_from_slice(&a[..n.min(size)]);
            got.extend_from_slice(&b[..n.saturating_sub(size)]);
        }
        assert!(got == expected);
        (&server).write_all(b"ok").unwrap();
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn halves_share_a_stream_and_end_it() {
    in_fiber(|| {
        let (client, server) = pair();
        {
            let (mut read, mut write) = client.split();
            (&server).write_all(b"abc").unwrap();
            let mut text = [0; 3];
            read.read_exact(&mut text).unwrap();
            write.write_all(&text).unwrap();
        }
        let (read, write) = client.into_split();
        let (other_read, other_write) = server.into_split();
        let Err(both) = read.reunite(other_write) else { panic!("these are of two streams") };
        let cede_fiber::net::ReuniteError(mut read, other_write) = both;
        let echo = spawn(move || {
            let (mut read, mut write) = (other_read, other_write);
            copy(&mut read, &mut write)
        });
        let mut write = write;
        write.write_all(b"defghi").unwrap();
        // Dropping the half that writes is the end of the stream for the peer.
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdefghi");
        assert_eq!(echo.join().unwrap().unwrap(), 9);
        let (a, mut b) = pair();
        let (read, write) = a.into_split();
        let mut a = read.reunite(write).unwrap();
        a.write_all(b"still open").unwrap();
        b.read_exact(&mut [0; 10]).unwrap();
    });
}

#[test]
fn a_connection_moves_to_another_shard_through_std() {
    let runtime = cede_fiber::Runtime::builder().shards(2);
    let answer = runtime.run(|| {
        let (mut client, server) = pair();
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!((&server).read(&mut [0]).is_err());
        let server = server.into_std().unwrap();
        let other = cede_fiber::shards().pop().unwrap();
        let there = other.spawn(move || {
            let mut server = TcpStream::from_std(server).unwrap();
            let mut text = [0; 4];
            server.read_exact(&mut text).unwrap();
            text
        });
        let there = there.unwrap();
        cede_fiber::sleep(Duration::from_millis(2)).unwrap();
        client.write_all(b"move").unwrap();
        there.join().unwrap()
    });
    assert_eq!(&answer.unwrap(), b"move");
}

#[test]
fn names_are_resolved_off_the_shard_and_digits_on_it() {
    in_fiber(|| {
        let resolve = |text: &str| text.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        assert_eq!(resolve("127.0.0.1:80").unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(resolve("[::1]:80").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(("10.0.0.1", 5).to_socket_addrs().unwrap().count(), 1);
        assert_eq!(cede_fiber::blocking_metrics().threads, 0, "digits need no thread");
        assert!(resolve("localhost:7").unwrap().iter().all(|a| a.ip().is_loopback()));
        assert_eq!(cede_fiber::blocking_metrics().threads, 1);
        let many: &[SocketAddr] = &["127.0.0.1:1".parse().unwrap(), "127.0.0.2:2".parse().unwrap()];
        assert!(many.to_socket_addrs().unwrap().eq(many.iter().copied()));
        for bad in ["localhost", "localhost:http", "localhost:70000", ":", ""] {
            assert!(resolve(bad).is_err(), "{bad:?}");
        }
        let long = format!("{}:1", "a".repeat(300));
        assert_eq!(resolve(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn several_fibers_wait_for_one_foreign_descriptor() {
    in_fiber(|| {
        let (mine, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mine = Rc::new(mine);
        let woken = Rc::new(Cell::new(0));
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let (mine, woken) = (Rc::clone(&mine), Rc::clone(&woken));
                spawn(move || {
                    wait_readable(&*mine)?;
                    woken.set(woken.get() + 1);
                    Ok::<_, io::Error>(())
                })
            })
            .collect();
        wait_writable(&*mine).unwrap();
        assert_eq!(woken.get(), 0);
        other.write_all(b"!").unwrap();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        wait_readable(&*mine).unwrap();
        let file = std::fs::File::open("Cargo.toml").unwrap();
        assert_eq!(wait_readable(&file).unwrap_err().raw_os_error(), Some(libc::EPERM));
    });
}

#[test]
fn files_are_sent_by_the_kernel() {
    let dir = support::TempDir::new("sendfile");
    let content: Vec<u8> = (0..2_000_000_u32).map(|i| ((i * 31) >> 3) as u8).collect();
    std::fs::write(dir.path("file"), &content).unwrap();
    in_fiber(|| {
        let (client, mut server) = pair();
        let path = dir.path("file");
        let sender = spawn(move || {
            let mut file = fs::File::open(path)?;
            let part = sendfile(&client, &file, 1000, 500_000)?;
            let past_end = sendfile(&client, &file, 1_999_990, 500)?;
            let whole = copy_file(&mut file, &client)?;
            assert_eq!(file.read(&mut [0; 8])?, 0, "the position is at the end");
            Ok::<_, io::Error>((part, past_end, whole))
        });
        let mut got = Vec::new();
        server.read_to_end(&mut got).unwrap();
        assert_eq!(sender.join().unwrap().unwrap(), (500_000, 10, 2_000_000));
        let expected = [&content[1000..501_000], &content[1_999_990..], &content[..]].concat();
        assert!(got == expected);
    });
}

/// Property 28: a child gets no descriptor of ours.
#[test]
fn descriptors_are_closed_on_exec() {
    support::alone("descriptors_are_closed_on_exec", || {
        // What the harness hands down, before there is anything of ours.
        let plain = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
        in_fiber(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = listener.accept().unwrap().0;
            let _clone = server.try_clone().unwrap();
            let _udp = cede_fiber::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let _unix = cede_fiber::net::UnixStream::pair().unwrap();
            let _signal = cede_fiber::signal::hangup().unwrap();
            let _file = fs::File::open("Cargo.toml").unwrap();
            let output = cede_fiber::process::Command::new("ls").arg("/proc/self/fd").output();
            assert_eq!(output.unwrap().stdout, plain.stdout);
        });
    });
}

/// Property 25.
#[test]
fn calls_cut_short_leave_nothing_behind() {
    support::alone("calls_cut_short_leave_nothing_behind", || {
        in_fiber(|| {
            let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let l = Rc::clone(&listener);
            support::cut_short("accept", move || l.accept());
            let (client, _server) = pair();
            let client = Rc::new(client);
            let c = Rc::clone(&client);
            support::cut_short("read", move || (&*c).read(&mut [0; 64]));
            let c = Rc::clone(&client);
            support::cut_short("wait_readable", move || wait_readable(&*c));
            client.set_nonblocking(true).unwrap();
            while (&*client).write(&[0; 65_536]).is_ok() {}
            client.set_nonblocking(false).unwrap();
            support::cut_short("write", move || (&*client).write(&[0; 64]));
            // A queue that is full: further connects are not answered.
            let full = TcpListener::builder().backlog(0).bind("127.0.0.1:0").unwrap();
            let addr = full.local_addr().unwrap();
            let _in_queue: Vec<_> = (0..3)
                .map(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(50)))
                .collect();
            support::cut_short("connect", move || TcpStream::connect(addr));
        });
    });
}

#[test]
fn a_low_water_mark_holds_back_what_comes_and_lowering_it_lets_it_through() {
    in_fiber(|| {
        let (mut client, server) = pair();
        server.set_receive_low_water(100).unwrap();
        let mut buf = [0; 256];
        // Registers the descriptor, so that what comes is heard of by the poller only.
        let wait = |micros| {
            with_deadline(Duration::from_micros(micros), || (&server).read(&mut [0])).unwrap_err()
        };
        assert_eq!(wait(200).kind(), ErrorKind::TimedOut);
        client.write_all(&[1; 99]).unwrap();
        assert_eq!(wait(5_000).kind(), ErrorKind::TimedOut);
        server.set_receive_low_water(1).unwrap();
        assert_eq!((&server).read(&mut buf).unwrap(), 99);
        server.set_receive_low_water(100).unwrap();
        client.write_all(&[2; 100]).unwrap();
        assert_eq!((&server).read(&mut buf).unwrap(), 100);
        // The end is heard of below the mark.
        drop(client);
        assert_eq!((&server).read(&mut buf).unwrap(), 0);
    });
}

/// A socket becomes a descriptor, which blocks, and a descriptor a socket.
#[test]
fn sockets_come_from_descriptors_and_become_some() {
    in_fiber(|| {
        let blocks = |fd: &OwnedFd| {
            // SAFETY: no pointers are passed.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK == 0 }
        };
        let (mut client, server) = pair();
        let fd = OwnedFd::from(server);
        assert!(blocks(&fd));
        let server = TcpStream::try_from(fd).unwrap();
        client.write_all(b"moved").unwrap();
        let mut buf = [0; 8];
        assert_eq!((&server).read(&mut buf).unwrap(), 5);
        let server = TcpStream::try_from(server.into_std().unwrap()).unwrap();
        let raw = server.into_raw_fd();
        // SAFETY: `into_raw_fd` gave it away.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        assert!(blocks(&fd));
        drop(fd);
        assert_eq!(client.read(&mut buf).unwrap(), 0);
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(TcpListener::try_from(listener).is_err(), "on a thread without a runtime");
}

/// Whoever gets a duplicate of a socket may make it block, which holds for all duplicates: std does,
/// and so does many a program that gets it as its standard input.
#[test]
fn a_duplicate_that_blocks_held_up_the_shard() {
    in_fiber(|| {
        let (client, server) = pair();
        let peer = client.into_std().unwrap();
        let blocking = server.try_clone().unwrap().into_std().unwrap();
        // A thread that is held up fails this test instead of hanging it.
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let rescue = std::thread::spawn(move || {
            if is_done.recv_timeout(Duration::from_secs(20)).is_err() {
                peer.shutdown(Shutdown::Both).unwrap();
                panic!("a call blocked the thread");
            }
            peer
        });
        let short = Some(Duration::from_millis(1));
        server.set_read_timeout(short).unwrap();
        server.set_write_timeout(short).unwrap();
        let mut part = [0; 8];
        let late = [
            (&server).read(&mut part).unwrap_err(),
            (&server).read_vectored(&mut [IoSliceMut::new(&mut part)]).unwrap_err(),
            server.peek(&mut part).unwrap_err(),
            (&server).write_all(&vec![0; 64 << 20]).unwrap_err(),
            (&server).write_vectored(&[IoSlice::new(&vec![0; 8 << 20])]).unwrap_err(),
        ];
        done.send(()).unwrap();
        drop(rescue.join().unwrap());
        assert!(late.iter().all(|error| error.kind() == ErrorKind::TimedOut), "{late:?}");
        drop(blocking);
    });
}

#[test]
fn a_name_that_cannot_be_resolved_is_named() {
    in_fiber(|| {
        // An empty name asks nobody.
        let error = TcpStream::connect(("", 80)).unwrap_err();
        assert!(error.to_string().contains("the address of \"\""), "{error}");
    });
}
