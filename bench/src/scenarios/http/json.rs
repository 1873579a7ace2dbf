//! `http-json`: a JSON body in and out, chosen by one of 20 routes.

use super::api;
use super::contest::{go, rust, settings, with_server};
use super::load::{Closed, closed};
#[cfg(feature = "cede")]
use super::servers::cede;
use super::servers::{self, Serve, axum, hyper};
use crate::peers;
use crate::sample::Outcome;
use crate::scenario::{Job, Params, Scenario};
use crate::server;

pub const SCENARIO: Scenario = Scenario {
    name: "http-json",
    about: "JSON in and out behind 20 routes: the server's CPU time for each request",
    cores: 2,
    measures: super::CPU_MEASURES,
    cases: || vec![Params::new().with("connections", 64).with("routes", api::KINDS.len())],
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", "as in http-hello, with its Router, Path and Json", |job| {
            contest(job, cede::json)
        }),
        rust("hyper", "as in http-hello, with matchit and serde_json by hand", |job| {
            contest(job, hyper::json)
        }),
        rust(
            "axum",
            "on tokio current_thread, TCP_NODELAY, with its Router, Path and Json",
            |job| contest(job, axum::json),
        ),
        go(settings::GO, |job| contest(job, servers::go::json)),
    ],
};

fn contest(job: &Job, serve: Serve) -> Outcome {
    let connections = job.number("connections")? as usize;
    let counted = job.count(400_000, 120_000);
    with_server(job, serve, |server, place| {
        let exchanges = api::exchanges(place.address).map_err(peers::failed)?;
        let mut clock = server.clock();
        let load = Closed { connections, depth: 1, warm: counted / 5, counted };
        closed(place.address, &exchanges, load, &mut clock)?;
        Ok(server::per_op(&clock.spent()?, counted).with_user())
    })
}
