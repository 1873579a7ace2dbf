//! cede's streams in async code, over real sockets.
#![cfg(all(feature = "compat-futures", feature = "compat-tokio"))]

use std::cell::RefCell;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use cede_fiber::compat::Async;
use cede_fiber::net::{TcpListener, TcpStream, UnixStream};
use cede_fiber::{block_on, run, spawn, yield_now};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Polls two futures in one until both are ready.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            second = Some(value);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.unwrap(), second.unwrap())
}

async fn read_exactly(stream: &Async<TcpStream>, len: usize) -> Vec<u8> {
    let mut got = Vec::new();
    let mut buffer = [0; 100];
    while got.len() < len {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the stream ended after {} of {len} bytes", got.len());
        got.extend_from_slice(&buffer[..n]);
    }
    got
}

#[test]
fn a_poll_that_would_block_does_not_park_the_fiber() {
    run(|| {
        let (mut a, b) = pair();
        let (mut c, d) = pair();
        let order = Rc::new(RefCell::new(Vec::new()));
        let (first, second) = (Rc::clone(&order), Rc::clone(&order));
        let (b, d) = (Async::new(b), Async::new(d));
        // The second stream has bytes first: the first read must not hold it up.
        spawn(move || {
            c.write_all(b"second").unwrap();
            while second.borrow().is_empty() {
                yield_now();
            }
            a.write_all(b"first").unwrap();
        });
        let log = |name: &'static str, bytes: Vec<u8>| first.borrow_mut().push((name, bytes));
        block_on(both(async { log("b", read_exactly(&b, 5).await) }, async {
            log("d", read_exactly(&d, 6).await)
        }))
        .unwrap();
        let expected = [("d", b"second".to_vec()), ("b", b"first".to_vec())];
        assert_eq!(*order.borrow(), expected);
    })
    .unwrap();
}

#[test]
fn a_megabyte_goes_through_both_ways_at_once() {
    run(|| {
        let (a, b) = pair();
        let (a, b) = (Async::new(a), Async::new(b));
        let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let send = async |stream: &Async<TcpStream>| {
            let mut sent = 0;
            while sent < data.len() {
                sent += stream.write(&data[sent..]).await.unwrap();
            }
        };
        let all = both(
            both(send(&a), read_exactly(&b, data.len())),
            both(send(&b), read_exactly(&a, data.len())),
        );
        let (((), to_b), ((), to_a)) = block_on(all).unwrap();
        assert!(to_a == data && to_b == data);
    })
    .unwrap();
}

#[test]
fn a_future_that_is_dropped_leaves_no_waiter() {
    run(|| {
        let (mut a, b) = pair();
        let b = Async::new(b);
        for _ in 0..1_000 {
            let mut buffer = [0; 8];
            let mut read = pin!(b.read(&mut buffer));
            block_on(std::future::poll_fn(|cx| {
                assert!(read.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            }))
            .unwrap();
        }
        a.write_all(b"x").unwrap();
        assert_eq!(block_on(read_exactly(&b, 1)).unwrap(), b"x");
        drop(b);
        assert_eq!(a.read(&mut [0; 8]).unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn the_traits_of_futures_io_and_of_tokio_read_and_write() {
    run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Async::new(ours), Async::new(theirs));
        block_on(async {
            use futures_io::{AsyncRead, AsyncWrite};
            let wrote = std::future::poll_fn(|cx| Pin::new(&mut ours).poll_write(cx, b"io")).await;
            assert_eq!(wrote.unwrap(), 2);
            let mut buffer = [0; 8];
            let read =
                std::future::poll_fn(|cx| Pin::new(&mut theirs).poll_read(cx, &mut buffer)).await;
            assert_eq!(&buffer[..read.unwrap()], b"io");
            std::future::poll_fn(|cx| Pin::new(&mut ours).poll_close(cx)).await.unwrap();
        })
        .unwrap();
        block_on(async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            theirs.write_all(b"tokio").await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut text = String::new();
            ours.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "tokio");
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn outside_of_a_runtime_a_poll_that_would_block_is_an_error() {
    let stream = run(|| {
        let (a, b) = pair();
        (Async::new(a), b)
    });
    let (a, _b) = stream.unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut buffer = [0; 8];
    let polled = pin!(a.read(&mut buffer)).poll(&mut cx);
    assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
}

/// A peer that sends faster than its reader reads never lets that wait.
#[test]
fn a_flooded_async_reader_kept_the_shard_and_could_not_be_cancelled() {
    run(|| {
        let (client, server) = pair();
        let flood = std::thread::spawn({
            let mut client = client.into_std().unwrap();
            move || while client.write_all(&[1; 65_536]).is_ok() {}
        });
        let reader = spawn(move || {
            let server = Async::new(server);
            block_on(async {
                let mut buffer = [0; 16];
                while server.read(&mut buffer).await? > 0 {}
                Ok::<_, std::io::Error>(())
            })
        });
        // The reader is in the midst of its bytes when this fiber runs again.
        for _ in 0..20 {
            cede_fiber::sleep(std::time::Duration::from_micros(100)).unwrap();
        }
        reader.cancel();
        assert!(cede_fiber::is_cancelled(&reader.join().unwrap().unwrap_err()));
        flood.join().unwrap();
    })
    .unwrap();
}
