//! Futures that insist on tokio, on fibers.
//!
//! They are polled on the fiber like any other future; only their sockets and timers live in a
//! tokio runtime on a background thread, started at the first use. tokio's context is entered for
//! each poll and left after it. The surprising rule: a poll that parks its fiber leaves the context
//! where it is, and other fibers that poll meanwhile share it, because tokio panics when contexts
//! are not left in the reverse order of entering.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

use crate::future::block_on;
use crate::shard;

/// Threads of the background runtime. It only waits for events: the futures run on the fibers.
const WORKER_THREADS: usize = 1;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Runs a future that uses tokio's sockets, timers or `tokio::spawn` to its end on the current
/// fiber; other fibers run while it is pending.
///
/// tokio's objects must be made inside of the future, where its context is.
///
/// What it gives to `tokio::spawn` runs on the background thread, and so must be `Send`.
///
/// # Errors
///
/// As [`block_on`]; when the background thread cannot be started.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::time::Duration;
/// let slept = cede::compat::tokio(async {
///     tokio::time::sleep(Duration::from_millis(1)).await;
///     "slept"
/// });
/// assert_eq!(slept.unwrap(), "slept");
/// # }).unwrap();
/// ```
#[track_caller]
pub fn tokio<F: Future>(future: F) -> io::Result<F::Output> {
    let handle = runtime()?.handle();
    let mut future = pin!(future);
    let _job = Job::begin();
    block_on(poll_fn(|context| {
        let _entered = Entered::enter(handle);
        future.as_mut().poll(context)
    }))
}

fn runtime() -> io::Result<&'static Runtime> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("cede-tokio")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

thread_local! {
    static POLLS: RefCell<Polls> = const { RefCell::new(Polls { count: 0, context: None }) };
}

/// What goes on inside of polls on one thread.
struct Polls {
    /// Fibers in a poll: one that runs, and those that it has parked.
    count: usize,
    /// There while they are. A fiber that a shutdown leaves behind keeps it for the thread's life,
    /// at whose end tokio could no longer drop it.
    context: Option<ManuallyDrop<EnterGuard<'static>>>,
}

/// tokio's context, for one poll.
struct Entered(PhantomData<*const ()>);

impl Entered {
    fn enter(handle: &'static Handle) -> Self {
        POLLS.with_borrow_mut(|polls| {
            polls.context.get_or_insert_with(|| ManuallyDrop::new(handle.enter()));
            polls.count += 1;
        });
        Self(PhantomData)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        POLLS.with_borrow_mut(|polls| {
            polls.count -= 1;
            if polls.count == 0 {
                drop(polls.context.take().map(ManuallyDrop::into_inner));
            }
        });
    }
}

/// While it lives the shard knows that a thread outside may wake one of its fibers.
struct Job;

impl Job {
    fn begin() -> Self {
        shard::with(|shard| shard.jobs.set(shard.jobs.get() + 1));
        Self
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        shard::with(|shard| shard.jobs.set(shard.jobs.get() - 1));
    }
}
