//! A lock for many readers or one writer.
//!
//! ```text
//!   bits 2..   1        0
//!   readers    WAITERS  WRITER
//! ```
//!
//! First come, first served: a reader behind a waiting writer waits too, so neither side starves.
//! While WAITERS is set nobody gets in but by `settle`, which runs under the lock of the queue.

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
use crate::sync::queue::{Node, Queue, Wakes};
use crate::wait::{Refusal, Wait, WaitKind};

const WRITER: usize = 1;
const WAITERS: usize = 2;
const READER: usize = 4;
/// More readers than this at a time are a leak of guards.
const READERS_MAX: usize = usize::MAX / READER / 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Access {
    /// The word after this access was granted to one more; `None` while it cannot be.
    #[inline(always)]
    fn granted(self, word: usize) -> Option<usize> {
        match self {
            Self::Read => (word & WRITER == 0).then_some(word + READER),
            Self::Write => (word & !WAITERS == 0).then_some(word | WRITER),
        }
    }
}

struct RawRwLock<D: Domain> {
    word: D::Word,
    queue: D::State<Queue<D, Access>>,
}

impl<D: Domain> RawRwLock<D> {
    #[inline(always)]
    fn try_lock(&self, access: Access) -> bool {
        loop {
            let word = self.word.load();
            if word & WAITERS != 0 {
                return false;
            }
            assert!(word / READER < READERS_MAX, "an RwLock has too many readers");
            let Some(granted) = access.granted(word) else { return false };
            if self.word.exchange(word, granted) {
                return true;
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    fn lock(&self, access: Access, limit: Limit) -> io::Result<()> {
        if self.try_lock(access) {
            return Ok(());
        }
        let node = Node::new(access);
        let enqueued = self.enqueue(&node, access).map_err(Refusal::give_way)?;
        let Some(parker) = enqueued else { return Ok(()) };
        let what = Wait::new(WaitKind::Lock, std::ptr::from_ref(self).addr() as u64);
        let give_up = || self.give_up(&node);
        wait_for::<D>(parker, what, limit, give_up, || self.unlock(access))
    }

    /// Takes a place in the queue; `None`: not needed, access was granted.
    fn enqueue(
        &self,
        node: &Node<D, Access>,
        access: Access,
    ) -> Result<Option<D::Parker>, Refusal> {
        self.queue.with(|queue| {
            if self.try_lock(access) {
                return Ok(None);
            }
            let parker = D::begin()?;
            loop {
                let word = self.word.load();
                if word & WAITERS != 0 {
                    break;
                }
                // Only a word in which somebody is in gets the mark: whoever leaves sees it.
                let granted = access.granted(word);
                if self.word.exchange(word, granted.unwrap_or(word | WAITERS)) {
                    match granted {
                        Some(_) => return Ok(None),
                        None => break,
                    }
                }
            }
            // SAFETY: the caller waits by `wait_for` with this node, in its own frame.
            unsafe { queue.push(node, D::who(&parker)) };
            Ok(Some(parker))
        })
    }

    #[cold]
    fn give_up(&self, node: &Node<D, Access>) -> bool {
        let mut wakes = Wakes::new();
        let removed = self.queue.with(|queue| {
            let removed = queue.remove(node);
            if removed {
                // A writer that leaves may have stood before readers.
                self.settle(queue, &mut wakes);
            }
            removed
        });
        wakes.send();
        removed
    }

    /// Grants what can be granted, in order. Under the lock of the queue.
    fn settle(&self, queue: &mut Queue<D, Access>, wakes: &mut Wakes<D>) {
        loop {
            let word = self.word.load();
            let next = match queue.front() {
                None => word & !WAITERS,
                Some(access) => match access.granted(word) {
                    Some(granted) => granted,
                    None => return,
                },
            };
            if self.word.exchange(word, next) {
                if queue.is_empty() {
                    return;
                }
                wakes.add(queue.pop(|_| {}));
            }
        }
    }

    /// For an owner.
    #[inline(always)]
    fn unlock(&self, access: Access) {
        loop {
            let word = self.word.load();
            let left = match access {
                Access::Read => word - READER,
                Access::Write => word & !WRITER,
            };
            if self.word.exchange(word, left) {
                if left == WAITERS {
                    self.hand_on();
                }
                return;
            }
        }
    }

    /// Makes the writer a reader; readers who wait at the head of the queue join it.
    fn downgrade(&self) {
        loop {
            let word = self.word.load();
            if self.word.exchange(word, word - WRITER + READER) {
                if word & WAITERS != 0 {
                    self.hand_on();
                }
                return;
            }
        }
    }

    #[cold]
    fn hand_on(&self) {
        let mut wakes = Wakes::new();
        self.queue.with(|queue| self.settle(queue, &mut wakes));
        wakes.send();
    }
}

/// A lock for many readers or one writer, whose waits park the fiber:
/// [`sync::RwLock`](crate::sync::RwLock) or [`sync::local::RwLock`](crate::sync::local::RwLock).
///
/// It is fair: first come, first served; readers that stand together enter together. A fiber that
/// reads and asks to read again may therefore wait for a writer that waits for it: a deadlock.
/// There is no poisoning. Guards may live across a wait, and everybody else then waits as long.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::sync::RwLock;
///
/// let table = RwLock::new(vec![1, 2]);
/// {
///     let (one, two) = (table.read()?, table.read()?);
///     assert_eq!(one.len() + two.len(), 4);
/// }
/// table.write()?.push(3);
/// assert_eq!(table.read()?.len(), 3);
/// # Ok(()) }).unwrap().unwrap();
/// ```
/// ```compile_fail
/// # use cede_fiber as cede;
/// fn is_send<T: Send>() {}
/// is_send::<cede::sync::RwLockReadGuard<'static, i32>>();
/// ```
pub struct RwLock<T: ?Sized, D: Domain> {
    raw: RawRwLock<D>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock owns its value; the queue is empty when nobody borrows the lock.
unsafe impl<T: ?Sized + Send> Send for RwLock<T, Shared> {}
// SAFETY: `RawRwLock` lets in one writer, which needs Send, or readers of several threads, which
// needs Sync.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T, Shared> {}

impl<T> RwLock<T, Shared> {
    const_fn! {
        /// A lock with this value, unlocked.
        #[must_use]
        pub fn new(value: T) -> Self {
            let raw = RawRwLock { word: SharedWord::of(0), queue: SharedState::of(Queue::new()) };
            Self { raw, value: UnsafeCell::new(value) }
        }
    }
}

impl<T> RwLock<T, Local> {
    /// A lock with this value, unlocked.
    #[must_use]
    pub const fn new(value: T) -> Self {
        let raw = RawRwLock { word: LocalWord::of(0), queue: LocalState::of(Queue::new()) };
        Self { raw, value: UnsafeCell::new(value) }
    }
}

impl<T, D: Domain> RwLock<T, D> {
    /// The value, when the lock is not needed any more.
    ///
    /// # Errors
    ///
    /// None; the result is std's signature.
    pub fn into_inner(self) -> LockResult<T> {
        Ok(self.value.into_inner())
    }
}

impl<T: ?Sized, D: Domain> RwLock<T, D> {
    /// Waits until no writer is in or waits before us, and locks for reading.
    ///
    /// # Errors
    ///
    /// When it must wait and the fiber is cancelled, its deadline passes, or a panic unwinds it;
    /// see [`sync`](crate::sync#errors).
    #[inline(always)]
    #[track_caller]
    pub fn read(&self) -> io::Result<RwLockReadGuard<'_, T, D>> {
        self.raw.lock(Access::Read, Limit::Never)?;
        Ok(RwLockReadGuard { lock: self, marker: PhantomData })
    }

    /// Waits until nobody is in, and locks for writing.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[inline(always)]
    #[track_caller]
    pub fn write(&self) -> io::Result<RwLockWriteGuard<'_, T, D>> {
        self.raw.lock(Access::Write, Limit::Never)?;
        Ok(RwLockWriteGuard { lock: self, marker: PhantomData })
    }

    /// `write` with a limit, for the models of giving up.
    #[cfg(all(test, loom))]
    pub(crate) fn write_within(&self, limit: Limit) -> io::Result<RwLockWriteGuard<'_, T, D>> {
        self.raw.lock(Access::Write, limit)?;
        Ok(RwLockWriteGuard { lock: self, marker: PhantomData })
    }

    /// Locks for reading if no writer is in or waits.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when one does.
    #[inline]
    pub fn try_read(&self) -> io::Result<RwLockReadGuard<'_, T, D>> {
        if self.raw.try_lock(Access::Read) {
            Ok(RwLockReadGuard { lock: self, marker: PhantomData })
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// Locks for writing if nobody is in or waits.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when somebody does.
    #[inline]
    pub fn try_write(&self) -> io::Result<RwLockWriteGuard<'_, T, D>> {
        if self.raw.try_lock(Access::Write) {
            Ok(RwLockWriteGuard { lock: self, marker: PhantomData })
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

impl<T: ?Sized + fmt::Debug, D: Domain> fmt::Debug for RwLock<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => debug.field("value", &&*guard),
            Err(_) => debug.field("value", &format_args!("<locked>")),
        };
        debug.finish()
    }
}

impl<T: Default> Default for RwLock<T, Shared> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Default> Default for RwLock<T, Local> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T, Shared> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> From<T> for RwLock<T, Local> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// An [`RwLock`] locked for reading.
#[must_use = "the lock is unlocked when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized, D: Domain> {
    lock: &'a RwLock<T, D>,
    marker: PhantomData<*const ()>,
}

