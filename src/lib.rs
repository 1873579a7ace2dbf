//! Stackful fibers for Rust that never change their thread: code that reads from top to bottom on
//! an event loop that never blocks.
//!
//! A fiber is spawned on a *shard*, one thread with an event loop, and stays there. A call that
//! looks blocking parks its fiber, and the others of the shard run meanwhile. So `Rc`, `RefCell`
//! and borrowed frames live across any wait, nothing is coloured `async`, and the names are those
//! of `std`.
//!
//! # Where what is
//!
//! | you want to | look at |
//! |---|---|
//! | start | [`run`], or [`Runtime::builder`] for several shards, sizes and limits |
//! | make fibers, and wait for them | [`spawn`], [`Builder`], [`JoinHandle`], [`scope`](scope()) |
//! | wait for a time, or not longer than that | [`sleep`], [`interval`], [`with_deadline`] |
//! | end a wait early | [`JoinHandle::cancel`], [`is_cancelled`], [`shield`] |
//! | share between fibers, shards and threads | [`sync`]: locks, channels, [`select!`]; [`fiber_local!`] |
//! | speak to a network | [`net`]: TCP, UDP, UNIX sockets |
//! | read files, start programs, hear of signals | [`fs`], [`process`], [`signal`] |
//! | call what blocks, or recurses deeply | [`blocking`], [`on_large_stack`] |
//! | use more cores | [`Runtime::builder`], [`Shard::spawn`], [`Shard::call`] |
//! | await futures, use async crates | [`block_on`], `compat` (features `compat-futures`, `compat-tokio`) |
//! | see what all fibers do | [`fibers`], [`FiberInfo`] |
//! | serve HTTP | `http` (feature `http`) |
//! | keep data | `sqlite`, `postgres`, `redis` (features of these names, and `tls`) |
//! | build a wait of your own | [`Park`], [`Ticket`], [`RemoteTicket`] |
//!
//! The feature `full` is all of them. Guides are in the folder `docs/` of the repository: HTTP,
//! SQLite, PostgreSQL, Redis, and porting a program from threads.
//!
//! # Example
//!
//! A server and its client, in fibers of one thread:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::Shutdown;
//!
//! use cede::net::{TcpListener, TcpStream};
//!
//! fn main() -> anyhow::Result<()> {
//!     let answer = cede::run(|| -> anyhow::Result<String> {
//!         let listener = TcpListener::bind("127.0.0.1:0")?;
//!         let address = listener.local_addr()?;
//!         cede::spawn(move || -> std::io::Result<()> {
//!             for stream in listener.incoming() {
//!                 let stream = stream?;
//!                 cede::spawn(move || std::io::copy(&mut &stream, &mut &stream));
//!             }
//!             Ok(())
//!         });
//!
//!         let mut client = TcpStream::connect(address)?;
//!         client.write_all(b"hello, fibers")?;
//!         client.shutdown(Shutdown::Write)?;
//!         let mut answer = String::new();
//!         client.read_to_string(&mut answer)?;
//!         Ok(answer)
//!     })??;
//!     assert_eq!(answer, "hello, fibers");
//!     Ok(())
//! }
//! ```
//!
//! # What a newcomer should know
//!
//! - **What blocks the thread blocks all its fibers**: `std::thread::sleep`, `std::fs`, a driver in
//!   C. The names here park instead; for the rest there is [`blocking`]. Nothing preempts, and
//!   nothing watches.
//! - **A guard of `std::sync::Mutex` or `RefCell` must not live across a wait**: another fiber of
//!   the thread would meet it. [`sync::Mutex`] may be held.
//! - **A wait can fail**: with [`TimedOut`](std::io::ErrorKind::TimedOut) behind a deadline, with
//!   what [`is_cancelled`] knows in a cancelled fiber. `?` is all it takes.
//! - **Stacks are small** ([`STACK_BYTES_DEFAULT`]). An overflow is caught and named, and ends the
//!   process.
//! - **Fibers do not move.** What is to run on another shard has to be `Send`, and goes there
//!   unstarted:
//!
//! ```compile_fail,E0277
//! # cede::run(|| {
//! let local = std::rc::Rc::new(1);
//! cede::spawn({
//!     let local = local.clone(); // on this shard: anything
//!     move || *local
//! });
//! cede::Shard::current().spawn(move || *local) // `Rc<i32>` cannot be sent between threads safely
//! # });
//! ```
//!
//! # The crates behind it
//!
//! This crate holds no logic; it names what others make. Programs name this one only.
//!
//! | layer | crate | what it is |
//! |---|---|---|
//! | services | `cede-services` | the HTTP/1.1 server and its router |
//! | wrappers | `cede-wrappers` | clients in blocking style: SQLite, PostgreSQL, Redis, and TLS |
//! | fibers | `cede-fiber` | scheduler, stacks, waits, scopes, deadlines, `sync`, `net`, `fs`, `process`, `signal` |
//! | reactor | `cede-reactor` | poller, registrations, timers; knows nothing of fibers |

#![forbid(unsafe_code)]
// docs.rs shows which feature an item needs; that takes a nightly compiler.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use cede_fiber::*;

#[cfg(feature = "http")]
#[doc(inline)]
pub use cede_services::http;
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use cede_wrappers::postgres;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use cede_wrappers::redis;
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use cede_wrappers::sqlite;

/// The programs in README.md compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The programs of the guide to porting compile and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/porting.md")]
struct PortingGuide;

/// The programs of the guide to HTTP compile, and run where they end.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/http.md")]
struct HttpGuide;

/// The programs of the guide to Redis compile.
#[cfg(all(doctest, feature = "redis"))]
#[doc = include_str!("../docs/redis.md")]
struct RedisGuide;

/// The programs of the guide to PostgreSQL compile.
#[cfg(all(doctest, feature = "postgres"))]
#[doc = include_str!("../docs/postgres.md")]
struct PostgresGuide;

/// The programs of the guide to SQLite compile and run.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/sqlite.md")]
struct SqliteGuide;
