//! The example `server_demo` as a process of its own, and raw sockets against it.
//!
//! The rule of this file: what a test waits for is an event of the server, told by its statistics or
//! its sockets; times are limits against hanging.

mod common;
#[path = "common/server.rs"]
mod server;
#[path = "../examples/server_demo/task_holder.rs"]
mod task_holder;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use common::{HANG, eventually, is_gone, within_reason};
use server::example;
use task_holder::{TASK_BYTES_MAX, Task, TaskHolder};

const FAST: &[u8] = b"GET /test/fast HTTP/1.1\r\nHost: a\r\n\r\n";
const SLOW: &[u8] = b"GET /test/slow HTTP/1.1\r\nHost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// Each way to give a slow request to a worker.
const DELEGATES: [&str; 3] = ["task", "socket", "loop"];
/// So long that a test would hang if it had to wait for it.
const ENDLESS: &str = "3600000";

// ---- the program

/// A running `server_demo`; it ends with the test, however that ends.
struct Demo {
    child: Child,
    addr: SocketAddr,
    /// Sockets before the first client.
    listeners: usize,
    /// The lines after the address.
    lines: Mutex<BufReader<ChildStdout>>,
}

/// What the program says at SIGUSR1.
#[derive(Debug, PartialEq, Eq)]
struct Statistics {
    /// Tasks that no worker has taken yet.
    waiting: u64,
    /// Blocks that are taken.
    open: u64,
    /// By each accept thread.
    accepted: Vec<u64>,
    answered: u64,
    cut_off: u64,
    delegated: u64,
    accept_failures: u64,
    allocations: u64,
}

impl Statistics {
    fn parse(line: &str) -> Self {
        let text = line.trim().strip_prefix("statistics: ").unwrap();
        let numbers = |name: &str| -> Vec<u64> {
            let fields = text.split(", ").find_map(|field| field.strip_prefix(name));
            let fields = fields.unwrap_or_else(|| panic!("no {name} in {line}"));
            fields.split_whitespace().map(|number| number.parse().unwrap()).collect()
        };
        let number = |name| numbers(name)[0];
        Self {
            waiting: number("waiting "),
            open: number("open "),
            accepted: numbers("accepted "),
            answered: number("answered "),
            cut_off: number("cut off "),
            delegated: number("delegated "),
            accept_failures: number("accept failures "),
            allocations: number("allocations "),
        }
    }
}

/// A process of the program that is killed with the test.
fn command(args: &[&str], descriptors: Option<u64>) -> Command {
    let mut command = example("server_demo");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: plain system calls between fork and exec; `limit` is valid for the one it is for.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if let Some(descriptors) = descriptors {
                let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors };
                if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command
}

impl Demo {
    /// Starts it at a free port, with one accept thread and a small pool unless told otherwise.
    fn start(args: &[&str]) -> Self {
        Self::with_descriptors(args, None)
    }

