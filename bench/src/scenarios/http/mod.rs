//! The HTTP scenarios: what a server pays for a request, and how long clients wait for it.
//!
//! As in `echo` the contestant's process is the load generator, and the server is a process of its
//! own on another core, forked before there is any thread. Every answer is checked: its status,
//! length and body. One wrong answer, and the contestant has no figure.
//!
//! ```text
//!   core 1: load (closed, churn, paced)   <── loopback ──>   core 0: server
//!           exchange: what is asked, what must come back      servers/: one file per contestant
//! ```

mod contest;
mod exchange;
mod hello;
mod load;
mod response;
mod servers;

pub use hello::{CHURN, HELLO, PIPELINED};
