//! `std::thread`'s names, with fibers behind them: `use std::thread` becomes `use cede::thread`.
//!
//! The names are those of the crate's root. What waits ([`sleep`], [`park`], [`JoinHandle::join`])
//! can be cut short, so it returns a `Result`.
//!
//! `thread_local!` is std's, and so are [`LocalKey`] and [`AccessError`]: its values are shared by
//! the fibers of a thread. What each fiber needs for itself is a [`fiber_local!`](crate::fiber_local).
//!
//! # Examples
//!
//! ```
//! # use cede_fiber as cede;
//! use cede::thread; // was: use std::thread;
//!
//! # cede::run(|| -> std::io::Result<()> {
//! let main = thread::current();
//! let worker = thread::Builder::new().name("worker".into()).spawn(move || {
//!     main.unpark();
//!     thread::current().name().map(str::to_string)
//! })?;
//! thread::park()?;
//! assert_eq!(worker.join().unwrap().as_deref(), Some("worker"));
//! # Ok(()) }).unwrap().unwrap();
//! ```

pub use crate::{
    Builder, Fiber as Thread, FiberId as ThreadId, JoinHandle, Scope, ScopedJoinHandle, current,
    park, park_timeout, scope, sleep, sleep_until, spawn, yield_now,
};
pub use std::thread::{AccessError, LocalKey, available_parallelism, panicking};

/// What joining a fiber returns.
pub type Result<T> = std::result::Result<T, crate::JoinError>;
