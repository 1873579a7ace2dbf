//! Peers that are many, slow or greedy: others are served, and what they cost has a bound.

mod common;
mod http_common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cede::http::{Request, Response};
use http_common::{LAST_REQUEST, Lab, answers, read_all, reset, router};

/// Descriptors and memory are the process's, so these tests run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const SHORT: Duration = Duration::from_millis(40);

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn g5_a_huge_length_takes_no_memory() {
    const PEERS: usize = 100;
    let _alone = alone();
    let lab = Lab::with(|b| b.body_bytes_max(u64::MAX), router);
    let before = common::resident();
    let peers: Vec<TcpStream> = (0..PEERS)
        .map(|n| {
            let path = if n % 2 == 0 { "/read" } else { "/echo" };
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10737418240\r\n");
            let mut stream = lab.connect();
            stream.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
            // It is being waited for.
            stream.read_exact(&mut [0; 25]).unwrap();
            stream
        })
        .collect();
    let grown = common::resident().saturating_sub(before) / PEERS;
    assert!(grown < 256 * 1024, "{grown} bytes for each peer");
    peers.into_iter().for_each(reset);
    drop(lab);
    let refused = Lab::new().answers_and_last([
        &b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10737418240\r\n\r\n"[..],
    ]);
    assert_eq!(refused.iter().map(|answer| answer.status).collect::<Vec<_>>(), [413]);
}

#[test]
fn g9_slow_readers_with_the_smallest_window_cost_little() {
    const READERS: usize = 50;
    let _alone = alone();
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            ENDED.fetch_add(1, Ordering::SeqCst);
        }
    }
    let lab = Lab::with(
        |b| b.send_timeout(Duration::from_millis(300)).shards(1),
        || {
            router().get("/endless", |_: &mut Request| {
                let ended = Ended;
                Response::stream("text/plain", move |body| {
                    let _ended = &ended;
                    loop {
                        body.write_all(&[b'x'; 10_000])?;
                    }
                })
            })
        },
    );
    let before = common::resident();
    let mut readers: Vec<TcpStream> = (0..READERS)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            // The kernel has a least size of its own.
            socket.set_recv_buffer_size(1).unwrap();
            socket.connect(&lab.addr.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(http_common::HANG)).unwrap();
            stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        for reader in &mut readers {
            reader.read_exact(&mut [0]).unwrap();
        }
        assert_eq!(lab.statuses([GET]), [200, 299], "others are served");
    }
    let grown = common::resident().saturating_sub(before) / READERS;
    assert!(grown < 256 * 1024, "{grown} bytes for each reader");
    // Those that take nothing at all are given up.
    common::eventually("all are given up", || ENDED.load(Ordering::SeqCst) == READERS);
    readers.into_iter().for_each(reset);
}

#[test]
fn g10_many_idle_connections_do_not_keep_others_out() {
    let _alone = alone();
    let most = common::raise_descriptors() / 2 - 100;
    let lab = Lab::new();
    let idle: Vec<_> = (0..most.min(5000))
        .map(|_| {
            let mut stream = lab.connect();
            stream.write_all(GET).unwrap();
            stream
        })
        .collect();
    assert_eq!(lab.statuses([GET]), [200, 299]);
    drop(idle);
}

#[test]
fn g11_a_peer_that_reads_no_answers_is_not_read_from_for_ever() {
    let _alone = alone();
    let lab = Lab::with(
        |b| b.requests_per_connection(usize::MAX).send_timeout(Duration::from_millis(200)),
        router,
    );
    let mut stream = lab.connect();
    let flood = GET.repeat(1000);
    // The buffers of both ends hold some megabytes; then the server closes.
    let sent = (0..10_000).take_while(|_| stream.write_all(&flood).is_ok()).count();
    assert!(sent < 10_000);
}

#[test]
fn f12_a_reader_that_stops_is_given_up() {
    let _alone = alone();
    let lab = Lab::with(|b| b.send_timeout(SHORT), router);
    let mut stream = lab.connect();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // The drain waits for it, and does not wait in vain.
    stream.peek(&mut [0]).unwrap();
    lab.stop();
    // A reset, so that the system keeps nothing for it either.
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "{}", bytes.len());
    assert!(bytes.len() < 100 << 20, "{}", bytes.len());
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let _alone = alone();
    let lab = Lab::with(|b| b.connections_max(2).shards(1), router);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = lab.connect();
            stream.write_all(GET).unwrap();
            stream.peek(&mut [0]).unwrap();
            stream
        })
        .collect();
    let mut waiting = lab.connect();
    waiting.write_all(LAST_REQUEST).unwrap();
    waiting.set_nonblocking(true).unwrap();
    assert!(waiting.read(&mut [0]).is_err());
    waiting.set_nonblocking(false).unwrap();
    drop(held);
    assert_eq!(answers(&read_all(&mut waiting))[0].status, 299);
}
