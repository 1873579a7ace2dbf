//! Starting and ending a runtime: one shard per thread, the first one on the thread that calls.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{Location, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use cede_reactor::{Clock, Monotonic};

use crate::blocking::{Pool, PoolConfig};
use crate::builder::Builder;
use crate::deadlock::{self, Deadlock, OwnThread};
use crate::dump::FiberInfo;
use crate::join::JoinError;
use crate::large_stack::LARGE_STACK_BYTES_DEFAULT;
use crate::scheduler::Ended;
use crate::shard::{Phase, ShardState};
use crate::shared::{Letter, ShardShared, Task};
use crate::stack::{self, AlternateStack, STACK_BYTES_DEFAULT, StackGuard};

/// Fibers per shard unless told otherwise. With the default stacks that is half a terabyte of
/// address space.
pub const FIBERS_MAX_DEFAULT: usize = 2 * 1024 * 1024;
/// Unused stacks of one size that a shard keeps resident unless told otherwise.
pub const STACKS_WARM_DEFAULT: usize = 4096;
/// Shards of one runtime at most.
pub const SHARDS_MAX: usize = 1024;
/// Time that fibers get to finish at the end unless told otherwise.
pub const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Settings of a runtime; every one has a default.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) shards: usize,
    pub(crate) stack_size: usize,
    pub(crate) large_stack_size: usize,
    pub(crate) stack_guard: StackGuard,
    pub(crate) stacks_warm_max: usize,
    pub(crate) fibers_max: usize,
    pub(crate) fibers_reserved: usize,
    pub(crate) shutdown_grace: Duration,
    pub(crate) external_wakes: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) blocking: PoolConfig,
}

/// What all shards of a runtime share.
#[derive(Debug)]
pub(crate) struct RuntimeShared {
    pub(crate) config: Config,
    pub(crate) shards: Vec<Arc<ShardShared>>,
    /// Threads that run a shard or work for one.
    pub(crate) own_threads: AtomicUsize,
    pub(crate) blocking: Arc<Pool>,
    dead: AtomicBool,
    report: Mutex<Vec<FiberInfo>>,
}

impl RuntimeShared {
    fn new(config: Config) -> Arc<Self> {
        let shards = (0..config.shards as u32).map(ShardShared::new).collect();
        let blocking = Pool::new(config.blocking);
        Arc::new(Self {
            config,
            shards,
            own_threads: AtomicUsize::new(0),
            blocking,
            dead: AtomicBool::new(false),
            report: Mutex::default(),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn add_to_report(&self, fibers: Vec<FiberInfo>) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).extend(fibers);
    }

    fn stop_all(&self) {
        for shard in &self.shards {
            // A shard that has ended need not be stopped.
            let _ = shard.send(Letter::task(Task::Stop));
        }
    }

    fn end_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.stop_all();
    }
}

/// Why [`run`] has no value to give.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The runtime could not be started.
    Start(io::Error),
    /// Nothing was ready and nothing could ever wake anything.
    Deadlock(Deadlock),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "cannot start the runtime: {error}"),
            Self::Deadlock(deadlock) => deadlock.fmt(f),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Deadlock(_) => None,
        }
    }
}

impl From<RunError> for io::Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Start(error) => error,
            dead => Self::other(dead),
        }
    }
}

/// Runs `main` as the first fiber of a runtime with one shard, on this thread, and returns what it
/// returns.
///
/// When `main` has returned, the other fibers are cancelled, get time to finish, and are then
/// unwound: nothing of the runtime is left when `run` returns.
///
/// # Errors
///
/// When the system has no descriptors or memory for the runtime, when one runs on this thread
/// already, and when all fibers wait for each other.
///
/// # Panics
///
/// When `main` panics, with its payload, after the runtime has shut down.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// let answer = cede::run(|| {
///     let a = cede::spawn(|| 40);
///     let b = cede::spawn(|| 2);
///     a.join().unwrap() + b.join().unwrap()
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), cede::RunError>(())
/// ```
#[track_caller]
pub fn run<F, T>(main: F) -> Result<T, RunError>
where
    F: FnOnce() -> T,
{
    Runtime::builder().run(main)
}

/// A runtime: some shards and the fibers on them. It exists while [`RuntimeBuilder::run`] does.
#[derive(Debug)]
pub struct Runtime(());

impl Runtime {
    /// Settings for a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            config: Config {
                shards: 1,
                stack_size: STACK_BYTES_DEFAULT,
                large_stack_size: LARGE_STACK_BYTES_DEFAULT,
                stack_guard: StackGuard::Auto,
                stacks_warm_max: STACKS_WARM_DEFAULT,
                fibers_max: FIBERS_MAX_DEFAULT,
                fibers_reserved: 0,
                shutdown_grace: SHUTDOWN_GRACE_DEFAULT,
                external_wakes: true,
                clock: Arc::new(Monotonic::new()),
                blocking: PoolConfig::default(),
            },
        }
    }
}