    fn with_descriptors(args: &[&str], descriptors: Option<u64>) -> Self {
        let all = [&["-p", "0", "-a", "127.0.0.1", "-A", "1", "-C", "1000", "-w", "1"], args];
        let mut child = command(&all.concat(), descriptors).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let addr = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                panic!("it ended before it listened: {:?}", child.wait_with_output());
            }
            if let Some(addr) = line.strip_prefix("listening on ") {
                break addr.trim().parse().unwrap();
            }
        };
        Self { listeners: sockets(&child), child, addr, lines: Mutex::new(lines) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.set_write_timeout(Some(HANG)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection that has sent this.
    fn send(&self, request: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        if let Err(error) = stream.write_all(request) {
            // Cut off before all was sent.
            assert!(is_gone(&error), "{error}");
        }
        stream
    }

    fn ask(&self, request: &[u8]) -> Vec<u8> {
        rest(self.send(request))
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no pointers are passed; the child has not been waited for, so the number is its.
        assert_eq!(unsafe { libc::kill(self.child.id().cast_signed(), signal) }, 0);
    }

    fn statistics(&self) -> Statistics {
        self.signal(libc::SIGUSR1);
        let mut lines = self.lines.lock().unwrap();
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it has ended");
            if line.starts_with("statistics: ") {
                return Statistics::parse(&line);
            }
        }
    }

    /// Asks for statistics until they are such.
    fn until(&self, what: &str, is: impl Fn(&Statistics) -> bool) -> Statistics {
        let mut last = self.statistics();
        eventually(what, || {
            last = self.statistics();
            is(&last)
        });
        last
    }

    /// Sockets that the process has open for clients.
    fn connections(&self) -> usize {
        sockets(&self.child) - self.listeners
    }

    /// Ends it politely.
    fn stop(mut self) -> (ExitStatus, Statistics, String) {
        self.signal(libc::SIGTERM);
        let mut rest = String::new();
        self.lines.lock().unwrap().read_to_string(&mut rest).unwrap();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let last = rest.lines().rfind(|line| line.starts_with("statistics: ")).unwrap();
        (self.child.wait().unwrap(), Statistics::parse(last), errors)
    }

    #[track_caller]
    fn stop_well(self) -> Statistics {
        let (status, statistics, errors) = self.stop();
        assert!(status.success(), "{status}: {errors}");
        assert_eq!(errors, "");
        statistics
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many of a process's descriptors are sockets.
fn sockets(child: &Child) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    // One that is closed meanwhile cannot be read.
    let links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// All that still comes; a reset is an end too.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if !is_gone(&error) => panic!("hangs: {error}, after {bytes:?}"),
        _ => bytes,
    }
}

/// Runs the program to its end.
fn output(args: &[&str]) -> (Option<i32>, String, String) {
    let output = command(args, None).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

// ---- requests and responses

#[test]
fn d09_the_response_is_these_57_bytes() {
    within_reason(|| {
        assert_eq!(RESPONSE.len(), 57);
        let demo = Demo::start(&["-D", "1"]);
        for request in [FAST, SLOW, b"GET /test/fast\r\n\r\n", b"GET   /test/slow\r\n\r\n"] {
            assert_eq!(demo.ask(request), RESPONSE, "{}", String::from_utf8_lossy(request));
        }
        let long = [b"GET /test/fast ", &[b'x'; 4096 - 19][..], b"\r\n\r\n"].concat();
        assert_eq!(long.len(), 4096);
        assert_eq!(demo.ask(&long), RESPONSE);
        let statistics = demo.stop_well();
        assert_eq!((statistics.answered, statistics.cut_off, statistics.open), (5, 0, 0));
    });
}

#[test]
fn d08_a_request_may_come_byte_by_byte() {
    within_reason(|| {
        let demo = Demo::start(&["-D", "1"]);
        for request in [FAST, SLOW, b"GET /test/fast\r\n\r\r\nx\r\r\n\r\n"] {
            let mut stream = demo.connect();
            for byte in request {
                stream.write_all(&[*byte]).unwrap();
            }
            assert_eq!(rest(stream), RESPONSE);
        }
    });
}

/// The end comes although the client goes on listening and has more to say.
#[test]
fn d08_a_bad_request_is_cut_off_at_once() {
    within_reason(|| {
        let demo = Demo::start(&[]);
        // Each shows with its last byte that it is no good.
        let bad: [&[u8]; 12] = [
            b"X",
            b"GET x",
            b"GET /test/fast?",
            b"GET /test/fas\r",
            b"GET /test/fas ",
            b"GET /test/fastt",
            b"GET /test/fast/",
            b"GET /T",
            b"GET /test/fast\r\r",
            b"GET /test/fast\n",
            b"GET  \r",
            b"\r",
        ];
        let longer: [&[u8]; 3] = [b"POST", b"get /test/fast\r\n\r\n", b"GET /test/fast?x\r\n\r\n"];
        for request in bad.into_iter().chain(longer) {
            assert_eq!(demo.ask(request), b"", "{}", String::from_utf8_lossy(request));
        }
        // The same, when the server has seen all but the last byte before.
        for request in bad {
            let (last, first) = request.split_last().unwrap();
            let mut stream = demo.send(first);
            demo.until("it was accepted", |now| now.open == 1);
            stream.write_all(&[*last]).unwrap();
            assert_eq!(rest(stream), b"");
            demo.until("the block is back", |now| now.open == 0);
        }
        // An end in the middle is one as well.
        let stream = demo.send(b"GET /test/fast\r\n");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream), b"");
        let statistics = demo.stop_well();
        assert_eq!(
            (statistics.answered, statistics.cut_off),
            (0, (2 * bad.len() + longer.len() + 1) as u64)
        );
    });
}

