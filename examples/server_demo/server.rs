//! The server as a whole: its threads, what they share, and its end.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cede::net::TcpListener;
use cede::signal::{Signal, SignalKind, signal};
use cede::{Fiber, RemoteJoinHandle, Runtime, Shard};

use crate::acceptor;
use crate::counters::Counters;
use crate::event_loop::EventLoop;
use crate::options::{Delegate, Options};
use crate::task_holder::TaskHolder;
use crate::task_queue::TaskQueue;
use crate::work::Work;
use crate::workers::Workers;

/// The stack of a connection: its request lies there, and what reads and says it.
const CONNECTION_STACK_BYTES: usize = 64 * 1024;
/// Fibers of a thread that serve no connection: those that accept, take, listen to signals, and the
/// main one. As many more have sockets.
const SERVICE_FIBERS: usize = 16;
/// How long connections have to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Says something if it was asked to: `{file:line} fiber: text`.
macro_rules! debug {
    ($shared:expr, $($text:tt)+) => {
        if $shared.options.verbose {
            $crate::server::say_where(file!(), line!(), format_args!($($text)+));
        }
    };
}
pub(crate) use debug;

/// What all threads know.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    /// For the worker threads.
    pub(crate) tasks: TaskQueue<TaskHolder<Work>>,
    /// Workers with an event loop. Set before the first connection.
    loops: OnceLock<Vec<EventLoop>>,
    next_loop: AtomicUsize,
    /// Accept threads that are ready.
    ready: AtomicUsize,
    stopping: AtomicBool,
    /// Waits for the accept threads, then for the stop, then for the last connection.
    main: Fiber,
}

impl Options {
    /// One for each connection that there can be.
    pub(crate) fn tasks_max(&self) -> usize {
        self.accept_threads * self.accept_capacity
    }

    fn loops(&self) -> usize {
        if self.delegate == Delegate::Loop { self.worker_threads } else { 0 }
    }
}

impl Shared {
    fn new(options: Options) -> io::Result<Self> {
        Ok(Self {
            counters: Counters::new(options.accept_threads),
            tasks: TaskQueue::new(options.tasks_max())?,
            loops: OnceLock::new(),
            next_loop: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            main: cede::current(),
            options,
        })
    }

