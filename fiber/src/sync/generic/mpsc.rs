//! Channels with many senders, bounded or not.
//!
//! The names are those of `std::sync::mpsc`, and so is what they do; a wait can be cut short by a
//! cancel or a deadline, and then nothing was received or sent.

use std::fmt;
use std::time::Duration;

use crate::sync::domain::Domain;
use crate::sync::error::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use crate::sync::generic::chan::Chan;
use crate::sync::limit::Limit;
use crate::sync::turn;

/// The ends of a channel without a limit.
pub(crate) fn channel<T, D: Domain>() -> (Sender<T, D>, Receiver<T, D>) {
    let chan = D::ptr(Chan::new(usize::MAX));
    (Sender { chan: chan.clone() }, Receiver { chan })
}

/// The ends of a channel with a limit.
pub(crate) fn sync_channel<T, D: Domain>(bound: usize) -> (SyncSender<T, D>, Receiver<T, D>) {
    let chan = D::ptr(Chan::new(bound));
    (SyncSender { chan: chan.clone() }, Receiver { chan })
}

/// The sending end of a channel without a limit; never waits. It may be cloned.
///
/// Nothing slows down a sender that is faster than the receiver: the queue grows. Where that can
/// happen use [`SyncSender`], or look at [`len`](Self::len).
pub struct Sender<T, D: Domain> {
    chan: D::Ptr<Chan<T, D>>,
}

impl<T, D: Domain> Sender<T, D> {
    /// Sends a value.
    ///
    /// # Errors
    ///
    /// Hands the value back when the receiver is gone.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.chan.try_send(value).map_err(|error| SendError::Disconnected(error.into_inner()))
    }

    /// Values that were sent and not received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chan.len()
    }

    /// Whether all that was sent was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        !self.chan.is_receiving()
    }
}

/// The sending end of a channel with a limit. It may be cloned.
pub struct SyncSender<T, D: Domain> {
    chan: D::Ptr<Chan<T, D>>,
}

impl<T, D: Domain> SyncSender<T, D> {
    /// Sends a value; waits for room.
    ///
    /// # Errors
    ///
    /// Hands the value back when the receiver is gone, and when the wait is cut short by a cancel,
    /// by a deadline or because a panic unwinds.
    #[inline(always)]
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.chan.send(value)
    }

    /// Sends a value if there is room and nobody waits for it.
    ///
    /// # Errors
    ///
    /// Hands the value back when there is none, or when the receiver is gone.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.chan.try_send(value)
    }

    /// Waits for room for one value and keeps it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    #[inline(always)]
    #[track_caller]
    pub fn reserve(&self) -> Result<Permit<'_, T, D>, SendError<()>> {
        self.chan.reserve()?;
        Ok(Permit { chan: &self.chan, reserved: true })
    }

    pub(crate) fn chan(&self) -> &Chan<T, D> {
        &self.chan
    }

    /// Values that wait in the buffer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chan.len()
    }

    /// Whether the buffer is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.chan.capacity()
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        !self.chan.is_receiving()
    }
}

/// Room for one value in a channel. Dropped unused, it goes to the next sender.
#[must_use = "the room is given back when this is dropped"]
pub struct Permit<'a, T, D: Domain> {
    chan: &'a Chan<T, D>,
    /// False when the receiver was gone already.
    reserved: bool,
}

impl<'a, T, D: Domain> Permit<'a, T, D> {
    pub(crate) fn new(chan: &'a Chan<T, D>, reserved: bool) -> Self {
        Self { chan, reserved }
    }

    /// Sends a value; never waits.
    ///
    /// # Errors
    ///
    /// Hands the value back when the receiver is gone.
    pub fn send(mut self, value: T) -> Result<(), SendError<T>> {
        if !std::mem::take(&mut self.reserved) {
            return Err(SendError::Disconnected(value));
        }
        self.chan.fill(value).map_err(SendError::Disconnected)
    }
}

impl<T, D: Domain> Drop for Permit<'_, T, D> {
    fn drop(&mut self) {
        if self.reserved {
            self.chan.unreserve();
        }
    }
}

