//! Registrations of real descriptors: stale events, edges, notifications, signals.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cede_reactor::{Direction, Reactor, SourceKey};

use Direction::{Read as R, Write as W};

/// Nobody waits this long, but for a test that fails.
const HANG: Duration = Duration::from_secs(60);

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (b, _) = listener.accept().unwrap();
    a.set_nonblocking(true).unwrap();
    (a, b)
}

/// Registers a descriptor that the caller keeps open until the reactor forgets it, or longer.
fn register(reactor: &mut Reactor<u32>, fd: RawFd) -> SourceKey {
    // SAFETY: promised by the tests, and where they break it on purpose they say so.
    unsafe { reactor.register(fd).unwrap() }
}

/// Everyone who is woken by what has happened so far.
fn woken(reactor: &mut Reactor<u32>) -> Vec<u32> {
    let mut woken = Vec::new();
    for _ in 0..3 {
        reactor.poll(Some(Duration::ZERO), |who| woken.push(who)).unwrap();
    }
    woken
}

/// Waits in a direction that is not ready.
fn wait(reactor: &mut Reactor<u32>, key: SourceKey, direction: Direction, who: u32) {
    reactor.clear_ready(key, direction);
    assert!(reactor.wait(key, direction, who));
}

#[test]
fn p08_event_pending_at_a_close_is_not_the_next_owners() {
    let mut reactor = Reactor::new().unwrap();
    for _ in 0..100 {
        let (old, mut old_peer) = pair();
        let key = register(&mut reactor, old.as_raw_fd());
        woken(&mut reactor);
        wait(&mut reactor, key, R, 1);
        old_peer.write_all(b"x").unwrap();
        // The kernel has the event, the reactor has not.
        let mut given_back = Vec::new();
        reactor.deregister(key, old.as_raw_fd(), |who| given_back.push(who)).unwrap();
        assert_eq!(given_back, [1]);
        let number = old.as_raw_fd();
        drop(old);
        let (new, mut new_peer) = pair();
        // Onto the very number, whatever other threads opened meanwhile.
        // SAFETY: plain system calls; the number is this test's: it was just closed, or is open
        // in `new` itself.
        let fd = unsafe { libc::fcntl(new.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
        let new_key = register(&mut reactor, fd);
        assert_ne!(new_key, key);
        woken(&mut reactor);
        wait(&mut reactor, new_key, R, 2);
        assert_eq!(woken(&mut reactor), []);
        assert!(!reactor.is_ready(new_key, R) && !reactor.is_ready(key, R));
        new_peer.write_all(b"y").unwrap();
        assert_eq!(woken(&mut reactor), [2]);
        reactor.deregister(new_key, fd, |_| ()).unwrap();
        // SAFETY: the descriptor was made above, and nothing uses it any more.
        unsafe { libc::close(fd) };
    }
    assert_eq!((reactor.registered(), reactor.waiting()), (0, 0));
}

/// A duplicate keeps what is registered alive, and the kernel reports it with the old token, when
/// the descriptor was closed before it was deregistered.
#[test]
fn p08_event_of_a_duplicate_finds_no_registration() {
    let mut reactor = Reactor::new().unwrap();
    let (old, mut old_peer) = pair();
    let duplicate = old.try_clone().unwrap();
    let number = old.as_raw_fd();
    let key = register(&mut reactor, number);
    woken(&mut reactor);
    // The contract is broken on purpose: closed first. epoll forgives that, and keeps the old
    // registration, of which only the generation in its token tells.
    drop(old);
    assert!(reactor.deregister(key, number, |_| ()).is_err());
    let (new, mut new_peer) = pair();
    let new_key = register(&mut reactor, new.as_raw_fd());
    woken(&mut reactor);
    wait(&mut reactor, new_key, R, 2);
    for _ in 0..3 {
        old_peer.write_all(b"stale").unwrap();
        assert_eq!(woken(&mut reactor), []);
        assert!(!reactor.is_ready(new_key, R));
    }
    drop((old_peer, duplicate));
    assert_eq!(woken(&mut reactor), []);
    new_peer.write_all(b"y").unwrap();
    assert_eq!(woken(&mut reactor), [2]);
}

#[test]
fn stale_key_does_nothing_to_the_next_registration() {
    let mut reactor = Reactor::new().unwrap();
    let ((a, _a_peer), (b, mut b_peer)) = (pair(), pair());
    let old = register(&mut reactor, a.as_raw_fd());
    reactor.deregister(old, a.as_raw_fd(), |_| ()).unwrap();
    // In the same place of the table.
    let new = register(&mut reactor, b.as_raw_fd());
    wait(&mut reactor, new, R, 1);
    assert!(!reactor.is_ready(old, R));
    assert!(!reactor.wait(old, R, 9));
    reactor.unwait(old, R, 1);
    reactor.clear_ready(old, W);
    assert!(reactor.is_ready(new, W));
    reactor.deregister(old, a.as_raw_fd(), |_| panic!("nobody waits there")).unwrap();
    assert_eq!((reactor.registered(), reactor.waiting()), (1, 1));
    b_peer.write_all(b"y").unwrap();
    assert_eq!(woken(&mut reactor), [1]);
}

#[test]
fn new_registration_counts_as_ready_and_edges_come_once() {
    let mut reactor = Reactor::new().unwrap();
    let (mut a, mut peer) = pair();
    let key = register(&mut reactor, a.as_raw_fd());
    assert!(reactor.is_ready(key, R) && reactor.is_ready(key, W));
    assert!(!reactor.wait(key, R, 1), "nobody waits for what is ready");
    woken(&mut reactor);
    wait(&mut reactor, key, R, 1);
    peer.write_all(b"one").unwrap();
    assert_eq!(woken(&mut reactor), [1]);
    // Not read yet: the edge is not repeated, and the bit stays.
    assert_eq!(woken(&mut reactor), []);
    assert!(reactor.is_ready(key, R));
    // More bytes are another edge, also before the first were read.
    reactor.clear_ready(key, R);
    assert!(reactor.wait(key, R, 2));
    peer.write_all(b"two").unwrap();
    assert_eq!(woken(&mut reactor), [2]);
    let mut buf = [0; 10];
    assert_eq!(a.read(&mut buf).unwrap(), 6);
    // A write direction that was not waited for was not disturbed.
    assert!(reactor.is_ready(key, W));
}

#[test]
fn directions_are_woken_apart_and_in_the_order_of_their_coming() {
    let mut reactor = Reactor::new().unwrap();
    let (mut a, mut peer) = tcp_pair();
    let key = register(&mut reactor, a.as_raw_fd());
    woken(&mut reactor);
    while a.write(&[0; 65536]).is_ok() {}
    wait(&mut reactor, key, W, 10);
    assert!(reactor.wait(key, W, 11));
    wait(&mut reactor, key, R, 1);
    assert!(reactor.wait(key, R, 2));
    assert!(reactor.wait(key, R, 3));
    reactor.unwait(key, R, 2);
    // One that was woken, or never waited, takes nothing back.
    reactor.unwait(key, R, 7);
    assert_eq!(reactor.waiting(), 4);
    peer.write_all(b"x").unwrap();
    let mut first = Vec::new();
    while first.is_empty() {
        reactor.poll(Some(HANG), |who| first.push(who)).unwrap();
    }
    assert_eq!(first, [1, 3]);
    let drained = thread::spawn(move || peer.read_exact(&mut vec![0; 1 << 20]).map(|()| peer));
    let mut second = Vec::new();
    while second.is_empty() {
        reactor.poll(Some(HANG), |who| second.push(who)).unwrap();
    }
    assert_eq!(second, [10, 11]);
    assert_eq!(reactor.waiting(), 0);
    drop(a);
    let _ = drained.join().unwrap();
}

#[test]
fn end_of_the_stream_outlasts_a_short_read() {
    let mut reactor = Reactor::new().unwrap();
    let (mut a, mut peer) = tcp_pair();
    let key = register(&mut reactor, a.as_raw_fd());
    woken(&mut reactor);
    wait(&mut reactor, key, R, 1);
    peer.write_all(b"last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut seen = Vec::new();
    while seen.is_empty() {
        reactor.poll(Some(HANG), |who| seen.push(who)).unwrap();
    }
    woken(&mut reactor);
    assert_eq!(a.read(&mut [0; 100]).unwrap(), 10);
    reactor.short_read(key);
    assert!(reactor.is_ready(key, R), "the end is still to be read");
    assert_eq!(a.read(&mut [0; 100]).unwrap(), 0);
}

/// A pipe without a writer is hung up, until it gets another one.
#[test]
fn hung_up_pipe_that_gets_a_writer_is_waited_for_again() {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt;

    let path = std::env::temp_dir().join(format!("cede-pipe-{}", std::process::id()));
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the name ends in a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let mut reader =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let open_writer = || File::options().write(true).open(&path).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let key = register(&mut reactor, reader.as_raw_fd());
    drop(open_writer());
    woken(&mut reactor);
    assert!(reactor.is_ready(key, R));
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    let mut writer = open_writer();
    let error = reader.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    wait(&mut reactor, key, R, 1);
    writer.write_all(b"x").unwrap();
    assert_eq!(woken(&mut reactor), [1]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn deregistering_hands_back_who_waits() {
    let mut reactor = Reactor::new().unwrap();
    let (a, _peer) = pair();
    let key = register(&mut reactor, a.as_raw_fd());
    wait(&mut reactor, key, R, 1);
    wait(&mut reactor, key, W, 2);
    let mut back = Vec::new();
    reactor.deregister(key, a.as_raw_fd(), |who| back.push(who)).unwrap();
    assert_eq!(back, [1, 2]);
    assert_eq!((reactor.registered(), reactor.waiting()), (0, 0));
}

#[test]
fn what_cannot_be_registered_is_an_error_and_takes_no_place() {
    let mut reactor = Reactor::<u32>::new().unwrap();
    let (a, _peer) = pair();
    let key = register(&mut reactor, a.as_raw_fd());
    let file = std::fs::File::open("/proc/self/status").unwrap();
    // SAFETY: the first is no descriptor, the others outlive the reactor's interest in them.
    unsafe {
        assert_eq!(reactor.register(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(reactor.register(a.as_raw_fd()).unwrap_err().raw_os_error(), Some(libc::EEXIST));
        assert_eq!(
            reactor.register(file.as_raw_fd()).unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
    }
    assert_eq!(reactor.registered(), 1);
    reactor.deregister(key, a.as_raw_fd(), |_| ()).unwrap();
}

#[test]
fn p07_notification_ends_the_present_wait_or_the_next_one() {
    let mut reactor = Reactor::<u32>::new().unwrap();
    let notifier = reactor.notifier();
    for _ in 0..100 {
        notifier.notify();
        // Before the wait; a time-out would show as a hang of a minute.
        reactor.poll(Some(HANG), |_| ()).unwrap();
    }
    let start = Instant::now();
    for _ in 0..50 {
        let notifier = notifier.clone();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_micros(500));
            notifier.notify();
        });
        reactor.poll(Some(HANG), |_| ()).unwrap();
        other.join().unwrap();
    }
    assert!(start.elapsed() < HANG);
    // Notified from many threads at once, and outliving the reactor.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let notifier = notifier.clone();
            thread::spawn(move || (0..1000).for_each(|_| notifier.notify()))
        })
        .collect();
    reactor.poll(Some(HANG), |_| ()).unwrap();
    drop(reactor);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    notifier.notify();
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn p10_signal_ends_a_wait_without_an_error() {
    // SAFETY: a handler that only counts; the thread lives while it is signalled.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
    }
    let (a, mut peer) = pair();
    // SAFETY: no arguments.
    let this = unsafe { libc::pthread_self() };
    let signals = thread::spawn(move || {
        for _ in 0..200 {
            // SAFETY: the test's thread joins this one before it ends.
            unsafe { libc::pthread_kill(this, libc::SIGUSR2) };
            thread::sleep(Duration::from_micros(100));
        }
        peer.write_all(b"x").unwrap();
        peer
    });
    let mut reactor = Reactor::new().unwrap();
    let key = register(&mut reactor, a.as_raw_fd());
    woken(&mut reactor);
    wait(&mut reactor, key, R, 1);
    let mut seen = Vec::new();
    while seen.is_empty() {
        reactor.poll(Some(HANG), |who| seen.push(who)).unwrap();
    }
    assert_eq!(seen, [1]);
    signals.join().unwrap();
    assert!(SIGNALS.load(Ordering::Relaxed) > 0);
}

#[test]
fn wait_is_never_shorter_than_its_time_out() {
    let mut reactor = Reactor::<u32>::new().unwrap();
    for micros in [1, 50, 999, 1000, 1001, 5000] {
        let timeout = Duration::from_micros(micros);
        let start = Instant::now();
        reactor.poll(Some(timeout), |_| ()).unwrap();
        assert!(start.elapsed() >= timeout, "{micros} us");
    }
}
