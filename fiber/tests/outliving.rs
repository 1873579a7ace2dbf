//! What was made in one runtime and is used after it, outside of any or in the next one on the same
//! thread: nothing of the next one may take it for its own.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use cede_fiber::RemoteJoinHandle;
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

/// Bug: the thread waited for ever.
#[test]
fn p23_a_thread_that_joins_a_fiber_which_a_shutdown_leaves_behind_is_told() {
    guarded(|| {
        let (sender, handles) = mpsc::channel();
        let grace = Duration::from_millis(10);
        let runtime = cede_fiber::Runtime::builder().shards(2).shutdown_grace(grace);
        runtime
            .run(|| {
                for shard in cede_fiber::shards() {
                    let catches = || loop {
                        let waits = || cede_fiber::shield(cede_fiber::park);
                        let _ = catch_unwind(AssertUnwindSafe(waits));
                    };
                    sender.send(shard.spawn(catches).unwrap()).unwrap();
                    let answer = shard.call(|| 1).unwrap();
                    assert_eq!(answer, 1, "the fiber before has begun");
                }
            })
            .unwrap();
        for handle in handles.try_iter() {
            let joined: Result<(), _> = handle.join();
            assert!(joined.unwrap_err().is_shutdown());
        }
        // One that waits while it happens.
        let (sender, handles) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let handle: RemoteJoinHandle<()> = handles.recv().unwrap();
            handle.join().unwrap_err().is_shutdown()
        });
        let runtime = cede_fiber::Runtime::builder().shutdown_grace(grace);
        runtime
            .run(|| {
                let catches = || loop {
                    let waits = || cede_fiber::shield(cede_fiber::park);
                    let _ = catch_unwind(AssertUnwindSafe(waits));
                };
                sender.send(cede_fiber::Shard::current().spawn(catches).unwrap()).unwrap();
                cede_fiber::sleep(Duration::from_millis(10)).unwrap();
            })
            .unwrap();
        assert!(waiting.join().unwrap());
    });
}
