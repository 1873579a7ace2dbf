//! Every call that waits, cancelled and timed out again and again: the right error each time, and
//! nothing is left behind.
//!
//! The rule of this file: it holds one test, because descriptors, fibers and memory are the
//! process's.

mod common;

use std::cell::RefCell;
use std::future::pending;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::rc::Rc;
use std::time::Duration;

use cede::net::{
    TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream, wait_readable,
    wait_writable,
};
use cede::process::{Command, Stdio};
use cede::sync::{
    Barrier, Condvar, Mutex, OnceCell, RwLock, Semaphore, broadcast, local, mpsc, oneshot, watch,
};
use cede::{Runtime, signal};
use common::{fds, resident, within_reason};
use socket2::{Domain, Socket, Type};

/// Waits of each kind and way of ending.
const ROUNDS: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// Of those that make a thread or a connection work.
const ROUNDS_COSTLY: usize = ROUNDS / 100;
const BATCH: usize = 100;
/// What the allocator may keep after thousands of rounds.
const NOISE_BYTES: usize = 2 << 20;

type Wait = Rc<dyn Fn() -> io::Result<()>>;

struct Kind {
    name: &'static str,
    rounds: usize,
    /// Fibers that wait at once.
    batch: usize,
    wait: Wait,
}

fn kind(name: &'static str, wait: impl Fn() -> io::Result<()> + 'static) -> Kind {
    Kind { name, rounds: ROUNDS, batch: BATCH, wait: Rc::new(wait) }
}

fn costly(name: &'static str, wait: impl Fn() -> io::Result<()> + 'static) -> Kind {
    Kind { rounds: ROUNDS_COSTLY, ..kind(name, wait) }
}

/// What nothing here ever drops, so that a wait for it has no other end.
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn locks() -> Vec<Kind> {
    let mutex = kept(Mutex::new(()));
    let here = kept(local::Mutex::new(()));
    let rw = kept(RwLock::new(()));
    kept(mutex.try_lock().unwrap());
    kept(here.try_lock().unwrap());
    kept(rw.try_write().unwrap());
    let (condvar, its_mutex) = (kept(Condvar::new()), kept(Mutex::new(())));
    let semaphore = kept(Semaphore::new(1));
    let barrier = kept(Barrier::new(1_000_000));
    let once = kept(OnceCell::<u32>::new());
    // Never ends, so everybody else waits for it.
    cede::spawn(|| once.get_or_try_init(|| cede::park().map(|()| 1)));
    vec![
        kind("Mutex::lock", || mutex.lock().map(drop)),
        kind("local::Mutex::lock", || here.lock().map(drop)),
        kind("RwLock::read", || rw.read().map(drop)),
        kind("RwLock::write", || rw.write().map(drop)),
        kind("Condvar::wait", || condvar.wait(its_mutex.lock()?).map(drop)),
        kind("Semaphore::acquire", || semaphore.acquire_many(2).map(drop).map_err(Into::into)),
        kind("Barrier::wait", || barrier.wait().map(drop)),
        kind("OnceCell::get_or_init", || once.get_or_init(|| 2).map(drop)),
    ]
}

fn channels() -> Vec<Kind> {
    let (sender, empty) = mpsc::channel::<u32>();
    let (full, receiver) = mpsc::sync_channel::<u32>(1);
    full.try_send(1).unwrap();
    let (here, nothing) = local::mpsc::channel::<u32>();
    let (one, other) = oneshot::channel::<u32>();
    let (cast, _) = kept(broadcast::channel::<u32>(2));
    let (changes, watcher) = watch::channel(0);
    let (empty, nothing) = (kept(empty), kept(nothing));
    let (full, other, watcher) = (kept(full), kept(other), kept(watcher));
    kept((sender, receiver, here, one, changes));
    vec![
        kind("mpsc::Receiver::recv", || Ok(empty.recv().map(drop)?)),
        kind("mpsc::SyncSender::send", || {
            full.send(2).map_err(|error| {
                let mpsc::SendError::Wait(_, error) = error else { panic!("{error}") };
                error
            })
        }),
        kind("mpsc::SyncSender::reserve", || {
            full.reserve().map(drop).map_err(|error| {
                let mpsc::SendError::Wait((), error) = error else { panic!("{error}") };
                error
            })
        }),
        kind("local::mpsc::Receiver::recv", || Ok(nothing.recv().map(drop)?)),
        kind("broadcast::Receiver::recv", || match cast.subscribe().recv() {
            Err(broadcast::RecvError::Wait(error)) => Err(error),
            other => panic!("{other:?}"),
        }),
        kind("watch::Receiver::changed", || Ok(watcher.clone().changed()?)),
        kind("oneshot::Sender::closed", || {
            let (sender, receiver) = oneshot::channel::<u32>();
            let closed = sender.closed();
            drop(receiver);
            closed
        }),
        kind("select!", move || {
            cede::select! {
                value = recv(empty) => panic!("{value:?}"),
                value = recv(other) => panic!("{value:?}"),
            }
        }),
    ]
}

