//! A channel whose every value goes to every receiver.
//!
//! ```text
//!   first                       next
//!   v                           v
//!   [value, unseen 2] [value, unseen 3] ...       at most `capacity` slots
//! ```
//!
//! Sending never waits: when all slots are taken the oldest value goes, and a receiver that had not
//! seen it is told how many it missed. Values are cloned and dropped outside of the lock.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;

use crate::sync::domain::{Domain, State, wait_for};
use crate::sync::error::SendError;
use crate::sync::limit::Limit;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::sync::select::AnyParker;
use crate::sync::turn;
use crate::wait::{Refusal, Wait, WaitKind};

struct Entry<T, D: Domain> {
    value: D::Ptr<T>,
    /// Receivers that have not seen it. Who has seen a value has seen all older ones, so the oldest
    /// is always the first that nobody needs.
    unseen: usize,
}

struct CastState<T, D: Domain> {
    entries: VecDeque<Entry<T, D>>,
    /// The number of the first entry.
    first: u64,
    capacity: usize,
    senders: usize,
    receivers: usize,
    waiting: Queue<D, ()>,
}

impl<T, D: Domain> CastState<T, D> {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The value with this number, if it is still there, and the entry if it is done with.
    fn see(&mut self, number: u64, done: &mut Vec<Entry<T, D>>) -> Option<D::Ptr<T>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        entry.unseen -= 1;
        let value = entry.value.clone();
        self.drop_seen(done);
        Some(value)
    }

    fn drop_seen(&mut self, done: &mut Vec<Entry<T, D>>) {
        while self.entries.front().is_some_and(|entry| entry.unseen == 0) {
            done.extend(self.entries.pop_front());
            self.first += 1;
        }
    }

    fn wake_all(&mut self, wakes: &mut Wakes<D>) {
        while let Some(wake) = self.waiting.pop(|()| {}) {
            wakes.add(Some(wake));
        }
    }

    /// What a receiver at `position` gets.
    fn look(
        &mut self,
        position: &mut u64,
        done: &mut Vec<Entry<T, D>>,
    ) -> Result<D::Ptr<T>, TryRecvError> {
        if *position < self.first {
            let missed = self.first - *position;
            *position = self.first;
            return Err(TryRecvError::Lagged(missed));
        }
        match self.see(*position, done) {
            Some(value) => {
                *position += 1;
                Ok(value)
            }
            None if self.senders == 0 => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }
}

/// What a receiver found.
enum Looked<V, P> {
    Now(Result<V, TryRecvError>),
    Waits(P),
    Refused(Refusal),
}

/// What the ends share.
pub(crate) struct Cast<T, D: Domain> {
    state: D::State<CastState<T, D>>,
}

impl<T, D: Domain> Cast<T, D> {
    fn change<R>(&self, f: impl FnOnce(&mut CastState<T, D>, &mut Wakes<D>) -> R) -> R {
        let mut wakes = Wakes::new();
        let result = self.state.with(|state| f(state, &mut wakes));
        wakes.send();
        result
    }

    fn subscribe(&self) -> u64 {
        self.state.with(|state| {
            state.receivers += 1;
            state.next()
        })
    }
}

/// The ends of a channel that keeps this many values for those who have not seen them.
///
/// # Panics
///
/// For a capacity of 0.
pub(crate) fn channel<T, D: Domain>(capacity: usize) -> (Sender<T, D>, Receiver<T, D>) {
    assert!(capacity > 0, "a broadcast channel must keep at least one value");
    let cast = D::ptr(Cast {
        state: D::State::new(CastState {
            entries: VecDeque::new(),
            first: 0,
            capacity,
            senders: 1,
            receivers: 1,
            waiting: Queue::new(),
        }),
    });
    (Sender { cast: cast.clone() }, Receiver { cast, position: 0 })
}

/// Sends values to all receivers. It may be cloned.
pub struct Sender<T, D: Domain> {
    cast: D::Ptr<Cast<T, D>>,
}

