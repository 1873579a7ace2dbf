//! Permits that are taken and given back.
//!
//! ```text
//!   bits 2..           1        0
//!   permits left       WAITERS  CLOSED
//! ```
//!
//! First come, first served: somebody who waits for many permits is not overtaken by others who
//! need few. While WAITERS is set permits are given out by `settle` only, under the lock of the
//! queue.

use std::error::Error;
use std::fmt;
use std::io;

use crate::sync::domain::{
    Domain, Local, LocalState, LocalWord, Shared, SharedState, SharedWord, State, Word, wait_for,
};
use crate::sync::limit::Limit;
use crate::sync::primitive::const_fn;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::wait::{Refusal, Wait, WaitKind};

const CLOSED: usize = 1;
const WAITERS: usize = 2;
const PERMIT: usize = 4;

/// Permits that a semaphore can have.
pub const PERMITS_MAX: usize = usize::MAX / PERMIT;

/// What one waits for.
struct Need {
    permits: usize,
    /// Set when the semaphore was closed instead.
    closed: bool,
}

/// A counter of permits to wait for: [`sync::Semaphore`](crate::sync::Semaphore) or
/// [`sync::local::Semaphore`](crate::sync::local::Semaphore).
///
/// # Examples
///
/// Ten fibers, two at a time:
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::{cell::Cell, rc::Rc};
/// use cede::sync::local::Semaphore;
///
/// let (limit, inside, most) =
///     (Rc::new(Semaphore::new(2)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
/// let fibers: Vec<_> = (0..10)
///     .map(|_| {
///         let (limit, inside, most) = (limit.clone(), inside.clone(), most.clone());
///         cede::spawn(move || {
///             let _permit = limit.acquire().unwrap();
///             inside.set(inside.get() + 1);
///             most.set(most.get().max(inside.get()));
///             cede::yield_now();
///             inside.set(inside.get() - 1);
///         })
///     })
///     .collect();
/// for fiber in fibers {
///     fiber.join().unwrap();
/// }
/// assert_eq!(most.get(), 2);
/// # }).unwrap();
/// ```
pub struct Semaphore<D: Domain> {
    word: D::Word,
    queue: D::State<Queue<D, Need>>,
}

impl Semaphore<Shared> {
    const_fn! {
        /// A semaphore with this many permits.
        ///
        /// # Panics
        ///
        /// For more than [`PERMITS_MAX`].
        #[must_use]
        pub fn new(permits: usize) -> Self {
            assert!(permits <= PERMITS_MAX, "a semaphore cannot have so many permits");
            let queue = SharedState::of(Queue::new());
            Self { word: SharedWord::of(permits * PERMIT), queue }
        }
    }
}

impl Semaphore<Local> {
    /// A semaphore with this many permits.
    ///
    /// # Panics
    ///
    /// For more than [`PERMITS_MAX`].
    #[must_use]
    pub const fn new(permits: usize) -> Self {
        assert!(permits <= PERMITS_MAX, "a semaphore cannot have so many permits");
        let queue = LocalState::of(Queue::new());
        Self { word: LocalWord::of(permits * PERMIT), queue }
    }
}