impl<T, D: Domain> fmt::Debug for Permit<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// The receiving end of a channel.
///
/// It is not cloned, but it may be shared by reference: several fibers that receive are served in
/// the order of their coming, each value going to one of them.
pub struct Receiver<T, D: Domain> {
    chan: D::Ptr<Chan<T, D>>,
}

impl<T, D: Domain> Receiver<T, D> {
    /// Waits for a value.
    ///
    /// # Errors
    ///
    /// When nothing is left and all senders are gone, and when the wait is cut short by a cancel,
    /// by a deadline or because a panic unwinds.
    #[inline(always)]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        turn::spend().map_err(RecvError::Wait)?;
        self.chan.recv(Limit::Never)
    }

    /// Waits for a value for at most this long.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and when nothing comes in time.
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        turn::spend().map_err(RecvTimeoutError::Wait)?;
        let limit = Limit::after(timeout);
        self.chan.recv(limit).map_err(|error| match error {
            RecvError::Disconnected => RecvTimeoutError::Disconnected,
            RecvError::Wait(error) if limit.is_why(&error) => RecvTimeoutError::Timeout,
            RecvError::Wait(error) => RecvTimeoutError::Wait(error),
        })
    }

    /// Takes a value if one is there.
    ///
    /// # Errors
    ///
    /// When none is there, or none will ever be.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.chan.try_recv()
    }

    /// Values as they come, until all senders are gone or a wait is cut short.
    pub fn iter(&self) -> Iter<'_, T, D> {
        Iter { receiver: self }
    }

    /// The values that are there.
    pub fn try_iter(&self) -> TryIter<'_, T, D> {
        TryIter { receiver: self }
    }

    /// Values that wait in the buffer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chan.len()
    }

    /// Whether the buffer is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn chan(&self) -> &Chan<T, D> {
        &self.chan
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T, D: Domain> {
    receiver: &'a Receiver<T, D>,
}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T, D: Domain> {
    receiver: &'a Receiver<T, D>,
}

/// Values as they come, and the receiver with them.
#[derive(Debug)]
pub struct IntoIter<T, D: Domain> {
    receiver: Receiver<T, D>,
}

impl<T, D: Domain> Iterator for Iter<'_, T, D> {
    type Item = T;

    #[inline(always)]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T, D: Domain> Iterator for TryIter<'_, T, D> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T, D: Domain> Iterator for IntoIter<T, D> {
    type Item = T;

    #[inline(always)]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<'a, T, D: Domain> IntoIterator for &'a Receiver<T, D> {
    type Item = T;
    type IntoIter = Iter<'a, T, D>;

    fn into_iter(self) -> Iter<'a, T, D> {
        self.iter()
    }
}

impl<T, D: Domain> IntoIterator for Receiver<T, D> {
    type Item = T;
    type IntoIter = IntoIter<T, D>;

    fn into_iter(self) -> IntoIter<T, D> {
        IntoIter { receiver: self }
    }
}

impl<T, D: Domain> Clone for Sender<T, D> {
    fn clone(&self) -> Self {
        self.chan.add_sender();
        Self { chan: self.chan.clone() }
    }
}

impl<T, D: Domain> Clone for SyncSender<T, D> {
    fn clone(&self) -> Self {
        self.chan.add_sender();
        Self { chan: self.chan.clone() }
    }
}

impl<T, D: Domain> Drop for Sender<T, D> {
    fn drop(&mut self) {
        self.chan.drop_sender();
    }
}

impl<T, D: Domain> Drop for SyncSender<T, D> {
    fn drop(&mut self) {
        self.chan.drop_sender();
    }
}

impl<T, D: Domain> Drop for Receiver<T, D> {
    fn drop(&mut self) {
        self.chan.drop_receiver();
    }
}

impl<T, D: Domain> fmt::Debug for Sender<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).finish()
    }
}

impl<T, D: Domain> fmt::Debug for SyncSender<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

impl<T, D: Domain> fmt::Debug for Receiver<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish()
    }
}