/// An [`RwLock`] locked for writing.
#[must_use = "the lock is unlocked when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized, D: Domain> {
    lock: &'a RwLock<T, D>,
    marker: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T, Shared> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T, Shared> {}

impl<'a, T: ?Sized, D: Domain> RwLockWriteGuard<'a, T, D> {
    /// Goes on as a reader, with nobody else having written in between. Readers who wait enter if
    /// no writer stands before them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// # cede::run(|| -> std::io::Result<()> {
    /// use cede::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write()?;
    /// *writer = 2;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!((*reader, *lock.read()?), (2, 2));
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn downgrade(s: Self) -> RwLockReadGuard<'a, T, D> {
        let lock = s.lock;
        std::mem::forget(s);
        lock.raw.downgrade();
        RwLockReadGuard { lock, marker: PhantomData }
    }
}

impl<T: ?Sized, D: Domain> Deref for RwLockReadGuard<'_, T, D> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: while there are readers no writer is let in.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized, D: Domain> Deref for RwLockWriteGuard<'_, T, D> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: while there is a writer nobody else is let in; `&self` keeps `&mut T` away.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized, D: Domain> DerefMut for RwLockWriteGuard<'_, T, D> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, with `&mut self`.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized, D: Domain> Drop for RwLockReadGuard<'_, T, D> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.unlock(Access::Read);
    }
}

impl<T: ?Sized, D: Domain> Drop for RwLockWriteGuard<'_, T, D> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.unlock(Access::Write);
    }
}

impl<T: ?Sized + fmt::Debug, D: Domain> fmt::Debug for RwLockReadGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug, D: Domain> fmt::Debug for RwLockWriteGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display, D: Domain> fmt::Display for RwLockReadGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display, D: Domain> fmt::Display for RwLockWriteGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
