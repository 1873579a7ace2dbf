//! Shards as other threads see them: places to send unstarted work to.
//!
//! Only what has not started may move: a `Send` closure. Once it runs as a fiber it stays where it
//! is.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, Thread};

use crate::builder::Builder;
use crate::cancel;
use crate::deadline;
use crate::fiber::{Fiber, try_current};
use crate::join::{JoinError, Quiet};
use crate::quiet::quietly;
use crate::record::LeftBehind;
use crate::shard;
use crate::shared::{Letter, SHARD_TASKS_MAX, ShardShared, Task};
use crate::wait::{Park, RemoteTicket, Wait, WaitKind};

/// A handle to a shard, usable from any thread.
pub struct Shard {
    shared: Arc<ShardShared>,
}

impl Shard {
    fn new(shared: Arc<ShardShared>) -> Self {
        shared.handles.fetch_add(1, Ordering::SeqCst);
        Self { shared }
    }

    /// The shard of this thread.
    ///
    /// # Panics
    ///
    /// On a thread that is no shard.
    #[must_use]
    #[track_caller]
    pub fn current() -> Self {
        let shared = shard::with(|shard| Arc::clone(&shard.shared));
        Self::new(shared.expect(
            "Shard::current() was called on a thread that is no shard: call it inside of cede::run",
        ))
    }

    /// The shard of this runtime with the fewest fibers, by their last report.
    ///
    /// # Panics
    ///
    /// On a thread that is no shard.
    #[must_use]
    #[track_caller]
    pub fn least_loaded() -> Self {
        let all = shards();
        let least = all.into_iter().min_by_key(Self::load);
        least.expect(
            "Shard::least_loaded() was called on a thread that is no shard: \
             call it inside of cede::run",
        )
    }

    /// Its number in the runtime, from 0.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.shared.id
    }

    /// Live fibers and tasks not started yet; a little old on other threads.
    #[must_use]
    pub fn load(&self) -> usize {
        self.shared.fibers.load(Ordering::Relaxed) + self.shared.tasks.load(Ordering::Relaxed)
    }

    /// Runs `f` as a new fiber of that shard. It inherits the deadline of the current fiber.
    ///
    /// # Errors
    ///
    /// When the shard is gone, or [`SHARD_TASKS_MAX`] tasks wait there already
    /// ([`WouldBlock`](io::ErrorKind::WouldBlock)).
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// # cede::Runtime::builder().shards(2).run(|| {
    /// let other = cede::shards().pop().unwrap();
    /// let answer = other.spawn(|| cede::Shard::current().id()).unwrap();
    /// assert_eq!(answer.join().unwrap(), 1);
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> io::Result<RemoteJoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let at = Location::caller();
        let builder = match deadline::deadline() {
            Some(deadline) => Builder::new().deadline(deadline),
            None => Builder::new(),
        };
        // A shard that ends drops it unrun, in its scheduler, where a panic has no place to go.
        let f = Quiet::new(f);
        let packet = Arc::new(Packet { state: Mutex::new(PacketState::default()) });
        let completer = Completer { packet: Arc::clone(&packet) };
        if self.shared.tasks.fetch_add(1, Ordering::Relaxed) >= SHARD_TASKS_MAX {
            self.shared.tasks.fetch_sub(1, Ordering::Relaxed);
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{SHARD_TASKS_MAX} tasks wait to be started on shard {}", self.shared.id),
            ));
        }
        let start = Box::new(move || start(builder, f, completer, at));
        match self.shared.send(Letter::task(Task::Start(start))) {
            Ok(()) => Ok(RemoteJoinHandle { packet, shard: self.shared.id }),
            Err(_) => {
                self.shared.tasks.fetch_sub(1, Ordering::Relaxed);
                Err(cancel::shutting_down_error())
            }
        }
    }

    /// Runs `f` as a fiber of that shard and waits for its result.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn); when the wait is cut short by the caller's deadline or cancel,
    /// and then the fiber over there is cancelled too; a panic of `f` as an error that holds a
    /// [`JoinError`].
    #[track_caller]
    pub fn call<F, T>(&self, f: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let handle = self.spawn(f)?;
        if let Err(error) = handle.wait() {
            handle.cancel();
            return Err(error);
        }
        Ok(handle.join()?)
    }
}

impl Clone for Shard {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.shared.handles.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.id()).field("load", &self.load()).finish()
    }
}

/// All shards of this runtime, in the order of their numbers; none on a thread that is no shard.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::Runtime::builder().shards(3).run(|| {
/// let sums: Vec<u32> = cede::shards()
///     .iter()
///     .map(|shard| shard.spawn(|| cede::Shard::current().id()).unwrap())
///     .map(|there| there.join().unwrap())
///     .collect();
/// assert_eq!(sums, [0, 1, 2]);
/// # }).unwrap();
/// ```
#[must_use]
pub fn shards() -> Vec<Shard> {
    let shards = shard::with(|shard| {
        shard.runtime.shards.iter().map(|s| Shard::new(Arc::clone(s))).collect()
    });
    shards.unwrap_or_default()
}

