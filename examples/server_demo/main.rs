//! A server of the mixed kind: event loops for connections, worker threads for what takes long.
//!
//!     cargo run --release --example server_demo -- --port 9000
//!     ab -c 10 -n 10000 127.0.0.1:9000/test/fast
//!     ab -c 10 -n 100 127.0.0.1:9000/test/slow
//!
//! ```text
//!   accept thread (shard)                          worker thread
//!   +-----------------------------------+          +-----------------------+
//!   | listening socket (SO_REUSEPORT)   |          |                       |
//!   |   accept --> a fiber with a block |--task--> | queue --> does it     |
//!   |              reads, FAST: answers |          |                       |
//!   |              SLOW: waits for <----|--wakeup--|           has done it |
//!   |              the task, the client |          |                       |
//!   +-----------------------------------+          +-----------------------+
//! ```
//!
//! `GET /test/fast` is answered in the accept thread, `GET /test/slow` takes `--slow-duration` on a
//! worker. One request for each connection, of at most 4096 bytes; what cannot become a good request
//! is cut off at the byte that shows it. What a worker is given is chosen by `--delegate`: the task
//! alone, the connection to be served synchronously, or the connection for the worker's own event
//! loop, where the number of workers no longer limits how many slow requests run at a time.
//!
//! **No allocation while connections are served**, nor when they come: each accept thread reserves
//! what `--accept-capacity` connections need when it starts. `kill -USR1` prints statistics, among
//! them how often anything was allocated since the first connection.
//!
//! **Limits.** Connections of a thread: `--accept-capacity`; more wait in the kernel's queue, as they
//! do while descriptors have run out. Tasks that wait: one for each connection, first in, first out.
//! A request: 4096 bytes and `--request-timeout`.
//!
//! Exit codes: 1 for options that make no sense, 10 when there is no memory for so many connections,
//! 100 for any other failure.

mod acceptor;
mod allocations;
mod block;
mod connection;
mod counters;
mod daemon;
mod event_loop;
mod options;
mod request;
mod server;
mod task_holder;
mod task_queue;
mod work;
mod workers;

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use daemon::Starter;
use options::{HELP, Options};

const EXIT_USAGE: u8 = 1;
const EXIT_MEMORY: u8 = 10;
const EXIT_OTHER: u8 = 100;

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("server_demo: {text}\nserver_demo --help says what there is");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if options.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    run(options).unwrap_or_else(|error| fail(&error, None))
}

fn options() -> Result<Options, String> {
    let args: Result<Vec<String>, OsString> =
        env::args_os().skip(1).map(OsString::into_string).collect();
    Options::parse(args.map_err(|arg| format!("{} is not UTF-8", arg.display()))?)
}

fn run(options: Options) -> io::Result<ExitCode> {
    let mut starter = Starter::of_this_process()?;
    if options.daemonize && starter.is_none() {
        return daemon::start(options.verbose);
    }
    let announce = |addr: SocketAddr| {
        server::say(format_args!("listening on {addr}"));
        if let Some(starter) = starter.take() {
            starter.tell(&format!("listening on {addr}"));
        }
    };
    match server::run(options, announce) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Ok(fail(&error, starter)),
    }
}

fn fail(error: &io::Error, starter: Option<Starter>) -> ExitCode {
    let (text, code) = match error.kind() {
        io::ErrorKind::OutOfMemory => ("Not enough memory! ", EXIT_MEMORY),
        _ => ("", EXIT_OTHER),
    };
    eprintln!("server_demo: {text}{error}");
    if let Some(starter) = starter {
        starter.tell(&format!("server_demo: {text}{error}"));
    }
    ExitCode::from(code)
}
