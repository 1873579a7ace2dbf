//! Permits that keep their semaphore alive, so that they may go into a fiber of their own.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::sync::domain::{Domain, Local, Shared};
use crate::sync::generic::semaphore::{AcquireError, Semaphore, TryAcquireError};

/// Permits of a [`Semaphore`] that own a reference to it, given back when this is dropped.
///
/// # Examples
///
/// A server that takes the next connection when one of its places is free:
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::sync::{Arc, Semaphore};
///
/// let places = Arc::new(Semaphore::new(2));
/// for connection in 0..5 {
///     let place = Arc::clone(&places).acquire_owned()?;
///     cede::spawn(move || {
///         cede::yield_now(); // serve it
///         drop((place, connection));
///     });
///     assert!(places.available_permits() <= 1);
/// }
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[must_use = "the permits are given back when this is dropped"]
pub struct OwnedSemaphorePermit<D: Domain> {
    semaphore: D::Ptr<Semaphore<D>>,
    permits: usize,
}

impl<D: Domain> OwnedSemaphorePermit<D> {
    /// Keeps the permits away from the semaphore for good;
    /// [`add_permits`](Semaphore::add_permits) can bring them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// How many they are.
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.permits
    }
}

impl<D: Domain> Drop for OwnedSemaphorePermit<D> {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.add_permits(self.permits);
        }
    }
}

impl<D: Domain> fmt::Debug for OwnedSemaphorePermit<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphorePermit").field("permits", &self.permits).finish()
    }
}

macro_rules! owned {
    ($domain:ty, $ptr:ident) => {
        impl Semaphore<$domain> {
            /// [`acquire`](Self::acquire), for a permit that may leave the function.
            ///
            /// # Errors
            ///
            /// As [`acquire`](Self::acquire).
            #[track_caller]
            pub fn acquire_owned(
                self: $ptr<Self>,
            ) -> Result<OwnedSemaphorePermit<$domain>, AcquireError> {
                self.acquire_many_owned(1)
            }

            /// [`acquire_many`](Self::acquire_many), for permits that may leave the function.
            ///
            /// # Errors
            ///
            /// As [`acquire`](Self::acquire).
            #[track_caller]
            pub fn acquire_many_owned(
                self: $ptr<Self>,
                permits: usize,
            ) -> Result<OwnedSemaphorePermit<$domain>, AcquireError> {
                self.acquire_many(permits)?.forget();
                Ok(OwnedSemaphorePermit { semaphore: self, permits })
            }

            /// [`try_acquire`](Self::try_acquire), for a permit that may leave the function.
            ///
            /// # Errors
            ///
            /// As [`try_acquire`](Self::try_acquire).
            pub fn try_acquire_owned(
                self: $ptr<Self>,
            ) -> Result<OwnedSemaphorePermit<$domain>, TryAcquireError> {
                self.try_acquire()?.forget();
                Ok(OwnedSemaphorePermit { semaphore: self, permits: 1 })
            }
        }
    };
}

owned!(Shared, Arc);
owned!(Local, Rc);