impl<T, D: Domain> Sender<T, D> {
    /// Sends a value to all receivers that there are and returns how many; never waits.
    ///
    /// # Errors
    ///
    /// Hands the value back when there are none.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let value = D::ptr(value);
        let (receivers, oldest) = self.cast.change(|state, wakes| {
            if state.receivers == 0 {
                return (0, None);
            }
            let oldest = (state.entries.len() == state.capacity)
                .then(|| {
                    state.first += 1;
                    state.entries.pop_front()
                })
                .flatten();
            let entry = Entry { value: value.clone(), unseen: state.receivers };
            state.entries.push_back(entry);
            state.wake_all(wakes);
            (state.receivers, oldest)
        });
        drop(oldest);
        if receivers > 0 {
            return Ok(receivers);
        }
        match D::try_unwrap(value) {
            Ok(value) => Err(SendError::Disconnected(value)),
            Err(_) => unreachable!("nobody else has seen the value"),
        }
    }

    /// A new receiver, of everything that is sent from now on.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T, D> {
        Receiver { position: self.cast.subscribe(), cast: self.cast.clone() }
    }

    /// Receivers that there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.cast.state.with(|state| state.receivers)
    }

    /// Values that somebody has not seen yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cast.state.with(|state| state.entries.len())
    }

    /// Whether everybody has seen everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T, D: Domain> Clone for Sender<T, D> {
    fn clone(&self) -> Self {
        self.cast.state.with(|state| state.senders += 1);
        Self { cast: self.cast.clone() }
    }
}

impl<T, D: Domain> Drop for Sender<T, D> {
    fn drop(&mut self) {
        self.cast.change(|state, wakes| {
            state.senders -= 1;
            if state.senders == 0 {
                state.wake_all(wakes);
            }
        });
    }
}

/// Receives every value that is sent while it exists.
pub struct Receiver<T, D: Domain> {
    cast: D::Ptr<Cast<T, D>>,
    /// The number of the value that comes next.
    position: u64,
}

impl<T, D: Domain> Receiver<T, D> {
    /// Waits for the next value.
    ///
    /// # Errors
    ///
    /// [`Lagged`](RecvError::Lagged) when values went before this receiver saw them; the next call
    /// gives the oldest that is left. When all senders are gone and all was seen, and when the wait
    /// is cut short by a cancel, by a deadline or because a panic unwinds.
    #[inline]
    #[track_caller]
    pub fn recv(&mut self) -> Result<T, RecvError>
    where
        T: Clone,
    {
        turn::spend().map_err(RecvError::Wait)?;
        loop {
            let node = Node::new(());
            let mut done = Vec::new();
            let looked = self.cast.state.with(|state| {
                match state.look(&mut self.position, &mut done) {
                    Err(TryRecvError::Empty) => {}
                    looked => return Looked::Now(looked),
                }
                match D::begin() {
                    Ok(parker) => {
                        // SAFETY: this waits by `wait_for` with this node, in this frame.
                        unsafe { state.waiting.push(&node, D::who(&parker)) };
                        Looked::Waits(parker)
                    }
                    Err(refusal) => Looked::Refused(refusal),
                }
            });
            drop(done);
            let parker = match looked {
                Looked::Now(looked) => return looked.map(Self::own).map_err(RecvError::of),
                Looked::Refused(refusal) => return Err(RecvError::Wait(refusal.give_way())),
                Looked::Waits(parker) => parker,
            };
            let give_up = || self.cast.state.with(|state| state.waiting.remove(&node));
            let what = Wait::new(WaitKind::Receive, std::ptr::from_ref(&*self.cast).addr() as u64);
            wait_for::<D>(parker, what, Limit::Never, give_up, || {}).map_err(RecvError::Wait)?;
        }
    }

    /// Takes the next value if it is there.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and when none is there.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError>
    where
        T: Clone,
    {
        let mut done = Vec::new();
        let looked = self.cast.state.with(|state| state.look(&mut self.position, &mut done));
        drop(done);
        looked.map(Self::own)
    }

