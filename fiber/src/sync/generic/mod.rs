//! The primitives, written once for both [`Domain`]s.
//!
//! Programs name them by [`sync`](crate::sync) and [`sync::local`](crate::sync::local), where the
//! domain is filled in; code that is to work with either may be generic over it.

pub mod barrier;
pub mod broadcast;
pub(crate) mod chan;
pub mod condvar;
pub mod lazy;
pub mod mpsc;
pub mod mutex;
pub mod once;
pub mod oneshot;
pub mod owned_permit;
pub mod rwlock;
pub mod semaphore;
pub mod watch;

pub use crate::sync::domain::{Domain, Local, Shared};