#[test]
fn d08_a_request_of_more_than_4096_bytes_is_cut_off() {
    within_reason(|| {
        let demo = Demo::start(&["-v"]);
        let line = b"GET /test/fast\r\n";
        for length in [4096, 4097, 10_000] {
            let long = [line, &vec![b'h'; length - line.len()][..]].concat();
            assert_eq!(demo.ask(&long), b"", "{length}");
        }
        // One byte less may still become a request.
        let mut stream = demo.send(&[line, &[b'h'; 4091 - 16][..]].concat());
        demo.until("it was read", |now| now.open == 1);
        stream.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(rest(stream), RESPONSE);
    });
}

#[test]
fn a_silent_client_has_its_time() {
    within_reason(|| {
        let demo = Demo::start(&["-t", "1000", "-D", "1500"]);
        let start = Instant::now();
        let slow = demo.send(SLOW);
        let (silent, slow_to_speak) = (demo.connect(), demo.send(b"GET /te"));
        assert_eq!(rest(silent), b"");
        assert_eq!(rest(slow_to_speak), b"");
        assert!(start.elapsed() >= Duration::from_millis(1000));
        // It counts for the request, not for the task.
        assert_eq!(rest(slow), RESPONSE);
        assert!(start.elapsed() >= Duration::from_millis(1500));
    });
}

// ---- slow requests

#[test]
fn d10_without_workers_slow_is_fast() {
    within_reason(|| {
        for delegate in DELEGATES {
            let demo = Demo::start(&["-w", "0", "-D", ENDLESS, "-x", delegate]);
            assert_eq!(demo.ask(SLOW), RESPONSE);
            assert_eq!(demo.stop_well().delegated, 0);
        }
    });
}

#[test]
fn d04_each_delegation_serves_fast_and_slow() {
    within_reason(|| {
        for delegate in DELEGATES {
            let demo = Demo::start(&["-w", "2", "-A", "2", "-D", "20", "-x", delegate]);
            let start = Instant::now();
            let slow: Vec<_> = (0..20).map(|_| demo.send(SLOW)).collect();
            assert_eq!(demo.ask(FAST), RESPONSE);
            for stream in slow {
                assert_eq!(rest(stream), RESPONSE, "{delegate}");
            }
            // Never early: two threads do 20 tasks one after the other, an event loop all at once.
            let least = if delegate == "loop" { 20 } else { 200 };
            assert!(start.elapsed() >= Duration::from_millis(least), "{delegate}");
            let statistics = demo.until("all blocks are back", |now| now.open == 0);
            assert_eq!(statistics.delegated, 20);
            assert_eq!(statistics.answered, 21);
            demo.stop_well();
        }
    });
}

/// 40 tasks that take an hour each begin at once: an event loop is not blocked by them.
#[test]
fn d04_an_event_loop_runs_more_tasks_than_there_are_workers() {
    within_reason(|| {
        let demo = Demo::start(&["-x", "loop", "-D", ENDLESS, "-C", "50"]);
        let slow: Vec<_> = (0..40).map(|_| demo.send(SLOW)).collect();
        demo.until("all are with the worker", |now| now.delegated == 40 && now.waiting == 0);
        assert_eq!(demo.connections(), 40);
        // Those who leave are let go at once, and their blocks with them.
        drop(slow);
        let statistics = demo.until("all blocks are back", |now| now.open == 0);
        assert_eq!(statistics.cut_off, 40);
        demo.stop_well();
    });
}

