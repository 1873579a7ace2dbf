//! What the contestants of all HTTP scenarios have in common.

use super::servers::{Place, Serve};
use crate::affinity;
use crate::sample::{Miss, Outcome};
use crate::scenario::{Contestant, Job, Need, Program};
use crate::server::{self, Server};

/// How each peer is set up in every scenario that does not say otherwise.
pub mod settings {
    #[cfg(feature = "cede")]
    pub const CEDE: &str = "one shard, a fiber for each connection; default limits and time-outs, \
                            but no limit to the requests of a connection";
    pub const FLOOR: &str = "one thread, epoll (level), one receive and one send for what has \
                             come; parses nothing";
    pub const MINIHTTP: &str = "1 worker, no work stealing, a coroutine for each connection; it \
                                has no switch for TCP_NODELAY";
    pub const HYPER: &str = "on tokio current_thread, a task for each connection, TCP_NODELAY, \
                             pipeline_flush; no time-outs";
    pub const NGINX: &str = "1 process (no master), return 200, access_log off, tcp_nodelay, no \
                             limit to the requests of a connection";
    pub const GO: &str = "net/http, GOMAXPROCS=1, TCP_NODELAY; no time-outs";
}

pub const fn rust(
    who: &'static str,
    settings: &'static str,
    run: fn(&Job) -> Outcome,
) -> Contestant {
    Contestant { who, settings, program: Program::Rust(run) }
}

pub const fn go(settings: &'static str, run: fn(&Job) -> Outcome) -> Contestant {
    Contestant { who: "go", settings, program: Program::Beside(Need::Go, run) }
}

pub const fn nginx(settings: &'static str, run: fn(&Job) -> Outcome) -> Contestant {
    Contestant { who: "nginx", settings, program: Program::Beside(Need::Nginx, run) }
}

/// Starts the server on a core of its own, lets `drive` load it from another, and ends it.
pub fn with_server<T>(
    job: &Job,
    serve: Serve,
    drive: impl FnOnce(&Server, &Place) -> Result<T, Miss>,
) -> Result<T, Miss> {
    let (server_core, load_core) = server::cores(job)?;
    with_server_on(&[server_core], &[load_core], serve, drive)
}

/// The same on these cores.
pub fn with_server_on<T>(
    server_cores: &[usize],
    load_cores: &[usize],
    serve: impl FnOnce(&Place) -> Result<(), Miss>,
    drive: impl FnOnce(&Server, &Place) -> Result<T, Miss>,
) -> Result<T, Miss> {
    let place = Place::find()?;
    let server = Server::fork(server_cores, || serve(&place))?;
    affinity::pin(load_cores)?;
    server.verdict(drive(&server, &place))
}