    /// The value itself for the last who sees it, a clone for the others.
    fn own(value: D::Ptr<T>) -> T
    where
        T: Clone,
    {
        D::try_unwrap(value).unwrap_or_else(|value| (*value).clone())
    }

    /// A receiver of everything that is sent from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// let (sender, mut first) = cede::sync::broadcast::channel(8);
    /// sender.send(1).unwrap();
    /// let mut second = first.resubscribe();
    /// sender.send(2).unwrap();
    /// assert_eq!((first.recv().unwrap(), first.recv().unwrap()), (1, 2));
    /// assert_eq!(second.recv().unwrap(), 2);
    /// ```
    #[must_use]
    pub fn resubscribe(&self) -> Self {
        Self { position: self.cast.subscribe(), cast: self.cast.clone() }
    }

    /// Values that are there for this receiver, and those that it has missed.
    #[must_use]
    pub fn len(&self) -> usize {
        let next = self.cast.state.with(|state| state.next());
        usize::try_from(next - self.position).unwrap_or(usize::MAX)
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks to be told when something is there. True: it is.
    ///
    /// # Safety
    ///
    /// The node stays in place until `deselect`.
    pub(crate) unsafe fn select(&self, node: &Node<D, ()>, parker: &AnyParker) -> io::Result<bool> {
        let who = D::who_selects(parker)?;
        Ok(self.cast.state.with(|state| {
            let ready = self.position < state.next() || state.senders == 0;
            if !ready {
                // SAFETY: handed on to the caller.
                unsafe { state.waiting.push(node, who) };
            }
            ready
        }))
    }

    pub(crate) fn deselect(&self, node: &Node<D, ()>) {
        self.cast.state.with(|state| state.waiting.remove(node));
    }
}

impl<T, D: Domain> Drop for Receiver<T, D> {
    fn drop(&mut self) {
        let mut done = Vec::new();
        self.cast.state.with(|state| {
            state.receivers -= 1;
            let unseen = self.position.saturating_sub(state.first) as usize;
            state.entries.iter_mut().skip(unseen).for_each(|entry| entry.unseen -= 1);
            state.drop_seen(&mut done);
        });
        drop(done);
    }
}

impl<T, D: Domain> fmt::Debug for Sender<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .field("receivers", &self.receiver_count())
            .finish()
    }
}

impl<T, D: Domain> fmt::Debug for Receiver<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish()
    }
}

/// Why nothing was received.
#[derive(Debug)]
pub enum RecvError {
    /// All senders are gone, and all was seen.
    Closed,
    /// So many values went before this receiver saw them.
    Lagged(u64),
    /// The wait was cut short: by a cancel, by a deadline, or because it could not begin.
    Wait(io::Error),
}

/// Why nothing can be received right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is there yet.
    Empty,
    /// All senders are gone, and all was seen.
    Closed,
    /// So many values went before this receiver saw them.
    Lagged(u64),
}

impl RecvError {
    fn of(error: TryRecvError) -> Self {
        match error {
            TryRecvError::Lagged(missed) => Self::Lagged(missed),
            TryRecvError::Closed | TryRecvError::Empty => Self::Closed,
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => TryRecvError::Closed.fmt(f),
            Self::Lagged(missed) => TryRecvError::Lagged(*missed).fmt(f),
            Self::Wait(error) => write!(f, "the wait on a channel was cut short: {error}"),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing new was broadcast"),
            Self::Closed => f.write_str("all senders of the broadcast are gone"),
            Self::Lagged(missed) => write!(f, "the receiver was too slow and missed {missed}"),
        }
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Wait(error) => Some(error),
            Self::Closed | Self::Lagged(_) => None,
        }
    }
}

impl Error for TryRecvError {}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::new(io::ErrorKind::BrokenPipe, error),
            RecvError::Lagged(_) => Self::other(error),
            RecvError::Wait(error) => error,
        }
    }
}
