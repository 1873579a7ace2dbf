//! Why a channel has nothing to give or no room: the names of `std::sync::mpsc`, and beside
//! "disconnected" a case for the wait that was cut short.
//!
//! Every error of a wait turns into the `io::Error` that it was (`?` in a function that returns
//! `io::Result`), so `is_cancelled` and `ErrorKind::TimedOut` work on it.

use std::error::Error;
use std::fmt;
use std::io;

/// Why nothing was received.
#[derive(Debug)]
pub enum RecvError {
    /// Nothing is left, and nobody is left to send more.
    Disconnected,
    /// The wait was cut short: by a cancel, by a deadline, or because it could not begin.
    Wait(io::Error),
}

/// Why nothing was received in time.
#[derive(Debug)]
pub enum RecvTimeoutError {
    /// Nothing came in time.
    Timeout,
    /// Nothing is left, and nobody is left to send more.
    Disconnected,
    /// The wait was cut short: by a cancel, by an earlier deadline, or because it could not begin.
    Wait(io::Error),
}

/// Why nothing can be received right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is there yet.
    Empty,
    /// Nothing is left, and nobody is left to send more.
    Disconnected,
}

/// Why a value was not sent, and the value.
#[derive(Clone, Copy)]
pub enum SendError<T, E = io::Error> {
    /// Nobody is left to receive it.
    Disconnected(T),
    /// The wait was cut short: by a cancel, by a deadline, or because it could not begin.
    Wait(T, E),
}

/// Why a value cannot be sent right now, and the value.
#[derive(PartialEq, Eq, Clone, Copy)]
pub enum TrySendError<T> {
    /// There is no room, or others wait for it.
    Full(T),
    /// Nobody is left to receive it.
    Disconnected(T),
}

impl<T, E> SendError<T, E> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Disconnected(value) | Self::Wait(value, _) => value,
        }
    }

    /// Whether nobody is left to receive.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

// `assert_eq!(receiver.recv(), Ok(1))` is how std's channels are tested.

/// Waits that were cut short are equal when their errors are of one kind.
impl PartialEq for RecvError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wait(a), Self::Wait(b)) => a.kind() == b.kind(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// Waits that were cut short are equal when their errors are of one kind.
impl PartialEq for RecvTimeoutError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wait(a), Self::Wait(b)) => a.kind() == b.kind(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// Waits that were cut short are equal when their errors are of one kind.
impl<T: PartialEq> PartialEq for SendError<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Disconnected(a), Self::Disconnected(b)) => a == b,
            (Self::Wait(a, x), Self::Wait(b, y)) => a == b && x.kind() == y.kind(),
            _ => false,
        }
    }
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Disconnected(value) => value,
        }
    }

    /// Whether there was no room.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// let (sender, receiver) = cede::sync::mpsc::sync_channel(1);
    /// sender.try_send("first").unwrap();
    /// let error = sender.try_send("second").unwrap_err();
    /// assert!(error.is_full());
    /// assert_eq!(error.into_inner(), "second");
    /// drop(receiver);
    /// assert!(!sender.try_send("third").unwrap_err().is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

const DISCONNECTED: &str = "the channel is disconnected";

fn cut_short(f: &mut fmt::Formatter<'_>, error: &dyn fmt::Display) -> fmt::Result {
    write!(f, "the wait on a channel was cut short: {error}")
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str(DISCONNECTED),
            Self::Wait(error) => cut_short(f, error),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("nothing came through the channel in time"),
            Self::Disconnected => f.write_str(DISCONNECTED),
            Self::Wait(error) => cut_short(f, error),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the channel is empty",
            Self::Disconnected => DISCONNECTED,
        })
    }
}

impl<T, E: fmt::Display> fmt::Display for SendError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(_) => f.write_str(DISCONNECTED),
            Self::Wait(_, error) => cut_short(f, error),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the channel is full",
            Self::Disconnected(_) => DISCONNECTED,
        })
    }
}

// The values need not be Debug for the errors to be.
impl<T, E: fmt::Debug> fmt::Debug for SendError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(_) => f.write_str("Disconnected(..)"),
            Self::Wait(_, error) => write!(f, "Wait(.., {error:?})"),
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disconnected => None,
            Self::Wait(error) => Some(error),
        }
    }
}

impl Error for RecvTimeoutError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Timeout | Self::Disconnected => None,
            Self::Wait(error) => Some(error),
        }
    }
}

impl Error for TryRecvError {}

impl<T> Error for SendError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disconnected(_) => None,
            Self::Wait(_, error) => Some(error),
        }
    }
}

impl<T> Error for TrySendError<T> {}

fn disconnected() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, TryRecvError::Disconnected)
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Disconnected => disconnected(),
            RecvError::Wait(error) => error,
        }
    }
}

impl From<RecvTimeoutError> for io::Error {
    fn from(error: RecvTimeoutError) -> Self {
        match error {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            RecvTimeoutError::Disconnected => disconnected(),
            RecvTimeoutError::Wait(error) => error,
        }
    }
}

impl From<TryRecvError> for io::Error {
    fn from(error: TryRecvError) -> Self {
        match error {
            TryRecvError::Empty => io::ErrorKind::WouldBlock.into(),
            TryRecvError::Disconnected => disconnected(),
        }
    }
}

impl<T> From<SendError<T>> for io::Error {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Disconnected(_) => disconnected(),
            SendError::Wait(_, error) => error,
        }
    }
}

impl<T> From<TrySendError<T>> for io::Error {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => io::ErrorKind::WouldBlock.into(),
            TrySendError::Disconnected(_) => disconnected(),
        }
    }
}