/// Settings of a runtime that does not run yet.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// use std::time::Duration;
///
/// let answer = cede::Runtime::builder()
///     .shards(2)
///     .stack_size(64 * 1024)
///     .fibers_max(10_000)
///     .shutdown_grace(Duration::from_secs(1))
///     .run(|| cede::spawn(|| 6 * 7).join().unwrap())?;
/// assert_eq!(answer, 42);
/// # Ok::<(), cede::RunError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a runtime builder does nothing until it runs"]
pub struct RuntimeBuilder {
    config: Config,
}

impl RuntimeBuilder {
    /// How many shards, 1 to [`SHARDS_MAX`]: one thread each, the first one being the thread that
    /// calls `run`. Default: 1.
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = shards;
        self
    }

    /// One shard for every core that this process may use.
    pub fn shard_per_core(self) -> Self {
        self.shards(thread::available_parallelism().map_or(1, usize::from))
    }

    /// Usable bytes of a fiber's stack. Default: [`STACK_BYTES_DEFAULT`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = bytes;
        self
    }

    /// Usable bytes of the stacks of [`on_large_stack`](crate::on_large_stack). Default:
    /// [`LARGE_STACK_BYTES_DEFAULT`].
    pub fn large_stack_size(mut self, bytes: usize) -> Self {
        self.config.large_stack_size = bytes;
        self
    }

    /// How the ends of stacks are guarded. Default: the best way that the kernel has.
    pub fn stack_guard(mut self, guard: StackGuard) -> Self {
        self.config.stack_guard = guard;
        self
    }

    /// How many unused stacks of one size a shard keeps resident. Default: [`STACKS_WARM_DEFAULT`].
    pub fn stacks_warm_max(mut self, stacks: usize) -> Self {
        self.config.stacks_warm_max = stacks;
        self
    }

    /// How many fibers a shard may have; a spawn beyond that is an error. Default:
    /// [`FIBERS_MAX_DEFAULT`].
    pub fn fibers_max(mut self, fibers: usize) -> Self {
        self.config.fibers_max = fibers.min(u32::MAX as usize - 1);
        self
    }

    /// For how many fibers, each with a socket and a timer, a shard has room from the start: below
    /// that number nothing is allocated when one is [spawned detached](crate::Builder::spawn_detached),
    /// waits, and ends. Stacks are reserved as address space, which takes memory when it is used.
    /// Default: 0, the room grows with its use.
    pub fn fibers_reserved(mut self, fibers: usize) -> Self {
        self.config.fibers_reserved = fibers;
        self
    }

    /// How long fibers may take to finish after `main` has returned. Default:
    /// [`SHUTDOWN_GRACE_DEFAULT`].
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.shutdown_grace = grace;
        self
    }

    /// False promises that no thread outside of this runtime wakes its fibers or sends it work; a
    /// deadlock is then noticed whatever other threads the process has. Default: true.
    pub fn external_wakes(mut self, expected: bool) -> Self {
        self.config.external_wakes = expected;
        self
    }

    /// Where time comes from; a [`Virtual`](crate::Virtual) clock makes sleeping instant and tests
    /// repeatable.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = Arc::new(clock);
        self
    }

    /// How many threads the pool of [`blocking`](crate::blocking) may have. Default:
    /// [`BLOCKING_THREADS_MAX_DEFAULT`](crate::BLOCKING_THREADS_MAX_DEFAULT).
    pub fn blocking_threads_max(mut self, threads: usize) -> Self {
        self.config.blocking.threads_max = threads.max(1);
        self
    }

    /// How many blocking calls may wait for a thread before [`try_blocking`](crate::try_blocking)
    /// refuses. Default: [`BLOCKING_QUEUE_MAX_DEFAULT`](crate::BLOCKING_QUEUE_MAX_DEFAULT).
    pub fn blocking_queue_max(mut self, jobs: usize) -> Self {
        self.config.blocking.queue_max = jobs;
        self
    }

    /// How long a thread of the blocking pool waits for work before it ends. Default:
    /// [`BLOCKING_IDLE_TIMEOUT_DEFAULT`](crate::BLOCKING_IDLE_TIMEOUT_DEFAULT).
    pub fn blocking_idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.blocking.idle_timeout = timeout;
        self
    }

    /// Runs `main` on the first shard. See [`run`].
    ///
    /// # Errors
    ///
    /// As [`run`], and for settings that cannot work.
    ///
    /// # Panics
    ///
    /// As [`run`].
    #[track_caller]
    pub fn run<F, T>(self, main: F) -> Result<T, RunError>
    where
        F: FnOnce() -> T,
    {
        let at = Location::caller();
        let Self { mut config } = self;
        if !(1..=SHARDS_MAX).contains(&config.shards) {
            let text = format!("{} shards: 1 to {SHARDS_MAX} can run", config.shards);
            return Err(RunError::Start(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        config.stack_size = stack::class_bytes(config.stack_size).map_err(RunError::Start)?;
        config.large_stack_size =
            stack::class_bytes(config.large_stack_size).map_err(RunError::Start)?;
        let runtime = RuntimeShared::new(config);
        let first = Host::new(&runtime, 0).map_err(RunError::Start)?;
        let _entered = first.shard.enter().map_err(RunError::Start)?;
        let threads = start_threads(&runtime).map_err(RunError::Start)?;
        let result = never_unwinding(|| {
            let result = run_first(&first.shard, main, at);
            runtime.stop_all();
            first.shard.shut_down(runtime.config.shutdown_grace);
            result
        });
        for thread in threads {
            if let Err(payload) = thread.join() {
                resume_unwind(payload);
            }
        }
        runtime.blocking.close(runtime.config.shutdown_grace);
        finish(&runtime, result)
    }
}

fn finish<T>(runtime: &RuntimeShared, result: Option<Result<T, JoinError>>) -> Result<T, RunError> {
    // What the main fiber of a dead runtime returned it returned because another shard, which had
    // noticed first, cancelled what it waited for.
    let Some(result) = result.filter(|_| !runtime.is_dead()) else {
        let report =
            std::mem::take(&mut *runtime.report.lock().unwrap_or_else(PoisonError::into_inner));
        return Err(RunError::Deadlock(Deadlock::new(report)));
    };
    match result {
        Ok(value) => Ok(value),
        Err(error) => match error.into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(error) => Err(RunError::Start(error.into())),
        },
    }
}

/// Runs the main fiber to its end; `None` for a deadlock.
fn run_first<F, T>(
    shard: &ShardState,
    main: F,
    at: &'static Location<'static>,
) -> Option<Result<T, JoinError>>
where
    F: FnOnce() -> T,
{
    // SAFETY: what `main` borrows outlives the caller, `RuntimeBuilder::run`, which does not return
    // or unwind before the shard has shut down (`never_unwinding` sees to the latter).
    let spawned =
        unsafe { Builder::new().name("main".into()).borrowing().spawn_on(shard, main, None, at) };
    let main = match spawned {
        Ok(main) => main,
        Err(error) => return Some(Err(JoinError::wait(error))),
    };
    let ended =
        shard.run_until(None, |shard| main.is_finished() || shard.phase.get() != Phase::Running);
    if ended == Ended::Deadlock {
        shard.runtime.end_dead();
        deadlock::contribute(shard);
    }
    main.is_finished().then(|| main.join())
}

/// What one thread needs to be a shard.
struct Host {
    shard: Rc<ShardState>,
    _alternate_stack: AlternateStack,
    _own_thread: OwnThread,
}

impl Host {
    fn new(runtime: &Arc<RuntimeShared>, index: usize) -> io::Result<Self> {
        stack::install_handler();
        let shared = Arc::clone(&runtime.shards[index]);
        Ok(Self {
            shard: Rc::new(ShardState::new(shared, Arc::clone(runtime))?),
            _alternate_stack: AlternateStack::install()?,
            _own_thread: OwnThread::register(runtime),
        })
    }
}

/// Starts the threads of all shards but the first, and returns when each has its reactor.
fn start_threads(runtime: &Arc<RuntimeShared>) -> io::Result<Vec<thread::JoinHandle<()>>> {
    let (started, starts) = mpsc::channel();
    let mut threads = Vec::new();
    let mut result = Ok(());
    for index in 1..runtime.shards.len() {
        let (runtime, started) = (Arc::clone(runtime), started.clone());
        let thread = thread::Builder::new()
            .name(format!("cede-shard-{index}"))
            .spawn(move || run_other(&runtime, index, &started));
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    // Else the channel would not end when a thread panics before it reports.
    drop(started);
    for _ in &threads {
        // A thread reports once, or has panicked, and then its end of the channel is gone.
        if let Ok(Err(error)) = starts.recv() {
            result = Err(error);
        }
    }
    if let Err(error) = result {
        runtime.stop_all();
        for thread in threads {
            let _ = thread.join();
        }
        return Err(error);
    }
    Ok(threads)
}

fn run_other(runtime: &Arc<RuntimeShared>, index: usize, started: &mpsc::Sender<io::Result<()>>) {
    let host = match Host::new(runtime, index) {
        Ok(host) => host,
        Err(error) => {
            // The starter waits for exactly one report from each thread.
            let _ = started.send(Err(error));
            return;
        }
    };
    let entered = host.shard.enter();
    let failed = entered.is_err();
    let _ = started.send(entered.as_ref().map(|_| ()).map_err(|e| io::Error::other(e.to_string())));
    if failed {
        return;
    }
    never_unwinding(|| {
        let ended = host.shard.run_until(None, |shard| shard.phase.get() != Phase::Running);
        if ended == Ended::Deadlock {
            runtime.end_dead();
            deadlock::contribute(&host.shard);
        }
        host.shard.shut_down(runtime.config.shutdown_grace);
    });
}

/// Runs the scheduler. Should it ever unwind (a bug here, or a clock that panics) the process is
/// aborted: fibers would lose their stacks without an end, and what they lent to others with them.
fn never_unwinding<R>(scheduler: impl FnOnce() -> R) -> R {
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    let abort = Abort;
    let result = scheduler();
    std::mem::forget(abort);
    result
}