#[test]
fn d06_a_client_that_leaves_is_closed_at_once_and_its_block_kept_for_the_task() {
    within_reason(|| {
        let leave = |demo: &Demo| {
            let streams: Vec<_> = (0..3).map(|_| demo.send(SLOW)).collect();
            demo.until("all are delegated", |now| now.delegated == 3);
            drop(streams);
            eventually("the sockets are closed", || demo.connections() == 0);
        };
        let demo = Demo::start(&["-D", ENDLESS]);
        leave(&demo);
        // One task goes on and two wait for it; each holds its block.
        let statistics = demo.statistics();
        assert_eq!((statistics.open, statistics.waiting), (3, 2));
        drop(demo);
        let demo = Demo::start(&["-D", "50"]);
        leave(&demo);
        let statistics = demo.until("the blocks are back", |now| now.open == 0);
        assert_eq!((statistics.answered + statistics.cut_off, statistics.waiting), (3, 0));
        assert_eq!(demo.ask(FAST), RESPONSE);
        demo.stop_well();
    });
}

#[test]
fn d10_a_byte_during_a_slow_request_ends_the_connection_and_not_the_task() {
    within_reason(|| {
        let demo = Demo::start(&["-D", ENDLESS]);
        let mut stream = demo.send(SLOW);
        demo.until("it is worked on", |now| now.delegated == 1 && now.waiting == 0);
        stream.write_all(b"x").unwrap();
        assert_eq!(rest(stream), b"");
        assert_eq!(demo.connections(), 0);
        assert_eq!(demo.statistics().open, 1, "the task holds the block");
        // In one piece it is the same, and there is no task.
        assert_eq!(demo.ask(&[SLOW, b"x"].concat()), b"");
        // What is behind a fast request does not matter.
        assert_eq!(demo.ask(&[FAST, b"x"].concat()), RESPONSE);
        let statistics = demo.until("these two are over", |now| now.open == 1);
        assert_eq!((statistics.delegated, statistics.answered), (1, 1));
    });
}

#[test]
fn d10_a_byte_for_a_delegated_socket_ends_it_when_the_task_is_done() {
    within_reason(|| {
        let demo = Demo::start(&["-D", "2000", "-x", "socket"]);
        let mut stream = demo.send(SLOW);
        demo.until("it is worked on", |now| now.delegated == 1);
        stream.write_all(b"x").unwrap();
        assert_eq!(rest(stream), b"");
        let statistics = demo.until("the block is back", |now| now.open == 0);
        assert_eq!((statistics.answered, statistics.cut_off), (0, 1));
        demo.stop_well();
    });
}

/// Clients that were answered. Looked at from the last to the first: who is found answered had his
/// turn after all who are looked at later.
#[track_caller]
fn answered_in_order(streams: &[TcpStream]) -> usize {
    let mut answered = 0;
    for (n, stream) in streams.iter().enumerate().rev() {
        let has_answer = match stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        };
        assert!(has_answer || answered == 0, "client {n} was overtaken");
        answered += usize::from(has_answer);
    }
    answered
}

#[test]
fn d11_tasks_wait_first_in_first_out() {
    const CLIENTS: usize = 100;
    within_reason(|| {
        for delegate in ["task", "socket"] {
            let demo = Demo::start(&["-D", "5", "-x", delegate]);
            let start = Instant::now();
            let mut streams = Vec::new();
            for n in 1..=CLIENTS as u64 {
                streams.push(demo.send(SLOW));
                // The next one asks when the server has this request.
                demo.until("it was delegated", |now| now.delegated == n);
            }
            streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
            eventually("all are answered", || answered_in_order(&streams) == CLIENTS);
            assert!(start.elapsed() >= Duration::from_millis(5 * CLIENTS as u64));
            for stream in streams {
                stream.set_nonblocking(false).unwrap();
                assert_eq!(rest(stream), RESPONSE);
            }
            let statistics = demo.stop_well();
            assert_eq!((statistics.answered, statistics.cut_off), (CLIENTS as u64, 0));
        }
    });
}

