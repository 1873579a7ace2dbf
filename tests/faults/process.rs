//! The process as a whole: signals, exit codes, what it inherits, what a runtime leaves behind.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::thread::JoinHandleExt;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cede::net::{TcpListener, TcpStream};
use cede::{Fiber, Runtime};

use crate::common;
use crate::harness::{CASE, Case, Test, case};

pub(crate) const TESTS: &[Test] = &[
    ("p27_broken_pipe_is_an_error_even_with_the_signal_on", || passes("broken_pipe")),
    ("p10_signals_disturb_no_wait", || passes("signal_storm")),
    ("p09_no_descriptors_left_is_an_error_and_no_spinning", || passes("descriptor_limit")),
    ("p28_children_inherit_no_descriptor", || passes("close_on_exec")),
    ("p23_runtime_leaves_no_descriptor_and_no_thread", || passes("nothing_left")),
    ("p26_memory_stays_level_over_many_connections", || passes("plateau_of_connections")),
    ("p23_exit_code_of_success_is_0", || passes("exit_ok")),
    ("p23_exit_code_of_a_panic_is_101", exit_code_of_a_panic_is_101),
    ("p23_exit_code_of_an_error_is_1", exit_code_of_an_error_is_1),
    ("p29_deadlock_is_an_error_that_lists_the_fibers", deadlock_is_an_error_that_lists_the_fibers),
    ("p29_waiting_for_another_runtime_is_no_deadlock", || passes("two_runtimes")),
];

pub(crate) const CASES: &[Case] = &[
    ("broken_pipe", broken_pipe),
    ("signal_storm", signal_storm),
    ("descriptor_limit", descriptor_limit),
    ("descriptor_limit_clients", descriptor_limit_clients),
    ("close_on_exec", close_on_exec),
    ("nothing_left", nothing_left),
    ("plateau_of_connections", plateau_of_connections),
    ("exit_ok", || run_to_code(|| Ok(()))),
    ("exit_panic", || run_to_code(|| panic!("main gives up"))),
    ("exit_error", || run_to_code(|| Err(io::Error::other("main failed")))),
    ("deadlock", || run_to_code(cede::park)),
    ("two_runtimes", two_runtimes),
];

fn passes(name: &str) {
    case(name).with_code(0);
}

fn exit_code_of_a_panic_is_101() {
    case("exit_panic").with_code(101).says("main gives up").does_not_say("cede:");
}

fn exit_code_of_an_error_is_1() {
    case("exit_error").with_code(1).says("main failed");
}

fn deadlock_is_an_error_that_lists_the_fibers() {
    case("deadlock").with_code(1).says("fiber 0.1 (main) waits for a wakeup at");
}

// ---- the cases

/// As a `main` that returns a `Result` ends the process.
fn run_to_code(main: fn() -> io::Result<()>) -> ExitCode {
    match cede::run(main).map_err(io::Error::from).flatten() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A connected pair: who connected, who accepted.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

fn broken_pipe() -> ExitCode {
    // Rust programs ignore the signal; one whose main is C does not.
    // SAFETY: the default action replaces "ignore".
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let result = cede::run(|| -> io::Result<()> {
        for vectored in [false, true] {
            let (mut client, server) = pair()?;
            let peer = cede::spawn(move || -> io::Result<()> {
                // Reads a little while the other end writes, then goes with bytes unread.
                (&server).read_exact(&mut [0; 1000])
            });
            let block = [7u8; 65536];
            let error = loop {
                let written = if vectored {
                    client
                        .write_vectored(&[io::IoSlice::new(&block[..9]), io::IoSlice::new(&block)])
                } else {
                    client.write(&block)
                };
                if let Err(error) = written {
                    break error;
                }
            };
            assert!(common::is_gone(&error), "{error}");
            // It stays an error, and is never a signal.
            for _ in 0..3 {
                let error = client.write(&block).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            }
            peer.join().unwrap()?;
        }
        Ok(())
    });
    result.unwrap().unwrap();
    ExitCode::SUCCESS
}

/// Signals handled so far.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Interrupts this thread's system calls by a signal from another thread and by a timer, both
/// without `SA_RESTART`, while fibers sleep, park, connect, accept, read and write.
fn signal_storm() -> ExitCode {
    const SIGNALS_MIN: usize = 2_000;
    const TICK_MICROS: i64 = 100;
    // SAFETY: a handler that only counts, and a timer of this process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_signal as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        let tick = libc::timeval { tv_sec: 0, tv_usec: TICK_MICROS };
        let timer = libc::itimerval { it_interval: tick, it_value: tick };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let shard = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || cede::run(|| storm_work(&stop, SIGNALS_MIN)).unwrap().unwrap())
    };
    let target = shard.as_pthread_t();
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: the thread was not joined, so its handle is valid.
        unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
        thread::sleep(Duration::from_micros(50));
    }
    shard.join().unwrap();
    ExitCode::SUCCESS
}

