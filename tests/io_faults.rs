//! A server whose system calls fail by a seed: short reads and writes, "would block" for no reason,
//! interruptions and errors at any call. Its peers see nothing of it but slowness or a close.
//!
//! The surprising rule: this program has its own `syscall`, by which the server receives and sends,
//! `sendmsg`, `readv`, `accept4` and `epoll_ctl`. The linker takes them instead of libc's, so all of
//! the server is under test as it is. On threads without a [`Plan`] they only hand on.

mod common;
mod http_common;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;

use cede::http::Server;
use common::{HANG, Random, eventually, fds, within_reason};
use http_common::{Lab, answers, without_dates};
use libc::{c_int, c_long, c_void, iovec, msghdr, sockaddr, socklen_t, ssize_t};

/// Conversations for each plan.
const TALKS: usize = if cfg!(debug_assertions) { 500 } else { 2_000 };
/// The sizes of bodies in bytes.
const BODY_BYTES_MAX: usize = 30_000;

/// What is done to the system calls of a thread. Of a hundred calls so many..
#[derive(Clone, Copy, Debug, Default)]
struct Odds {
    /// .. get or take fewer bytes than they could,
    short: usize,
    /// .. say that they would block,
    blocked: usize,
    /// .. say that a signal came,
    interrupted: usize,
    /// .. fail for good,
    failed: usize,
    /// .. take nothing, without an error: sends only.
    nothing: usize,
}

struct Plan {
    odds: Odds,
    random: Random,
    /// What each descriptor is registered with: the poller's, events, token.
    registered: HashMap<c_int, (c_int, libc::epoll_event)>,
    done: Odds,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    /// The allocator and others may make system calls while the plan is looked at.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What is to happen to one call.
enum Verdict {
    Pass,
    Nothing,
    /// At most so many bytes.
    Short(usize),
    Fail(c_int),
}

/// Runs `f` with the plan of this thread, if there is one.
fn with_plan<R>(f: impl FnOnce(&mut Plan) -> R) -> Option<R> {
    if INSIDE.replace(true) {
        return None;
    }
    let result = PLAN.try_with(|plan| plan.borrow_mut().as_mut().map(f)).ok().flatten();
    INSIDE.set(false);
    result
}

fn verdict(fd: c_int, bytes: usize, failures: &[c_int]) -> Verdict {
    let decide = |plan: &mut Plan| {
        let Odds { short, blocked, interrupted, failed, nothing } = plan.odds;
        let mut dice = plan.random.below(100);
        let mut falls_into = |odds: usize| {
            let hit = dice < odds;
            dice = dice.wrapping_sub(odds);
            hit
        };
        if falls_into(failed) {
            plan.done.failed += 1;
            return Verdict::Fail(failures[plan.random.below(failures.len())]);
        }
        if falls_into(nothing) && failures == WRITE_FAILURES && bytes > 0 {
            plan.done.nothing += 1;
            return Verdict::Nothing;
        }
        if falls_into(interrupted) {
            plan.done.interrupted += 1;
            return Verdict::Fail(libc::EINTR);
        }
        if falls_into(blocked) {
            plan.done.blocked += 1;
            plan.report_again(fd);
            return Verdict::Fail(libc::EAGAIN);
        }
        if falls_into(short) && bytes > 1 {
            plan.done.short += 1;
            plan.report_again(fd);
            return Verdict::Short(1 + plan.random.below((bytes - 1).min(200)));
        }
        Verdict::Pass
    };
    with_plan(decide).unwrap_or(Verdict::Pass)
}

impl Plan {
    /// A poller that reports edges would not repeat itself for a call that could have gone on; a
    /// kernel that really had no more would report what comes next.
    fn report_again(&self, fd: c_int) {
        if let Some((poller, event)) = self.registered.get(&fd) {
            let mut event = *event;
            // SAFETY: the event lives for the call. A descriptor that was closed is an error.
            unsafe { raw::epoll_ctl(*poller, libc::EPOLL_CTL_MOD, fd, &raw mut event) };
        }
    }
}

/// The calls themselves.
mod raw {
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::*;

    /// libc's function, which takes what a call has in its registers.
    type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