// ---- memory and limits

#[test]
fn d05_nothing_is_allocated_while_connections_are_served() {
    within_reason(|| {
        for delegate in DELEGATES {
            let demo = Demo::start(&["-A", "2", "-C", "200", "-w", "2", "-D", "1", "-x", delegate]);
            for _ in 0..2 {
                // All at one time: tasks queue, and tables grow to what they ever were.
                let mut streams: Vec<_> = (0..200).map(|_| demo.connect()).collect();
                for (n, stream) in streams.iter_mut().enumerate() {
                    stream.write_all(if n % 2 == 0 { SLOW } else { FAST }).unwrap();
                }
                streams.into_iter().for_each(|stream| assert_eq!(rest(stream), RESPONSE));
                // And what goes wrong.
                drop((0..20).map(|_| demo.send(SLOW)).collect::<Vec<_>>());
                assert_eq!(demo.ask(b"GET /nothing"), b"");
                drop(demo.send(b"GET /te"));
            }
            let statistics = demo.until("all blocks are back", |now| now.open == 0);
            assert!(statistics.delegated >= 200);
            assert_eq!(statistics.allocations, 0, "{delegate}: {statistics:?}");
            demo.stop_well();
        }
    });
}

#[test]
fn d05_connections_beyond_the_capacity_wait_until_others_leave() {
    const CAPACITY: u64 = 5;
    within_reason(|| {
        let demo = Demo::start(&["-C", "5"]);
        let mut silent: Vec<_> = (0..CAPACITY).map(|_| demo.connect()).collect();
        demo.until("all blocks are taken", |now| now.open == CAPACITY);
        let waiting: Vec<_> = (0..20).map(|_| demo.send(FAST)).collect();
        thread::sleep(Duration::from_millis(50));
        let full = demo.statistics();
        assert_eq!((full.accepted[0], full.open, full.answered), (CAPACITY, CAPACITY, 0));
        drop(silent.pop());
        waiting.into_iter().for_each(|stream| assert_eq!(rest(stream), RESPONSE));
        drop(silent);
        let statistics = demo.until("all blocks are back", |now| now.open == 0);
        assert_eq!((statistics.answered, statistics.allocations), (20, 0));
        demo.stop_well();
    });
}

#[test]
fn d05_descriptors_that_run_out_are_waited_for_without_spinning() {
    const CLIENTS: usize = 40;
    /// With pauses up to a second there are fewer in the time that this test may take.
    const FAILURES_MAX: u64 = 200;
    within_reason(|| {
        let demo = Demo::with_descriptors(&[], Some(32));
        let mut streams: Vec<_> = (0..CLIENTS).map(|_| demo.connect()).collect();
        let full = demo.until("descriptors have run out", |now| now.accept_failures >= 4);
        assert!(full.open > 0 && full.open < CLIENTS as u64, "{full:?}");
        // Those that were accepted are served, and make room for the others.
        for stream in &mut streams {
            stream.write_all(FAST).unwrap();
        }
        streams.into_iter().for_each(|stream| assert_eq!(rest(stream), RESPONSE));
        let statistics = demo.until("all blocks are back", |now| now.open == 0);
        assert!(statistics.accept_failures < FAILURES_MAX, "{statistics:?}");
        assert_eq!(statistics.answered, CLIENTS as u64);
        let (status, _, errors) = demo.stop();
        assert!(status.success());
        assert!(errors.contains("cannot accept"), "{errors}");
    });
}

#[test]
fn d12_too_little_memory_is_said_so() {
    let mut command = command(&["-p", "0", "-A", "1", "-C", "1000000"], None);
    // SAFETY: a plain system call between fork and exec, with a limit that is valid for it.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
            match libc::setrlimit(libc::RLIMIT_AS, &raw const limit) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{errors}");
    assert!(errors.contains("Not enough memory!"), "{errors}");
}

