//! Stackful fibers that never change their thread.
//!
//! A *shard* is one thread with its own scheduler, stacks, reactor and timers. A fiber is spawned
//! on a shard and stays there, so `Rc`, `RefCell` and `thread_local!` values may live across any
//! wait. A blocking-looking call registers an event, parks the fiber and goes on when the event has
//! come.
//!
//! | what | where |
//! |---|---|
//! | make fibers | [`spawn`], [`Builder`], [`scope`] |
//! | give up control | [`yield_now`], [`park`], [`Fiber::wakeup`] |
//! | time | [`sleep`], [`interval`], [`with_deadline`] |
//! | end early | [`JoinHandle::cancel`], [`is_cancelled`], [`shield`] |
//! | other threads | [`Runtime`], [`Shard`], [`shards`] |
//! | the names of `std::thread` | [`thread`] |
//! | locks, channels, `select!` | [`sync`] |
//! | sockets | [`net`] |
//! | blocking calls, files, processes, signals | [`blocking`], [`fs`], [`process`], [`signal`] |
//! | see inside | [`fibers`], [`Wait`] |
//! | build a wait of one's own | [`Park`], [`Ticket`], [`RemoteTicket`] |
//!
//! # Example
//!
//! ```
//! # use cede_fiber as cede;
//! use std::time::Duration;
//!
//! let words = cede::run(|| {
//!     let slow = cede::spawn(|| {
//!         cede::sleep(Duration::from_millis(2))?;
//!         Ok::<_, std::io::Error>("world")
//!     });
//!     let fast = cede::spawn(|| "hello");
//!     format!("{} {}", fast.join().unwrap(), slow.join().unwrap().unwrap())
//! })?;
//! assert_eq!(words, "hello world");
//! # Ok::<(), cede::RunError>(())
//! ```
//!
//! A fiber is bound to its thread, and so is everything that names it locally:
//!
//! ```compile_fail
//! # use cede_fiber as cede;
//! fn is_send<T: Send>() {}
//! is_send::<cede::JoinHandle<()>>();
//! ```
//! ```compile_fail
//! # use cede_fiber as cede;
//! fn is_send<T: Send>() {}
//! is_send::<cede::Ticket>();
//! ```
//! ```compile_fail
//! # use cede_fiber as cede;
//! fn is_send<T: Send>() {}
//! is_send::<cede::Park>();
//! ```
//! Work for another shard must be `Send`:
//!
//! ```compile_fail
//! # use cede_fiber as cede;
//! cede::run(|| {
//!     let local = std::rc::Rc::new(1);
//!     cede::Shard::current().spawn(move || *local)
//! });
//! ```
//! and a handle to a fiber may go anywhere:
//!
//! ```
//! # use cede_fiber as cede;
//! fn is_send<T: Send + Sync>() {}
//! is_send::<cede::Fiber>();
//! is_send::<cede::Shard>();
//! is_send::<cede::RemoteTicket>();
//! ```
//!
//! # Guards across a wait
//!
//! Other fibers of the thread run while one waits, and meet what it holds:
//!
//! - the guard of a `RefCell`, or a `with_borrow` of a `thread_local!`: their borrow of it panics, as
//!   it would within one function. Use [`fiber_local!`] for what belongs to one fiber.
//! - the guard of a `std::sync::Mutex`: the next one who locks it blocks the thread, and the holder
//!   never comes to unlock it. Use [`sync::Mutex`] where a wait lies between.
//! - an entered `tracing` span: it is entered for the thread, so events of other fibers count as its
//!   own. Enter it between waits, or name it as the parent of events.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!(
    "cede runs on Linux only: its fibers wait by system calls that this system has not \
     (eventfd, pidfd, accept4); README.md says what is supported"
);

mod blocking;
mod builder;
mod cancel;
#[cfg(any(feature = "compat-futures", feature = "compat-tokio"))]
pub mod compat;
mod counted;
mod deadline;
mod deadlock;
mod dump;
mod fiber;
pub mod fs;
mod future;
mod handles;
mod inbox;
mod join;
mod large_stack;
mod local;
#[cfg(all(test, loom))]
mod loom_tests;
mod mail;
pub mod net;
pub mod os;
mod primitive;
pub mod process;
mod quiet;
mod ready;
mod record;
mod remote;
mod runtime;
mod scheduler;
mod scope;
mod shard;
mod shared;
pub mod signal;
mod stack;
pub mod sync;
mod tasks;
pub mod thread;
mod tickets;
mod time;
mod wait;

pub use blocking::{
    BLOCKING_IDLE_TIMEOUT_DEFAULT, BLOCKING_QUEUE_MAX_DEFAULT, BLOCKING_THREADS_MAX_DEFAULT,
    BlockingMetrics, blocking, blocking_metrics, try_blocking,
};
pub use builder::{Builder, spawn};
pub use cancel::{is_cancelled, is_shutdown_unwind, shield};
pub use cede_reactor::{Clock, Monotonic, Nanos, Virtual};
pub use deadline::{Deadline, deadline, with_deadline};
pub use deadlock::Deadlock;
pub use dump::{FiberInfo, FiberState, fibers};
pub use fiber::{Fiber, FiberId, current, park, park_timeout, try_current, yield_now};
pub use future::block_on;
pub use join::{JoinError, JoinHandle};
pub use large_stack::{LARGE_STACK_BYTES_DEFAULT, on_large_stack};
pub use local::{AccessError, FiberLocal};
pub use remote::{RemoteJoinHandle, Shard, shards};
pub use runtime::{
    FIBERS_MAX_DEFAULT, RunError, Runtime, RuntimeBuilder, SHARDS_MAX, SHUTDOWN_GRACE_DEFAULT,
    STACKS_WARM_DEFAULT, run,
};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use shared::SHARD_TASKS_MAX;
pub use stack::{STACK_BYTES_DEFAULT, STACK_BYTES_MAX, STACK_BYTES_MIN, StackGuard};
pub use time::{Interval, MissedTicks, interval, sleep, sleep_until};
pub use wait::{Park, RemoteTicket, Ticket, Wait, WaitKind};
