//! `http-idle`: what 10,000 keep-alive connections that say nothing cost, in memory and in latency.
//!
//! Memory is what the server's process has resident; the kernel's share of a socket is the same for
//! all and is not in it.

use std::thread;
use std::time::Duration;

use super::contest::{go, nginx, rust, settings, with_server};
use super::exchange::{Checker, Exchange};
use super::load::{Paced, open_all, paced};
#[cfg(feature = "cede")]
use super::servers::cede;
use super::servers::{self, Serve, floor, hyper, minihttp};
use crate::latency::Latencies;
use crate::limits;
use crate::sample::{Miss, Outcome};
use crate::scenario::{Better, Job, Measure, Params, Scenario};
use crate::server;

const IDLE: usize = 10_000;
const ACTIVE: usize = 64;
/// Requests of the active ones in a second, far below what any contestant can do.
const RATE: u64 = 10_000;
/// Descriptors besides those of connections.
const OTHER_DESCRIPTORS: u64 = 256;
/// What servers do a moment after a request should be done when the memory is looked at.
const SETTLING: Duration = Duration::from_millis(300);

pub const SCENARIO: Scenario = Scenario {
    name: "http-idle",
    about: "10,000 idle keep-alive connections: memory of each, and latency of 64 active ones",
    cores: 2,
    measures: &[
        Measure { name: "", unit: "resident bytes per idle connection", better: Better::Lower },
        Measure { name: "p99 without", unit: "us until the answer, p99", better: Better::Lower },
        Measure { name: "p99 with", unit: "us until the answer, p99", better: Better::Lower },
        Measure { name: "p99 with/without", unit: "ratio of both", better: Better::Lower },
    ],
    cases: || vec![Params::new().with("idle", IDLE).with("active", ACTIVE).with("rate", RATE)],
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", settings::CEDE, |job| contest(job, cede::hello)),
        rust("floor", settings::FLOOR, |job| contest(job, floor::keep_alive)),
        rust("may (minihttp)", settings::MINIHTTP, |job| contest(job, minihttp::hello)),
        rust("hyper", settings::HYPER, |job| contest(job, hyper::hello)),
        nginx(settings::NGINX, |job| contest(job, servers::nginx::hello)),
        go(settings::GO, |job| contest(job, servers::go::hello)),
    ],
};

fn contest(job: &Job, serve: Serve) -> Outcome {
    let (idle, active) = (job.number("idle")? as usize, job.number("active")? as usize);
    let rate = job.number("rate")?;
    let counted = rate * job.count(4, 2);
    limits::raise_descriptors((idle + active) as u64 + OTHER_DESCRIPTORS)?;
    with_server(job, serve, |server, place| {
        let exchanges = [Exchange::hello(place.address)];
        let mut checker = Checker::new(&exchanges);
        let mut active = open_all(place.address, active, &mut checker)?;
        let load = Paced { rate, warm: rate / 2, counted, alone: true };
        let without = p99(paced(&mut active, &mut checker, load, |_| 0, || Ok(()))?)?;
        thread::sleep(SETTLING);
        let before = server.memory()?.resident_bytes;
        let idlers = open_all(place.address, idle, &mut checker)?;
        thread::sleep(SETTLING);
        let after = server.memory()?.resident_bytes;
        let mut clock = server.clock();
        let with = paced(&mut active, &mut checker, load, |_| 0, || clock.start())?;
        clock.stop()?;
        let with = p99(with)?;
        let mut sample = server::per_op(&clock.spent()?, counted);
        let each = after.saturating_sub(before) as f64 / idlers.len() as f64;
        sample.values = vec![each, without, with, with / without];
        sample.note = None;
        Ok(sample)
    })
}

fn p99(latencies: Vec<Latencies>) -> Result<f64, Miss> {
    let only = latencies.first().filter(|only| only.count() > 0);
    only.map(|only| only.micros(0.99)).ok_or_else(|| Miss::Failed("no answers".to_owned()))
}
