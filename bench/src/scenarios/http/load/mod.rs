//! The suite's own load generator: one thread, epoll, fixed request bytes, every answer checked.
//!
//! - [`closed`]: each connection asks again as soon as it was answered. For CPU time and rates.
//! - [`churn`]: a connection for each request.
//! - [`paced`]: requests at fixed times, whatever the server does. For latencies: the time counts
//!   from when a request was due, so a server that stops is charged for all that had to wait.
//! - [`wrk`]: the same as `closed` and `churn` by the program that everybody has.

mod churn;
mod closed;
mod connection;
mod paced;
#[cfg(test)]
mod tests;
mod wrk;

pub use churn::{Churn, churn};
pub use closed::{Closed, closed};
pub use connection::open_all;
pub use paced::{Paced, paced};
pub use wrk::{Wrk, wrk, wrk_missing};