impl<D: Domain> Semaphore<D> {
    /// Waits for a permit. It is given back when the guard is dropped.
    ///
    /// # Errors
    ///
    /// When the semaphore is closed; when it must wait and the fiber is cancelled, its deadline
    /// passes, or a panic unwinds it.
    #[inline(always)]
    #[track_caller]
    pub fn acquire(&self) -> Result<SemaphorePermit<'_, D>, AcquireError> {
        self.acquire_many(1)
    }

    /// Waits for this many permits at once.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    #[inline(always)]
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_, D>, AcquireError> {
        self.acquire_within(permits, Limit::Never)
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn acquire_within(
        &self,
        permits: usize,
        limit: Limit,
    ) -> Result<SemaphorePermit<'_, D>, AcquireError> {
        match self.take(permits) {
            Ok(()) => return Ok(SemaphorePermit { semaphore: self, permits }),
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        let node = Node::new(Need { permits, closed: false });
        let enqueued = self.enqueue(&node, permits)?;
        let refused = |refusal: Refusal| AcquireError::Wait(refusal.give_way());
        if let Some(parker) = enqueued.map_err(refused)? {
            let what = Wait::new(WaitKind::Semaphore, std::ptr::from_ref(self).addr() as u64);
            // SAFETY: asked for after the node was unlinked.
            let closed = || unsafe { node.payload(|need| need.closed) };
            let pass_on = || {
                if !closed() {
                    self.add_permits(permits);
                }
            };
            wait_for::<D>(parker, what, limit, || self.give_up(&node), pass_on)
                .map_err(AcquireError::Wait)?;
            if closed() {
                return Err(AcquireError::Closed);
            }
        }
        Ok(SemaphorePermit { semaphore: self, permits })
    }

    /// Takes a permit if there is one that nobody waits for.
    ///
    /// # Errors
    ///
    /// When there is none, or the semaphore is closed.
    #[inline]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_, D>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes this many permits if they are there and nobody waits.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_many(
        &self,
        permits: usize,
    ) -> Result<SemaphorePermit<'_, D>, TryAcquireError> {
        self.take(permits).map(|()| SemaphorePermit { semaphore: self, permits })
    }

    #[inline(always)]
    fn take(&self, permits: usize) -> Result<(), TryAcquireError> {
        loop {
            let word = self.word.load();
            if word & (CLOSED | WAITERS) != 0 || word / PERMIT < permits {
                let closed = word & CLOSED != 0;
                return Err(if closed {
                    TryAcquireError::Closed
                } else {
                    TryAcquireError::NoPermits
                });
            }
            if self.word.exchange(word, word - permits * PERMIT) {
                return Ok(());
            }
        }
    }

    /// Takes a place in the queue; `None`: not needed, the permits are ours.
    fn enqueue(
        &self,
        node: &Node<D, Need>,
        permits: usize,
    ) -> Result<Result<Option<D::Parker>, Refusal>, AcquireError> {
        self.queue.with(|queue| {
            let mut parker = None;
            loop {
                match self.take(permits) {
                    Ok(()) => return Ok(Ok(None)),
                    Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
                    Err(TryAcquireError::NoPermits) => {}
                }
                let Some(parker) = parker.take() else {
                    match D::begin() {
                        Ok(begun) => parker = Some(begun),
                        Err(refusal) => return Ok(Err(refusal)),
                    }
                    continue;
                };
                let word = self.word.load();
                let marked = word & WAITERS != 0
                    || (word & CLOSED == 0
                        && word / PERMIT < permits
                        && self.word.exchange(word, word | WAITERS));
                if marked {
                    // SAFETY: the caller waits by `wait_for` with this node, in its own frame.
                    unsafe { queue.push(node, D::who(&parker)) };
                    return Ok(Ok(Some(parker)));
                }
            }
        })
    }

    #[cold]
    fn give_up(&self, node: &Node<D, Need>) -> bool {
        let mut wakes = Wakes::<D>::new();
        let removed = self.queue.with(|queue| {
            let removed = queue.remove(node);
            if removed {
                // Those behind may need fewer permits.
                self.settle(queue, &mut wakes);
            }
            removed
        });
        wakes.send();
        removed
    }

    /// Gives out what there is, in order. Under the lock of the queue.
    fn settle(&self, queue: &mut Queue<D, Need>, wakes: &mut Wakes<D>) {
        loop {
            let word = self.word.load();
            let next = match queue.front() {
                None => word & !WAITERS,
                Some(need) if word / PERMIT >= need.permits => word - need.permits * PERMIT,
                Some(_) => return,
            };
            if self.word.exchange(word, next) {
                if queue.is_empty() {
                    return;
                }
                wakes.add(queue.pop(|_| {}));
            }
        }
    }

    /// Adds permits, first to those who wait.
    ///
    /// # Panics
    ///
    /// When there would be more than [`PERMITS_MAX`].
    #[inline]
    pub fn add_permits(&self, permits: usize) {
        loop {
            let word = self.word.load();
            let sum = (word / PERMIT).checked_add(permits).filter(|sum| *sum <= PERMITS_MAX);
            assert!(sum.is_some(), "a semaphore cannot have so many permits");
            if self.word.exchange(word, word + permits * PERMIT) {
                if word & WAITERS != 0 {
                    self.hand_on();
                }
                return;
            }
        }
    }

    fn hand_on(&self) {
        let mut wakes = Wakes::<D>::new();
        self.queue.with(|queue| self.settle(queue, &mut wakes));
        wakes.send();
    }

    /// Permits that are left.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.word.load() / PERMIT
    }

    /// Takes away up to this many of the permits that are left, for good; returns how many.
    pub fn forget_permits(&self, permits: usize) -> usize {
        loop {
            let word = self.word.load();
            let taken = permits.min(word / PERMIT);
            if self.word.exchange(word, word - taken * PERMIT) {
                return taken;
            }
        }
    }

    /// Closes it: everybody who waits, and everybody who comes, gets an error.
    pub fn close(&self) {
        let mut wakes = Wakes::<D>::new();
        self.queue.with(|queue| {
            loop {
                let word = self.word.load();
                if self.word.exchange(word, (word | CLOSED) & !WAITERS) {
                    break;
                }
            }
            while let Some(wake) = queue.pop(|need| need.closed = true) {
                wakes.add(Some(wake));
            }
        });
        wakes.send();
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word.load() & CLOSED != 0
    }
}

impl<D: Domain> fmt::Debug for Semaphore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.available_permits())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// Permits of a [`Semaphore`], given back when this is dropped.
#[must_use = "the permits are given back when this is dropped"]
#[derive(Debug)]
pub struct SemaphorePermit<'a, D: Domain> {
    semaphore: &'a Semaphore<D>,
    permits: usize,
}

impl<D: Domain> SemaphorePermit<'_, D> {
    /// Keeps the permits away from the semaphore for good;
    /// [`add_permits`](Semaphore::add_permits) can bring them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// How many they are.
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.permits
    }
}

impl<D: Domain> Drop for SemaphorePermit<'_, D> {
    #[inline]
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.add_permits(self.permits);
        }
    }
}

/// Why there are no permits.
#[derive(Debug)]
pub enum AcquireError {
    /// The semaphore was closed.
    Closed,
    /// The wait was cut short: by a cancel, by a deadline, or because it could not begin.
    Wait(io::Error),
}

/// Why there are no permits right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryAcquireError {
    /// The semaphore was closed.
    Closed,
    /// There are not enough, or somebody waits for them.
    NoPermits,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the semaphore is closed"),
            Self::Wait(error) => write!(f, "the wait for permits was cut short: {error}"),
        }
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the semaphore is closed",
            Self::NoPermits => "the semaphore has not enough permits",
        })
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed => None,
            Self::Wait(error) => Some(error),
        }
    }
}

impl Error for TryAcquireError {}

impl From<AcquireError> for io::Error {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Closed => Self::new(io::ErrorKind::BrokenPipe, AcquireError::Closed),
            AcquireError::Wait(error) => error,
        }
    }
}
