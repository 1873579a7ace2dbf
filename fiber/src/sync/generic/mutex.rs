//! A lock for one.
//!
//! ```text
//!   FREE <--> LOCKED --> CONTENDED        the word; CONTENDED: somebody is in the queue
//! ```
//!
//! An unlock hands the mutex to the first in the queue: it never becomes free while somebody waits,
//! so nobody overtakes.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::LockResult;

use crate::sync::domain::{
    Domain, Local, LocalState, LocalWord, Shared, SharedState, SharedWord, State, Word, wait_for,
};
use crate::sync::limit::Limit;
use crate::sync::primitive::const_fn;
use crate::sync::queue::{Node, Queue};
use crate::wait::{Refusal, Wait, WaitKind};

const FREE: usize = 0;
const LOCKED: usize = 1;
/// Locked, and somebody is in the queue. Set and left under the lock of the queue only.
const CONTENDED: usize = 2;

/// A mutex without its value.
pub(crate) struct RawMutex<D: Domain> {
    word: D::Word,
    queue: D::State<Queue<D, ()>>,
}

impl RawMutex<Shared> {
    const_fn! {
        pub(crate) fn shared() -> Self {
            Self { word: SharedWord::of(FREE), queue: SharedState::of(Queue::new()) }
        }
    }
}

impl RawMutex<Local> {
    pub(crate) const fn local() -> Self {
        Self { word: LocalWord::of(FREE), queue: LocalState::of(Queue::new()) }
    }
}

impl<D: Domain> RawMutex<D> {
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> bool {
        self.word.exchange(FREE, LOCKED)
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn lock(&self) -> io::Result<()> {
        self.lock_within(Limit::Never)
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn lock_within(&self, limit: Limit) -> io::Result<()> {
        if self.try_lock() {
            return Ok(());
        }
        let node = Node::new(());
        let enqueued = self.enqueue(&node).map_err(Refusal::give_way)?;
        let Some(parker) = enqueued else { return Ok(()) };
        let what = Wait::new(WaitKind::Lock, std::ptr::from_ref(self).addr() as u64);
        let give_up = || self.give_up(&node);
        wait_for::<D>(parker, what, limit, give_up, || self.unlock_contended())
    }

    /// Takes a place in the queue; `None`: not needed, the mutex is ours.
    fn enqueue(&self, node: &Node<D, ()>) -> Result<Option<D::Parker>, Refusal> {
        self.queue.with(|queue| {
            if self.word.exchange(FREE, LOCKED) {
                return Ok(None);
            }
            let parker = D::begin()?;
            loop {
                if self.word.exchange(FREE, LOCKED) {
                    return Ok(None);
                }
                if self.word.load() == CONTENDED || self.word.exchange(LOCKED, CONTENDED) {
                    break;
                }
            }
            // SAFETY: the caller waits by `wait_for` with this node, in its own frame.
            unsafe { queue.push(node, D::who(&parker)) };
            Ok(Some(parker))
        })
    }

    #[cold]
    fn give_up(&self, node: &Node<D, ()>) -> bool {
        self.queue.with(|queue| {
            let removed = queue.remove(node);
            if removed && queue.is_empty() {
                // It was CONTENDED because of us, and its owner cannot have changed that.
                self.word.store(LOCKED);
            }
            removed
        })
    }

    /// For the owner.
    #[inline(always)]
    pub(crate) fn unlock(&self) {
        if !self.word.exchange(LOCKED, FREE) {
            self.unlock_contended();
        }
    }

    fn unlock_contended(&self) {
        let next = self.queue.with(|queue| {
            let next = queue.pop(|()| {});
            if queue.is_empty() {
                self.word.store(if next.is_some() { LOCKED } else { FREE });
            }
            next
        });
        if let Some(next) = next {
            D::wake(next);
        }
    }

    fn is_locked(&self) -> bool {
        self.word.load() != FREE
    }
}

/// A mutex whose `lock` parks the fiber: [`sync::Mutex`](crate::sync::Mutex) or
/// [`sync::local::Mutex`](crate::sync::local::Mutex).
///
/// It is fair: who asks first gets it first. There is no poisoning: a guard that is dropped by a
/// panic unlocks, and the value is as the panic left it.
///
/// The guard may live across a wait, as `RefCell` borrows and `std` guards should not. What that
/// costs is what it says: everybody else waits as long, and a fiber that asks for the same mutex
/// again waits for itself, for ever; the runtime reports that as a deadlock if nothing else could
/// wake it.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use std::sync::Arc;
/// use cede::sync::Mutex;
///
/// let total = Arc::new(Mutex::new(0));
/// let fibers: Vec<_> = (0..10)
///     .map(|_| {
///         let total = Arc::clone(&total);
///         cede::spawn(move || {
///             let mut total = total.lock().unwrap();
///             cede::yield_now(); // the others wait
///             *total += 1;
///         })
///     })
///     .collect();
/// for fiber in fibers {
///     fiber.join().unwrap();
/// }
/// assert_eq!(*total.lock()?, 10);
/// # Ok(()) }).unwrap().unwrap();
/// ```
///
/// A guard stays on its thread, and so does a local mutex:
///
/// ```compile_fail
/// # use cede_fiber as cede;
/// fn is_send<T: Send>() {}
/// is_send::<cede::sync::MutexGuard<'static, i32>>();
/// ```
/// ```compile_fail
/// # use cede_fiber as cede;
/// fn is_send<T: Send>() {}
/// is_send::<cede::sync::local::Mutex<i32>>();
/// ```
/// ```compile_fail
/// # use cede_fiber as cede;
/// fn is_sync<T: Sync>() {}
/// is_sync::<cede::sync::Mutex<std::cell::Cell<i32>>>(); // fine
/// is_sync::<cede::sync::Mutex<std::rc::Rc<i32>>>(); // not this
/// ```
pub struct Mutex<T: ?Sized, D: Domain> {
    raw: RawMutex<D>,
    value: UnsafeCell<T>,
}

// SAFETY: the mutex owns its value; the queue is empty when nobody borrows the mutex, so moving it
// moves no linked nodes.
unsafe impl<T: ?Sized + Send> Send for Mutex<T, Shared> {}
// SAFETY: `RawMutex` lets one guard at a time reach the value, from whatever thread, and that needs
// Send only.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T, Shared> {}

impl<T> Mutex<T, Shared> {
    const_fn! {
        /// A mutex with this value, unlocked.
        #[must_use]
        pub fn new(value: T) -> Self {
            Self { raw: RawMutex::shared(), value: UnsafeCell::new(value) }
        }
    }
}

impl<T> Mutex<T, Local> {
    /// A mutex with this value, unlocked.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::local(), value: UnsafeCell::new(value) }
    }
}

impl<T, D: Domain> Mutex<T, D> {
    /// The value, when the mutex is not needed any more.
    ///
    /// # Errors
    ///
    /// None; the result is std's signature.
    pub fn into_inner(self) -> LockResult<T> {
        Ok(self.value.into_inner())
    }
}

impl<T: ?Sized, D: Domain> Mutex<T, D> {
    /// Waits for the mutex and locks it until the guard is dropped.
    ///
    /// # Errors
    ///
    /// When it must wait and the fiber is cancelled, its deadline passes, or a panic unwinds it;
    /// see [`sync`](crate::sync#errors).
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> io::Result<MutexGuard<'_, T, D>> {
        self.raw.lock()?;
        Ok(MutexGuard { mutex: self, marker: PhantomData })
    }