/// Makes the fiber; runs on the thread of the shard, outside of any fiber.
fn start<F, T>(
    builder: Builder,
    f: Quiet<F>,
    completer: Completer<T>,
    at: &'static Location<'static>,
) where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let packet = Arc::clone(&completer.packet);
    let body = move || {
        // Before the closure: a cancel may have come when there was no fiber to cancel yet.
        let cancelled = {
            let mut state = completer.packet.lock();
            state.fiber = try_current();
            state.cancelled
        };
        if cancelled && let Some(fiber) = try_current() {
            fiber.cancel();
        }
        let sender: Arc<dyn LeftBehind> = Arc::clone(&completer.packet) as _;
        shard::with_current(|_, record| record.sender.set(Some(sender)));
        let result = catch_unwind(AssertUnwindSafe(|| f.call()));
        // Not the last owner of the packet, so no result is dropped here.
        shard::with_current(|_, record| record.sender.take());
        completer.packet.finish(result.map_err(JoinError::panicked));
    };
    // A body that finds no place is dropped, and its completer with it, before the reason is known:
    // the waiters are to be told the reason.
    packet.lock().starting = true;
    // SAFETY: closure and result are 'static.
    let spawned = shard::with(|shard| unsafe { builder.spawn_on(shard, body, None, at) });
    let abandoned = {
        let mut state = packet.lock();
        state.starting = false;
        state.abandoned
    };
    match spawned {
        Some(Err(error)) => packet.finish(Err(JoinError::wait(error))),
        _ if abandoned => packet.finish(Err(JoinError::shut_down())),
        _ => {}
    }
}

enum Waiter {
    Fiber(RemoteTicket),
    Thread(Thread),
    Waker(Waker),
}

struct PacketState<T> {
    result: Option<Result<T, JoinError>>,
    finished: bool,
    cancelled: bool,
    /// `start` is making the fiber, and will finish the packet if that fails.
    starting: bool,
    /// The completer was dropped meanwhile.
    abandoned: bool,
    waiters: Vec<Waiter>,
    /// Once it runs, for cancelling it.
    fiber: Option<Fiber>,
}

impl<T> Default for PacketState<T> {
    fn default() -> Self {
        Self {
            result: None,
            finished: false,
            cancelled: false,
            starting: false,
            abandoned: false,
            waiters: Vec::new(),
            fiber: None,
        }
    }
}

struct Packet<T> {
    /// Held for a few instructions and never across a wait.
    state: Mutex<PacketState<T>>,
}

impl<T> Packet<T> {
    fn lock(&self) -> MutexGuard<'_, PacketState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, result: Result<T, JoinError>) {
        let (waiters, fiber) = {
            let mut state = self.lock();
            state.result = Some(result);
            state.finished = true;
            (std::mem::take(&mut state.waiters), state.fiber.take())
        };
        drop(fiber);
        for waiter in waiters {
            match waiter {
                Waiter::Fiber(ticket) => ticket.wake(),
                Waiter::Thread(thread) => thread.unpark(),
                // User code; those after it are told too.
                Waiter::Waker(waker) => {
                    quietly("the waker of a task that awaits a fiber", || waker.wake());
                }
            }
        }
    }
}

impl<T> LeftBehind for Packet<T> {
    fn left_behind(&self) {
        self.finish(Err(JoinError::shut_down()));
    }
}

/// Gives the packet a result even when the fiber never runs.
struct Completer<T> {
    packet: Arc<Packet<T>>,
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        {
            let mut state = self.packet.lock();
            if state.finished || state.starting {
                state.abandoned = true;
                return;
            }
        }
        self.packet.finish(Err(JoinError::shut_down()));
    }
}

/// Owns the end of a fiber on another shard. Dropping it lets the fiber go on by itself.
pub struct RemoteJoinHandle<T> {
    packet: Arc<Packet<T>>,
    shard: u32,
}