    /// libc's `syscall`. Not found through a lock, which would make system calls.
    pub(crate) fn syscall() -> Syscall {
        static NEXT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        let mut next = NEXT.load(Ordering::Relaxed);
        if next.is_null() {
            // SAFETY: the name is a C string.
            next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) };
            assert!(!next.is_null(), "libc has no syscall");
            NEXT.store(next, Ordering::Relaxed);
        }
        // SAFETY: it is a function of that type.
        unsafe { std::mem::transmute::<*mut c_void, Syscall>(next) }
    }

    pub(crate) unsafe fn epoll_ctl(
        poller: c_int,
        operation: c_int,
        fd: c_int,
        event: *mut libc::epoll_event,
    ) -> c_int {
        // SAFETY: handed on to the caller.
        unsafe { syscall()(libc::SYS_epoll_ctl, poller, operation, fd, event) as c_int }
    }
}

fn fail(errno: c_int) -> ssize_t {
    // SAFETY: the place of this thread's error.
    unsafe { *libc::__errno_location() = errno };
    -1
}

const READ_FAILURES: &[c_int] = &[libc::ECONNRESET, libc::ETIMEDOUT, libc::ENOMEM];
const WRITE_FAILURES: &[c_int] = &[libc::ECONNRESET, libc::EPIPE, libc::ENOBUFS, libc::ETIMEDOUT];
const ACCEPT_FAILURES: &[c_int] =
    &[libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::ENFILE, libc::EMFILE, libc::ENOBUFS];

/// Six arguments are in the places where any number of them would be; those that a call does not
/// have are handed on as they are found.
///
/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    first: c_long,
    second: c_long,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    let (fd, bytes) = (first as c_int, third as usize);
    let verdict = match number {
        libc::SYS_recvfrom => verdict(fd, bytes, READ_FAILURES),
        libc::SYS_sendto => verdict(fd, bytes, WRITE_FAILURES),
        _ => Verdict::Pass,
    };
    let third = match verdict {
        Verdict::Nothing if number == libc::SYS_sendto => return 0,
        Verdict::Pass | Verdict::Nothing => third,
        Verdict::Short(most) => bytes.min(most) as c_long,
        Verdict::Fail(errno) => return fail(errno) as c_long,
    };
    // SAFETY: the caller's arguments; of a buffer no more than was said.
    unsafe { raw::syscall()(number, first, second, third, fourth, fifth, sixth) }
}

/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    match verdict(fd, 0, WRITE_FAILURES) {
        Verdict::Fail(errno) => fail(errno),
        // SAFETY: handed on to the caller.
        _ => unsafe { raw::syscall()(libc::SYS_sendmsg, fd, message, flags) as ssize_t },
    }
}

/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, bufs: *const iovec, count: c_int) -> ssize_t {
    match verdict(fd, 0, READ_FAILURES) {
        Verdict::Fail(errno) => fail(errno),
        // SAFETY: handed on to the caller.
        _ => unsafe { raw::syscall()(libc::SYS_readv, fd, bufs, count) as ssize_t },
    }
}

/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    match verdict(fd, 0, ACCEPT_FAILURES) {
        Verdict::Fail(errno) => fail(errno) as c_int,
        // SAFETY: handed on to the caller.
        _ => unsafe { raw::syscall()(libc::SYS_accept4, fd, addr, len, flags) as c_int },
    }
}

/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(
    poller: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    with_plan(|plan| {
        if operation == libc::EPOLL_CTL_DEL {
            plan.registered.remove(&fd);
        } else {
            // SAFETY: these operations are given an event.
            plan.registered.insert(fd, (poller, unsafe { *event }));
        }
    });
    // SAFETY: handed on to the caller.
    unsafe { raw::epoll_ctl(poller, operation, fd, event) }
}

// ---- the test

/// Serves with these odds until `talk` is over; what was done to its calls.
fn served(odds: Odds, random: Random, talk: impl FnOnce(SocketAddr)) -> Odds {
    let (sender, started) = mpsc::channel();
    let server = thread::spawn(move || {
        let serve = || -> io::Result<()> {
            let server = Server::builder().drain_on_signal(false).bind("127.0.0.1:0")?;
            sender.send((server.local_addr()?, server.handle())).unwrap();
            let plan = Plan { odds, random, registered: HashMap::new(), done: Odds::default() };
            PLAN.set(Some(plan));
            server.run_local(http_common::router())
        };
        cede::run(serve).unwrap().unwrap();
        PLAN.take().unwrap().done
    });
    let (addr, handle) = started.recv().unwrap();
    talk(addr);
    handle.drain();
    server.join().unwrap()
}

