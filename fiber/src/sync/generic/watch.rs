//! The newest value of something, and a wait for it to change.
//!
//! A value is never changed in place: sending puts another one there, so what a reader borrows is a
//! snapshot. It locks nobody out and may be kept across any wait.

use std::fmt;
use std::io;
use std::ops::Deref;

use crate::sync::domain::{Domain, State, wait_for};
use crate::sync::error::{RecvError, SendError};
use crate::sync::limit::Limit;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::sync::select::AnyParker;
use crate::wait::{Refusal, Wait, WaitKind};

struct WatchState<T, D: Domain> {
    value: D::Ptr<T>,
    /// Counts the values that were sent.
    version: u64,
    senders: usize,
    receivers: usize,
    waiting: Queue<D, ()>,
    /// Senders that wait for all receivers to go.
    closers: Queue<D, ()>,
}

/// What the ends share.
struct Watch<T, D: Domain> {
    state: D::State<WatchState<T, D>>,
}

impl<T, D: Domain> Watch<T, D> {
    fn change<R>(&self, f: impl FnOnce(&mut WatchState<T, D>, &mut Wakes<D>) -> R) -> R {
        let mut wakes = Wakes::new();
        let result = self.state.with(|state| f(state, &mut wakes));
        wakes.send();
        result
    }

    fn snapshot(&self) -> (D::Ptr<T>, u64) {
        self.state.with(|state| (state.value.clone(), state.version))
    }
}

impl<T, D: Domain> WatchState<T, D> {
    /// Whether a receiver that has seen `seen` has anything to be told; `Err`: never again.
    fn changed(&self, seen: u64) -> Result<bool, ()> {
        if self.version != seen {
            return Ok(true);
        }
        if self.senders == 0 { Err(()) } else { Ok(false) }
    }

    fn put(&mut self, value: D::Ptr<T>, wakes: &mut Wakes<D>) -> D::Ptr<T> {
        self.version += 1;
        while let Some(wake) = self.waiting.pop(|()| {}) {
            wakes.add(Some(wake));
        }
        std::mem::replace(&mut self.value, value)
    }
}

/// The ends of a watched value.
pub(crate) fn channel<T, D: Domain>(value: T) -> (Sender<T, D>, Receiver<T, D>) {
    let watch = D::ptr(Watch {
        state: D::State::new(WatchState {
            value: D::ptr(value),
            version: 0,
            senders: 1,
            receivers: 1,
            waiting: Queue::new(),
            closers: Queue::new(),
        }),
    });
    (Sender { watch: watch.clone() }, Receiver { watch, seen: 0 })
}

/// A snapshot of a watched value.
pub struct Ref<T, D: Domain> {
    value: D::Ptr<T>,
    changed: bool,
}

impl<T, D: Domain> Ref<T, D> {
    /// Whether the receiver had not seen this value before.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed
    }
}

impl<T, D: Domain> Deref for Ref<T, D> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug, D: Domain> fmt::Debug for Ref<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Sets the value. It may be cloned.
pub struct Sender<T, D: Domain> {
    watch: D::Ptr<Watch<T, D>>,
}