/// Compiles a program whose task has so many bytes, and runs it if that works.
fn compile_task(bytes: usize) -> Result<ExitStatus, String> {
    let holder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/server_demo/task_holder.rs");
    let stem = std::env::temp_dir().join(format!("cede-task-{}-{bytes}", std::process::id()));
    let (source, program): (PathBuf, PathBuf) = (stem.with_extension("rs"), stem);
    let text = format!(
        "#[path = {holder:?}]\nmod task_holder;\n\
         struct Bytes([u8; {bytes}]);\n\
         impl task_holder::Task for Bytes {{ fn run(self) {{ assert_eq!(self.0[0], 7) }} }}\n\
         fn main() {{ task_holder::TaskHolder::new(Bytes([7; {bytes}])).run() }}\n"
    );
    fs::write(&source, text).unwrap();
    let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
    let rustc = if beside_cargo.exists() { beside_cargo } else { "rustc".into() };
    let mut compiler = Command::new(rustc);
    let compiled =
        compiler.args(["--edition", "2024", "-o"]).arg(&program).arg(&source).output().unwrap();
    fs::remove_file(source).unwrap();
    if !compiled.status.success() {
        return Err(String::from_utf8_lossy(&compiled.stderr).into_owned());
    }
    let status = Command::new(&program).status().unwrap();
    fs::remove_file(program).unwrap();
    Ok(status)
}

#[test]
fn d07_a_task_of_97_bytes_does_not_compile() {
    assert!(compile_task(TASK_BYTES_MAX).unwrap().success());
    let error = compile_task(TASK_BYTES_MAX + 1).unwrap_err();
    assert!(error.contains("a task may have 96 bytes at most"), "{error}");
}

#[test]
fn d07_a_task_lies_in_its_holder() {
    struct Counts<'a>(&'a Mutex<Vec<u8>>, [u8; TASK_BYTES_MAX - 8]);
    impl Task for Counts<'static> {
        fn run(self) {
            self.0.lock().unwrap().extend(self.1);
        }
    }
    static SEEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let holder = TaskHolder::new(Counts(&SEEN, [5; TASK_BYTES_MAX - 8]));
    assert_eq!(size_of_val(&holder), TASK_BYTES_MAX);
    holder.run();
    assert_eq!(*SEEN.lock().unwrap(), [5; TASK_BYTES_MAX - 8]);
}

// ---- the program as a whole

#[test]
fn d02_each_accept_thread_has_a_listening_socket_and_its_share() {
    const THREADS: usize = 4;
    const CLIENTS: u64 = 400;
    within_reason(|| {
        let demo = Demo::start(&["-A", "4"]);
        let port = format!(":{:04X}", demo.addr.port());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let listens = |line: &&str| line.contains(&format!("{port} 00000000:0000 0A"));
        assert_eq!(table.lines().filter(listens).count(), THREADS);
        for _ in 0..CLIENTS {
            assert_eq!(demo.ask(FAST), RESPONSE);
        }
        let accepted = demo.stop_well().accepted;
        assert_eq!(accepted.iter().sum::<u64>(), CLIENTS);
        // By a hash of the addresses: 100 each, and less than 40 is seven standard deviations off.
        assert!(accepted.iter().all(|count| *count >= 40), "{accepted:?}");
    });
}

#[test]
fn d12_help_names_all_options() {
    for option in ["-?", "-h", "--help"] {
        let (code, text, errors) = output(&[option]);
        assert_eq!((code, &*errors), (Some(0), ""));
        for name in [
            "-p, --port=",
            "-a, --address=",
            "-A, --accept-threads=",
            "-C, --accept-capacity=",
            "-w, --worker-threads=",
            "-D, --slow-duration=",
            "-x, --delegate=",
            "-t, --request-timeout=",
            "-v, --verbose",
            "-d, --daemonize",
            "-?, --help",
        ] {
            assert!(text.contains(name), "{name}");
        }
    }
}

