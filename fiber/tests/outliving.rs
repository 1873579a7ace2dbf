//! What was made in one runtime and is used after it, outside of any or in the next one on the same
//! thread: nothing of the next one may take it for its own.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};

use cede_fiber::net::TcpStream;
use common::guarded;

/// A stream to a peer that never sends.
fn silent(peer: &StdListener) -> TcpStream {
    let at: SocketAddr = peer.local_addr().unwrap();
    cede_fiber::run(|| TcpStream::connect(at)).unwrap().unwrap()
}

fn peer() -> StdListener {
    StdListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn p08_a_socket_outside_of_its_runtime_fails_where_it_would_wait() {
    guarded(|| {
        let peer = peer();
        let mut stream = silent(&peer);
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert!(error.to_string().contains("only a fiber can wait"), "{error}");
    });
}

#[test]
fn p08_a_socket_is_registered_anew_in_the_next_runtime() {
    guarded(|| {
        let peer = peer();
        let mut stream = silent(&peer);
        let (mut server, _) = peer.accept().unwrap();
        cede_fiber::run(|| {
            let deadline = std::time::Duration::from_millis(1);
            let read = cede_fiber::with_deadline(deadline, || stream.read(&mut [0; 8]));
            assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut, "it can wait");
            let reader = cede_fiber::spawn(move || {
                let mut buffer = [0; 8];
                let n = stream.read(&mut buffer)?;
                std::io::Result::Ok(buffer[..n].to_vec())
            });
            cede_fiber::yield_now();
            server.write_all(b"anew").unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), b"anew");
        })
        .unwrap();
    });
}

#[test]
fn p08_a_socket_of_an_earlier_runtime_does_not_disturb_one_of_this() {
    guarded(|| {
        let peer = peer();
        let at = peer.local_addr().unwrap();
        let old = silent(&peer);
        cede_fiber::run(|| {
            let mut new = TcpStream::connect(at).unwrap();
            drop(old);
            let deadline = std::time::Duration::from_millis(1);
            let read = cede_fiber::with_deadline(deadline, || new.read(&mut [0; 8]));
            assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut, "the new one can wait");
        })
        .unwrap();
    });
}

#[test]
fn p04_a_join_handle_of_an_earlier_runtime_reaches_no_fiber_of_this() {
    guarded(|| {
        let old = cede_fiber::run(|| {
            let handle = cede_fiber::spawn(|| ());
            handle.wait().unwrap();
            handle
        });
        let old = old.unwrap();
        cede_fiber::run(|| {
            // The second fiber here has the number that the old one had.
            let new = cede_fiber::spawn(cede_fiber::park);
            cede_fiber::yield_now();
            old.cancel();
            old.fiber().wakeup();
            cede_fiber::yield_now();
            assert!(!new.is_finished());
            new.fiber().wakeup();
            assert!(new.join().unwrap().is_ok());
        })
        .unwrap();
    });
}
