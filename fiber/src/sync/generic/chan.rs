//! The state machine of a channel with many senders.
//!
//! ```text
//!   senders that wait          buffer              receivers that wait
//!   [Value|Wants] ...  --->  v v v (+reserved) --->  [Waiting|Selecting] ...
//! ```
//!
//! A value goes from hand to hand under the lock: into the node of a receiver that waits, or into
//! the buffer; and when a place in the buffer becomes free, from the node of the first sender that
//! waits into it. So whoever is woken has what it waited for, and whoever gives up has nothing or
//! keeps it. A `select!` must not be handed a value that it may not take: a receiving one is only
//! told that something is there (Selecting), a sending one gets a reserved place (Wants) that it
//! fills or gives back.

use std::collections::VecDeque;
use std::io;

use crate::sync::domain::{Domain, State, wait_for};
use crate::sync::error::{RecvError, SendError, TryRecvError, TrySendError};
use crate::sync::limit::Limit;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::sync::select::AnyParker;
use crate::wait::{Refusal, Wait, WaitKind};

/// What a receiver waits for and gets.
pub(crate) enum Slot<T> {
    Waiting,
    /// A `select!`: to be told only.
    Selecting,
    Value(T),
    Disconnected,
}

impl<T> Slot<T> {
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Waiting)
    }
}

/// What a sender brings, and what became of it.
pub(crate) enum Offer<T> {
    Value(T),
    Taken,
    /// A place, to be filled later.
    Wants,
    Reserved,
}

impl<T> Offer<T> {
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Taken)
    }
}

/// Bounded: this many values. Not bounded: `usize::MAX`.
pub(crate) struct ChanState<T, D: Domain> {
    buffer: VecDeque<T>,
    capacity: usize,
    /// Places promised to `Permit`s.
    reserved: usize,
    receivers: Queue<D, Slot<T>>,
    offers: Queue<D, Offer<T>>,
    /// Sending ends that exist.
    senders: usize,
    /// Whether the receiving end exists.
    receiving: bool,
}

impl<T, D: Domain> ChanState<T, D> {
    /// Whether a value may be put into the buffer. One with capacity 0 takes a value that somebody
    /// waits for.
    #[inline(always)]
    fn has_room(&self) -> bool {
        let taken = self.buffer.len() + self.reserved;
        taken < self.capacity || (taken == 0 && !self.receivers.is_empty())
    }

