//! Futures that insist on tokio, on fibers.
//!
//! They are polled on the fiber like any other future; only their sockets and timers live in a
//! tokio runtime on a background thread, started at the first use. tokio's context is entered for
//! each poll and left after it, so it is never seen by another fiber.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::runtime::{Builder, Runtime};

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
        let _entered = handle.enter();
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
