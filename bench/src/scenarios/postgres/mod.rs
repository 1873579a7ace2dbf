//! `pg`: a row by its primary key, by one prepared statement on one connection.
//!
//! The contestant is the client: its process has a core of its own, and PostgreSQL the other. All
//! contestants of a run ask the same server.

#[cfg(feature = "cede")]
mod cede;
mod tokio_postgres;

use super::rows::{self, Asking};
use crate::affinity;
use crate::sample::{Miss, Outcome};
use crate::scenario::{Contestant, Job, Need, Program, Scenario};
use crate::server;

pub const SCENARIO: Scenario = Scenario {
    name: "pg",
    about: "a row of PostgreSQL by its key, tasks sharing one connection: rate and client CPU time",
    cores: 2,
    measures: rows::CLIENT_MEASURES,
    cases: rows::cases,
    contestants: &[
        #[cfg(feature = "cede")]
        postgres(
            "cede",
            "one shard, a fiber for each asker, one Client, prepare, query_one",
            |job| contest(job, cede::run),
        ),
        postgres(
            "tokio-postgres",
            "on tokio current_thread, a task for each asker, one Client, prepare, query_one",
            |job| contest(job, tokio_postgres::run),
        ),
    ],
};

const fn postgres(
    who: &'static str,
    settings: &'static str,
    run: fn(&Job) -> Outcome,
) -> Contestant {
    Contestant { who, settings, program: Program::Beside(Need::Postgres, run) }
}

/// Asks as many times as fit into a few seconds, at the rate that this many tasks reach.
fn contest(job: &Job, run: fn(String, Asking) -> Outcome) -> Outcome {
    let (client_core, database_core) = server::cores(job)?;
    let asking = Asking::of(job, 1)?;
    let counted = match asking.tasks {
        1 => job.count(60_000, 20_000),
        _ => job.count(400_000, 120_000),
    };
    let asking = Asking::of(job, counted)?;
    let database = job.database()?;
    database.pin(database_core)?;
    affinity::pin(&[client_core])?;
    run(database.postgres_url(), asking)
}

fn check_row(key: u32, id: i32, name: &str) -> Result<(), Miss> {
    if i64::from(id) != i64::from(key) {
        return Err(rows::wrong(&format!("the row of {key} says that it is {id}")));
    }
    rows::check_value(key, name)
}
