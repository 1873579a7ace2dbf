//! `http-pg`: a service that answers each request with a row of PostgreSQL, as JSON.
//!
//! The figure is the CPU time of the service's process alone. PostgreSQL has a third core where
//! there is one, else that of the load.

use super::contest::with_server_on;
use super::exchange::Exchange;
use super::load::{Closed, closed};
#[cfg(feature = "cede")]
use super::servers::cede;
use super::servers::{Place, axum};
use crate::database::Database;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenario::{Contestant, Job, Need, Params, Program, Scenario};
use crate::scenarios::rows::{self, Keys};
use crate::server;

/// Rows that are asked for in turn, out of all.
const ASKED: usize = 10_000;

pub const SCENARIO: Scenario = Scenario {
    name: "http-pg",
    about: "a row of PostgreSQL as JSON for each request: the service's CPU time",
    cores: 2,
    measures: super::CPU_MEASURES,
    cases: || vec![Params::new().with("connections", 64)],
    contestants: &[
        #[cfg(feature = "cede")]
        beside(
            "cede",
            "one shard, a fiber for each connection, as in http-json; one Client for all, a \
             prepared statement",
            |job| contest(job, cede::items),
        ),
        beside(
            "axum",
            "on tokio current_thread, TCP_NODELAY, with its Router, Path and Json; one client of \
             tokio-postgres for all (pipelined), a prepared statement",
            |job| contest(job, axum::items),
        ),
    ],
};

/// How a row is answered.
#[derive(Debug, serde::Serialize)]
pub struct Item {
    pub id: i32,
    pub name: String,
}

pub const ROUTE: &str = "/items/{id}";
const fn beside(who: &'static str, settings: &'static str, run: fn(&Job) -> Outcome) -> Contestant {
    Contestant { who, settings, program: Program::Beside(Need::Postgres, run) }
}

fn contest(job: &Job, serve: fn(&Place, Database) -> Result<(), Miss>) -> Outcome {
    let connections = job.number("connections")? as usize;
    let counted = job.count(300_000, 80_000);
    let (service_core, load_core) = server::cores(job)?;
    let database = job.database()?;
    let alone = job.spare_cores.first();
    database.pin(*alone.unwrap_or(&load_core))?;
    let serve = |place: &Place| serve(place, database);
    with_server_on(&[service_core], &[load_core], serve, |server, place| {
        let exchanges = exchanges(place).map_err(peers::failed)?;
        let mut clock = server.clock();
        let load = Closed { connections, depth: 1, warm: counted / 5, counted };
        closed(place.address, &exchanges, load, &mut clock)?;
        let sample = server::per_op(&clock.spent()?, counted).with_user();
        let per_second = 1e6 / sample.cpu_us_per_op;
        let sample = sample.note_more(&format!("{per_second:.0} in a second of its CPU time"));
        Ok(match alone {
            Some(_) => sample,
            None => sample.note_more("PostgreSQL on the core of the load"),
        })
    })
}

fn exchanges(place: &Place) -> Result<Vec<Exchange>, serde_json::Error> {
    Keys::of_task(0).take(ASKED).map(|key| exchange(place, key)).collect()
}

fn exchange(place: &Place, key: u32) -> Result<Exchange, serde_json::Error> {
    let path = ROUTE.replace("{id}", &key.to_string());
    let body = serde_json::to_string(&Item { id: key as i32, name: rows::value(key) })?;
    let fields = "User-Agent: cede-bench\r\nAccept: application/json\r\n";
    let exchange = Exchange::get(&path, place.address, fields, &body);
    Ok(Exchange { content_type: "application/json", ..exchange })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::databases;
    use crate::server::Clock;

    type Serve = fn(&Place, Database) -> Result<(), Miss>;
    const SERVICES: &[(&str, Serve)] = &[
        #[cfg(feature = "cede")]
        ("cede", cede::items),
        ("axum", axum::items),
    ];

    #[test]
    fn every_service_answers_with_the_rows() {
        if let Some(why) = databases::missing(Need::Postgres) {
            eprintln!("skipped: {why}");
            return;
        }
        let running = databases::start(Need::Postgres).map_err(|(_, why)| why);
        let running = running.expect("it is installed");
        let database = running.database();
        for (who, serve) in SERVICES {
            let place = Place::find().expect("a free port");
            let address = place.address;
            // It serves until the tests end.
            thread::spawn(move || serve(&place, database));
            let place = Place { address, folder: std::path::PathBuf::new() };
            let mut exchanges = exchanges(&place).expect("plain data");
            let load = Closed { connections: 4, depth: 1, warm: 10, counted: 40 };
            let drive = |exchanges: &[Exchange]| {
                let mut clock = Clock::of(std::process::id() as libc::pid_t);
                closed(address, exchanges, load, &mut clock)
            };
            assert_eq!(drive(&exchanges), Ok(()), "{who}");
            exchanges[3].body[0] = b'?';
            assert!(drive(&exchanges).is_err(), "{who}: a wrong body must be found");
        }
    }
}
