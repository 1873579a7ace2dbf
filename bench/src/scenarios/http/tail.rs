//! `http-tail`: how long clients wait when one request of a hundred burns 10 ms of CPU.
//!
//! The weak side of connections that never change their thread: who shares a shard with a burning
//! request waits for its end. The server has two cores and two shards, workers or processors.

use super::contest::{go, rust, with_server_on};
use super::exchange::Exchange;
use super::load::{Paced, open_all, paced};
#[cfg(feature = "cede")]
use super::servers::cede;
use super::servers::{self, Serve, burn, hyper};
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Job, Measure, Params, Scenario};
use crate::scenarios::http::exchange::Checker;
use crate::server;

const CONNECTIONS: usize = 64;
/// One request of so many burns.
const BURNS_ONE_OF: u64 = 100;
/// Requests in a second: the burns alone take a fifth of one core.
const RATE: u64 = 2_000;

pub const SCENARIO: Scenario = Scenario {
    name: "http-tail",
    about: "1% of the requests burn 10 ms of CPU: how long the others wait, on two threads",
    cores: 2,
    measures: &[
        Measure { name: "", unit: "us until the answer, p99", better: Better::Lower },
        Measure { name: "p50", unit: "us until the answer, p50", better: Better::Lower },
        Measure { name: "p99.9", unit: "us until the answer, p99.9", better: Better::Lower },
    ],
    cases: || vec![Params::new().with("connections", CONNECTIONS).with("rate", RATE)],
    contestants: &[
        #[cfg(feature = "cede")]
        rust("cede", "two shards; burns in the handler", |job| contest(job, cede::burn)),
        #[cfg(feature = "cede")]
        rust("cede (blocking)", "two shards; burns on the blocking pool", |job| {
            contest(job, cede::burn_apart)
        }),
        rust("hyper", "on tokio multi-thread with 2 workers; burns in the handler", |job| {
            contest(job, hyper::burn)
        }),
        rust(
            "hyper (spawn_blocking)",
            "on tokio multi-thread with 2 workers; burns on the blocking pool",
            |job| contest(job, hyper::burn_apart),
        ),
        go("net/http, GOMAXPROCS=2; burns in the handler", |job| contest(job, servers::go::burn)),
    ],
};

fn contest(job: &Job, serve: Serve) -> Outcome {
    let rate = job.number("rate")?;
    let connections = job.number("connections")? as usize;
    let seconds = job.count(8, 3);
    // With a third core the load has one to itself.
    let alone = job.spare_cores.first();
    let load_cores = alone.map_or(job.cores.as_slice(), std::slice::from_ref);
    with_server_on(&job.cores, load_cores, serve, |server, place| {
        let exchanges = [
            Exchange::hello(place.address),
            Exchange::get("/burn", place.address, "", burn::BURNT),
        ];
        let mut checker = Checker::new(&exchanges);
        let mut connections = open_all(place.address, connections, &mut checker)?;
        let mut clock = server.clock();
        let load = Paced { rate, warm: rate, counted: rate * seconds, alone: alone.is_some() };
        let latencies = paced(&mut connections, &mut checker, load, which_burns, || clock.start())?;
        clock.stop()?;
        let [others, burns] = latencies.as_slice() else {
            return Err(Miss::Failed("two kinds of requests were asked".to_owned()));
        };
        check("the number of answers", others.count() + burns.count(), load.counted)?;
        let spent = clock.spent()?;
        let burnt = (spent.user + spent.system).as_secs_f64();
        let least = burns.count() as f64 * burn::BURN.as_secs_f64() * 0.5;
        if burnt < least {
            return Err(Miss::Failed(format!(
                "check failed: {} burns took {burnt:.3} s of CPU time, {least:.3} s are the least",
                burns.count()
            )));
        }
        let mut sample = server::per_op(&spent, load.counted);
        sample.values = [0.99, 0.5, 0.999].map(|part| others.micros(part)).into();
        let shared = if alone.is_some() { "" } else { "; the load has no core of its own" };
        Ok(sample.note_more(&format!("the burning requests {}{shared}", burns.summary())))
    })
}

/// One of a hundred, spread over all connections without a pattern.
fn which_burns(number: u64) -> usize {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
    usize::from(mixed.is_multiple_of(BURNS_ONE_OF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_burns_on_every_connection() {
        let numbers = 0..200_000;
        let burning: Vec<u64> = numbers.filter(|&number| which_burns(number) == 1).collect();
        assert!((1_800..2_200).contains(&burning.len()), "{}", burning.len());
        for connection in 0..CONNECTIONS as u64 {
            let here = burning.iter().filter(|n| *n % CONNECTIONS as u64 == connection).count();
            assert!((10..60).contains(&here), "{connection}: {here}");
        }
    }
}
