//! A channel for one value.
//!
//! Sending never waits. The receiver can close its end and still take what came before.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::sync::domain::{Domain, State, wait_for};
use crate::sync::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::sync::generic::chan::Slot;
use crate::sync::limit::Limit;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::sync::select::AnyParker;
use crate::wait::{Refusal, Wait, WaitKind};

struct OneState<T, D: Domain> {
    value: Option<T>,
    /// Whether a value may still come.
    sending: bool,
    /// Whether a value is still wanted.
    receiving: bool,
    receivers: Queue<D, Slot<T>>,
    /// Those that wait for the receiver to go.
    closers: Queue<D, ()>,
}

/// What the two ends share.
pub(crate) struct One<T, D: Domain> {
    state: D::State<OneState<T, D>>,
}

impl<T, D: Domain> OneState<T, D> {
    /// Whether a value can still come.
    fn is_open(&self) -> bool {
        self.sending && self.receiving
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.value.take() {
            Some(value) => Ok(value),
            None if self.is_open() => Err(TryRecvError::Empty),
            None => Err(TryRecvError::Disconnected),
        }
    }

    /// Serves those who receive when the value has come, or never will.
    fn settle(&mut self, wakes: &mut Wakes<D>) {
        let open = self.is_open();
        while let Some(slot) = self.receivers.front() {
            if matches!(slot, Slot::Selecting) {
                if self.value.is_none() && open {
                    return;
                }
                wakes.add(self.receivers.pop(|_| {}));
            } else if let Some(value) = self.value.take() {
                wakes.add(self.receivers.pop(|slot| *slot = Slot::Value(value)));
            } else if !open {
                wakes.add(self.receivers.pop(|slot| *slot = Slot::Disconnected));
            } else {
                return;
            }
        }
    }

    fn close(&mut self, wakes: &mut Wakes<D>) {
        self.receiving = false;
        self.settle(wakes);
        while let Some(wake) = self.closers.pop(|()| {}) {
            wakes.add(Some(wake));
        }
    }
}

impl<T, D: Domain> One<T, D> {
    #[inline(always)]
    fn change<R>(&self, f: impl FnOnce(&mut OneState<T, D>, &mut Wakes<D>) -> R) -> R {
        let mut wakes = Wakes::new();
        let result = self.state.with(|state| f(state, &mut wakes));
        wakes.send();
        result
    }

    fn wait_kind(&self, kind: WaitKind) -> Wait {
        Wait::new(kind, std::ptr::from_ref(self).addr() as u64)
    }

    #[inline(always)]
    #[track_caller]
    fn recv(&self, limit: Limit) -> Result<T, RecvError> {
        let node = Node::new(Slot::Waiting);
        let parker = match self.look(&node) {
            Ok(value) => return Ok(value),
            Err(Ok(parker)) => parker.map_err(|refusal| RecvError::Wait(refusal.give_way()))?,
            Err(Err(error)) => return Err(error),
        };
        let give_up = || self.state.with(|state| state.receivers.remove(&node));
        let what = self.wait_kind(WaitKind::Receive);
        wait_for::<D>(parker, what, limit, give_up, || {}).map_err(RecvError::Wait)?;
        // SAFETY: the wait is over, so the node is not linked.
        match unsafe { node.payload(Slot::take) } {
            Slot::Value(value) => Ok(value),
            _ => Err(RecvError::Disconnected),
        }
    }

    #[inline]
    fn look(
        &self,
        node: &Node<D, Slot<T>>,
    ) -> Result<T, Result<Result<D::Parker, Refusal>, RecvError>> {
        self.state.with(|state| match state.try_recv() {
            Ok(value) => Ok(value),
            Err(TryRecvError::Disconnected) => Err(Err(RecvError::Disconnected)),
            Err(TryRecvError::Empty) => {
                let parker = D::begin().map_err(|refusal| Ok(Err(refusal)))?;
                // SAFETY: the caller waits by `wait_for` with this node, in its own frame.
                unsafe { state.receivers.push(node, D::who(&parker)) };
                Err(Ok(Ok(parker)))
            }
        })
    }

    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.state.with(OneState::try_recv)
    }

    /// Asks to be told when something is there.
    ///
    /// # Safety
    ///
    /// The node stays in place until `deselect`.
    pub(crate) unsafe fn select(
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

    /// The end of `select`.
    pub(crate) fn deselect(&self, node: &Node<D, Slot<T>>) {
        self.change(|state, wakes| {
            if !state.receivers.remove(node) {
                state.settle(wakes);
            }
        });
    }
}

