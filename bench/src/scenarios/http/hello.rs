//! `http-hello`, `http-pipelined`, `http-churn`: what a server pays for the smallest request.

use super::contest::{go, nginx, rust, settings, with_server};
use super::exchange::{Checker, Exchange};
use super::load::{Churn, Closed, Paced, Wrk, churn, closed, open_all, paced, wrk};
#[cfg(feature = "cede")]
use super::servers::cede;
use super::servers::{self, Place, Serve, floor, hyper, minihttp};
use crate::sample::{Miss, Outcome};
use crate::scenario::{Job, Params, Scenario};
use crate::server;

/// The parameter that says who makes the load, where it is not the suite's own generator.
pub const LOAD_PARAM: &str = "load";
pub const LOAD_WRK: &str = "wrk";

/// Whether wrk can make the load of this scenario.
pub fn wrk_can(scenario: &Scenario) -> bool {
    [HELLO.name, PIPELINED.name, CHURN.name].contains(&scenario.name)
}

pub const HELLO: Scenario = Scenario {
    name: "http-hello",
    about: "\"Hello, World!\" on keep-alive connections: the server's CPU time for each request",
    cores: 2,
    measures: super::CPU_MEASURES,
    cases: || [64, 256].map(|count| Params::new().with("connections", count)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", settings::CEDE, |job| keep_alive(job, 1, cede::hello)),
        rust("floor", settings::FLOOR, |job| keep_alive(job, 1, floor::keep_alive)),
        rust("may (minihttp)", settings::MINIHTTP, |job| keep_alive(job, 1, minihttp::hello)),
        rust("hyper", settings::HYPER, |job| keep_alive(job, 1, hyper::hello)),
        nginx(settings::NGINX, |job| keep_alive(job, 1, servers::nginx::hello)),
        go(settings::GO, |job| keep_alive(job, 1, servers::go::hello)),
    ],
};

/// Requests that a client of `http-pipelined` sends at once.
const DEPTH: usize = 16;

pub const PIPELINED: Scenario = Scenario {
    name: "http-pipelined",
    about: "the same with 16 requests sent at once on each connection",
    cores: 2,
    measures: super::CPU_MEASURES,
    cases: || vec![Params::new().with("connections", 64).with("depth", DEPTH)],
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", settings::CEDE, |job| keep_alive(job, DEPTH, cede::hello)),
        rust("floor", settings::FLOOR, |job| keep_alive(job, DEPTH, floor::keep_alive)),
        rust("may (minihttp)", settings::MINIHTTP, |job| keep_alive(job, DEPTH, minihttp::hello)),
        rust("hyper", settings::HYPER, |job| keep_alive(job, DEPTH, hyper::hello)),
        nginx(settings::NGINX, |job| keep_alive(job, DEPTH, servers::nginx::hello)),
        go(settings::GO, |job| keep_alive(job, DEPTH, servers::go::hello)),
    ],
};

/// may_minihttp is not among them, because it keeps the connection open.
pub const CHURN: Scenario = Scenario {
    name: "http-churn",
    about: "a connection for each request: the server's CPU time to accept, answer and close",
    cores: 2,
    measures: super::CPU_MEASURES,
    cases: || vec![Params::new().with("connections", 64)],
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", settings::CEDE, |job| once(job, cede::hello)),
        rust(
            "floor",
            "one thread, epoll; registers a connection only if nothing has come yet",
            |job| once(job, floor::once),
        ),
        rust("hyper", settings::HYPER, |job| once(job, hyper::hello)),
        nginx(settings::NGINX, |job| once(job, servers::nginx::hello)),
        go(settings::GO, |job| once(job, servers::go::hello)),
    ],
};

/// Requests in a second while latencies are looked at: far below what any contestant can do.
const PACE: u64 = 20_000;

fn keep_alive(job: &Job, depth: usize, serve: Serve) -> Outcome {
    let connections = job.number("connections")? as usize;
    let counted = match depth {
        1 => job.count(600_000, 200_000),
        _ => job.count(4_000_000, 1_200_000),
    };
    let full = Closed { connections, depth, warm: counted / 5, counted };
    with_server(job, serve, |server, place| {
        let exchanges = [Exchange::hello(place.address)];
        let mut clock = server.clock();
        let done = if by_wrk(job) {
            // Every answer is checked until wrk takes over, which sees no more than statuses.
            let check = Closed { warm: 1, counted: counted / 5, ..full };
            closed(place.address, &exchanges, check, &mut server.clock())?;
            let load = Wrk { connections, depth, once: false, seconds: job.count(4, 2) };
            wrk(place, load, &mut clock)?
        } else {
            closed(place.address, &exchanges, full, &mut clock)?;
            counted
        };
        let sample = server::per_op(&clock.spent()?, done).with_user();
        match depth {
            1 => Ok(sample.note_more(&paced_note(job, place, &exchanges, connections)?)),
            _ => Ok(sample),
        }
    })
}

/// What clients wait for when the server has time to spare.
fn paced_note(
    job: &Job,
    place: &Place,
    exchanges: &[Exchange],
    connections: usize,
) -> Result<String, Miss> {
    let mut checker = Checker::new(exchanges);
    let mut connections = open_all(place.address, connections, &mut checker)?;
    let counted = PACE * job.count(2, 1);
    let load = Paced { rate: PACE, warm: PACE / 4, counted, alone: true };
    let latencies = paced(&mut connections, &mut checker, load, |_| 0, || Ok(()))?;
    let all = latencies.first().ok_or_else(|| Miss::Failed("no latencies".to_owned()))?;
    Ok(format!("at {PACE} per second {}", all.summary()))
}

fn once(job: &Job, serve: Serve) -> Outcome {
    let connections = job.number("connections")? as usize;
    let counted = job.count(150_000, 50_000);
    let (_, load_core) = server::cores(job)?;
    let cores: Vec<usize> =
        std::iter::once(load_core).chain(job.spare_cores.first().copied()).collect();
    let full = Churn { at_a_time: connections, warm: counted / 5, counted, cores: &cores };
    with_server(job, serve, |server, place| {
        let exchange = Exchange::last_hello(place.address);
        let mut clock = server.clock();
        let done = if by_wrk(job) {
            let check = Churn { warm: 1, counted: counted / 5, ..full };
            churn(place.address, &exchange, check, &mut server.clock())?;
            let load = Wrk { connections, depth: 1, once: true, seconds: job.count(4, 2) };
            wrk(place, load, &mut clock)?
        } else {
            churn(place.address, &exchange, full, &mut clock)?;
            counted
        };
        Ok(server::per_op(&clock.spent()?, done).with_user())
    })
}

fn by_wrk(job: &Job) -> bool {
    job.word(LOAD_PARAM).is_ok_and(|load| load == LOAD_WRK)
}