impl<T> RemoteJoinHandle<T> {
    /// Waits for the fiber's end and returns what it returned. On a thread that is no shard this
    /// blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`](crate::JoinHandle::join).
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.wait().map_err(JoinError::wait)?;
        let result = self.packet.lock().result.take();
        result.unwrap_or_else(|| Err(JoinError::shut_down()))
    }

    /// Waits for the fiber's end and keeps the handle; [`join`](Self::join) then returns at once.
    ///
    /// # Errors
    ///
    /// When the wait was cut short by the deadline or the cancel of the waiting fiber.
    #[track_caller]
    pub fn wait(&self) -> io::Result<()> {
        if shard::with(|_| ()).is_none() {
            self.wait_in_thread();
            return Ok(());
        }
        loop {
            if self.is_finished() {
                return Ok(());
            }
            let park = Park::begin()?;
            let ticket = park.remote_ticket();
            {
                let mut state = self.packet.lock();
                if state.finished {
                    return Ok(());
                }
                state.waiters.push(Waiter::Fiber(ticket.clone()));
            }
            let waited = park.wait(Wait::new(WaitKind::Call, u64::from(self.shard)), None);
            if waited.is_err() {
                let gave_up = |w: &Waiter| matches!(w, Waiter::Fiber(other) if other.is(&ticket));
                self.packet.lock().waiters.retain(|waiter| !gave_up(waiter));
                return waited;
            }
        }
    }

    fn wait_in_thread(&self) {
        let mut told = false;
        loop {
            {
                let mut state = self.packet.lock();
                if state.finished {
                    return;
                }
                // A thread may be unparked by others, any number of times.
                if !std::mem::replace(&mut told, true) {
                    state.waiters.push(Waiter::Thread(thread::current()));
                }
            }
            thread::park();
        }
    }

    /// The result, once the fiber has ended.
    pub(crate) fn try_take(&self) -> Option<Result<T, JoinError>> {
        let mut state = self.packet.lock();
        let taken = || Err(JoinError::shut_down());
        state.finished.then(|| state.result.take().unwrap_or_else(taken))
    }

    /// Has `waker` called when the fiber ends, instead of the one given before. True: it has ended.
    pub(crate) fn wake_at_end(&self, waker: Waker) -> bool {
        let mut state = self.packet.lock();
        let finished = state.finished;
        let stale: Vec<Waiter> =
            state.waiters.extract_if(.., |waiter| matches!(waiter, Waiter::Waker(_))).collect();
        if !finished {
            state.waiters.push(Waiter::Waker(waker));
        }
        drop(state);
        // Dropping a waker is user code.
        drop(stale);
        finished
    }

    /// Asks the fiber to end, also when it has not started yet.
    pub fn cancel(&self) {
        let fiber = {
            let mut state = self.packet.lock();
            state.cancelled = true;
            state.fiber.clone()
        };
        if let Some(fiber) = fiber {
            fiber.cancel();
        }
    }

    /// Whether the fiber has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.packet.lock().finished
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle")
            .field("shard", &self.shard)
            .field("finished", &self.is_finished())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    struct PanicsWhenDropped(Arc<AtomicUsize>);

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("a destructor of a closure that never ran");
        }
    }

    #[test]
    fn waits_that_gave_up_do_not_pile_up() {
        crate::Runtime::builder()
            .shards(2)
            .run(|| {
                let shard = shards().pop().unwrap();
                let handle = shard.spawn(crate::park).unwrap();
                for _ in 0..10 {
                    let wait = || handle.wait();
                    assert!(crate::with_deadline(Duration::from_micros(10), wait).is_err());
                }
                assert_eq!(handle.packet.lock().waiters.len(), 0);
                handle.cancel();
                assert!(handle.join().unwrap().is_err());
            })
            .unwrap();
    }

    #[test]
    fn a_thread_that_waits_is_listed_once_however_often_it_is_unparked() {
        crate::run(|| {
            let shard = Shard::current();
            let (sender, handles) = crate::sync::mpsc::channel();
            let thread = thread::spawn(move || {
                let handle = Arc::new(shard.spawn(crate::park).unwrap());
                sender.send((Arc::clone(&handle), thread::current())).unwrap();
                handle.wait()
            });
            let (handle, waiting) = handles.recv().unwrap();
            let waiters = || handle.packet.lock().waiters.len();
            while waiters() == 0 {
                crate::sleep(Duration::from_millis(1)).unwrap();
            }
            for _ in 0..20 {
                waiting.unpark();
                crate::sleep(Duration::from_millis(1)).unwrap();
            }
            assert_eq!(waiters(), 1);
            handle.cancel();
            while !handle.is_finished() {
                crate::sleep(Duration::from_millis(1)).unwrap();
            }
            thread.join().unwrap().unwrap();
        })
        .unwrap();
    }

    /// The destructor of work that a shard refuses, or drops when it ends, used to unwind the
    /// scheduler out of `run`.
    #[test]
    fn p24_work_that_never_runs_may_panic_in_its_destructor() {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drops);
        let grace = Duration::from_millis(20);
        let shard = crate::Runtime::builder().shutdown_grace(grace).run(move || {
            let shard = Shard::current();
            let last = PanicsWhenDropped(Arc::clone(&count));
            let late = PanicsWhenDropped(count);
            let (here, there) = (shard.clone(), shard.clone());
            // Unwound at the end: its destructors run while nothing opens the inbox any more.
            crate::spawn(move || {
                struct SendsWhenDropped<F: FnOnce()>(Option<F>);
                impl<F: FnOnce()> Drop for SendsWhenDropped<F> {
                    fn drop(&mut self) {
                        (self.0.take().unwrap())();
                    }
                }
                let _sends = SendsWhenDropped(Some(move || {
                    assert!(there.spawn(move || drop(last)).is_ok());
                }));
                crate::shield(crate::park)
            });
            // Opened while the shard drains.
            crate::spawn(move || {
                assert!(crate::park().is_err());
                assert!(here.spawn(move || drop(late)).is_ok());
            });
            crate::yield_now();
            shard
        });
        let shard = shard.unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 2);
        assert_eq!(
            shard.shared.tasks.load(Ordering::SeqCst),
            0,
            "tasks that were dropped are not counted"
        );
        assert!(shard.spawn(|| ()).is_err());
        assert_eq!(
            shard.shared.tasks.load(Ordering::SeqCst),
            0,
            "tasks that were refused are not counted"
        );
    }
}
