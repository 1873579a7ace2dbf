//! Clients that read like blocking code and park the fiber.
//!
//! The pattern is the same everywhere: register the event, give control to the scheduler, the event
//! wakes the fiber, go on with the data. One connection serves all fibers of its shard by
//! pipelining: each appends its request to what is to be sent and waits for its own answer.
//!
//! | module | what it is | feature |
//! |---|---|---|
//! | `sqlite` | SQLite, compiled in, on the threads of the blocking pool | `sqlite` |
//! | `postgres` | PostgreSQL, many fibers on one connection | `postgres` |
//! | `redis` | Redis, many fibers on one connection | `redis` |
//!
//! Programs name these through the facade, as `cede::sqlite` and so on.

#![forbid(unsafe_code)]

#[cfg(any(feature = "postgres", feature = "redis"))]
mod backoff;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "some of it only PostgreSQL needs")
)]
mod outbox;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "some of it only PostgreSQL needs")
)]
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod stream;
#[cfg(all(feature = "tls", any(feature = "postgres", feature = "redis")))]
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "some of it only PostgreSQL needs")
)]
mod tls;

#[cfg(any(feature = "postgres", feature = "redis"))]
pub use pool::{
    CHECK_AFTER_DEFAULT, IDLE_TIME_MAX_DEFAULT, LIFETIME_MAX_DEFAULT, PoolMetrics, PoolSettings,
    SIZE_MAX_DEFAULT, WAIT_TIMEOUT_DEFAULT, WAITERS_MAX_DEFAULT,
};