#[test]
fn d12_options_that_make_no_sense_are_refused() {
    let bad: [(&[&str], &str); 12] = [
        (&["--nope"], "unknown option --nope"),
        (&["-vz"], "unknown option -z"),
        (&["stray"], "stray is no option"),
        (&["-"], "unknown option -"),
        (&["-p"], "-p needs a value"),
        (&["-p", "70000"], "-p 70000"),
        (&["-p", "-1"], "-p -1"),
        (&["--accept-threads=0"], "--accept-threads 0: 1 to 512"),
        (&["-C0"], "-C 0: 1 to"),
        (&["-w", "many"], "-w many"),
        (&["-x", "all"], "task, socket or loop"),
        (&["--verbose=1"], "--verbose takes no value"),
    ];
    for (args, what) in bad {
        let (code, _, errors) = output(args);
        assert_eq!(code, Some(1), "{args:?}");
        assert!(errors.contains(what), "{args:?}: {errors}");
    }
}

#[test]
fn d12_other_failures_end_it_with_100() {
    // Who listens without SO_REUSEPORT shares with nobody.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for background in [&[][..], &["--daemonize"]] {
        let (code, _, errors) = output(&[&["-a", "127.0.0.1", "-p", &port], background].concat());
        assert_eq!(code, Some(100), "{errors}");
        assert!(errors.contains("cannot listen at 127.0.0.1:"), "{errors}");
    }
}

#[test]
fn d12_verbose_says_what_happens() {
    let demo = Demo::start(&["--verbose", "--slow-duration=1", "-x", "task"]);
    assert_eq!(demo.ask(SLOW), RESPONSE);
    let mut line = String::new();
    demo.lines.lock().unwrap().read_line(&mut line).unwrap();
    assert!(line.starts_with("{examples/server_demo/acceptor.rs:"), "{line}");
    assert!(line.contains("accepted 127.0.0.1:"), "{line}");
}

/// Ends a process that is not this one's child.
struct Background(i32);

impl Drop for Background {
    fn drop(&mut self) {
        // SAFETY: no pointers are passed. The number is that of the daemon until it has ended, which
        // only this does.
        unsafe { libc::kill(self.0, libc::SIGTERM) };
    }
}

#[test]
fn d12_a_daemon_runs_in_a_session_of_its_own() {
    let args = ["-d", "-a", "127.0.0.1", "-p", "0", "-A", "1", "-w", "1", "-C", "10"];
    let (code, text, errors) = output(&args);
    assert_eq!(code, Some(0), "{errors}");
    let words: Vec<_> = text.split_whitespace().collect();
    let ["listening", "on", addr, "as", "process", id] = words[..] else { panic!("{text}") };
    let daemon = Background(id.parse().unwrap());
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(FAST).unwrap();
    assert_eq!(rest(stream), RESPONSE);
    assert_eq!(fs::read_link(format!("/proc/{id}/cwd")).unwrap(), Path::new("/var/tmp"));
    assert_eq!(fs::read_link(format!("/proc/{id}/fd/1")).unwrap(), Path::new("/dev/null"));
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::getsid(daemon.0) }, daemon.0);
    drop(daemon);
    eventually("the daemon ends", || match fs::read_to_string(format!("/proc/{id}/stat")) {
        // Nobody may be there to wait for it.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    });
}

#[test]
fn a_stop_lets_connections_end() {
    within_reason(|| {
        for delegate in DELEGATES {
            let demo = Demo::start(&["-w", "2", "-D", "20", "-x", delegate]);
            let slow: Vec<_> = (0..10).map(|_| demo.send(SLOW)).collect();
            demo.until("all are delegated", |now| now.delegated == 10);
            let addr = demo.addr;
            let statistics = demo.stop_well();
            assert_eq!((statistics.answered, statistics.open), (10, 0), "{delegate}");
            slow.into_iter().for_each(|stream| assert_eq!(rest(stream), RESPONSE));
            assert!(TcpStream::connect(addr).is_err());
        }
    });
}

// ---- loads

/// How long each of so many requests took, made by so many clients at a time.
fn load(addr: SocketAddr, request: &'static [u8], clients: usize, count: usize) -> Vec<Duration> {
    let client = move || -> Vec<Duration> {
        let ask = |_| {
            let start = Instant::now();
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(HANG)).unwrap();
            stream.write_all(request).unwrap();
            let mut response = [0; RESPONSE.len() + 1];
            let mut length = 0;
            loop {
                match stream.read(&mut response[length..]).unwrap() {
                    0 => break,
                    n => length += n,
                }
            }
            assert_eq!(&response[..length], RESPONSE);
            start.elapsed()
        };
        (0..count / clients).map(ask).collect()
    };
    let threads: Vec<_> = (0..clients).map(|_| thread::spawn(client)).collect();
    let mut times: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    times.sort();
    times
}