fn storm_work(stop: &AtomicBool, signals_min: usize) -> io::Result<()> {
    let sleeper = cede::spawn(|| -> io::Result<usize> {
        let mut naps = 0;
        loop {
            let start = Instant::now();
            match cede::sleep(Duration::from_millis(3)) {
                Ok(()) => assert!(start.elapsed() >= Duration::from_millis(3), "woke early"),
                Err(_) => return Ok(naps),
            }
            naps += 1;
        }
    });
    let parked = cede::spawn(|| {
        let first = cede::park();
        (first, cede::park())
    });
    let mut rounds = 0u32;
    while SIGNALS.load(Ordering::Relaxed) < signals_min || rounds < 20 {
        let (mut client, server) = pair()?;
        let echo = cede::spawn(move || io::copy(&mut &server, &mut &server));
        for _ in 0..10 {
            client.write_all(b"through the storm")?;
            let mut answer = [0; 17];
            client.read_exact(&mut answer)?;
            assert_eq!(&answer, b"through the storm");
            cede::sleep(Duration::from_micros(300))?;
        }
        client.shutdown(std::net::Shutdown::Write)?;
        assert_eq!(client.read(&mut [0; 1])?, 0);
        assert_eq!(echo.join().unwrap()?, 170);
        rounds += 1;
    }
    // No signal has woken who waits for a wakeup.
    assert!(!parked.is_finished());
    parked.fiber().wakeup();
    cede::yield_now();
    assert!(!parked.is_finished());
    parked.cancel();
    let (first, second) = parked.join().unwrap();
    assert!(first.is_ok() && second.is_err());
    sleeper.cancel();
    assert!(sleeper.join().unwrap()? > 0);
    stop.store(true, Ordering::Relaxed);
    Ok(())
}

const LIMIT: u64 = 64;
const CLIENTS: usize = 200;

