//! The one way into a shard from other threads: a lock-free list with many producers and one
//! consumer.
//!
//! ```text
//!   head ---> newest ---> ... ---> oldest ---> null      messages wait
//!   head ---> null                                       the shard is awake and will look
//!   head ---> ASLEEP                                     the shard sleeps: who pushes next must notify it
//!   head ---> CLOSED                                     the shard is gone: a push is refused
//! ```
//!
//! "Asleep" is a value of the same word that producers exchange, so exactly one of them sees it and
//! notifies: there is no window between looking into the inbox and going to sleep in which a
//! message could be overlooked.

use std::ptr;

use crate::primitive::{AtomicPtr, Ordering, UnsafeCell};

#[cfg(all(test, not(loom)))]
mod tests;

/// The link of a message. It must be the first field of a `#[repr(C)]` struct.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Link {
    /// Written by the producer before the push and by the consumer after it took the list; never by
    /// both at once.
    next: UnsafeCell<*mut Link>,
    kind: u8,
}

impl Link {
    pub(crate) fn new(kind: u8) -> Self {
        Self { next: UnsafeCell::new(ptr::null_mut()), kind }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.kind
    }
}

/// What can be sent: something that turns into a pointer to its link and back without loss.
///
/// # Safety
///
/// `into_link` must give up ownership of the value and return a pointer, valid for reads and
/// writes, to a `Link` that stays in place until `from_link` takes ownership back. Two links that
/// are in an inbox at once must be different.
pub(crate) unsafe trait Message {
    fn into_link(self) -> *mut Link;

    /// # Safety
    ///
    /// `link` must come from `into_link`, and each call of that may be undone once.
    unsafe fn from_link(link: *mut Link) -> Self;
}

const ASLEEP: *mut Link = ptr::without_provenance_mut(1);
const CLOSED: *mut Link = ptr::without_provenance_mut(2);

fn is_message(head: *mut Link) -> bool {
    !head.is_null() && head != ASLEEP && head != CLOSED
}

/// See the module. `M` is sent from any thread and received by the thread of the shard.
pub(crate) struct Inbox<M: Message> {
    head: AtomicPtr<Link>,
    marker: std::marker::PhantomData<fn(M) -> M>,
}

// SAFETY: the list hands each message from one producer to the consumer through atomic exchanges
// (release on push, acquire on take), and messages are Send.
unsafe impl<M: Message + Send> Send for Inbox<M> {}
// SAFETY: as above; all methods take `&self` and are safe from any thread.
unsafe impl<M: Message + Send> Sync for Inbox<M> {}

impl<M: Message> std::fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("has_messages", &self.has_messages()).finish()
    }
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), marker: std::marker::PhantomData }
    }

    /// Sends a message. `Ok(true)`: the shard sleeps and the caller must notify it.
    ///
    /// # Errors
    ///
    /// Hands the message back when the shard is gone.
    pub(crate) fn push(&self, message: M) -> Result<bool, M> {
        let link = message.into_link();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                // SAFETY: the link was not published, so it is still ours alone.
                return Err(unsafe { M::from_link(link) });
            }
            let next = if head == ASLEEP { ptr::null_mut() } else { head };
            // SAFETY: the link is valid (contract of `Message`) and not published yet.
            unsafe { (*link).next.with_mut(|place| *place = next) };
            match self.head.compare_exchange_weak(head, link, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(head == ASLEEP),
                Err(seen) => head = seen,
            }
        }
    }

    /// Whether messages wait. Cheap: one load of a line that only producers write.
    #[inline]
    pub(crate) fn has_messages(&self) -> bool {
        is_message(self.head.load(Ordering::Acquire))
    }

    /// Announces that the consumer will sleep. False: a message came first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.head
            .compare_exchange(ptr::null_mut(), ASLEEP, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes everything, oldest first; the consumer counts as awake afterwards. Only the consumer
    /// may call this.
    pub(crate) fn take(&self) -> Taken<M> {
        let head = self.head.swap(ptr::null_mut(), Ordering::AcqRel);
        Taken::new(head)
    }

    /// Refuses messages from now on and returns those that came before. Only the consumer may call
    /// this.
    pub(crate) fn close(&self) -> Taken<M> {
        Taken::new(self.head.swap(CLOSED, Ordering::AcqRel))
    }
}

impl<M: Message> Drop for Inbox<M> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Messages taken out of an inbox; those not asked for are dropped with it.
pub(crate) struct Taken<M: Message> {
    next: *mut Link,
    marker: std::marker::PhantomData<M>,
}

impl<M: Message> Taken<M> {
    fn new(mut head: *mut Link) -> Self {
        if !is_message(head) {
            head = ptr::null_mut();
        }
        // Producers push in front; turn the list around.
        let mut oldest = ptr::null_mut();
        while !head.is_null() {
            // SAFETY: the list was taken out whole, so its links belong to this thread until they
            // become messages again.
            let rest =
                unsafe { (*head).next.with_mut(|next| std::mem::replace(&mut *next, oldest)) };
            oldest = head;
            head = rest;
        }
        Self { next: oldest, marker: std::marker::PhantomData }
    }
}

impl<M: Message> Iterator for Taken<M> {
    type Item = M;

    fn next(&mut self) -> Option<M> {
        let link = self.next;
        if link.is_null() {
            return None;
        }
        // The link is read before it becomes a message again: from then on its sender may push it
        // anew.
        // SAFETY: see `new`.
        self.next = unsafe { (*link).next.with(|next| *next) };
        // SAFETY: the link came from `into_link` when it was pushed, and leaves the list here.
        Some(unsafe { M::from_link(link) })
    }
}

impl<M: Message> Drop for Taken<M> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
