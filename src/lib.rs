//! Stackful fibers for Rust that never change their thread: code that reads from top to bottom on
//! an event loop that never blocks.
//!
//! This crate is the front door. It holds no logic; it names what the crates behind it make.
//!
//! | layer | crate | what it is |
//! |---|---|---|
//! | services | `cede-services` | the HTTP/1.1 server and its router (feature `http`) |
//! | wrappers | `cede-wrappers` | clients in blocking style: SQLite, PostgreSQL, Redis (features `sqlite`, `postgres`, `redis`, and `tls`) |
//! | fibers | `cede-fiber` | scheduler, stacks, waits, scopes, deadlines, `sync`, `net`, `fs`, `process`, `signal` |
//! | reactor | `cede-reactor` | poller, registrations, timers; knows nothing of fibers |
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

#![forbid(unsafe_code)]

pub use cede_fiber::*;

#[cfg(feature = "http")]
pub use cede_services::http;
#[cfg(feature = "postgres")]
pub use cede_wrappers::postgres;
#[cfg(feature = "redis")]
pub use cede_wrappers::redis;
#[cfg(feature = "sqlite")]
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
