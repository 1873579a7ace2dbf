//! `redis`: a value by its key, on one connection.
//!
//! The contestant is the client: its process has a core of its own, and Redis the other. All
//! contestants of a run ask the same server.

#[cfg(feature = "cede")]
mod cede;
mod multiplexed;

use super::rows::{self, Asking};
use crate::affinity;
use crate::sample::Outcome;
use crate::scenario::{Contestant, Job, Need, Program, Scenario};
use crate::server;

pub const SCENARIO: Scenario = Scenario {
    name: "redis",
    about: "GET of a key of Redis, tasks sharing one connection: rate and client CPU time",
    cores: 2,
    measures: rows::CLIENT_MEASURES,
    cases: rows::cases,
    contestants: &[
        #[cfg(feature = "cede")]
        redis("cede", "one shard, a fiber for each asker, one Client, its Commands", |job| {
            contest(job, cede::run)
        }),
        redis(
            "redis-rs",
            "on tokio current_thread, a task for each asker, a clone of one \
             MultiplexedConnection, its AsyncCommands; TCP_NODELAY, no time-out of an answer",
            |job| contest(job, multiplexed::run),
        ),
    ],
};

const fn redis(who: &'static str, settings: &'static str, run: fn(&Job) -> Outcome) -> Contestant {
    Contestant { who, settings, program: Program::Beside(Need::Redis, run) }
}

/// Asks as many times as fit into a few seconds, at the rate that this many tasks reach.
fn contest(job: &Job, run: fn(String, Asking) -> Outcome) -> Outcome {
    let (client_core, database_core) = server::cores(job)?;
    let asking = Asking::of(job, 1)?;
    let counted = match asking.tasks {
        1 => job.count(60_000, 20_000),
        2..64 => job.count(700_000, 200_000),
        _ => job.count(2_500_000, 700_000),
    };
    let asking = Asking::of(job, counted)?;
    let database = job.database()?;
    database.pin(database_core)?;
    affinity::pin(&[client_core])?;
    run(database.redis_url(), asking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases;
    use crate::sample::Miss;
    use crate::scenarios::rows::Keys;

    const FEW: Asking = Asking { tasks: 4, warm: 5, counted: 20 };
    type Contestant = (&'static str, fn(String, Asking) -> Outcome);

    const CONTESTANTS: &[Contestant] = &[
        #[cfg(feature = "cede")]
        ("cede", cede::run),
        ("redis-rs", multiplexed::run),
    ];

    #[test]
    fn every_contestant_gets_its_values_and_finds_a_wrong_one() {
        if let Some(why) = databases::missing(Need::Redis) {
            eprintln!("skipped: {why}");
            return;
        }
        let running = databases::start(Need::Redis).map_err(|(_, why)| why);
        let running = running.expect("it is installed");
        let url = running.database().redis_url();
        for (who, run) in CONTESTANTS {
            let sample = run(url.clone(), FEW).expect(who);
            assert_eq!(sample.values.len(), SCENARIO.measures.len(), "{who}");
            assert!(sample.values.iter().all(|value| value.is_finite()), "{who}: {sample:?}");
        }
        let key = Keys::of_task(3).next().expect("keys never end");
        let mut connection = ::redis::Client::open(url.as_str())
            .and_then(|client| client.get_connection())
            .expect("it runs");
        let set = ::redis::cmd("SET").arg(key).arg("item-00000000").exec(&mut connection);
        set.expect("it runs");
        for (who, run) in CONTESTANTS {
            match run(url.clone(), FEW) {
                Err(Miss::Failed(why)) => assert!(why.contains("check failed"), "{who}: {why}"),
                other => panic!("{who}: {other:?}"),
            }
        }
    }
}
