//! The poll reactor under cede: registrations, readiness, timers and a notifier.
//!
//! It knows nothing of fibers. Whoever waits is a `W: Copy` that the layer above hands in and gets
//! back when the event comes; what waking means is that layer's business. Time is a parameter
//! everywhere, so a test can own it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Reactor`] | the poller of one thread, its registrations and who waits on each |
//! | [`Timers`] | a hierarchical wheel: arm and cancel in constant time |
//! | [`Clock`] | where time comes from: [`Monotonic`] or a [`Virtual`] one |
//! | [`Notifier`] | wakes a reactor that sleeps, from any thread |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use cede_reactor::{Clock, Monotonic, Timers};
//!
//! let clock = Monotonic::new();
//! let mut timers = Timers::new();
//! let now = clock.now();
//! timers.insert(now + 1_000_000, "one millisecond");
//! std::thread::sleep(Duration::from_millis(2));
//! let mut fired = Vec::new();
//! timers.advance(clock.now(), |who| fired.push(who));
//! assert_eq!(fired, ["one millisecond"]);
//! ```

mod clock;
mod reactor;
mod readiness;
mod source;
mod sys;
mod timers;

pub use clock::{Clock, Monotonic, Nanos, Virtual};
pub use reactor::{Reactor, SourceKey};
pub use readiness::{Direction, Readiness};
pub use sys::Notifier;
pub use timers::{TimerKey, Timers};