impl<T, D: Domain> Sender<T, D> {
    /// Sets the value and tells the receivers.
    ///
    /// # Errors
    ///
    /// Hands the value back when there are no receivers;
    /// [`send_replace`](Self::send_replace) sets it nevertheless.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let value = D::ptr(value);
        let old = self
            .watch
            .change(|state, wakes| (state.receivers > 0).then(|| state.put(value.clone(), wakes)));
        if old.is_some() {
            return Ok(());
        }
        match D::try_unwrap(value) {
            Ok(value) => Err(SendError::Disconnected(value)),
            Err(_) => unreachable!("nobody else has seen the value"),
        }
    }

    /// Sets the value, tells the receivers and returns the value before.
    pub fn send_replace(&self, value: T) -> Ref<T, D> {
        let value = D::ptr(value);
        Ref { value: self.watch.change(|state, wakes| state.put(value, wakes)), changed: false }
    }

    /// Changes a copy of the value and sets that. If another sender was faster, `modify` is called
    /// again with its value.
    pub fn send_modify(&self, mut modify: impl FnMut(&mut T))
    where
        T: Clone,
    {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Changes a copy of the value and sets that if `modify` says that it has changed. If another
    /// sender was faster, `modify` is called again with its value. Returns whether it was set.
    pub fn send_if_modified(&self, mut modify: impl FnMut(&mut T) -> bool) -> bool
    where
        T: Clone,
    {
        loop {
            let (old, version) = self.watch.snapshot();
            let mut new = (*old).clone();
            if !modify(&mut new) {
                return false;
            }
            let new = D::ptr(new);
            let replaced = self.watch.change(|state, wakes| {
                (state.version == version).then(|| state.put(new.clone(), wakes))
            });
            if replaced.is_some() {
                return true;
            }
        }
    }

    /// The value.
    pub fn borrow(&self) -> Ref<T, D> {
        Ref { value: self.watch.snapshot().0, changed: false }
    }

    /// A new receiver, which has seen the value that is there.
    pub fn subscribe(&self) -> Receiver<T, D> {
        let seen = self.watch.state.with(|state| {
            state.receivers += 1;
            state.version
        });
        Receiver { watch: self.watch.clone(), seen }
    }

    /// Receivers that there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.watch.state.with(|state| state.receivers)
    }

    /// Waits until there are no receivers.
    ///
    /// # Errors
    ///
    /// When the wait is cut short by a cancel, by a deadline, or because a panic unwinds.
    #[track_caller]
    pub fn closed(&self) -> io::Result<()> {
        let node = Node::new(());
        let parker = self.watch.state.with(|state| {
            if state.receivers == 0 {
                return Ok(None);
            }
            let parker = D::begin()?;
            // SAFETY: this waits by `wait_for` with this node, in this frame.
            unsafe { state.closers.push(&node, D::who(&parker)) };
            Ok(Some(parker))
        });
        let Some(parker) = parker.map_err(Refusal::give_way)? else { return Ok(()) };
        let give_up = || self.watch.state.with(|state| state.closers.remove(&node));
        let what = Wait::new(WaitKind::Notify, std::ptr::from_ref(&*self.watch).addr() as u64);
        wait_for::<D>(parker, what, Limit::Never, give_up, || {})
    }
}

impl<T, D: Domain> Clone for Sender<T, D> {
    fn clone(&self) -> Self {
        self.watch.state.with(|state| state.senders += 1);
        Self { watch: self.watch.clone() }
    }
}

impl<T, D: Domain> Drop for Sender<T, D> {
    fn drop(&mut self) {
        self.watch.change(|state, wakes| {
            state.senders -= 1;
            while state.senders == 0
                && let Some(wake) = state.waiting.pop(|()| {})
            {
                wakes.add(Some(wake));
            }
        });
    }
}

/// Sees the newest value. It may be cloned.
pub struct Receiver<T, D: Domain> {
    watch: D::Ptr<Watch<T, D>>,
    /// The version that this receiver has seen.
    seen: u64,
}

