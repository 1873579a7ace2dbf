//! `std::thread`'s names, with fibers behind them: `use std::thread` becomes `use cede::thread`.
//!
//! The names are those of the crate's root, but for [`Builder`], which has std's signatures here:
//! `name("worker".into())` is ambiguous there. What waits ([`sleep`], [`park`],
//! [`JoinHandle::join`]) can be cut short, so it returns a `Result`.
//!
//! `thread_local!` is std's, and so are [`LocalKey`] and [`AccessError`]: its values are shared by
//! the fibers of a thread. What each fiber needs for itself is a [`fiber_local!`](crate::fiber_local).
//!
//! # Examples
//!
//! ```
//! use cede_fiber::thread; // was: use std::thread;
//!
//! # cede_fiber::run(|| -> std::io::Result<()> {
//! let main = thread::current();
//! let worker = thread::Builder::new().name("worker".into()).spawn(move || {
//!     main.unpark();
//!     thread::current().name().map(str::to_string)
//! })?;
//! thread::park()?;
//! assert_eq!(worker.join().unwrap().as_deref(), Some("worker"));
//! # Ok(()) }).unwrap().unwrap();
//! ```

use std::io;

pub use crate::{
    Fiber as Thread, FiberId as ThreadId, JoinHandle, Scope, ScopedJoinHandle, current, park,
    park_timeout, scope, sleep, sleep_until, spawn, yield_now,
};
pub use std::thread::{AccessError, LocalKey, available_parallelism, panicking};

/// What joining a fiber returns.
pub type Result<T> = std::result::Result<T, crate::JoinError>;

/// [`cede::Builder`](crate::Builder) with the signatures of [`std::thread::Builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder(crate::Builder);

impl Builder {
    /// A fiber without a name, with a stack as its runtime gives them.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name, for dumps and for the message of a panic or an overflow.
    pub fn name(self, name: String) -> Self {
        Self(self.0.name(name))
    }

    /// The size of the stack, in bytes.
    pub fn stack_size(self, bytes: usize) -> Self {
        Self(self.0.stack_size(bytes))
    }

    /// Makes the fiber.
    ///
    /// # Errors
    ///
    /// Those of [`cede::Builder::spawn`](crate::Builder::spawn).
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.0.spawn(f)
    }

    /// Makes the fiber in a scope.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::spawn_with`].
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        scope.spawn_with(self.0, f)
    }
}
