//! Waiting for a condition on what a mutex guards.
//!
//! The waiter is in the queue before the mutex is unlocked, so a notification that follows the
//! change of the condition cannot be missed. There are no wakeups for no reason; the condition may
//! still have changed again by the time the mutex is locked.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::sync::domain::{Domain, Local, LocalState, Shared, SharedState, State, wait_for};
use crate::sync::generic::mutex::{Mutex, MutexGuard};
use crate::sync::limit::Limit;
use crate::sync::primitive::const_fn;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::wait::{Refusal, Wait, WaitKind};

/// How a waiter was notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notified {
    Not,
    Alone,
    WithAll,
}

/// A condition variable: [`sync::Condvar`](crate::sync::Condvar) or
/// [`sync::local::Condvar`](crate::sync::local::Condvar).
///
/// Fibers (and threads) wait in the order of their coming, and each `notify_one` wakes exactly one
/// who waits. One that is cut short after it was notified hands the notification to the next.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::sync::Arc;
/// use cede::sync::{Condvar, Mutex};
///
/// let pair = Arc::new((Mutex::new(false), Condvar::new()));
/// let theirs = Arc::clone(&pair);
/// cede::spawn(move || {
///     *theirs.0.lock().unwrap() = true;
///     theirs.1.notify_one();
/// });
/// let ready = pair.1.wait_while(pair.0.lock()?, |ready| !*ready)?;
/// assert!(*ready);
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub struct Condvar<D: Domain> {
    queue: D::State<Queue<D, Notified>>,
}

impl Condvar<Shared> {
    const_fn! {
        /// A condition variable that nobody waits for.
        #[must_use]
        pub fn new() -> Self {
            Self { queue: SharedState::of(Queue::new()) }
        }
    }
}

impl Condvar<Local> {
    /// A condition variable that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: LocalState::of(Queue::new()) }
    }
}

impl<D: Domain> Condvar<D> {
    /// Unlocks the mutex, waits for a notification, and locks the mutex again.
    ///
    /// # Errors
    ///
    /// When the fiber is cancelled, its deadline passes, or a panic unwinds it, in either of the
    /// two waits. The mutex is then unlocked.
    #[inline(always)]
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T, D>,
    ) -> io::Result<MutexGuard<'a, T, D>> {
        let mutex = MutexGuard::mutex(&guard);
        let node = Node::new(Notified::Not);
        self.wait_unlocked(&node, guard, Limit::Never)?;
        self.lock_again(mutex, &node)
    }

    /// Waits until `condition` is false.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    #[inline]
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T, D>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> io::Result<MutexGuard<'a, T, D>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Like [`wait`](Self::wait), for at most this long.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); that the time has passed is no error.
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T, D>,
        timeout: Duration,
    ) -> io::Result<(MutexGuard<'a, T, D>, WaitTimeoutResult)> {
        self.wait_limit(guard, Limit::after(timeout))
    }

    /// Waits until `condition` is false, for at most this long.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T, D>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> io::Result<(MutexGuard<'a, T, D>, WaitTimeoutResult)> {
        let limit = Limit::after(timeout);
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if limit.has_passed() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_limit(guard, limit)?.0;
        }
    }

    #[track_caller]
    fn wait_limit<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T, D>,
        limit: Limit,
    ) -> io::Result<(MutexGuard<'a, T, D>, WaitTimeoutResult)> {
        let mutex = MutexGuard::mutex(&guard);
        let node = Node::new(Notified::Not);
        let timed_out = match self.wait_unlocked(&node, guard, limit) {
            Ok(()) => false,
            Err(error) if limit.is_why(&error) => true,
            Err(error) => return Err(error),
        };
        Ok((self.lock_again(mutex, &node)?, WaitTimeoutResult(timed_out)))
    }

    /// Locks the mutex for one whose wait is over.
    #[inline(always)]
    #[track_caller]
    fn lock_again<'a, T: ?Sized>(
        &self,
        mutex: &'a Mutex<T, D>,
        node: &Node<D, Notified>,
    ) -> io::Result<MutexGuard<'a, T, D>> {
        let unused = Unused { condvar: self, node };
        let locked = mutex.lock()?;
        std::mem::forget(unused);
        Ok(locked)
    }

    #[inline(always)]
    #[track_caller]
    fn wait_unlocked<T: ?Sized>(
        &self,
        node: &Node<D, Notified>,
        guard: MutexGuard<'_, T, D>,
        limit: Limit,
    ) -> io::Result<()> {
        let enqueued = self.enqueue(node);
        drop(guard);
        let parker = enqueued.map_err(Refusal::give_way)?;
        let pass_on = || self.pass_on(node);
        let what = Wait::new(WaitKind::Notify, std::ptr::from_ref(self).addr() as u64);
        wait_for::<D>(parker, what, limit, || self.give_up(node), pass_on)
    }

    fn enqueue(&self, node: &Node<D, Notified>) -> Result<D::Parker, Refusal> {
        self.queue.with(|queue| {
            let parker = D::begin()?;
            // SAFETY: `wait_unlocked` waits by `wait_for` with this node, which lies in a frame
            // below; between the two the mutex is unlocked, which does not unwind.
            unsafe { queue.push(node, D::who(&parker)) };
            Ok(parker)
        })
    }

    #[cold]
    fn give_up(&self, node: &Node<D, Notified>) -> bool {
        self.queue.with(|queue| queue.remove(node))
    }

    /// Gives a notification that was meant for one of several to the next.
    #[cold]
    fn pass_on(&self, node: &Node<D, Notified>) {
        // SAFETY: called after the wait, when the node is not linked.
        if unsafe { node.payload(|notified| *notified) } == Notified::Alone {
            self.notify_one();
        }
    }

    /// Wakes the one who has waited longest; does nothing when nobody waits.
    #[inline]
    pub fn notify_one(&self) {
        let wake = self.queue.with(|queue| queue.pop(|notified| *notified = Notified::Alone));
        if let Some(wake) = wake {
            D::wake(wake);
        }
    }

    /// Wakes everybody who waits.
    pub fn notify_all(&self) {
        let mut wakes = Wakes::<D>::new();
        self.queue.with(|queue| {
            while let Some(wake) = queue.pop(|notified| *notified = Notified::WithAll) {
                wakes.add(Some(wake));
            }
        });
        wakes.send();
    }
}

/// A notification of one who has not locked the mutex again, be it that a shutdown unwinds it there.
struct Unused<'a, D: Domain> {
    condvar: &'a Condvar<D>,
    node: &'a Node<D, Notified>,
}

impl<D: Domain> Drop for Unused<'_, D> {
    fn drop(&mut self) {
        self.condvar.pass_on(self.node);
    }
}

impl Default for Condvar<Shared> {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Condvar<Local> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Domain> fmt::Debug for Condvar<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.queue.with(|queue| queue.len());
        f.debug_struct("Condvar").field("waiting", &waiting).finish()
    }
}

/// Whether a wait with a limit ended because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True: the time passed and no notification came.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}