#[test]
fn d14_small_loads_are_served_completely() {
    within_reason(|| {
        for delegate in DELEGATES {
            let demo = Demo::start(&["-A", "4", "-w", "10", "-D", "5", "-x", delegate]);
            let addr = demo.addr;
            let fast = thread::spawn(move || load(addr, FAST, 10, 2_000).len());
            let slow = load(addr, SLOW, 10, 200);
            assert_eq!((fast.join().unwrap(), slow.len()), (2_000, 200));
            // Never early, and answered by nobody but a worker.
            assert!(slow[0] >= Duration::from_millis(5));
            let statistics = demo.until("all blocks are back", |now| now.open == 0);
            assert_eq!((statistics.answered, statistics.delegated), (2_200, 200));
            assert_eq!(statistics.allocations, 0);
            assert_eq!(demo.stop_well(), statistics);
        }
    });
}

fn figures(what: &str, start: Instant, times: &[Duration]) {
    let seconds = start.elapsed().as_secs_f64();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    println!(
        "{what}: {} requests in {seconds:.3} s, {:.0} per second; ms: median {:.2}, 99% {:.2}, longest {:.2}",
        times.len(),
        times.len() as f64 / seconds,
        at(500),
        at(990),
        at(1000),
    );
}

/// Prints figures; to be run alone, on a release build:
/// `cargo test --release --test server_demo -- --ignored --nocapture`.
#[test]
#[ignore = "a benchmark of a minute that wants the machine for itself: it prints figures, and the \
            same loads run small in the tests beside it"]
fn d14_loads() {
    let one = |what: &str, args: &[&str], request, clients, count| {
        let demo = Demo::start(args);
        let start = Instant::now();
        figures(what, start, &load(demo.addr, request, clients, count));
        println!("  {:?}", demo.stop_well());
    };
    one("fast, 1 client", &[], FAST, 1, 20_000);
    one("slow, 1 client", &["-D", "30"], SLOW, 1, 100);
    one("fast, 10 clients, 10 accept threads", &["-A", "10"], FAST, 10, 100_000);
    one("slow, 10 clients, 10 workers", &["-A", "10", "-w", "10"], SLOW, 10, 100);
    for delegate in DELEGATES {
        let what = format!("slow, 100 clients, 1 worker, delegate {delegate}");
        one(&what, &["-A", "100", "-w", "1", "-x", delegate], SLOW, 100, 500);
    }
    for delegate in DELEGATES {
        let demo = Demo::start(&["-A", "4", "-w", "300", "-x", delegate]);
        let addr = demo.addr;
        println!("delegate {delegate}, 300 workers, 100 clients of each kind");
        let start = Instant::now();
        figures("  slow alone", start, &load(addr, SLOW, 100, 10_000));
        let start = Instant::now();
        figures("  fast alone", start, &load(addr, FAST, 100, 60_000));
        let start = Instant::now();
        let fast = thread::spawn(move || load(addr, FAST, 100, 120_000));
        let slow = load(addr, SLOW, 100, 10_000);
        figures("  slow beside fast", start, &slow);
        let fast = fast.join().unwrap();
        figures("  fast beside slow", start, &fast);
        println!("  {:?}", demo.stop_well());
    }
}
