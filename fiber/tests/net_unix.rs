//! Unix sockets: streams, datagrams, listeners, by path and by abstract name.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::net::{UnixDatagram, UnixListener, UnixStream};
use cede_fiber::os::unix::net::SocketAddr;
use cede_fiber::{run, spawn, yield_now};
use support::TempDir;

#[test]
fn streams_connect_by_path_and_by_abstract_name() {
    let dir = TempDir::new("unix-stream");
    run(|| {
        let path = dir.path("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let to = path.clone();
        let client = spawn(move || {
            let mut stream = UnixStream::connect(&to)?;
            assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*to));
            stream.write_all(b"hello")?;
            stream.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        });
        let (mut stream, from) = listener.accept().unwrap();
        assert!(from.is_unnamed());
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        drop(stream);
        assert_eq!(client.join().unwrap().unwrap(), "HELLO");
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);

        let name = format!("cede-test-{}", std::process::id());
        let addr = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
        let addr = addr.unwrap();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let mut client = UnixStream::connect_addr(&addr).unwrap();
        let mut server = listener.incoming().next().unwrap().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    })
    .unwrap();
}

/// A connect to a listener whose queue is full waits for room.
#[test]
fn a_full_queue_is_waited_for() {
    let dir = TempDir::new("unix-full");
    run(|| {
        let path = dir.path("socket");
        let std_listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        socket2::SockRef::from(&std_listener).listen(0).unwrap();
        let listener = UnixListener::from_std(std_listener).unwrap();
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let path = path.clone();
                spawn(move || UnixStream::connect(path).map(drop))
            })
            .collect();
        for stream in listener.incoming().take(10) {
            stream.unwrap();
        }
        for client in clients {
            client.join().unwrap().unwrap();
        }
    })
    .unwrap();
}

/// A receive stops at bytes that carry a descriptor; the ones behind must still be read.
#[test]
fn a_read_that_stops_at_a_passed_descriptor_is_not_the_end() {
    run(|| {
        let (a, mut b) = UnixStream::pair().unwrap();
        b.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for _ in 0..20 {
            // Registered, so that only an event would make it ready.
            let reader = spawn(move || {
                let mut got = 0;
                while got < 6 {
                    got += b.read(&mut [0; 64]).unwrap();
                }
                b
            });
            yield_now();
            (&a).write_all(b"ab").unwrap();
            send_with_descriptor(&a, b"cd");
            (&a).write_all(b"ef").unwrap();
            b = reader.join().unwrap();
        }
    })
    .unwrap();
}

fn send_with_descriptor(stream: &UnixStream, bytes: &[u8]) {
    let fd = stream.as_raw_fd();
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0_u64; 8];
    // SAFETY: the header describes `part` and `control`, which live for the call; `control` is
    // aligned and large enough for one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        assert_eq!(libc::sendmsg(fd, &raw const message, 0), bytes.len() as isize);
    }
}

#[test]
fn datagrams_wait_for_room_and_for_each_other() {
    let dir = TempDir::new("unix-datagram");
    run(|| {
        let (a, b) = UnixDatagram::pair().unwrap();
        // More than any queue holds.
        let sender = spawn(move || {
            for i in 0..2_000_u32 {
                a.send(&i.to_ne_bytes())?;
            }
            Ok::<_, io::Error>(())
        });
        for i in 0..2_000_u32 {
            let mut buf = [0; 16];
            assert_eq!(b.recv(&mut buf).unwrap(), 4);
            assert_eq!(buf[..4], i.to_ne_bytes());
        }
        sender.join().unwrap().unwrap();

        let path = dir.path("named");
        let named = UnixDatagram::bind(&path).unwrap();
        let unnamed = UnixDatagram::unbound().unwrap();
        let sender = spawn(move || {
            for i in 0..100_u32 {
                unnamed.send_to(&i.to_ne_bytes(), &path)?;
            }
            Ok::<_, io::Error>(())
        });
        for i in 0..100_u32 {
            let mut buf = [0; 16];
            let (n, from) = named.recv_from(&mut buf).unwrap();
            assert!(n == 4 && from.is_unnamed());
            assert_eq!(buf[..4], i.to_ne_bytes());
        }
        sender.join().unwrap().unwrap();
    })
    .unwrap();
}

#[test]
fn calls_cut_short_leave_nothing_behind() {
    support::alone("calls_cut_short_leave_nothing_behind", || {
        let dir = TempDir::new("unix-cut");
        run(|| {
            let listener = Rc::new(UnixListener::bind(dir.path("socket")).unwrap());
            support::cut_short("accept", move || listener.accept());
            let (a, _b) = UnixStream::pair().unwrap();
            let a = Rc::new(a);
            support::cut_short("read", move || (&*a).read(&mut [0; 8]));
            let (a, _b) = UnixDatagram::pair().unwrap();
            let a = Rc::new(a);
            support::cut_short("recv", move || a.recv(&mut [0; 8]));
        })
        .unwrap();
    });
}