fn main_verbs() -> Vec<Kind> {
    let forever = kept(cede::spawn(cede::park));
    let other = kept(cede::shards()[1].spawn(cede::park).unwrap());
    vec![
        kind("park", cede::park),
        kind("sleep", || cede::sleep(Duration::from_secs(3600))),
        kind("JoinHandle::wait", || forever.wait()),
        kind("RemoteJoinHandle::wait", || other.wait()),
        kind("block_on", || cede::block_on(pending())),
    ]
}

fn connected() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

/// Where connections neither come about nor fail: a listener whose queue is full.
fn deaf() -> io::Result<SocketAddr> {
    let listener = kept(Socket::new(Domain::IPV4, Type::STREAM, None)?);
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(0)?;
    let addr = listener.local_addr()?;
    for _ in 0..4 {
        let socket = kept(Socket::new(Domain::IPV4, Type::STREAM, None)?);
        socket.set_nonblocking(true)?;
        let _ = socket.connect(&addr);
    }
    addr.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn sockets() -> io::Result<Vec<Kind>> {
    let tcp = kept(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    let unix = kept(UnixListener::bind_addr(&UnixAddr::from_abstract_name(format!(
        "cede-every-wait-{}",
        std::process::id()
    ))?)?);
    let deaf = deaf()?;
    let (silent, _) = kept(connected()?);
    let (full, _) = kept(connected()?);
    while full.try_write(&[0; 1 << 16]).is_ok() {}
    let udp = kept(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    let (stream, _) = kept(UnixStream::pair()?);
    let (datagram, _) = kept(UnixDatagram::pair()?);
    Ok(vec![
        kind("TcpListener::accept", || tcp.accept().map(drop)),
        kind("UnixListener::accept", || unix.accept().map(drop)),
        costly("TcpStream::connect", move || TcpStream::connect(deaf).map(drop)),
        kind("TcpStream::read", || (&*silent).read(&mut [0]).map(drop)),
        kind("TcpStream::write", || (&*full).write(&[0]).map(drop)),
        kind("UnixStream::read", || (&*stream).read(&mut [0]).map(drop)),
        kind("UdpSocket::recv_from", || udp.recv_from(&mut [0]).map(drop)),
        kind("UnixDatagram::recv", || datagram.recv(&mut [0]).map(drop)),
        kind("wait_readable", move || wait_readable(udp)),
        kind("wait_writable", move || wait_writable(full)),
    ])
}

/// Waits that end with something outside: a thread of the pool, a child, a signal.
fn outside() -> io::Result<Vec<Kind>> {
    let gate = kept(std::sync::Mutex::new(()));
    kept(gate.lock().unwrap());
    // Ends with its input, which is to say with this process.
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    kept(child.stdin.take());
    let child = kept(RefCell::new(child));
    Ok(vec![
        costly("blocking", || cede::blocking(|| drop(gate.lock()))),
        kind("Signal::recv", || signal::hangup()?.recv()),
        // One at a time: to wait for a child is to borrow it.
        Kind { batch: 1, ..costly("Child::wait", || child.borrow_mut().wait().map(drop)) },
    ])
}

/// How a wait is made to end.
#[derive(Debug, Clone, Copy)]
enum End {
    Cancel,
    Deadline,
}

impl Kind {
    /// As many rounds as asked for, some at once.
    fn run(&self, end: End, rounds: usize) {
        for _ in 0..rounds.div_ceil(self.batch) {
            let fibers: Vec<_> = (0..self.batch)
                .map(|number| {
                    let wait = Rc::clone(&self.wait);
                    let limit = Duration::from_micros(number as u64 % 20);
                    cede::spawn(move || match end {
                        End::Cancel => wait(),
                        End::Deadline => cede::with_deadline(limit, || wait()),
                    })
                })
                .collect();
            if let End::Cancel = end {
                cede::yield_now();
                fibers.iter().for_each(|fiber| fiber.cancel());
            }
            for fiber in fibers {
                let error = fiber.join().unwrap().expect_err(self.name);
                let right = match end {
                    End::Cancel => cede::is_cancelled(&error),
                    End::Deadline => error.kind() == io::ErrorKind::TimedOut,
                };
                assert!(right, "{} by {end:?}: {error}", self.name);
            }
        }
    }

    fn check(&self) {
        for end in [End::Cancel, End::Deadline] {
            self.run(end, self.rounds / 10);
            let before = (fds(), cede::fibers().len(), resident());
            self.run(end, self.rounds);
            let after = (fds(), cede::fibers().len(), resident());
            let what = format!("{} by {end:?}: {before:?} before, {after:?} after", self.name);
            assert_eq!((before.0, before.1), (after.0, after.1), "{what}");
            assert!(after.2 < before.2 + NOISE_BYTES, "{what}");
        }
    }
}

#[test]
fn p25_every_wait_cancelled_and_timed_out_leaves_nothing() {
    within_reason(|| {
        let checked = Runtime::builder().shards(2).shutdown_grace(Duration::ZERO).run(|| {
            let mut kinds = main_verbs();
            kinds.extend(locks());
            kinds.extend(channels());
            kinds.extend(sockets()?);
            kinds.extend(outside()?);
            kinds.iter().for_each(Kind::check);
            Ok::<_, io::Error>(kinds.len())
        });
        println!("{} kinds of waits", checked.unwrap().unwrap());
    });
}
