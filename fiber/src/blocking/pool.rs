//! The threads that do blocking work, and what waits for them.
//!
//! ```text
//!   fiber --- job ---> [ queue, oldest first ] ---> thread ---> result ---> fiber
//!                      |<- queue_max ->| rest |
//! ```
//!
//! A fiber has at most one job here, and takes it back if it stops waiting before a thread has
//! begun it. So the part of the queue beyond its limit is as long as fibers wait for a place, and
//! order of arrival is order of service for both parts.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cancel;
use crate::deadlock::HelperThread;

/// Threads of the pool at most, unless told otherwise.
pub const BLOCKING_THREADS_MAX_DEFAULT: usize = 64;
/// Jobs that may wait for a thread, unless told otherwise: beyond that [`try_blocking`] refuses,
/// and [`blocking`] waits for a place.
///
/// [`blocking`]: crate::blocking
/// [`try_blocking`]: crate::try_blocking
pub const BLOCKING_QUEUE_MAX_DEFAULT: usize = 1024;
/// How long a thread of the pool waits for work before it ends, unless told otherwise.
pub const BLOCKING_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A job that has waited this long for a thread shows that the pool is blocked.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// Between two log events of one pool.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolConfig {
    pub(crate) threads_max: usize,
    pub(crate) queue_max: usize,
    pub(crate) idle_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads_max: BLOCKING_THREADS_MAX_DEFAULT,
            queue_max: BLOCKING_QUEUE_MAX_DEFAULT,
            idle_timeout: BLOCKING_IDLE_TIMEOUT_DEFAULT,
        }
    }
}

/// What the blocking pool of a runtime is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingMetrics {
    /// Threads that exist now.
    pub threads: usize,
    /// Of them, those without work.
    pub idle: usize,
    /// Jobs in the queue.
    pub queued: usize,
    /// Jobs that wait for a place in the queue, each with its fiber.
    pub waiting: usize,
    /// Jobs that have ended. A thread counts its job a moment after the fiber has the result.
    pub done: u64,
    /// Jobs that were refused because the queue was full.
    pub rejected: u64,
    /// Jobs that their fiber took back before they began.
    pub withdrawn: u64,
    /// The longest time that a job has waited for a thread.
    pub longest_wait: Duration,
}

/// Work for a thread. It does not unwind: it carries its own panic to the fiber.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

struct Job {
    work: Work,
    since: Instant,
}

#[derive(Default)]
struct State {
    /// By number, that is by age.
    queue: BTreeMap<u64, Job>,
    next_job: u64,
    next_thread: u64,
    threads: BTreeMap<u64, thread::JoinHandle<()>>,
    /// Threads that have not ended their loop.
    alive: usize,
    idle: usize,
    /// Idle threads that were called and have not come yet.
    called: usize,
    closed: bool,
    done: u64,
    rejected: u64,
    withdrawn: u64,
    longest_wait: Duration,
    logged: Option<Instant>,
}

/// See the module.
pub(crate) struct Pool {
    config: PoolConfig,
    /// Held for a few instructions and never while work runs.
    state: Mutex<State>,
    work_came: Condvar,
    thread_ended: Condvar,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            state: Mutex::default(),
            work_came: Condvar::new(),
            thread_ended: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes work in and returns its number.
    ///
    /// # Errors
    ///
    /// When the pool is closed; when no thread is there and none can be made; with `refuse` when
    /// the queue is full. The work is dropped then.
    pub(crate) fn submit(self: &Arc<Self>, work: Work, refuse: bool) -> io::Result<u64> {
        let mut state = self.lock();
        if state.closed {
            return Err(cancel::shutting_down_error());
        }
        let free = state.idle - state.called;
        if free == 0 {
            if state.alive < self.config.threads_max.max(1) {
                self.start_thread(&mut state)?;
            } else if state.queue.len() >= self.config.queue_max {
                self.warn(&mut state);
                if refuse {
                    state.rejected += 1;
                    let text = "all threads of the blocking pool are busy and its queue is full";
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
                }
            } else if state.queue.first_key_value().is_some_and(|j| j.1.since.elapsed() > LONG_WAIT)
            {
                self.warn(&mut state);
            }
        }
        let number = state.next_job;
        state.next_job += 1;
        state.queue.insert(number, Job { work, since: Instant::now() });
        if free > 0 {
            state.called += 1;
            drop(state);
            self.work_came.notify_one();
        }
        Ok(number)
    }

