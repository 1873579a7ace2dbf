//! What `select!` can wait for.
//!
//! The functions here are the names that stand before the parentheses in a `select!`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::join::{JoinError, JoinHandle};
use crate::remote::RemoteJoinHandle;
use crate::sync::domain::Domain;
use crate::sync::error::{RecvError, TryRecvError, TrySendError};
use crate::sync::generic::chan::{Offer, Slot};
use crate::sync::generic::{broadcast as cast, mpsc, oneshot, watch};
use crate::sync::limit::Limit;
use crate::sync::queue::Node;
use crate::sync::select::{AnyParker, Branch};

/// What `recv(..)` takes: the receiving end of any channel.
pub trait CanRecv {
    #[doc(hidden)]
    type Branch: Branch;
    #[doc(hidden)]
    fn into_branch(self) -> Self::Branch;
}

/// What `send(.., value)` takes: the sending end of a channel with a limit.
pub trait CanSend {
    #[doc(hidden)]
    type Branch: Branch;
    #[doc(hidden)]
    fn into_branch(self) -> Self::Branch;
}

/// What `join(..)` takes: a handle to a fiber, here or on another shard.
pub trait Joins {
    #[doc(hidden)]
    type Branch: Branch;
    #[doc(hidden)]
    fn into_branch(self) -> Self::Branch;
}

/// A value of a channel.
pub fn recv<R: CanRecv>(receiver: R) -> R::Branch {
    receiver.into_branch()
}

/// Room in a channel.
pub fn send<S: CanSend>(sender: S) -> S::Branch {
    sender.into_branch()
}

/// The end of a fiber.
pub fn join<J: Joins>(handle: J) -> J::Branch {
    handle.into_branch()
}

/// This long from now.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { limit: Limit::after(duration) }
}

/// The same as [`sleep`], under the name that says what it is for.
pub fn timeout(duration: Duration) -> Sleep {
    sleep(duration)
}

/// This moment.
pub fn sleep_until(moment: Instant) -> Sleep {
    Sleep { limit: Limit::at(moment) }
}

/// The end of a future.
pub fn future<F: Future + Unpin>(future: &mut F) -> Awaits<'_, F> {
    Awaits { future: RefCell::new(future), output: Cell::new(None) }
}

// ---- ends that are shared or borrowed already

macro_rules! through {
    ($trait:ident, $($pointer:ty),+) => {$(
        impl<'a, E: ?Sized> $trait for &'a $pointer
        where
            &'a E: $trait,
        {
            type Branch = <&'a E as $trait>::Branch;

            fn into_branch(self) -> Self::Branch {
                (&**self).into_branch()
            }
        }
    )+};
}

through!(CanRecv, std::rc::Rc<E>, std::sync::Arc<E>, &'a E);
through!(CanSend, std::rc::Rc<E>, std::sync::Arc<E>, &'a E);

// ---- mpsc

/// See [`recv`].
pub struct Receives<'a, T, D: Domain> {
    receiver: &'a mpsc::Receiver<T, D>,
    node: Node<D, Slot<T>>,
    registered: Cell<bool>,
}

impl<'a, T, D: Domain> CanRecv for &'a mpsc::Receiver<T, D> {
    type Branch = Receives<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        let node = Node::new(Slot::Selecting);
        Receives { receiver: self, node, registered: Cell::new(false) }
    }
}

impl<'a, T, D: Domain> CanRecv for &'a mut mpsc::Receiver<T, D> {
    type Branch = Receives<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        (&*self).into_branch()
    }
}

impl<T, D: Domain> Branch for Receives<'_, T, D> {
    type Output = Result<T, RecvError>;

    fn try_complete(&self) -> Option<Self::Output> {
        match self.receiver.try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvError::Disconnected)),
            Err(TryRecvError::Empty) => None,
        }
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        unsafe { self.receiver.chan().select_recv(&self.node, parker)? };
        self.registered.set(true);
        Ok(false)
    }

    fn unregister(&self) {
        if self.registered.take() {
            self.receiver.chan().deselect_recv(&self.node);
        }
    }
}