    /// The workers with event loops take turns.
    pub(crate) fn event_loop(&self) -> io::Result<&EventLoop> {
        let loops = self.loops.get().map_or(&[][..], Vec::as_slice);
        let turn = self.next_loop.fetch_add(1, Ordering::Relaxed) % loops.len().max(1);
        loops.get(turn).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn stop(&self) {
        self.counters.stopped();
        self.stopping.store(true, Ordering::SeqCst);
        self.main.wakeup();
    }

    pub(crate) fn connection_ended(&self) {
        self.counters.closed.add();
        if self.stopping.load(Ordering::SeqCst) {
            self.main.wakeup();
        }
    }

    fn accept_thread_is_ready(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        self.main.wakeup();
    }

    fn say_statistics(&self) {
        let in_loops = self.loops.get().into_iter().flatten().map(EventLoop::waiting);
        let waiting = self.tasks.len() + in_loops.sum::<usize>();
        say(format_args!("statistics: waiting {waiting}, {}", self.counters));
    }
}

/// A line for the standard output, whose reader may have gone.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

pub(crate) fn say_where(file: &str, line: u32, text: fmt::Arguments<'_>) {
    match cede::try_current() {
        Some(fiber) => say(format_args!("{{{file}:{line}}} {}: {text}", fiber.id())),
        None => say(format_args!("{{{file}:{line}}} {text}")),
    }
}

/// Serves until it is told to stop. `announce` is called when connections are accepted.
///
/// # Errors
///
/// When there is no memory for so many connections ([`OutOfMemory`](io::ErrorKind::OutOfMemory)),
/// when the address cannot be listened at, and when threads or descriptors have run out.
pub(crate) fn run(options: Options, announce: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let fibers = options.accept_capacity + SERVICE_FIBERS;
    let runtime = Runtime::builder()
        .shards(options.accept_threads + options.loops())
        .stack_size(CONNECTION_STACK_BYTES)
        .fibers_reserved(fibers)
        .fibers_max(fibers);
    runtime.run(|| serve(options, announce))?
}

fn serve(options: Options, announce: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let pool_kb = options.accept_capacity * CONNECTION_STACK_BYTES / 1024;
    let total_kb = options.accept_threads * pool_kb;
    let shared = Arc::new(Shared::new(options)?);
    let options = &shared.options;
    let listeners = listen(options)?;
    let addr = listeners.first().map_or(Err(io::ErrorKind::NotFound.into()), |l| l.local_addr())?;

    let shards = cede::shards();
    let (accepting, looping) = shards.split_at(options.accept_threads);
    let loops: io::Result<Vec<EventLoop>> =
        looping.iter().enumerate().map(|(n, shard)| start_loop(shard, &shared, n)).collect();
    // It is set here and nowhere else.
    let _ = shared.loops.set(loops?);
    let threads = if options.delegate == Delegate::Loop { 0 } else { options.worker_threads };
    let workers = Workers::start(threads, &shared)?;
    listen_to_signals(&shared)?;
    let acceptors: io::Result<Vec<RemoteJoinHandle<io::Result<()>>>> = accepting
        .iter()
        .zip(listeners)
        .enumerate()
        .map(|(n, (shard, listener))| start_acceptor(shard, &shared, n, listener))
        .collect();
    let acceptors = acceptors?;
    while shared.ready.load(Ordering::SeqCst) < acceptors.len() {
        cede::park()?;
    }

    say(format_args!("pool size: {pool_kb} kb; total pool size: {total_kb} kb"));
    announce(addr);
    while !shared.stopping.load(Ordering::SeqCst) {
        cede::park()?;
    }
    let accepted = stop(&shared, acceptors);
    drop(workers);
    shared.say_statistics();
    accepted
}

/// A listening socket for each accept thread, all at one address: the kernel spreads connections.
fn listen(options: &Options) -> io::Result<Vec<StdTcpListener>> {
    let mut addr = SocketAddr::new(options.address, options.port);
    let mut listeners = Vec::with_capacity(options.accept_threads);
    for _ in 0..options.accept_threads {
        let listener = TcpListener::bind_shared(addr)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen at {addr}: {e}")))?;
        // The port that the first one was given.
        addr = listener.local_addr()?;
        listeners.push(listener.into_std()?);
    }
    Ok(listeners)
}

fn start_loop(shard: &Shard, shared: &Arc<Shared>, number: usize) -> io::Result<EventLoop> {
    let shared = Arc::clone(shared);
    shard.call(move || EventLoop::start(&shared, number))?
}

fn start_acceptor(
    shard: &Shard,
    shared: &Arc<Shared>,
    number: usize,
    listener: StdTcpListener,
) -> io::Result<RemoteJoinHandle<io::Result<()>>> {
    let shared = Arc::clone(shared);
    shard.spawn(move || {
        let ready = || shared.accept_thread_is_ready();
        let ended = acceptor::run(listener, &shared, number, ready);
        // Without one of its threads the server would serve some clients and hang others.
        shared.stop();
        ended
    })
}

fn listen_to_signals(shared: &Arc<Shared>) -> io::Result<()> {
    for kind in [SignalKind::INTERRUPT, SignalKind::TERMINATE] {
        let stop = Arc::clone(shared);
        on_each(signal(kind)?, move || stop.stop());
    }
    let shared = Arc::clone(shared);
    on_each(signal(SignalKind::USER1)?, move || shared.say_statistics());
    // They wait when the first connection comes: a first wait allocates.
    cede::yield_now();
    Ok(())
}

fn on_each(signal: Signal, act: impl Fn() + 'static) {
    cede::spawn(move || signal.for_each(|()| act()));
}

/// Accepts no more, and gives connections time to end.
fn stop(shared: &Shared, acceptors: Vec<RemoteJoinHandle<io::Result<()>>>) -> io::Result<()> {
    acceptors.iter().for_each(RemoteJoinHandle::cancel);
    let ended: Vec<_> = acceptors.into_iter().map(RemoteJoinHandle::join).collect();
    let drained = cede::with_deadline(DRAIN_TIMEOUT, || {
        while shared.counters.open() > 0 {
            cede::park()?;
        }
        io::Result::Ok(())
    });
    if drained.is_err() {
        eprintln!("server_demo: {} connections did not end in time", shared.counters.open());
    }
    ended.into_iter().try_for_each(|ended| ended?)
}
