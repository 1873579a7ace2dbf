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

mod api;
mod contest;
mod exchange;
mod hello;
mod idle;
mod json;
mod load;
mod postgres;
mod response;
mod servers;
mod tail;

use crate::scenario::{Better, Measure};

pub use hello::{CHURN, HELLO, LOAD_PARAM, LOAD_WRK, PIPELINED, wrk_can};
pub use idle::SCENARIO as IDLE;
pub use json::SCENARIO as JSON;
pub use load::wrk_missing;
pub use postgres::SCENARIO as POSTGRES;
pub use tail::SCENARIO as TAIL;

/// The two figures of the scenarios that are about CPU time.
const CPU_MEASURES: &[Measure] = &[
    Measure { name: "", unit: "us of server CPU per request", better: Better::Lower },
    Measure {
        name: "user",
        unit: "us of server CPU in user space per request",
        better: Better::Lower,
    },
];