    /// `lock` with a limit, for the models of giving up.
    #[cfg(all(test, loom))]
    pub(crate) fn lock_within(&self, limit: Limit) -> io::Result<MutexGuard<'_, T, D>> {
        self.raw.lock_within(limit)?;
        Ok(MutexGuard { mutex: self, marker: PhantomData })
    }

    /// Locks it if nobody else has it.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when somebody has.
    #[inline]
    pub fn try_lock(&self) -> io::Result<MutexGuard<'_, T, D>> {
        if self.raw.try_lock() {
            Ok(MutexGuard { mutex: self, marker: PhantomData })
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// The value; nobody else can have it now.
    ///
    /// # Errors
    ///
    /// None; the result is std's signature.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        Ok(self.value.get_mut())
    }
}

impl<T: ?Sized + fmt::Debug, D: Domain> fmt::Debug for Mutex<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => debug.field("value", &&*guard),
            Err(_) => debug.field("value", &format_args!("<locked>")),
        };
        debug.finish()
    }
}

impl<T: Default> Default for Mutex<T, Shared> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Default> Default for Mutex<T, Local> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T, Shared> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> From<T> for Mutex<T, Local> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// A locked [`Mutex`]: the way to its value. Dropping it hands the mutex on.
#[must_use = "the mutex is unlocked when the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized, D: Domain> {
    mutex: &'a Mutex<T, D>,
    /// A guard stays on its thread.
    marker: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T, Shared> {}

impl<'a, T: ?Sized, D: Domain> MutexGuard<'a, T, D> {
    /// Whose guard it is.
    pub(crate) fn mutex(this: &Self) -> &'a Mutex<T, D> {
        this.mutex
    }
}

impl<T: ?Sized, D: Domain> Deref for MutexGuard<'_, T, D> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, so nobody else reaches the value; `&self` keeps `&mut
        // T` away.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized, D: Domain> DerefMut for MutexGuard<'_, T, D> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, with `&mut self`.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized, D: Domain> Drop for MutexGuard<'_, T, D> {
    #[inline(always)]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug, D: Domain> fmt::Debug for MutexGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display, D: Domain> fmt::Display for MutexGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<D: Domain> fmt::Debug for RawMutex<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex").field("locked", &self.is_locked()).finish()
    }
}
