//! The names of `sync` and `sync::local`: the generic primitives with their domain filled in.

macro_rules! aliases {
    ($domain:ty, $path:literal) => {
        pub use crate::sync::generic::barrier::BarrierWaitResult;
        pub use crate::sync::generic::condvar::WaitTimeoutResult;
        pub use crate::sync::generic::semaphore::{AcquireError, PERMITS_MAX, TryAcquireError};

        /// A lock for one; see [the generic one](crate::sync::generic::mutex::Mutex).
        pub type Mutex<T> = crate::sync::generic::mutex::Mutex<T, $domain>;
        /// A locked [`Mutex`].
        pub type MutexGuard<'a, T> = crate::sync::generic::mutex::MutexGuard<'a, T, $domain>;
        /// A lock for many readers or one writer; see
        /// [the generic one](crate::sync::generic::rwlock::RwLock).
        pub type RwLock<T> = crate::sync::generic::rwlock::RwLock<T, $domain>;
        /// An [`RwLock`] locked for reading.
        pub type RwLockReadGuard<'a, T> =
            crate::sync::generic::rwlock::RwLockReadGuard<'a, T, $domain>;
        /// An [`RwLock`] locked for writing.
        pub type RwLockWriteGuard<'a, T> =
            crate::sync::generic::rwlock::RwLockWriteGuard<'a, T, $domain>;
        /// A condition to wait for; see [the generic one](crate::sync::generic::condvar::Condvar).
        pub type Condvar = crate::sync::generic::condvar::Condvar<$domain>;
        /// Permits to wait for; see
        /// [the generic one](crate::sync::generic::semaphore::Semaphore).
        pub type Semaphore = crate::sync::generic::semaphore::Semaphore<$domain>;
        /// Permits of a [`Semaphore`].
        pub type SemaphorePermit<'a> =
            crate::sync::generic::semaphore::SemaphorePermit<'a, $domain>;
        /// Permits of a [`Semaphore`] that own a reference to it; see
        /// [the generic one](crate::sync::generic::owned_permit::OwnedSemaphorePermit).
        pub type OwnedSemaphorePermit =
            crate::sync::generic::owned_permit::OwnedSemaphorePermit<$domain>;
        /// A point to pass together; see
        /// [the generic one](crate::sync::generic::barrier::Barrier).
        pub type Barrier = crate::sync::generic::barrier::Barrier<$domain>;
        /// A value that is made once; see [the generic one](crate::sync::generic::once::OnceCell).
        pub type OnceCell<T> = crate::sync::generic::once::OnceCell<T, $domain>;
        /// A value that is made when it is first looked at; see
        /// [the generic one](crate::sync::generic::lazy::LazyLock).
        pub type LazyLock<T, F = fn() -> T> = crate::sync::generic::lazy::LazyLock<T, $domain, F>;

        /// Channels with many senders, with a limit or without: the names of `std::sync::mpsc`.
        ///
        /// # Examples
        ///
        /// ```
        /// # use cede_fiber as cede;
        /// # cede::run(|| {
        #[doc = concat!("use ", $path, "::mpsc;")]
        ///
        /// let (sender, receiver) = mpsc::sync_channel(2);
        /// cede::spawn(move || {
        ///     for word in ["one", "after", "another"] {
        ///         sender.send(word).unwrap(); // waits while two are there already
        ///     }
        /// });
        /// assert_eq!(receiver.iter().collect::<Vec<_>>().join(" "), "one after another");
        /// # }).unwrap();
        /// ```
        pub mod mpsc {
            pub use crate::sync::error::{
                RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError,
            };
            use crate::sync::generic::mpsc as generic;

            /// The sending end of a channel without a limit.
            pub type Sender<T> = generic::Sender<T, $domain>;
            /// The sending end of a channel with a limit.
            pub type SyncSender<T> = generic::SyncSender<T, $domain>;
            /// Room for one value in a channel.
            pub type Permit<'a, T> = generic::Permit<'a, T, $domain>;
            /// The receiving end of a channel.
            pub type Receiver<T> = generic::Receiver<T, $domain>;
            /// See [`Receiver::iter`](generic::Receiver::iter).
            pub type Iter<'a, T> = generic::Iter<'a, T, $domain>;
            /// See [`Receiver::try_iter`](generic::Receiver::try_iter).
            pub type TryIter<'a, T> = generic::TryIter<'a, T, $domain>;
            /// Values as they come, and the receiver with them.
            pub type IntoIter<T> = generic::IntoIter<T, $domain>;

            /// A channel without a limit: sending never waits, and the queue grows as long as
            /// nobody receives. Its `len` tells how long it is.
            #[must_use]
            pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
                generic::channel()
            }

            /// A channel that keeps at most this many values; sending waits for room. With 0 a
            /// value goes from hand to hand when both ends wait for each other.
            #[must_use]
            pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
                generic::sync_channel(bound)
            }
        }

        /// A channel for one value.
        ///
        /// # Examples
        ///
        /// ```
        /// # use cede_fiber as cede;
        /// # cede::run(|| {
        #[doc = concat!("use ", $path, "::oneshot;")]
        ///
        /// let (sender, receiver) = oneshot::channel();
        /// cede::spawn(move || sender.send("done"));
        /// assert_eq!(receiver.recv().unwrap(), "done");
        /// # }).unwrap();
        /// ```
        pub mod oneshot {
            pub use crate::sync::error::{RecvError, RecvTimeoutError, TryRecvError};
            use crate::sync::generic::oneshot as generic;

            /// Sends the one value.
            pub type Sender<T> = generic::Sender<T, $domain>;
            /// Receives the one value.
            pub type Receiver<T> = generic::Receiver<T, $domain>;

            /// A channel for one value.
            #[must_use]
            pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
                generic::channel()
            }
        }

        /// A channel whose every value goes to every receiver.
        ///
        /// # Examples
        ///
        /// A receiver that is too slow is told what it missed:
        ///
        /// ```
        /// # use cede_fiber as cede;
        /// # cede::run(|| {
        #[doc = concat!("use ", $path, "::broadcast::{self, RecvError};")]
        ///
        /// let (sender, mut first) = broadcast::channel(2);
        /// let mut second = sender.subscribe();
        /// sender.send(1).unwrap();
        /// assert_eq!(first.recv().unwrap(), 1);
        /// sender.send(2).unwrap();
        /// sender.send(3).unwrap();
        /// assert_eq!(first.recv().unwrap(), 2);
        /// assert!(matches!(second.recv(), Err(RecvError::Lagged(1))));
        /// assert_eq!(second.recv().unwrap(), 2);
        /// # }).unwrap();
        /// ```
        pub mod broadcast {
            pub use crate::sync::error::SendError;
            use crate::sync::generic::broadcast as generic;
            pub use crate::sync::generic::broadcast::{RecvError, TryRecvError};

            /// Sends values to all receivers.
            pub type Sender<T> = generic::Sender<T, $domain>;
            /// Receives every value that is sent while it exists.
            pub type Receiver<T> = generic::Receiver<T, $domain>;

            /// A channel that keeps this many values for those who have not seen them.
            ///
            /// # Panics
            ///
            /// For a capacity of 0.
            #[must_use]
            pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
                generic::channel(capacity)
            }
        }

        /// The newest value of something, and a wait for it to change.
        ///
        /// # Examples
        ///
        /// ```
        /// # use cede_fiber as cede;
        /// # cede::run(|| {
        #[doc = concat!("use ", $path, "::watch;")]
        ///
        /// let (level, mut watcher) = watch::channel(0);
        /// cede::spawn(move || {
        ///     for value in 1..=5 {
        ///         level.send(value).unwrap();
        ///         cede::yield_now();
        ///     }
        /// });
        /// assert_eq!(*watcher.wait_for(|value| *value >= 3).unwrap(), 3);
        /// # }).unwrap();
        /// ```
        pub mod watch {
            pub use crate::sync::error::{RecvError, SendError};
            use crate::sync::generic::watch as generic;

            /// Sets the value.
            pub type Sender<T> = generic::Sender<T, $domain>;
            /// Sees the newest value.
            pub type Receiver<T> = generic::Receiver<T, $domain>;
            /// A snapshot of the value.
            pub type Ref<T> = generic::Ref<T, $domain>;

            /// A watched value.
            #[must_use]
            pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
                generic::channel(value)
            }
        }
    };
}
pub(crate) use aliases;
