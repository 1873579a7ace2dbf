//! Services behind a network that misbehaves: an HTTP server and an echo server, with a proxy
//! between them and their clients that delays, cuts, corrupts, resets and withholds.
//!
//! The rule of this file: other clients, who come without the proxy, are served rightly all the
//! time. The seed is printed; `CEDE_SEED` repeats a run.

mod common;
mod http_common;
#[path = "common/proxy.rs"]
mod proxy;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cede::Fiber;
use cede::http::{Request, Server, ServerHandle};
use cede::net::TcpListener;
use common::{HANG, Random, eventually, fds, resident, within_reason};
use http_common::{answers, without_dates};
use proxy::{Condition, Proxy};

/// Clients at once for each condition, and connections of each.
const CLIENTS: usize = 4;
const CONNECTIONS: usize = if cfg!(debug_assertions) { 6 } else { 12 };
/// After this time a client leaves a connection that was accepted and nothing more.
const PATIENCE: Duration = Duration::from_millis(20);
/// How the answer to half a request begins.
const REFUSAL: &[u8] = b"HTTP/1.1 400 ";
/// What allocators and threads may keep.
const NOISE_BYTES: usize = 4 << 20;

/// Descriptors and memory are the process's, so tests that count them run alone.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The two services, on one shard.
struct Services {
    http: SocketAddr,
    echo: SocketAddr,
    handle: ServerHandle,
    acceptor: Fiber,
    thread: JoinHandle<()>,
}

impl Services {
    fn start() -> Self {
        let (sender, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let serve = || -> io::Result<()> {
                let server = Server::builder().drain_on_signal(false).bind("127.0.0.1:0")?;
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let (http, echo) = (server.local_addr()?, listener.local_addr()?);
                let acceptor = cede::spawn(move || serve_echo(&listener));
                sender.send((http, echo, server.handle(), acceptor.fiber())).unwrap();
                let fibers = |_: &mut Request| cede::fibers().len().to_string();
                server.run(http_common::router().get("/fibers", fibers))?;
                acceptor.join().unwrap();
                Ok(())
            };
            cede::run(serve).unwrap().unwrap();
        });
        let (http, echo, handle, acceptor) = started.recv().unwrap();
        Self { http, echo, handle, acceptor, thread }
    }

    /// Fibers of the shard, that of the one who asks included.
    fn fibers(&self) -> usize {
        let request = b"GET /fibers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answered = answers(&talk(self.http, request, HANG).0);
        String::from_utf8(answered[0].body.clone()).unwrap().parse().unwrap()
    }

    fn stop(self) {
        self.acceptor.cancel();
        self.handle.drain();
        self.thread.join().unwrap();
    }
}

fn serve_echo(listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        // A peer that is gone ends it.
        cede::spawn(move || io::copy(&mut &stream, &mut &stream).is_ok());
    }
}

/// Sends `bytes`, ends that direction, and reads to the end. Also how it ended.
fn talk(addr: SocketAddr, bytes: &[u8], patience: Duration) -> (Vec<u8>, io::Result<()>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.set_write_timeout(Some(HANG)).unwrap();
    let mut got = Vec::new();
    // A peer that is gone already may have answered before.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let ended = stream.read_to_end(&mut got).map(drop);
    if let Err(error) = &ended
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        assert_ne!(patience, HANG, "hangs after {:?}", String::from_utf8_lossy(&got));
    }
    (got, ended)
}

/// A conversation: what is said, and what is to be answered.
struct Talk {
    said: Vec<u8>,
    answer: Vec<u8>,
    is_http: bool,
}