/// See [`send`].
pub struct Sends<'a, T, D: Domain> {
    sender: &'a mpsc::SyncSender<T, D>,
    node: Node<D, Offer<T>>,
    registered: Cell<bool>,
}

impl<'a, T, D: Domain> CanSend for &'a mpsc::SyncSender<T, D> {
    type Branch = Sends<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        let node = Node::new(Offer::Taken);
        Sends { sender: self, node, registered: Cell::new(false) }
    }
}

impl<'a, T, D: Domain> Branch for Sends<'a, T, D> {
    type Output = mpsc::Permit<'a, T, D>;

    fn try_complete(&self) -> Option<Self::Output> {
        let chan = self.sender.chan();
        if self.registered.take() && chan.deselect_send(&self.node) {
            return Some(mpsc::Permit::new(chan, true));
        }
        match chan.try_reserve() {
            Ok(()) => Some(mpsc::Permit::new(chan, true)),
            Err(TrySendError::Disconnected(())) => Some(mpsc::Permit::new(chan, false)),
            Err(TrySendError::Full(())) => None,
        }
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        unsafe { self.sender.chan().select_send(&self.node, parker)? };
        self.registered.set(true);
        Ok(false)
    }

    fn unregister(&self) {
        let chan = self.sender.chan();
        if self.registered.take() && chan.deselect_send(&self.node) {
            chan.unreserve();
        }
    }
}

// ---- oneshot

/// See [`recv`].
pub struct ReceivesOne<'a, T, D: Domain> {
    receiver: &'a oneshot::Receiver<T, D>,
    node: Node<D, Slot<T>>,
    registered: Cell<bool>,
}

impl<'a, T, D: Domain> CanRecv for &'a oneshot::Receiver<T, D> {
    type Branch = ReceivesOne<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        let node = Node::new(Slot::Selecting);
        ReceivesOne { receiver: self, node, registered: Cell::new(false) }
    }
}

impl<'a, T, D: Domain> CanRecv for &'a mut oneshot::Receiver<T, D> {
    type Branch = ReceivesOne<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        (&*self).into_branch()
    }
}

impl<T, D: Domain> Branch for ReceivesOne<'_, T, D> {
    type Output = Result<T, RecvError>;

    fn try_complete(&self) -> Option<Self::Output> {
        match self.receiver.try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvError::Disconnected)),
            Err(TryRecvError::Empty) => None,
        }
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        unsafe { self.receiver.one().select(&self.node, parker)? };
        self.registered.set(true);
        Ok(false)
    }

    fn unregister(&self) {
        if self.registered.take() {
            self.receiver.one().deselect(&self.node);
        }
    }
}

// ---- broadcast and watch: their receivers know what they have seen, so they are borrowed mutably

/// See [`recv`].
pub struct ReceivesCast<'a, T, D: Domain> {
    receiver: RefCell<&'a mut cast::Receiver<T, D>>,
    node: Node<D, ()>,
    registered: Cell<bool>,
}

impl<'a, T: Clone, D: Domain> CanRecv for &'a mut cast::Receiver<T, D> {
    type Branch = ReceivesCast<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        let registered = Cell::new(false);
        ReceivesCast { receiver: RefCell::new(self), node: Node::new(()), registered }
    }
}

impl<T: Clone, D: Domain> Branch for ReceivesCast<'_, T, D> {
    type Output = Result<T, cast::RecvError>;

    fn try_complete(&self) -> Option<Self::Output> {
        match self.receiver.borrow_mut().try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(cast::TryRecvError::Empty) => None,
            Err(cast::TryRecvError::Closed) => Some(Err(cast::RecvError::Closed)),
            Err(cast::TryRecvError::Lagged(missed)) => Some(Err(cast::RecvError::Lagged(missed))),
        }
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        let ready = unsafe { self.receiver.borrow().select(&self.node, parker)? };
        self.registered.set(true);
        Ok(ready)
    }

    fn unregister(&self) {
        if self.registered.take() {
            self.receiver.borrow().deselect(&self.node);
        }
    }
}

