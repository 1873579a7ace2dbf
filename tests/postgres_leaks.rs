//! What a client of PostgreSQL leaves behind, which is nothing. One test at a time: descriptors are
//! those of the whole process.

mod common;
#[path = "common/postgres.rs"]
mod postgres;

use std::time::Duration;

use cede::postgres::{Client, Config, Error};

use common::{Random, eventually, fds, within_reason};
use postgres::Postgres;

fn one(client: &Client, n: i32) -> i32 {
    client.query_one("select $1::int", &[&n]).unwrap().get(0)
}

#[test]
fn nothing_is_left_behind() {
    let _ = Postgres::shared();
    the_last_client_closes_the_connection();
    a_storm_of_deadlines_leaves_nobody_with_the_answer_of_another();
}

fn the_last_client_closes_the_connection() {
    within_reason(|| {
        let sql = "select count(*) from pg_stat_activity where application_name = 'closing'";
        let name = "closing";
        cede::run(move || {
            let before = (fds(), cede::fibers().len());
            for case in 0..4 {
                let mut config: Config = Postgres::shared().url("postgres").parse().unwrap();
                config.application_name(name);
                let client = Client::connect(config).unwrap();
                let row = client.query_one(sql, &[]).unwrap();
                assert_eq!(row.get::<_, i64>(0), 1);
                match case {
                    0 => {}
                    1 => {
                        let result = cede::with_deadline(Duration::from_millis(5), || {
                            client.query("select pg_sleep(0.1)", &[])
                        });
                        assert!(result.unwrap_err().is_timeout());
                    }
                    2 => {
                        let result = client.query_each(
                            "select repeat('x', 1000) from generate_series(1, 5000)",
                            &[],
                            |_| Err::<(), Error>(client.query_one("selekt", &[]).unwrap_err()),
                        );
                        assert!(result.is_err());
                    }
                    _ => {
                        let clone = client.clone();
                        drop(client);
                        assert_eq!(one(&clone, 1), 1);
                        drop(clone);
                        let server = Postgres::shared();
                        eventually("the session has ended", || {
                            cede::sleep(Duration::from_millis(1)).unwrap();
                            server.psql(sql).trim() == "0"
                        });
                        continue;
                    }
                }
                drop(client);
                eventually("its fibers and its socket are gone", || {
                    cede::sleep(Duration::from_millis(1)).unwrap();
                    (fds(), cede::fibers().len()) <= before
                });
            }
        })
        .unwrap();
    });
}

/// 10^5 queries that are given up, among others that are not.
fn a_storm_of_deadlines_leaves_nobody_with_the_answer_of_another() {
    within_reason(|| {
        let mut random = Random::new();
        cede::run(move || {
            let client = Client::connect(Postgres::shared().url("postgres")).unwrap();
            one(&client, 0);
            let before = fds();
            let fibers: Vec<_> = (0..500)
                .map(|n: i32| {
                    let client = client.clone();
                    let mut random = random.fork();
                    cede::spawn(move || -> (u32, u32) {
                        let (mut answered, mut given_up) = (0, 0);
                        for i in 0..210 {
                            let value = n * 1000 + i;
                            let limit = Duration::from_micros(random.below(400) as u64);
                            let patient = i % 20 == 0;
                            let query = || client.query_one("select $1::int", &[&value]);
                            let result =
                                if patient { query() } else { cede::with_deadline(limit, query) };
                            match result {
                                Ok(row) => {
                                    assert_eq!(row.get::<_, i32>(0), value);
                                    answered += 1;
                                }
                                Err(error) => {
                                    assert!(!patient && error.is_timeout(), "{error}");
                                    given_up += 1;
                                }
                            }
                        }
                        (answered, given_up)
                    })
                })
                .collect();
            let (mut answered, mut given_up) = (0, 0);
            for fiber in fibers {
                let (a, g) = fiber.join().unwrap();
                answered += a;
                given_up += g;
            }
            println!("{answered} answered, {given_up} given up: {:?}", client.metrics());
            assert_eq!(answered + given_up, 105_000);
            assert!(given_up > 50_000);
            assert_eq!(one(&client, 42), 42);
            assert_eq!(client.metrics().connects, 1);
            eventually("descriptors are closed", || {
                cede::sleep(Duration::from_millis(1)).unwrap();
                fds() <= before
            });
        })
        .unwrap();
    });
}
