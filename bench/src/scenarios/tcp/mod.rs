//! `echo` and `churn`: what a server pays for a message, and for a connection.
//!
//! The contestant's process is the load generator; the server is a process of its own, forked before
//! there is any thread. Each has a core. The figure is the CPU time that the system charged to the
//! server, with its part of the kernel's work on the way: that is what a load generator which
//! saturates first cannot distort much.
//!
//! ```text
//!   core 1: client (epoll, checks every byte)  <── loopback ──>  core 0: server
//!           reads the server's CPU clock when warm and at the end
//! ```

mod client;
mod floor;
mod servers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use crate::sample::{Miss, Outcome};
use crate::scenario::{Better, Contestant, Job, Measure, Need, Params, Program, Scenario};
use crate::server::{self, Clock};

/// The length of a message, either way.
const MESSAGE_BYTES: usize = 100;

pub const ECHO: Scenario = Scenario {
    name: "echo",
    about: "a TCP server sends back what it received: its CPU time for each round trip",
    cores: 2,
    measures: &[Measure {
        name: "",
        unit: "us of server CPU per round trip",
        better: Better::Lower,
    }],
    cases: || vec![Params::new().with("connections", 64).with("bytes", MESSAGE_BYTES)],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, a fiber for each connection",
            program: Program::Rust(|job| contest(job, servers::cede)),
        },
        Contestant {
            who: "floor",
            settings: "one thread, epoll (level), one receive and one send for each message",
            program: Program::Rust(|job| contest(job, floor::eager)),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, a coroutine for each connection",
            program: Program::Rust(|job| contest(job, servers::may)),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, a task for each connection",
            program: Program::Rust(|job| contest(job, servers::tokio)),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, a goroutine for each connection",
            program: Program::Beside(Need::Go, |job| contest(job, servers::go)),
        },
    ],
};

pub const CHURN: Scenario = Scenario {
    name: "churn",
    about: "accept, one message each way, close: the server's CPU time for each connection",
    cores: 2,
    measures: &[Measure {
        name: "",
        unit: "us of server CPU per connection",
        better: Better::Lower,
    }],
    cases: || vec![Params::new().with("connections", 32).with("bytes", MESSAGE_BYTES)],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, a fiber for each connection",
            program: Program::Rust(|job| contest(job, servers::cede)),
        },
        Contestant {
            who: "floor",
            settings: "one thread, epoll; registers a connection only if nothing has come yet",
            program: Program::Rust(|job| contest(job, floor::eager)),
        },
        Contestant {
            who: "floor (registers all)",
            settings: "the same, but registers each connection before it reads",
            program: Program::Rust(|job| contest(job, floor::registering)),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, a coroutine for each connection",
            program: Program::Rust(|job| contest(job, servers::may)),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, a task for each connection",
            program: Program::Rust(|job| contest(job, servers::tokio)),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, a goroutine for each connection",
            program: Program::Beside(Need::Go, |job| contest(job, servers::go)),
        },
    ],
};

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Service {
    /// Sends back what comes, until the client closes.
    Echo,
    /// Sends back one message, then closes.
    Once,
}

/// Serves the listener for ever; returns only with an error.
type Serve = fn(TcpListener, Service) -> Result<(), Miss>;

/// Drives the server with this many connections: so many operations that warm, and those that count.
type Load = fn(SocketAddr, usize, u64, u64, &mut Clock) -> Result<(), Miss>;

/// Longer than any number of connections under way.
const BACKLOG: i32 = 1024;

fn contest(job: &Job, serve: Serve) -> Outcome {
    let connections = job.number("connections")? as usize;
    let (listener, address) = listen()?;
    // Of the two scenarios only one is called `churn`; its connections are those at a time.
    let (service, counted, load): (_, _, Load) = match job.scenario == CHURN.name {
        true => (Service::Once, job.count(50_000, 10_000), client::churn),
        false => (Service::Echo, job.count(400_000, 100_000), client::echo),
    };
    server::measure(
        job,
        counted,
        || serve(listener, service),
        |clock| load(address, connections, counted / 5, counted, clock),
    )
}

fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: no pointers are passed; the descriptor is the listener's.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let address = listener.local_addr()?;
    Ok((listener, address))
}
