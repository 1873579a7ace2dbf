//! `http-hello`, `http-pipelined`, `http-churn`: what a server pays for the smallest request.

use super::contest::{go, nginx, rust, settings, with_server};
use super::exchange::Exchange;
use super::load::{Closed, churn, closed};
#[cfg(feature = "cede")]
use super::servers::cede;
use super::servers::{self, Serve, floor, hyper, minihttp};
use crate::sample::Outcome;
use crate::scenario::{Better, Job, Measure, Params, Scenario};
use crate::server;

const MEASURES: &[Measure] = &[
    Measure { name: "", unit: "us of server CPU per request", better: Better::Lower },
    Measure {
        name: "user",
        unit: "us of server CPU in user space per request",
        better: Better::Lower,
    },
];

pub const HELLO: Scenario = Scenario {
    name: "http-hello",
    about: "\"Hello, World!\" on keep-alive connections: the server's CPU time for each request",
    cores: 2,
    measures: MEASURES,
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
    measures: MEASURES,
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
    measures: MEASURES,
    cases: || vec![Params::new().with("connections", 64)],
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", settings::CEDE, |job| once(job, cede::hello)),
        rust("floor", settings::FLOOR, |job| once(job, floor::once)),
        rust("hyper", settings::HYPER, |job| once(job, hyper::hello)),
        nginx(settings::NGINX, |job| once(job, servers::nginx::hello)),
        go(settings::GO, |job| once(job, servers::go::hello)),
    ],
};

fn keep_alive(job: &Job, depth: usize, serve: Serve) -> Outcome {
    let connections = job.number("connections")? as usize;
    let counted = match depth {
        1 => job.count(600_000, 200_000),
        _ => job.count(4_000_000, 1_200_000),
    };
    with_server(job, serve, |server, place| {
        let exchanges = [Exchange::hello(place.address)];
        let mut clock = server.clock();
        let load = Closed { connections, depth, warm: counted / 5, counted };
        closed(place.address, &exchanges, load, &mut clock)?;
        Ok(server::per_op(&clock.spent()?, counted).with_user())
    })
}

fn once(job: &Job, serve: Serve) -> Outcome {
    let connections = job.number("connections")? as usize;
    let counted = job.count(100_000, 30_000);
    with_server(job, serve, |server, place| {
        let exchange = Exchange::last_hello(place.address);
        let mut clock = server.clock();
        churn(place.address, &exchange, connections, counted / 5, counted, &mut clock)?;
        Ok(server::per_op(&clock.spent()?, counted).with_user())
    })
}
