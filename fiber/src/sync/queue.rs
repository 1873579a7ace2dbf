//! Who waits for one thing, in the order of their coming.
//!
//! ```text
//!   Queue { head, tail }
//!             |     \-----------------------\
//!             v                              v
//!   Node { who, payload } <---> Node <---> Node
//!   on the stack of the fiber or thread that waits
//! ```
//!
//! A node lies on the stack of who waits, so a wait allocates nothing and giving up costs the same
//! in any place of the queue. The rule that makes this sound: **a node is linked only while its
//! owner is inside of the wait.** The owner leaves the wait when it was taken out of the queue, or
//! takes itself out; also when it is unwound (see `wait_for`). All fields of a linked node belong
//! to who holds the lock of the state that the queue is part of; those of an unlinked one belong to
//! the owner. The owner learns that it was unlinked through the wakeup, or by looking under the
//! lock.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::ptr;

use crate::sync::domain::Domain;

/// One who waits.
pub(crate) struct Node<D: Domain, P> {
    prev: Cell<*const Self>,
    next: Cell<*const Self>,
    linked: Cell<bool>,
    /// There while the node is linked.
    who: UnsafeCell<MaybeUninit<D::Who>>,
    /// What is waited for, and then what was handed over.
    payload: UnsafeCell<P>,
    _pinned: PhantomPinned,
}

impl<D: Domain, P> Node<D, P> {
    #[inline(always)]
    pub(crate) fn new(payload: P) -> Self {
        Self {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            linked: Cell::new(false),
            who: UnsafeCell::new(MaybeUninit::uninit()),
            payload: UnsafeCell::new(payload),
            _pinned: PhantomPinned,
        }
    }

    /// Looks at what was handed over.
    ///
    /// # Safety
    ///
    /// Only for the owner, and only while the node is not linked: before the wait, or after it.
    #[inline(always)]
    pub(crate) unsafe fn payload<R>(&self, look: impl FnOnce(&mut P) -> R) -> R {
        // SAFETY: an unlinked node is reached by its owner alone (contract), and none of the
        // closures comes back here.
        look(unsafe { &mut *self.payload.get() })
    }
}

/// See the module. It lies in the state of a primitive, so it is reached under that state's lock.
pub(crate) struct Queue<D: Domain, P> {
    head: *const Node<D, P>,
    tail: *const Node<D, P>,
}

// SAFETY: a queue is used under a lock, from whatever thread holds it, and so are the fields of the
// nodes in it. Payloads go from thread to thread and are Send. `Who` of the Shared domain names a
// fiber by a pointer that is good on any thread and one that is followed on the fiber's own (see
// `Shared::wakeup`), or a thread by an Arc; that of the Local domain is neither, so this must not
// hold for it.
unsafe impl<P: Send> Send for Queue<crate::sync::domain::Shared, P> {}

impl<D: Domain, P> Queue<D, P> {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null() }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Puts a node at the end.
    ///
    /// # Safety
    ///
    /// The node must not move or go while it is linked: its owner waits by `wait_for` with this
    /// node, or takes it out by `remove` before it leaves.
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, node: &Node<D, P>, who: D::Who) {
        // SAFETY: the node is not linked, so its fields are the owner's, who calls.
        unsafe { (*node.who.get()).write(who) };
        node.linked.set(true);
        node.prev.set(self.tail);
        node.next.set(ptr::null());
        // SAFETY: linked nodes are in place (contract), and we hold the lock of their queue.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(node),
            None => self.head = node,
        }
        self.tail = node;
    }

    /// What the first one waits for.
    #[inline(always)]
    pub(crate) fn front(&mut self) -> Option<&mut P> {
        // SAFETY: linked nodes are in place; their payload belongs to who holds the lock, which is
        // the caller: the borrow of the queue is a borrow of the state.
        unsafe { self.head.as_ref().map(|node| &mut *node.payload.get()) }
    }

    /// Takes out the first one, after `hand_over` has seen to its payload. The wakeup must be sent
    /// when the lock is released.
    #[inline(always)]
    pub(crate) fn pop(&mut self, hand_over: impl FnOnce(&mut P)) -> Option<D::Wake> {
        // SAFETY: linked nodes are in place.
        let node = unsafe { self.head.as_ref()? };
        // SAFETY: as in `front`.
        hand_over(unsafe { &mut *node.payload.get() });
        // SAFETY: the first one is linked; it was until now, and the state is still locked.
        Some(unsafe { D::wakeup(self.unlink(node)) })
    }

    /// Takes out one that gives up. False: it is not in the queue any more.
    #[inline]
    pub(crate) fn remove(&mut self, node: &Node<D, P>) -> bool {
        let linked = node.linked.get();
        if linked {
            // SAFETY: just seen.
            drop(unsafe { self.unlink(node) });
        }
        linked
    }

    /// # Safety
    ///
    /// The node is linked.
    #[inline(always)]
    unsafe fn unlink(&mut self, node: &Node<D, P>) -> D::Who {
        node.linked.set(false);
        // SAFETY: the node was linked, so this was written, and it is taken out once.
        let who = unsafe { (*node.who.get()).assume_init_read() };
        let (prev, next) = (node.prev.get(), node.next.get());
        // SAFETY: neighbours of a linked node are linked, so they are in place.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => self.head = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.prev.set(prev),
            None => self.tail = prev,
        }
        who
    }

    /// How many wait. Walks the queue.
    pub(crate) fn len(&self) -> usize {
        let (mut count, mut node) = (0, self.head);
        // SAFETY: linked nodes are in place.
        while let Some(linked) = unsafe { node.as_ref() } {
            count += 1;
            node = linked.next.get();
        }
        count
    }
}

/// Wakeups to be sent when the lock is released: nearly always one, which costs no allocation.
pub(crate) struct Wakes<D: Domain> {
    first: Option<D::Wake>,
    /// A pointer when empty, because it is moved about on the fast paths.
    #[expect(clippy::box_collection, reason = "three words less in every channel operation")]
    more: Option<Box<Vec<D::Wake>>>,
}

impl<D: Domain> Wakes<D> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { first: None, more: None }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, wake: Option<D::Wake>) {
        if self.first.is_none() {
            self.first = wake;
        } else if let Some(wake) = wake {
            self.add_more(wake);
        }
    }

    #[cold]
    fn add_more(&mut self, wake: D::Wake) {
        self.more.get_or_insert_default().push(wake);
    }

    /// Sends them, in order.
    #[inline(always)]
    pub(crate) fn send(self) {
        if let Some(first) = self.first {
            D::wake(first);
            if let Some(more) = self.more {
                Self::send_more(*more);
            }
        }
    }

    #[cold]
    fn send_more(more: Vec<D::Wake>) {
        more.into_iter().for_each(D::wake);
    }
}
