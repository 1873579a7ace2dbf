//! Locks, channels and `select!` between fibers, between shards, and with plain threads.
//!
//! | | |
//! |---|---|
//! | locks | [`Mutex`], [`RwLock`], [`Condvar`], [`Semaphore`], [`Barrier`], [`OnceCell`], [`LazyLock`] |
//! | channels | [`mpsc`], [`oneshot`], [`broadcast`], [`watch`] |
//! | the first of several | [`select!`](crate::select) |
//!
//! The names are those of `std::sync` where std has such a thing, and of `tokio::sync` where it has
//! not. What is here may be shared between all threads; a thread that is no shard blocks where a
//! fiber parks. [`local`] has the same without atomics, for the fibers of one shard.
//!
//! **Fair.** Everything is served in the order of asking. What is handed over is handed to one who
//! waits, so nobody overtakes.
//!
//! **Nothing is lost.** A wait that is cut short has taken nothing. If the event comes at the same
//! time, the event wins.
//!
//! **Held across a wait.** The guards here may be: everybody else who wants in then waits as long.
//! A guard of `std::sync` must not be: the thread that waits for it is the one that would have to
//! run its owner.
//!
//! **No poisoning.** A guard that is dropped while a panic unwinds unlocks like any other.
//!
//! # Errors
//!
//! Whatever waits returns a `Result`. A wait fails when the fiber is cancelled
//! ([`is_cancelled`](crate::is_cancelled)), when its deadline passes
//! ([`TimedOut`](std::io::ErrorKind::TimedOut)), and while a panic unwinds the fiber, because it
//! cannot give up control then; what need not wait succeeds all the same. A fiber that receives on
//! and on without ever having to wait is cut short at some point, too. In a plain thread only the
//! limit of a `.._timeout` can end a wait, so `.lock().unwrap()` there is what it is with std.
//!
//! # Examples
//!
//! A program of `std` threads becomes one of fibers by its `use` lines:
//!
//! ```
//! # use cede_fiber as cede;
//! use cede::sync::{Arc, Mutex, mpsc}; // was: use std::sync::{Arc, Mutex, mpsc};
//! use cede::thread; // was: use std::thread;
//!
//! # cede::run(|| {
//! let total = Arc::new(Mutex::new(0));
//! let (sender, receiver) = mpsc::channel();
//! for worker in 1..=3 {
//!     let (total, sender) = (Arc::clone(&total), sender.clone());
//!     thread::spawn(move || {
//!         *total.lock().unwrap() += worker;
//!         sender.send(worker).unwrap();
//!     });
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().count(), 3);
//! assert_eq!(*total.lock().unwrap(), 6);
//! # }).unwrap();
//! ```
//!
//! Between a fiber and a plain thread:
//!
//! ```
//! # use cede_fiber as cede;
//! # cede::run(|| -> std::io::Result<()> {
//! use cede::sync::mpsc;
//!
//! let (questions, inbox) = mpsc::sync_channel::<u32>(16);
//! let (outbox, answers) = mpsc::sync_channel(16);
//! let thread = std::thread::spawn(move || {
//!     for question in inbox {
//!         outbox.send(question * 2).unwrap();
//!     }
//! });
//! questions.send(21)?;
//! assert_eq!(answers.recv()?, 42);
//! drop(questions);
//! thread.join().unwrap();
//! # Ok(()) }).unwrap().unwrap();
//! ```

mod alias;
mod brief;
mod domain;
mod error;
pub mod generic;
mod limit;
pub mod local;
#[cfg(all(test, loom))]
mod loom_models;
mod primitive;
mod queue;
pub mod select;
mod sole;
mod spot;
mod turn;

// What never waits is std's own, so that `use std::sync::{Arc, Mutex}` needs one word changed.
pub use std::sync::{Arc, LockResult, PoisonError, Weak, atomic};

/// A value that is made once, under the name that `std::sync` has for it.
pub type OnceLock<T> = OnceCell<T>;

alias::aliases!(crate::sync::domain::Shared, "cede::sync");