/// The ends of a channel for one value.
pub(crate) fn channel<T, D: Domain>() -> (Sender<T, D>, Receiver<T, D>) {
    let one = D::ptr(One {
        state: D::State::new(OneState {
            value: None,
            sending: true,
            receiving: true,
            receivers: Queue::new(),
            closers: Queue::new(),
        }),
    });
    (Sender { one: one.clone() }, Receiver { one })
}

/// Sends the one value.
pub struct Sender<T, D: Domain> {
    one: D::Ptr<One<T, D>>,
}

impl<T, D: Domain> Sender<T, D> {
    /// Sends the value; never waits.
    ///
    /// # Errors
    ///
    /// Hands the value back when the receiver is gone or closed.
    pub fn send(self, value: T) -> Result<(), T> {
        self.one.change(|state, wakes| {
            if !state.receiving {
                return Err(value);
            }
            state.value = Some(value);
            state.sending = false;
            state.settle(wakes);
            Ok(())
        })
    }

    /// Whether the receiver is gone or closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.one.state.with(|state| !state.receiving)
    }

    /// Waits until the receiver is gone or closed: nobody wants the value any more.
    ///
    /// # Errors
    ///
    /// When the wait is cut short by a cancel, by a deadline, or because a panic unwinds.
    #[track_caller]
    pub fn closed(&self) -> io::Result<()> {
        let node = Node::new(());
        let parker = self.one.state.with(|state| {
            if !state.receiving {
                return Ok(None);
            }
            let parker = D::begin()?;
            // SAFETY: this waits by `wait_for` with this node, in this frame.
            unsafe { state.closers.push(&node, D::who(&parker)) };
            Ok(Some(parker))
        });
        let Some(parker) = parker.map_err(Refusal::give_way)? else { return Ok(()) };
        let give_up = || self.one.state.with(|state| state.closers.remove(&node));
        let what = self.one.wait_kind(WaitKind::Notify);
        wait_for::<D>(parker, what, Limit::Never, give_up, || {})
    }
}

impl<T, D: Domain> Drop for Sender<T, D> {
    fn drop(&mut self) {
        self.one.change(|state, wakes| {
            state.sending = false;
            state.settle(wakes);
        });
    }
}

/// Receives the one value.
pub struct Receiver<T, D: Domain> {
    one: D::Ptr<One<T, D>>,
}

impl<T, D: Domain> Receiver<T, D> {
    /// Waits for the value. After it was received there is nothing more: `Disconnected`.
    ///
    /// # Errors
    ///
    /// When the sender is gone without having sent, and when the wait is cut short by a cancel, by
    /// a deadline or because a panic unwinds.
    #[inline(always)]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.one.recv(Limit::Never)
    }

    /// Waits for the value for at most this long.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and when it does not come in time.
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let limit = Limit::after(timeout);
        self.one.recv(limit).map_err(|error| match error {
            RecvError::Disconnected => RecvTimeoutError::Disconnected,
            RecvError::Wait(error) if limit.is_why(&error) => RecvTimeoutError::Timeout,
            RecvError::Wait(error) => RecvTimeoutError::Wait(error),
        })
    }

    /// Takes the value if it is there.
    ///
    /// # Errors
    ///
    /// When it is not there yet, or never will be.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.one.try_recv()
    }

    /// Refuses a value that has not been sent yet.
    pub fn close(&self) {
        self.one.change(|state, wakes| state.close(wakes));
    }

    pub(crate) fn one(&self) -> &One<T, D> {
        &self.one
    }
}

impl<T, D: Domain> Drop for Receiver<T, D> {
    fn drop(&mut self) {
        let value = self.one.change(|state, wakes| {
            state.close(wakes);
            state.value.take()
        });
        drop(value);
    }
}

impl<T, D: Domain> fmt::Debug for Sender<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

impl<T, D: Domain> fmt::Debug for Receiver<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.one.state.with(|state| state.value.is_some());
        f.debug_struct("Receiver").field("sent", &sent).finish()
    }
}