/// Three requests, and the bodies that answer them.
fn requests(random: &mut Random, path: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let largest = [10, 1_000, BODY_BYTES_MAX][random.below(3)];
    let size = random.below(largest);
    let body: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
    let mut said = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST {path} HTTP/1.1\r\nHost: a\r\n");
    let mut said = if random.below(2) == 0 {
        said += &format!("Content-Length: {size}\r\n\r\n");
        [said.as_bytes(), &body].concat()
    } else {
        said += "Transfer-Encoding: chunked\r\n\r\n";
        let coded = body.chunks(1 + random.below(5_000)).flat_map(|chunk| {
            [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
        });
        said.bytes().chain(coded).chain(*b"0\r\n\r\n").collect()
    };
    said.extend_from_slice(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    (said, vec![b"hello".to_vec(), body, b"one two three".to_vec()])
}

/// Says it, and returns all that comes.
fn talk(addr: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    // The server may have given up before all is said.
    let _ = stream.write_all(said).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut got = Vec::new();
    if let Err(error) = stream.read_to_end(&mut got) {
        assert!(common::is_gone(&error), "hangs: {error}");
    }
    got
}

fn bodies(got: &[u8]) -> Vec<Vec<u8>> {
    answers(got).into_iter().map(|answer| answer.body).collect()
}

/// Whatever only takes longer changes no answer. An interrupted send used to fail a body's read with
/// "interrupted", which its reader tried again without end.
#[test]
fn p32_short_blocked_and_interrupted_calls_change_no_answer() {
    let mut random = Random::new();
    within_reason(move || {
        for (short, blocked, interrupted) in
            [(60, 0, 0), (0, 60, 0), (0, 0, 60), (25, 25, 25), (90, 5, 5)]
        {
            let odds = Odds { short, blocked, interrupted, ..Odds::default() };
            let seed = random.fork();
            let done = served(odds, seed, |addr| {
                for _ in 0..TALKS / 5 {
                    let path = ["/read", "/echo"][random.below(2)];
                    let (said, expected) = requests(&mut random, path);
                    assert_eq!(bodies(&talk(addr, &said)), expected, "{odds:?}");
                }
            });
            assert_eq!(
                [done.short > 0, done.blocked > 0, done.interrupted > 0],
                [short > 0, blocked > 0, interrupted > 0]
            );
        }
    });
}

/// An error ends its connection and nothing else, and the next one is served. Behind a response that
/// was torn by an error, the one that says so used to be sent.
#[test]
fn p32_errors_at_any_call_end_one_connection_only() {
    let odds = Odds { short: 20, blocked: 20, interrupted: 10, failed: 5, nothing: 0 };
    let done = break_off(odds);
    assert!(done.failed > 0, "{done:?}");
}

/// A send that takes nothing is not tried again without end.
#[test]
fn p27_sends_that_take_nothing_end_their_connection() {
    let done = break_off(Odds { nothing: 20, ..Odds::default() });
    assert!(done.nothing > 0, "{done:?}");
}

/// Talks to a server whose calls fail, and checks what comes of it; what was done to its calls.
fn break_off(odds: Odds) -> Odds {
    let mut random = Random::new();
    within_reason(move || {
        let seed = random.fork();
        let sound = Lab::new();
        let mut whole = 0;
        let done = served(odds, seed, |addr| {
            let open = fds();
            for _ in 0..TALKS {
                let (said, expected) = requests(&mut random, "/read");
                let right = talk(sound.addr, &said);
                assert_eq!(bodies(&right), expected);
                let (right, got) = (without_dates(right), without_dates(talk(addr, &said)));
                whole += usize::from(got == right);
                // It may break off anywhere, or say that it has to.
                let sorry = |at: &[u8]| at == b"HTTP/1.1 4" || at == b"HTTP/1.1 5";
                let end = got.windows(10).position(sorry).unwrap_or(got.len());
                let shown = String::from_utf8_lossy(&got);
                assert!(right.starts_with(&got[..end]), "{shown}");
            }
            eventually("all connections are closed", || fds() <= open);
        });
        println!("{done:?}, {whole} of {TALKS} conversations were answered");
        assert!((1..TALKS).contains(&whole));
        done
    })
}