impl<T, D: Domain> Receiver<T, D> {
    /// Waits until there is a value that this receiver has not seen, and marks it seen.
    ///
    /// # Errors
    ///
    /// When all senders are gone, and when the wait is cut short by a cancel, by a deadline or
    /// because a panic unwinds.
    #[inline]
    #[track_caller]
    pub fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let node = Node::new(());
            let parker = self.watch.state.with(|state| {
                match state.changed(self.seen) {
                    Ok(true) => {
                        self.seen = state.version;
                        return Ok(Ok(None));
                    }
                    Ok(false) => {}
                    Err(()) => return Err(RecvError::Disconnected),
                }
                let parker = match D::begin() {
                    Ok(parker) => parker,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                // SAFETY: this waits by `wait_for` with this node, in this frame.
                unsafe { state.waiting.push(&node, D::who(&parker)) };
                Ok(Ok(Some(parker)))
            })?;
            let parker = parker.map_err(|refusal| RecvError::Wait(refusal.give_way()))?;
            let Some(parker) = parker else { return Ok(()) };
            let give_up = || self.watch.state.with(|state| state.waiting.remove(&node));
            let what = Wait::new(WaitKind::Receive, std::ptr::from_ref(&*self.watch).addr() as u64);
            wait_for::<D>(parker, what, Limit::Never, give_up, || {}).map_err(RecvError::Wait)?;
        }
    }

    /// Waits until the value is such, and returns it; at once if it is already.
    ///
    /// # Errors
    ///
    /// As [`changed`](Self::changed).
    #[inline]
    #[track_caller]
    pub fn wait_for(&mut self, mut is: impl FnMut(&T) -> bool) -> Result<Ref<T, D>, RecvError> {
        loop {
            let value = self.borrow_and_update();
            if is(&value) {
                return Ok(value);
            }
            self.changed()?;
        }
    }

    /// Whether there is a value that this receiver has not seen.
    ///
    /// # Errors
    ///
    /// When there is none and all senders are gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let changed = self.watch.state.with(|state| state.changed(self.seen));
        changed.map_err(|()| RecvError::Disconnected)
    }

    /// The value; not marked as seen.
    pub fn borrow(&self) -> Ref<T, D> {
        let (value, version) = self.watch.snapshot();
        Ref { value, changed: version != self.seen }
    }

    /// The value, which counts as seen from now on.
    pub fn borrow_and_update(&mut self) -> Ref<T, D> {
        let (value, version) = self.watch.snapshot();
        let changed = version != std::mem::replace(&mut self.seen, version);
        Ref { value, changed }
    }

    /// Lets [`changed`](Self::changed) return at once, whatever this receiver has seen.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// let (_settings, mut watcher) = cede::sync::watch::channel("blue");
    /// assert!(!watcher.has_changed().unwrap());
    /// watcher.mark_changed(); // so that a loop over `changed` begins with what is there
    /// watcher.changed().unwrap();
    /// assert_eq!(*watcher.borrow_and_update(), "blue");
    /// ```
    pub fn mark_changed(&mut self) {
        self.seen = self.seen.wrapping_sub(1);
    }

    /// What `changed` gives without waiting.
    pub(crate) fn try_changed(&mut self) -> Option<Result<(), RecvError>> {
        let (changed, version) =
            self.watch.state.with(|state| (state.changed(self.seen), state.version));
        match changed {
            Ok(false) => None,
            Ok(true) => {
                self.seen = version;
                Some(Ok(()))
            }
            Err(()) => Some(Err(RecvError::Disconnected)),
        }
    }

    /// Asks to be told of a change. True: there is one.
    ///
    /// # Safety
    ///
    /// The node stays in place until `deselect`.
    pub(crate) unsafe fn select(&self, node: &Node<D, ()>, parker: &AnyParker) -> io::Result<bool> {
        let who = D::who_selects(parker)?;
        Ok(self.watch.state.with(|state| {
            let ready = state.changed(self.seen) != Ok(false);
            if !ready {
                // SAFETY: handed on to the caller.
                unsafe { state.waiting.push(node, who) };
            }
            ready
        }))
    }

    pub(crate) fn deselect(&self, node: &Node<D, ()>) {
        self.watch.state.with(|state| state.waiting.remove(node));
    }
}

impl<T, D: Domain> Clone for Receiver<T, D> {
    fn clone(&self) -> Self {
        self.watch.state.with(|state| state.receivers += 1);
        Self { watch: self.watch.clone(), seen: self.seen }
    }
}

impl<T, D: Domain> Drop for Receiver<T, D> {
    fn drop(&mut self) {
        self.watch.change(|state, wakes| {
            state.receivers -= 1;
            while state.receivers == 0
                && let Some(wake) = state.closers.pop(|()| {})
            {
                wakes.add(Some(wake));
            }
        });
    }
}

impl<T: fmt::Debug, D: Domain> fmt::Debug for Sender<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("value", &self.borrow()).finish()
    }
}

impl<T: fmt::Debug, D: Domain> fmt::Debug for Receiver<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.borrow();
        f.debug_struct("Receiver").field("changed", &value.changed).field("value", &value).finish()
    }
}
