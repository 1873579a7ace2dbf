//! UDP over real sockets.

mod support;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::net::UdpSocket;
use cede_fiber::{run, spawn, yield_now};

fn pair() -> (UdpSocket, UdpSocket) {
    (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap())
}

#[test]
fn datagrams_travel_with_and_without_a_connection() {
    run(|| {
        let (a, b) = pair();
        let to = b.local_addr().unwrap();
        let receiver = spawn(move || {
            let mut buf = [0; 100];
            assert_eq!(b.peek_from(&mut buf).unwrap().0, 5);
            let (n, from) = b.recv_from(&mut buf).unwrap();
            b.connect(from).unwrap();
            assert_eq!(b.peer_addr().unwrap(), from);
            b.send(&buf[..n]).unwrap();
            assert_eq!(b.peek(&mut buf).unwrap(), 2);
            b.recv(&mut buf).unwrap()
        });
        yield_now();
        assert_eq!(a.send_to(b"hello", to).unwrap(), 5);
        let mut buf = [0; 3];
        // What does not fit is lost.
        assert_eq!(a.recv_from(&mut buf).unwrap(), (3, to));
        assert_eq!(&buf, b"hel");
        a.send_to(b"ok", to).unwrap();
        assert_eq!(receiver.join().unwrap(), 2);
    })
    .unwrap();
}

/// A short datagram must not be taken for an empty socket.
#[test]
fn many_datagrams_are_read_without_a_wait_between() {
    run(|| {
        let (a, b) = pair();
        let to = b.local_addr().unwrap();
        b.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for round in 0..50_u8 {
            for i in 0..20_u8 {
                a.send_to(&[round, i], to).unwrap();
            }
            for i in 0..20_u8 {
                let mut buf = [0; 64];
                assert_eq!(b.recv(&mut buf).unwrap(), 2);
                assert_eq!(buf[..2], [round, i]);
            }
        }
    })
    .unwrap();
}

#[test]
fn options_are_std_s() {
    run(|| {
        let (a, _b) = pair();
        a.set_broadcast(true).unwrap();
        a.set_ttl(9).unwrap();
        a.set_multicast_ttl_v4(3).unwrap();
        a.set_multicast_loop_v4(false).unwrap();
        assert!(a.broadcast().unwrap() && !a.multicast_loop_v4().unwrap());
        assert_eq!((a.ttl().unwrap(), a.multicast_ttl_v4().unwrap()), (9, 3));
        let group = Ipv4Addr::new(224, 0, 0, 200);
        let joined = a.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST);
        // A network without multicast refuses; where it joins, it leaves.
        if joined.is_ok() {
            a.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        }
        a.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(a.recv(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        a.set_nonblocking(true).unwrap();
        assert_eq!(a.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let nowhere: &[std::net::SocketAddr] = &[];
        assert_eq!(a.send_to(b"x", nowhere).unwrap_err().kind(), ErrorKind::InvalidInput);
        if support::has_ipv6() {
            let v6 = UdpSocket::bind("[::1]:0").unwrap();
            let clone = v6.try_clone().unwrap();
            clone.send_to(b"self", v6.local_addr().unwrap()).unwrap();
            assert_eq!(v6.recv(&mut [0; 9]).unwrap(), 4);
        }
    })
    .unwrap();
}

#[test]
fn receives_cut_short_leave_nothing_behind() {
    support::alone("receives_cut_short_leave_nothing_behind", || {
        run(|| {
            let (a, b) = pair();
            let (a, to) = (Rc::new(a), b.local_addr().unwrap());
            support::cut_short("recv_from", move || a.recv_from(&mut [0; 8]));
            b.send_to(b"x", to).unwrap();
            assert_eq!(b.recv(&mut [0; 8]).unwrap(), 1);
        })
        .unwrap();
    });
}

/// A datagram without bytes is a datagram, also to a fiber that waits for one; and what the system
/// has learned of a peer is told to who waits.
#[test]
fn empty_datagrams_and_refusals_wake_who_waits() {
    run(|| {
        let (a, b) = pair();
        let to = b.local_addr().unwrap();
        let receiver = spawn(move || {
            let mut buf = [7; 4];
            let lengths = [(); 3].map(|()| b.recv_from(&mut buf).unwrap().0);
            b.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            (lengths, b.recv(&mut []).unwrap_err().kind())
        });
        yield_now();
        for datagram in [&b""[..], b"", b"six by"] {
            assert_eq!(a.send_to(datagram, to).unwrap(), datagram.len());
            yield_now();
        }
        assert_eq!(receiver.join().unwrap(), ([0, 0, 4], ErrorKind::TimedOut));
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        a.connect(nobody).unwrap();
        let clone = a.try_clone().unwrap();
        let refused = spawn(move || clone.recv(&mut [0; 4]));
        yield_now();
        a.send(b"anybody there").unwrap();
        assert_eq!(refused.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    })
    .unwrap();
}