/// More clients than descriptors. The caller of `accept` gets the error, and does what its
/// documentation asks for: it waits. Nothing spins meanwhile, and when clients have left, the others
/// are accepted.
fn descriptor_limit() -> ExitCode {
    let served = Rc::new(Cell::new(0));
    let result = cede::run(|| -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut clients = Command::new(std::env::current_exe()?)
            .env(CASE, "descriptor_limit_clients")
            .env(ADDR, listener.local_addr()?.to_string())
            .spawn()?;
        common::limit(libc::RLIMIT_NOFILE, LIMIT);
        let mut held = Vec::new();
        let error = loop {
            match listener.accept() {
                Ok((stream, _)) => held.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        assert!(held.len() > LIMIT as usize / 2, "{} connections", held.len());
        // It is reported again as long as it is so, and is not waited for in vain.
        assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        // Both the listener that has connections to accept and one that waits by itself are quiet:
        // this counts the time of this process on the CPU, which no other process adds to.
        let patient = Rc::new(listener);
        let accepting = Rc::clone(&patient);
        let serving = Rc::clone(&served);
        let acceptor = cede::spawn(move || -> io::Result<()> {
            while serving.get() < CLIENTS {
                let (mut stream, _) = accepting.accept_with_backoff()?;
                stream.write_all(b"!")?;
                serving.set(serving.get() + 1);
            }
            Ok(())
        });
        let before = cpu_time();
        cede::sleep(Duration::from_millis(500))?;
        let used = cpu_time() - before;
        assert!(used < Duration::from_millis(100), "{used:?} of CPU in half a second of nothing");
        assert!(!acceptor.is_finished());
        for mut stream in held.drain(..) {
            stream.write_all(b"!")?;
            served.set(served.get() + 1);
        }
        acceptor.join().unwrap()?;
        assert!(clients.wait()?.success());
        Ok(())
    });
    result.unwrap().unwrap();
    assert_eq!(served.get(), CLIENTS);
    ExitCode::SUCCESS
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Says to the clients where to connect to.
const ADDR: &str = "CEDE_ADDR";

fn descriptor_limit_clients() -> ExitCode {
    let addr = std::env::var(ADDR).unwrap();
    let connect = |_| std::net::TcpStream::connect(&addr).unwrap();
    let streams: Vec<_> = (0..CLIENTS).map(connect).collect();
    // Each is served, however late, and then leaves.
    let serve = |mut stream: std::net::TcpStream| {
        stream.set_read_timeout(Some(common::HANG)).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    };
    let threads: Vec<_> =
        streams.into_iter().map(|stream| thread::spawn(move || serve(stream))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    ExitCode::SUCCESS
}

fn close_on_exec() -> ExitCode {
    let result = Runtime::builder().shards(2).run(|| -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let shared = TcpListener::bind_shared("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output()?;
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && list.contains(" 1 -> "), "{list}");
        for kind in ["socket:", "eventpoll", "eventfd", "timerfd"] {
            assert!(!list.contains(kind), "a child has inherited a {kind}:\n{list}");
        }
        // They were there to be inherited.
        let own: Vec<_> = std::fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        for (kind, count) in [("socket:", 4), ("eventpoll", 2), ("eventfd", 2)] {
            assert!(own.iter().filter(|link| link.contains(kind)).count() >= count, "{own:?}");
        }
        drop((listener, shared, client, server));
        Ok(())
    });
    result.unwrap().unwrap();
    ExitCode::SUCCESS
}

/// What is open, parked or under way when `main` returns is given back before `run` does.
fn nothing_left() -> ExitCode {
    const SHORT: Duration = Duration::from_millis(20);
    let before = (common::fds(), common::threads());
    for shards in [1, 4] {
        for _ in 0..5 {
            let runtime = Runtime::builder().shards(shards).shutdown_grace(SHORT);
            let escaped = runtime.run(leave_much_open).unwrap().unwrap();
            assert!(escaped.is_finished());
            // A handle keeps what would notify its shard.
            drop(escaped);
            assert_nothing_left(before);
        }
    }
    // By a panic too.
    let panicked = std::panic::catch_unwind(|| {
        Runtime::builder().shards(2).shutdown_grace(SHORT).run(|| {
            leave_much_open().unwrap();
            panic!("on purpose");
        })
    });
    assert!(panicked.is_err());
    assert_nothing_left(before);
    ExitCode::SUCCESS
}

fn assert_nothing_left(before: (usize, usize)) {
    // The system shows a thread that was joined for a moment longer.
    common::eventually("the threads go", || common::threads() == before.1);
    assert_eq!(common::fds(), before.0);
}

fn leave_much_open() -> io::Result<Fiber> {
    let mut parked = None;
    for shard in cede::shards() {
        // Nobody waits for it, and it waits for ever.
        shard.spawn(|| -> io::Result<()> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (server, _) = listener.accept()?;
            cede::spawn(move || (&server).read(&mut [0; 1]));
            cede::spawn(move || {
                let mut client = client;
                while client.write(&[0; 65536]).is_ok() {}
            });
            listener.accept()?;
            Ok(())
        })?;
    }
    for _ in 0..10 {
        let (client, server) = pair()?;
        cede::spawn(move || cede::shield(cede::park).map(|()| drop(client)));
        // Never started.
        parked = Some(cede::spawn(move || (&server).read(&mut [0; 1])).fiber());
    }
    Ok(parked.expect("ten were made"))
}

/// Debug builds take a quarter.
const CONNECTIONS: usize = if cfg!(debug_assertions) { 2_500 } else { 10_000 };

fn plateau_of_connections() -> ExitCode {
    const NOISE: usize = 2 << 20;
    let result = cede::run(|| -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        cede::spawn(move || -> io::Result<()> {
            loop {
                let (mut stream, _) = listener.accept()?;
                cede::spawn(move || -> io::Result<()> {
                    let mut buf = [0; 512];
                    let n = stream.read(&mut buf)?;
                    stream.write_all(&buf[..n])
                });
            }
        });
        let connections = |count: usize| -> io::Result<()> {
            for n in 0..count {
                let mut stream = TcpStream::connect(addr)?;
                stream.set_read_timeout(Some(common::HANG))?;
                stream.write_all(&n.to_le_bytes())?;
                let mut answer = [0; 8];
                stream.read_exact(&mut answer)?;
                assert_eq!(usize::from_le_bytes(answer), n);
                assert_eq!(stream.read(&mut answer)?, 0);
            }
            Ok(())
        };
        connections(CONNECTIONS / 4)?;
        let before = (common::resident(), common::fds());
        connections(CONNECTIONS)?;
        let after = (common::resident(), common::fds());
        assert!(after.0 < before.0 + NOISE, "resident: {before:?} before, {after:?} after");
        assert_eq!(after.1, before.1);
        Ok(())
    });
    result.unwrap().unwrap();
    ExitCode::SUCCESS
}

/// Two runtimes, and no thread that is not one of theirs: one waits for ever, but for what the
/// other will do later.
fn two_runtimes() -> ExitCode {
    let (sender, receiver) = std::sync::mpsc::channel::<Fiber>();
    let other = thread::spawn(move || {
        cede::run(|| {
            // Blocks the thread, which is all right: there is no other fiber.
            let fiber = receiver.recv().unwrap();
            // Long enough for the first looks for a deadlock.
            cede::sleep(Duration::from_millis(300)).unwrap();
            fiber.wakeup();
        })
        .unwrap();
    });
    let waited = cede::run(|| {
        sender.send(cede::current()).unwrap();
        cede::park()
    });
    waited.expect("no deadlock: the other runtime wakes this one").unwrap();
    other.join().unwrap();
    ExitCode::SUCCESS
}