/// See [`recv`].
pub struct Watches<'a, T, D: Domain> {
    receiver: RefCell<&'a mut watch::Receiver<T, D>>,
    node: Node<D, ()>,
    registered: Cell<bool>,
}

impl<'a, T, D: Domain> CanRecv for &'a mut watch::Receiver<T, D> {
    type Branch = Watches<'a, T, D>;

    fn into_branch(self) -> Self::Branch {
        let registered = Cell::new(false);
        Watches { receiver: RefCell::new(self), node: Node::new(()), registered }
    }
}

impl<T, D: Domain> Branch for Watches<'_, T, D> {
    type Output = Result<(), RecvError>;

    fn try_complete(&self) -> Option<Self::Output> {
        self.receiver.borrow_mut().try_changed()
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        // SAFETY: handed on to the caller.
        let ready = unsafe { self.receiver.borrow().select(&self.node, parker)? };
        self.registered.set(true);
        Ok(ready)
    }

    fn unregister(&self) {
        if self.registered.take() {
            self.receiver.borrow().deselect(&self.node);
        }
    }
}

// ---- time

/// See [`sleep`].
#[derive(Debug)]
pub struct Sleep {
    limit: Limit,
}

impl Branch for Sleep {
    type Output = ();

    fn try_complete(&self) -> Option<()> {
        self.limit.has_passed().then_some(())
    }

    unsafe fn register(&self, _parker: &AnyParker) -> io::Result<bool> {
        Ok(false)
    }

    fn unregister(&self) {}

    fn limit(&self) -> Limit {
        self.limit
    }
}

// ---- fibers and futures

/// See [`join`] and [`future`].
pub struct Awaits<'a, F: Future> {
    future: RefCell<&'a mut F>,
    /// What it gave when it was polled to register.
    output: Cell<Option<F::Output>>,
}

impl<'a, T> Joins for &'a mut JoinHandle<T> {
    type Branch = Awaits<'a, JoinHandle<T>>;

    fn into_branch(self) -> Self::Branch {
        future(self)
    }
}

impl<F: Future + Unpin> Awaits<'_, F> {
    fn poll(&self, waker: &Waker) -> Option<F::Output> {
        let mut future = self.future.borrow_mut();
        match Pin::new(&mut **future).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

impl<F: Future + Unpin> Branch for Awaits<'_, F> {
    type Output = F::Output;

    fn try_complete(&self) -> Option<F::Output> {
        self.output.take().or_else(|| self.poll(Waker::noop()))
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        let output = self.poll(&parker.waker());
        let ready = output.is_some();
        self.output.set(output);
        Ok(ready)
    }

    // A waker that is used late ends a wait that is over, which does nothing.
    fn unregister(&self) {}
}

/// See [`join`].
#[derive(Debug)]
pub struct JoinsRemote<'a, T> {
    handle: &'a RemoteJoinHandle<T>,
}

impl<'a, T> Joins for &'a RemoteJoinHandle<T> {
    type Branch = JoinsRemote<'a, T>;

    fn into_branch(self) -> Self::Branch {
        JoinsRemote { handle: self }
    }
}

impl<'a, T> Joins for &'a mut RemoteJoinHandle<T> {
    type Branch = JoinsRemote<'a, T>;

    fn into_branch(self) -> Self::Branch {
        JoinsRemote { handle: self }
    }
}

impl<T> Branch for JoinsRemote<'_, T> {
    type Output = Result<T, JoinError>;

    fn try_complete(&self) -> Option<Self::Output> {
        self.handle.try_take()
    }

    unsafe fn register(&self, parker: &AnyParker) -> io::Result<bool> {
        Ok(self.handle.wake_at_end(parker.waker()))
    }

    fn unregister(&self) {}
}