impl Talk {
    /// Holds the conversation without the proxy, and looks at the answer.
    fn new(services: (SocketAddr, SocketAddr), random: &mut Random) -> Self {
        let size = [random.below(10), random.below(1_000), random.below(30_000)][random.below(3)];
        let body: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        if random.below(3) == 0 {
            let (got, ended) = talk(services.1, &body, HANG);
            assert!(ended.is_ok() && got == body, "the echo server");
            return Self { said: body, answer: got, is_http: false };
        }
        let (head, sent, expected) = match random.below(4) {
            0 => ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3), vec![], vec![&b"hello"[..]; 3]),
            1 => (
                "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                vec![],
                vec![&b"one two three"[..]],
            ),
            2 => {
                let length = body.len();
                let head =
                    format!("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
                (head, body.clone(), vec![&body[..]])
            }
            _ => {
                let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunks = body.chunks(1 + random.below(5_000));
                let coded = chunks.flat_map(|chunk| {
                    [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
                });
                (head.into(), coded.chain(*b"0\r\n\r\n").collect(), vec![&body[..]])
            }
        };
        let said = [head.as_bytes(), &sent].concat();
        let (answer, ended) = talk(services.0, &said, HANG);
        assert!(ended.is_ok(), "the HTTP server");
        let bodies: Vec<_> = answers(&answer).into_iter().map(|answer| answer.body).collect();
        assert_eq!(bodies, expected);
        Self { said, answer: without_dates(answer), is_http: true }
    }

    /// Holds it again, through the proxy.
    fn repeat(&self, condition: Condition, proxy: SocketAddr) {
        let patience = if condition == Condition::Stall { PATIENCE } else { HANG };
        let (mut got, ended) = talk(proxy, &self.said, patience);
        if self.is_http {
            got = without_dates(got);
        }
        let shown = || format!("{condition:?}, {ended:?}, {:?}", String::from_utf8_lossy(&got));
        match condition {
            _ if condition.is_faithful() => {
                assert!(ended.is_ok() && got == self.answer, "{}", shown());
            }
            Condition::CloseOnData | Condition::Stall | Condition::DropAnswers => {
                assert!(got.is_empty(), "{}", shown());
            }
            // HTTP may make anything of it.
            Condition::Corrupt if self.is_http => {}
            Condition::Corrupt => {
                let differ = got.iter().zip(&self.answer).filter(|(a, b)| a != b).count();
                assert!(got.len() == self.answer.len() && differ <= 1, "{}", shown());
            }
            // What has come is right as far as it goes; half a request may be refused.
            _ => {
                let refusal = got.windows(REFUSAL.len()).position(|window| window == REFUSAL);
                let end = refusal.filter(|_| self.is_http).unwrap_or(got.len());
                assert!(self.answer.starts_with(&got[..end]), "{}", shown());
            }
        }
    }
}

/// Every condition once, and what is served during and after it.
fn round(services: &Services, random: &mut Random) {
    let both = (services.http, services.echo);
    for condition in Condition::ALL {
        let proxies = [services.http, services.echo]
            .map(|server| Proxy::start(server, condition, random.fork()));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let mut random = random.fork();
                let proxies = &proxies;
                scope.spawn(move || {
                    for _ in 0..CONNECTIONS {
                        let talk = Talk::new(both, &mut random);
                        talk.repeat(condition, proxies[usize::from(!talk.is_http)].addr());
                    }
                });
            }
        });
        // Not every conversation is long enough to meet it, and chance may have chosen none that is.
        while proxies.iter().any(|proxy| proxy.hits() == 0) {
            let talk = Talk::new(both, random);
            talk.repeat(condition, proxies[usize::from(!talk.is_http)].addr());
        }
        drop(proxies);
        // Both are as they were, at once.
        for _ in 0..4 {
            Talk::new(both, random);
        }
    }
}

#[test]
fn p32_services_survive_every_condition_and_recover_at_once() {
    let _alone = alone();
    let mut random = Random::new();
    within_reason(move || {
        let before = fds();
        let services = Services::start();
        let fibers = services.fibers();
        let open = fds();
        round(&services, &mut random);
        eventually("all connections are closed", || fds() <= open);
        eventually("all of their fibers have ended", || services.fibers() <= fibers);
        services.stop();
        assert_eq!(fds(), before);
    });
}

#[test]
fn p32_memory_is_level_over_rounds_of_chaos() {
    let _alone = alone();
    let mut random = Random::new();
    within_reason(move || {
        let services = Services::start();
        round(&services, &mut random);
        let before = resident();
        (0..2).for_each(|_| round(&services, &mut random));
        services.stop();
        let after = resident();
        println!("grown by {}", after.saturating_sub(before));
        assert!(after < before + NOISE_BYTES, "{before} bytes, then {after}");
    });
}