    /// Whether a receiver waits to be given the next value.
    #[inline(always)]
    fn has_taker(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.receivers.front(), Some(Slot::Waiting))
    }

    #[inline(always)]
    fn take_value(&mut self, wakes: &mut Wakes<D>) -> Option<T> {
        if let Some(value) = self.buffer.pop_front() {
            return Some(value);
        }
        self.take_offer(wakes)
    }

    /// The value of the first sender that waits, if it brought one.
    fn take_offer(&mut self, wakes: &mut Wakes<D>) -> Option<T> {
        let front = self.offers.front()?;
        if !matches!(front, Offer::Value(_)) {
            return None;
        }
        let offer = front.take();
        wakes.add(self.offers.pop(|_| {}));
        match offer {
            Offer::Value(value) => Some(value),
            _ => unreachable!("looked at above"),
        }
    }

    /// Brings together what waits for each other, until nothing can be done.
    fn settle(&mut self, wakes: &mut Wakes<D>) {
        while self.serve_receiver(wakes) || self.serve_sender(wakes) {}
    }

    fn serve_receiver(&mut self, wakes: &mut Wakes<D>) -> bool {
        let Some(slot) = self.receivers.front() else { return false };
        if matches!(slot, Slot::Selecting) {
            let something = !self.buffer.is_empty()
                || self.senders == 0
                || matches!(self.offers.front(), Some(Offer::Value(_)));
            if something {
                wakes.add(self.receivers.pop(|_| {}));
            }
            return something;
        }
        if let Some(value) = self.take_value(wakes) {
            wakes.add(self.receivers.pop(|slot| *slot = Slot::Value(value)));
        } else if self.senders == 0 {
            wakes.add(self.receivers.pop(|slot| *slot = Slot::Disconnected));
        } else {
            return false;
        }
        true
    }

    fn serve_sender(&mut self, wakes: &mut Wakes<D>) -> bool {
        let room = self.has_room();
        let Some(offer) = self.offers.front() else { return false };
        if !self.receiving {
            wakes.add(self.offers.pop(|_| {}));
            return true;
        }
        if !room {
            return false;
        }
        if matches!(offer, Offer::Wants) {
            self.reserved += 1;
            wakes.add(self.offers.pop(|offer| *offer = Offer::Reserved));
        } else if let Some(value) = self.take_offer(wakes) {
            self.buffer.push_back(value);
        }
        true
    }

    #[inline(always)]
    fn try_recv(&mut self, wakes: &mut Wakes<D>) -> Result<T, TryRecvError> {
        match self.take_value(wakes) {
            Some(value) => {
                if !self.offers.is_empty() {
                    self.settle(wakes);
                }
                Ok(value)
            }
            None if self.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    #[inline(always)]
    fn try_send(&mut self, value: T, wakes: &mut Wakes<D>) -> Result<(), TrySendError<T>> {
        if !self.receiving {
            return Err(TrySendError::Disconnected(value));
        }
        if self.has_taker() {
            wakes.add(self.receivers.pop(|slot| *slot = Slot::Value(value)));
            return Ok(());
        }
        if !self.offers.is_empty() || !self.has_room() {
            return Err(TrySendError::Full(value));
        }
        self.put(value, wakes);
        Ok(())
    }

    #[inline(always)]
    fn put(&mut self, value: T, wakes: &mut Wakes<D>) {
        self.buffer.push_back(value);
        if !self.receivers.is_empty() {
            self.settle(wakes);
        }
    }

    /// A receive when senders wait.
    ///
    /// # Safety
    ///
    /// As `enqueue_receiver`.
    #[inline(never)]
    unsafe fn recv_offered(&mut self, node: &Node<D, Slot<T>>) -> (Found<T, D::Parker>, Wakes<D>) {
        let mut wakes = Wakes::new();
        let found = match self.try_recv(&mut wakes) {
            Ok(value) => Found::Value(value),
            Err(TryRecvError::Disconnected) => Found::Disconnected,
            Err(TryRecvError::Empty) => {
                // SAFETY: handed on to the caller.
                let parker = unsafe { self.enqueue_receiver(node) };
                // A receiver makes room in a channel that has none.
                self.settle(&mut wakes);
                Found::Waits(parker)
            }
        };
        (found, wakes)
    }

    /// # Safety
    ///
    /// The caller waits by `wait_for` with this node.
    #[inline(always)]
    unsafe fn enqueue_receiver(&mut self, node: &Node<D, Slot<T>>) -> Result<D::Parker, Refusal> {
        let parker = D::begin()?;
        // SAFETY: handed on to the caller.
        unsafe { self.receivers.push(node, D::who(&parker)) };
        Ok(parker)
    }

    /// Sends, or takes a place in the queue.
    ///
    /// # Safety
    ///
    /// The caller waits by `wait_for` with this node.
    #[inline(never)]
    unsafe fn offer(
        &mut self,
        node: &Node<D, Offer<T>>,
        value: T,
    ) -> (Offered<T, D::Parker>, Wakes<D>) {
        let mut wakes = Wakes::new();
        let value = match self.try_send(value, &mut wakes) {
            Ok(()) => return (Offered::Sent, wakes),
            Err(TrySendError::Disconnected(value)) => {
                return (Offered::Disconnected(value), wakes);
            }
            Err(TrySendError::Full(value)) => value,
        };
        let parker = match D::begin() {
            Ok(parker) => parker,
            Err(refusal) => return (Offered::Refused(value, refusal), wakes),
        };
        // SAFETY: the node is not linked yet.
        unsafe { node.payload(|offer| *offer = Offer::Value(value)) };
        // SAFETY: handed on to the caller.
        unsafe { self.offers.push(node, D::who(&parker)) };
        if !self.receivers.is_empty() {
            // A `select!` that receives is told of an offer when there is no buffer.
            self.settle(&mut wakes);
        }
        (Offered::Waits(parker), wakes)
    }
}

/// What the ends of a channel share.
pub(crate) struct Chan<T, D: Domain> {
    state: D::State<ChanState<T, D>>,
}

/// What a receive found.
pub(crate) enum Found<T, P> {
    Value(T),
    Disconnected,
    Waits(Result<P, Refusal>),
}

/// What became of a value that was to be sent.
enum Offered<T, P> {
    Sent,
    Disconnected(T),
    Waits(P),
    Refused(T, Refusal),
}

impl<T, D: Domain> Chan<T, D> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: D::State::new(ChanState {
                buffer: VecDeque::new(),
                capacity,
                reserved: 0,
                receivers: Queue::new(),
                offers: Queue::new(),
                senders: 1,
                receiving: true,
            }),
        }
    }

    fn wait_kind(&self, kind: WaitKind) -> Wait {
        Wait::new(kind, std::ptr::from_ref(self).addr() as u64)
    }

    #[inline(always)]
    fn change<R>(&self, f: impl FnOnce(&mut ChanState<T, D>, &mut Wakes<D>) -> R) -> R {
        let mut wakes = Wakes::new();
        let result = self.state.with(|state| f(state, &mut wakes));
        wakes.send();
        result
    }

    // ---- receiving

    #[inline(always)]
    #[track_caller]
    pub(crate) fn recv(&self, limit: Limit) -> Result<T, RecvError> {
        let node = Node::new(Slot::Waiting);
        let mut state = self.state.lock();
        let parker = if state.offers.is_empty() {
            // Nobody waits for what a receive changes.
            match state.buffer.pop_front() {
                Some(value) => return Ok(value),
                None if state.senders == 0 => return Err(RecvError::Disconnected),
                None => {}
            }
            // SAFETY: this waits by `wait_for` with this node, in this frame.
            let parker = unsafe { state.enqueue_receiver(&node) };
            drop(state);
            parker
        } else {
            // SAFETY: as above.
            let (found, wakes) = unsafe { state.recv_offered(&node) };
            drop(state);
            wakes.send();
            match found {
                Found::Value(value) => return Ok(value),
                Found::Disconnected => return Err(RecvError::Disconnected),
                Found::Waits(parker) => parker,
            }
        };
        let parker = parker.map_err(|refusal| RecvError::Wait(refusal.give_way()))?;
        let what = self.wait_kind(WaitKind::Receive);
        let give_up = || self.leave_receivers(&node);
        // What a fiber has received when it is unwound goes with it, in its node.
        wait_for::<D>(parker, what, limit, give_up, || {}).map_err(RecvError::Wait)?;
        // SAFETY: the wait is over, so the node is not linked.
        match unsafe { node.payload(Slot::take) } {
            Slot::Value(value) => Ok(value),
            _ => Err(RecvError::Disconnected),
        }
    }

    #[cold]
    fn leave_receivers(&self, node: &Node<D, Slot<T>>) -> bool {
        self.state.with(|state| state.receivers.remove(node))
    }

    #[inline]
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.change(|state, wakes| state.try_recv(wakes))
    }

    /// Asks to be told when something is there. True: it is.
    ///
    /// # Safety
    ///
    /// The node stays in place until `deselect_recv`.
    pub(crate) unsafe fn select_recv(
        &self,
        node: &Node<D, Slot<T>>,
        parker: &AnyParker,
    ) -> io::Result<()> {
        let who = D::who_selects(parker)?;
        self.change(|state, wakes| {
            // SAFETY: handed on to the caller.
            unsafe { state.receivers.push(node, who) };
            state.settle(wakes);
        });
        Ok(())
    }

    /// The end of `select_recv`: what it was told and did not take is told to the next.
    pub(crate) fn deselect_recv(&self, node: &Node<D, Slot<T>>) {
        self.change(|state, wakes| {
            if !state.receivers.remove(node) {
                state.settle(wakes);
            }
        });
    }

    // ---- sending

    #[inline(always)]
    #[track_caller]
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.state.lock();
        if state.has_taker() {
            let wake = state.receivers.pop(|slot| *slot = Slot::Value(value));
            drop(state);
            if let Some(wake) = wake {
                D::wake(wake);
            }
            return Ok(());
        }
        let node = Node::new(Offer::Taken);
        // SAFETY: this waits by `wait_for` with this node, in this frame.
        let (offered, wakes) = unsafe { state.offer(&node, value) };
        drop(state);
        wakes.send();
        let parker = match offered {
            Offered::Sent => return Ok(()),
            Offered::Disconnected(value) => return Err(SendError::Disconnected(value)),
            Offered::Waits(parker) => parker,
            Offered::Refused(value, refusal) => {
                return Err(SendError::Wait(value, refusal.give_way()));
            }
        };
        let waited = self.wait_for_room(&node, parker);
        // SAFETY: the wait is over, so the node is not linked.
        match unsafe { node.payload(Offer::take) } {
            Offer::Value(value) => match waited {
                Ok(()) => Err(SendError::Disconnected(value)),
                Err(error) => Err(SendError::Wait(value, error)),
            },
            _ => Ok(()),
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_for_room(&self, node: &Node<D, Offer<T>>, parker: D::Parker) -> io::Result<()> {
        let what = self.wait_kind(WaitKind::Send);
        let give_up = || self.leave_offers(node);
        wait_for::<D>(parker, what, Limit::Never, give_up, || self.give_back(node))
    }

    #[cold]
    fn leave_offers(&self, node: &Node<D, Offer<T>>) -> bool {
        self.change(|state, wakes| {
            let removed = state.offers.remove(node);
            if removed {
                state.settle(wakes);
            }
            removed
        })
    }

    #[inline]
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.change(|state, wakes| state.try_send(value, wakes))
    }

    // ---- reserving

    /// Reserves a place if there is one. True: reserved.
    pub(crate) fn try_reserve(&self) -> Result<(), TrySendError<()>> {
        self.state.with(|state| {
            if !state.receiving {
                return Err(TrySendError::Disconnected(()));
            }
            if !state.offers.is_empty() || !state.has_room() {
                return Err(TrySendError::Full(()));
            }
            state.reserved += 1;
            Ok(())
        })
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn reserve(&self) -> Result<(), SendError<()>> {
        let node = Node::new(Offer::Wants);
        let parker = self.change(|state, wakes| {
            if !state.receiving {
                return Err(SendError::Disconnected(()));
            }
            if state.offers.is_empty() && state.has_room() {
                state.reserved += 1;
                return Ok(Ok(None));
            }
            let parker = match D::begin() {
                Ok(parker) => parker,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // SAFETY: this waits by `wait_for` with this node, in this frame.
            unsafe { state.offers.push(&node, D::who(&parker)) };
            state.settle(wakes);
            Ok(Ok(Some(parker)))
        })?;
        let parker = parker.map_err(|refusal| SendError::Wait((), refusal.give_way()))?;
        let Some(parker) = parker else { return Ok(()) };
        self.wait_for_room(&node, parker).map_err(|error| SendError::Wait((), error))?;
        // SAFETY: the wait is over, so the node is not linked.
        match unsafe { node.payload(Offer::take) } {
            Offer::Reserved => Ok(()),
            _ => Err(SendError::Disconnected(())),
        }
    }

    /// Fills a reserved place.
    pub(crate) fn fill(&self, value: T) -> Result<(), T> {
        self.change(|state, wakes| {
            state.reserved -= 1;
            if !state.receiving {
                return Err(value);
            }
            state.put(value, wakes);
            Ok(())
        })
    }

    /// Gives a reserved place to the next.
    pub(crate) fn unreserve(&self) {
        self.change(|state, wakes| {
            state.reserved -= 1;
            state.settle(wakes);
        });
    }

    #[cold]
    fn give_back(&self, node: &Node<D, Offer<T>>) {
        // SAFETY: called when the node is not linked any more.
        if matches!(unsafe { node.payload(Offer::take) }, Offer::Reserved) {
            self.unreserve();
        }
    }

    /// Asks for a reserved place.
    ///
    /// # Safety
    ///
    /// The node stays in place until `deselect_send`.
    pub(crate) unsafe fn select_send(
        &self,
        node: &Node<D, Offer<T>>,
        parker: &AnyParker,
    ) -> io::Result<()> {
        let who = D::who_selects(parker)?;
        self.change(|state, wakes| {
            // SAFETY: the node is not linked yet.
            unsafe { node.payload(|offer| *offer = Offer::Wants) };
            // SAFETY: handed on to the caller.
            unsafe { state.offers.push(node, who) };
            state.settle(wakes);
        });
        Ok(())
    }

    /// The end of `select_send`: true when a place was reserved, which is now the caller's.
    pub(crate) fn deselect_send(&self, node: &Node<D, Offer<T>>) -> bool {
        self.change(|state, wakes| {
            if state.offers.remove(node) {
                state.settle(wakes);
            }
        });
        // SAFETY: not linked any more.
        let offer = unsafe { node.payload(Offer::take) };
        matches!(offer, Offer::Reserved)
    }

    // ---- the ends

    pub(crate) fn add_sender(&self) {
        self.state.with(|state| state.senders += 1);
    }

    pub(crate) fn drop_sender(&self) {
        self.change(|state, wakes| {
            state.senders -= 1;
            if state.senders == 0 {
                state.settle(wakes);
            }
        });
    }

    /// The receiving end goes; what is in the buffer is dropped, outside of the lock.
    pub(crate) fn drop_receiver(&self) {
        let rest = self.change(|state, wakes| {
            state.receiving = false;
            state.settle(wakes);
            std::mem::take(&mut state.buffer)
        });
        drop(rest);
    }

    pub(crate) fn is_receiving(&self) -> bool {
        self.state.with(|state| state.receiving)
    }

    /// Values in the buffer.
    pub(crate) fn len(&self) -> usize {
        self.state.with(|state| state.buffer.len())
    }

    pub(crate) fn capacity(&self) -> usize {
        self.state.with(|state| state.capacity)
    }
}