    /// Takes work back that no thread has begun.
    pub(crate) fn withdraw(&self, number: u64) -> Option<Work> {
        let mut state = self.lock();
        let job = state.queue.remove(&number)?;
        state.withdrawn += 1;
        Some(job.work)
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let number = state.next_thread;
        let pool = Arc::clone(self);
        let name = format!("cede-blocking-{number}");
        match thread::Builder::new().name(name).spawn(move || pool.run_thread(number)) {
            Ok(thread) => {
                state.next_thread += 1;
                state.alive += 1;
                state.threads.insert(number, thread);
                Ok(())
            }
            // Those that are there will come to it.
            Err(_) if state.alive > 0 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn run_thread(&self, number: u64) {
        while let Some(work) = self.next_work() {
            work();
            self.lock().done += 1;
        }
        let mut state = self.lock();
        // Dropping the handle of this very thread detaches it; a pool that closes joins the rest.
        let handle = if state.closed { None } else { state.threads.remove(&number) };
        state.alive -= 1;
        drop(state);
        drop(handle);
        self.thread_ended.notify_all();
    }

    /// Waits for work; `None` when this thread is to end.
    fn next_work(&self) -> Option<Work> {
        let _helper = HelperThread::register();
        let mut state = self.lock();
        loop {
            if let Some((_, job)) = state.queue.pop_first() {
                let waited = job.since.elapsed();
                state.longest_wait = state.longest_wait.max(waited);
                return Some(job.work);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            let (woken, timeout) = self
                .work_came
                .wait_timeout(state, self.config.idle_timeout)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            // Whoever wakes takes a call, for a call is meant for any idle thread.
            state.called = state.called.saturating_sub(1);
            if timeout.timed_out() && state.queue.is_empty() {
                return None;
            }
        }
    }

    /// Says now and then that work waits and no thread is free.
    fn warn(&self, state: &mut State) {
        if state.logged.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        state.logged = Some(Instant::now());
        let oldest = state.queue.first_key_value().map(|(_, job)| job.since.elapsed());
        tracing::warn!(
            threads = state.alive,
            queued = state.queue.len(),
            ?oldest,
            "the blocking pool is full: its threads are all busy"
        );
    }

    pub(crate) fn metrics(&self) -> BlockingMetrics {
        let state = self.lock();
        let queued = state.queue.len().min(self.config.queue_max);
        BlockingMetrics {
            threads: state.alive,
            idle: state.idle,
            queued,
            waiting: state.queue.len() - queued,
            done: state.done,
            rejected: state.rejected,
            withdrawn: state.withdrawn,
            longest_wait: state.longest_wait,
        }
    }

    /// Refuses work from now on, and waits for the threads to end, for at most `grace`. Work that
    /// takes longer goes on by itself.
    pub(crate) fn close(&self, grace: Duration) {
        let mut state = self.lock();
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        drop(queue);
        self.work_came.notify_all();
        let (state, _) = self
            .thread_ended
            .wait_timeout_while(self.lock(), grace, |state| state.alive > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let left = state.alive;
        drop(state);
        if left > 0 {
            tracing::warn!(threads = left, "blocking calls outlive their runtime");
        }
        for thread in threads.into_values() {
            if left == 0 || thread.is_finished() {
                // The loop of a thread does not panic, since the work carries its own panics.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.metrics().fmt(f)
    }
}
