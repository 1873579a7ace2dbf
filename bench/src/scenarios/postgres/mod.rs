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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases;
    use crate::scenarios::rows::Keys;

    const FEW: Asking = Asking { tasks: 4, warm: 5, counted: 20 };
    type Contestant = (&'static str, fn(String, Asking) -> Outcome);

    const CONTESTANTS: &[Contestant] = &[
        #[cfg(feature = "cede")]
        ("cede", cede::run),
        ("tokio-postgres", tokio_postgres::run),
    ];

    fn execute(url: &str, sql: &str) {
        let runtime = crate::peers::tokio_current_thread().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) =
                ::tokio_postgres::connect(url, ::tokio_postgres::NoTls).await.expect("it runs");
            tokio::spawn(connection);
            client.batch_execute(sql).await.expect(sql);
        });
    }

    #[test]
    fn every_contestant_gets_its_rows_and_finds_a_wrong_one() {
        if let Some(why) = databases::missing(Need::Postgres) {
            eprintln!("skipped: {why}");
            return;
        }
        let running = databases::start(Need::Postgres).map_err(|(_, why)| why);
        let running = running.expect("it is installed");
        let url = running.database().postgres_url();
        for (who, run) in CONTESTANTS {
            let sample = run(url.clone(), FEW).expect(who);
            assert_eq!(sample.values.len(), SCENARIO.measures.len(), "{who}");
            assert!(sample.values.iter().all(|value| value.is_finite()), "{who}: {sample:?}");
        }
        let key = Keys::of_task(3).next().expect("keys never end");
        execute(&url, &format!("update item set name = 'item-00000000' where id = {key}"));
        for (who, run) in CONTESTANTS {
            match run(url.clone(), FEW) {
                Err(Miss::Failed(why)) => assert!(why.contains("check failed"), "{who}: {why}"),
                other => panic!("{who}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_row_is_known_by_key_and_value() {
        assert_eq!(check_row(7, 7, "item-00000007"), Ok(()));
        for (id, name) in [(8, "item-00000007"), (7, "item-00000008"), (-7, "item-00000007")] {
            assert!(check_row(7, id, name).is_err(), "{id} {name}");
        }
    }
}
