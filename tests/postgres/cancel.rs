//! Cancels and deadlines in the middle of a query.

use std::time::{Duration, Instant};

use cede::postgres::{Client, Config, Error, SqlState};

use crate::common::{Random, within_reason};
use crate::postgres::Postgres;
use crate::with_client;

fn client() -> Client {
    Client::connect(Postgres::shared().url("postgres")).unwrap()
}

fn one(client: &Client, n: i32) -> i32 {
    client.query_one("select $1::int", &[&n]).unwrap().get(0)
}

#[test]
fn a_deadline_ends_the_query_on_the_server_too() {
    with_client(|client| {
        let start = Instant::now();
        // What is given up while it is prepared has not run.
        let slow = client.prepare("select pg_sleep(60)").unwrap();
        let result = cede::with_deadline(Duration::from_millis(100), || client.query(&slow, &[]));
        let error = result.unwrap_err();
        assert!(error.is_timeout() && error.may_have_run(), "{error}");
        assert_eq!(error.host(), Some(client.host().as_str()));
        assert_eq!(one(&client, 7), 7);
        assert!(start.elapsed() < Duration::from_secs(30));
        let metrics = client.metrics();
        assert_eq!((metrics.cancels, metrics.abandoned, metrics.connects), (1, 1, 1));
    });
}

#[test]
fn a_cancelled_fiber_begins_no_query() {
    with_client(|client| {
        let there = client.clone();
        let fiber = cede::spawn(move || {
            let _ = cede::park();
            let before = there.metrics().requests;
            let error = there.query("select 1", &[]).unwrap_err();
            assert!(error.is_cancelled() && !error.may_have_run(), "{error}");
            assert_eq!(there.metrics().requests, before);
        });
        cede::yield_now();
        fiber.cancel();
        fiber.join().unwrap();
    });
}

#[test]
fn behind_a_deadline_no_query_begins() {
    with_client(|client| {
        let before = client.metrics().requests;
        let query = || client.query("select 1", &[]).map(drop);
        let error = cede::with_deadline(Duration::ZERO, query).unwrap_err();
        assert!(error.is_timeout() && !error.may_have_run(), "{error}");
        assert_eq!(client.metrics().requests, before);
        // What was begun in time is rolled back, late as it is.
        let result = cede::with_deadline(Duration::from_millis(20), || {
            client.transaction(|tx| {
                tx.batch_execute("create table late (n int)")?;
                let _ = cede::park();
                tx.query("select 1", &[]).map(drop)
            })
        });
        assert!(result.unwrap_err().is_timeout());
        let there = client.query_one("select to_regclass('late') is null", &[]).unwrap();
        assert!(there.get::<_, bool>(0));
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn short_queries_that_are_given_up_cost_no_cancel_request() {
    with_client(|client| {
        let statement = client.prepare("select $1::int").unwrap();
        for n in 0..300 {
            let (there, statement) = (client.clone(), statement.clone());
            let fiber = cede::spawn(move || there.query_one(&statement, &[&n]).map(drop));
            // It asks; it is sent.
            cede::yield_now();
            cede::yield_now();
            fiber.cancel();
            let _ = fiber.join().unwrap();
            // Behind many that are not answered it would not be sent yet.
            if n % 4 == 0 {
                assert_eq!(one(&client, n), n);
            }
        }
        assert_eq!(one(&client, 1), 1);
        let metrics = client.metrics();
        assert!(metrics.abandoned >= 100, "{metrics:?}");
        assert!(metrics.cancels <= 5, "{metrics:?}");
    });
}

#[test]
fn a_query_behind_a_cancelled_one_is_answered() {
    with_client(|client| {
        one(&client, 0);
        for round in 0..20 {
            let there = client.clone();
            let slow = cede::spawn(move || there.query("select pg_sleep(60)", &[]).map(drop));
            cede::yield_now();
            let fibers: Vec<_> = (0..50)
                .map(|n| {
                    let client = client.clone();
                    cede::spawn(move || one(&client, n))
                })
                .collect();
            cede::sleep(Duration::from_millis(2)).unwrap();
            slow.cancel();
            for (n, fiber) in fibers.into_iter().enumerate() {
                assert_eq!(fiber.join().unwrap(), n as i32, "round {round}");
            }
            assert!(slow.join().unwrap().unwrap_err().is_cancelled());
        }
        assert_eq!(client.metrics().connects, 1);
    });
}

/// Statements that end at about the time when they are cancelled: some cancel requests meet the
/// statement behind them.
#[test]
fn a_cancel_request_that_comes_late_harms_nobody() {
    within_reason(|| {
        let mut random = Random::new();
        cede::run(move || {
            let client = client();
            one(&client, 0);
            client.prepare("select $1::int, pg_sleep($2)").unwrap();
            for _ in 0..60 {
                let seconds = 0.004 + random.below(3000) as f64 / 1e6;
                let there = client.clone();
                let given_up = cede::spawn(move || {
                    cede::with_deadline(Duration::from_millis(1), || {
                        there.query("select $1::int, pg_sleep($2)", &[&1, &seconds]).map(drop)
                    })
                });
                cede::yield_now();
                let fibers: Vec<_> = (0..4)
                    .map(|n| {
                        let client = client.clone();
                        cede::spawn(move || {
                            let row = client
                                .query_one("select $1::int, pg_sleep($2)", &[&n, &0.002])
                                .unwrap();
                            row.get::<_, i32>(0)
                        })
                    })
                    .collect();
                for (n, fiber) in fibers.into_iter().enumerate() {
                    assert_eq!(fiber.join().unwrap(), n as i32);
                }
                // On a busy machine it may come to its answer all the same.
                if let Err(error) = given_up.join().unwrap() {
                    assert!(error.is_timeout(), "{error}");
                }
            }
            println!("{:?}", client.metrics());
            assert!(client.metrics().cancels > 0);
            assert_eq!(client.metrics().connects, 1);
        })
        .unwrap();
    });
}

#[test]
fn long_queries_that_are_given_up_are_cancelled_one_after_the_other() {
    with_client(|client| {
        one(&client, 0);
        let start = Instant::now();
        let fibers: Vec<_> = (0..50)
            .map(|_| {
                let client = client.clone();
                cede::spawn(move || {
                    cede::with_deadline(Duration::from_millis(20), || {
                        client.query("select pg_sleep(60)", &[]).map(drop)
                    })
                })
            })
            .collect();
        for fiber in fibers {
            assert!(fiber.join().unwrap().unwrap_err().is_timeout());
        }
        assert_eq!(one(&client, 3), 3);
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        assert_eq!(client.metrics().connects, 1);
    });
}

/// The server's own time-out has the same code as a cancel.
#[test]
fn a_statement_timeout_is_an_error_of_its_own() {
    with_client(|client| {
        client.batch_execute("set statement_timeout = 20").unwrap();
        let error = client.query("select pg_sleep(60)", &[]).unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("57014"));
        assert_eq!(client.metrics().retries, 0);
    });
}

#[test]
fn a_statement_timeout_behind_a_cancelled_query_is_not_taken_for_its_cancel() {
    with_client(|_| {
        let mut config: Config = Postgres::shared().url("postgres").parse().unwrap();
        let client = Client::connect(&*config.options("-c statement_timeout=60ms")).unwrap();
        client.prepare("select pg_sleep(60)").unwrap();
        for _ in 0..4 {
            let there = client.clone();
            let given_up = cede::spawn(move || there.query("select pg_sleep(60)", &[]).map(drop));
            cede::yield_now();
            let there = client.clone();
            let behind = cede::spawn(move || there.query("select pg_sleep(60)", &[]).map(drop));
            cede::sleep(Duration::from_millis(2)).unwrap();
            given_up.cancel();
            let error = behind.join().unwrap().unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
            assert!(error.to_string().contains("statement timeout"), "{error}");
            let _ = given_up.join().unwrap();
        }
        // A cancel request may meet both, and the second one is then sent again.
        let metrics = client.metrics();
        assert!(metrics.cancels > 0 && metrics.retries < 4, "{metrics:?}");
    });
}

#[test]
fn a_shutdown_does_not_wait_for_the_server() {
    within_reason(|| {
        let server = Postgres::shared();
        let url = server.url("postgres");
        for case in 0..3 {
            let start = Instant::now();
            let url = url.clone();
            let runtime = cede::Runtime::builder().shutdown_grace(Duration::from_secs(60));
            runtime
                .run(move || {
                    let mut config: Config = url.parse().unwrap();
                    config.application_name("leaving");
                    let client = Client::connect(config).unwrap();
                    let there = client.clone();
                    cede::spawn(move || match case {
                        0 => there.query("select pg_sleep(60)", &[]).map(drop),
                        1 => there.transaction(|tx| {
                            tx.execute("select 1", &[])?;
                            cede::sleep(Duration::from_secs(60))?;
                            Ok(())
                        }),
                        _ => there.transaction(|tx| tx.query("select pg_sleep(60)", &[]).map(drop)),
                    });
                    cede::sleep(Duration::from_millis(20)).unwrap();
                    if case == 0 {
                        // Also one that nobody drops.
                        std::mem::forget(client);
                    }
                })
                .unwrap();
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "case {case}: {:?}",
                start.elapsed()
            );
        }
    });
}

/// Everything at once, by chance: each answer is that of its own question.
#[test]
fn everything_at_once() {
    within_reason(|| {
        let mut random = Random::new();
        cede::run(move || {
            let client = client();
            client.batch_execute("create temp table everything (id int, n int)").unwrap();
            let fibers: Vec<_> = (0..40)
                .map(|n: i32| {
                    let client = client.clone();
                    let mut random = random.fork();
                    cede::spawn(move || {
                        for i in 0..40 {
                            let value = n * 1000 + i;
                            let limit = Duration::from_micros(200 + random.below(40_000) as u64);
                            let what = random.below(10);
                            let result =
                                cede::with_deadline(limit, || one_of(&client, what, value));
                            if let Err(error) = result {
                                // What cannot be repeated may be met by the cancel of another.
                                let is_hit = matches!(what, 4..=6)
                                    && error.code() == Some(&SqlState::QUERY_CANCELED);
                                assert!(error.is_timeout() || is_hit, "{what}: {error}");
                            }
                        }
                    })
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            let metrics = client.metrics();
            println!("{metrics:?}");
            assert_eq!(metrics.connects, 1, "{metrics:?}");
            // A transaction happened as a whole or not at all.
            let sql =
                "select count(*) from (select n from everything group by n having count(*) <> 2) x";
            assert_eq!(client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0);
            assert_eq!(one(&client, 9), 9);
        })
        .unwrap();
    });
}

fn one_of(client: &Client, what: usize, value: i32) -> Result<(), Error> {
    match what {
        0 => {
            let result = client.query("select 1 / ($1::int - $1::int)", &[&value]);
            let error = result.unwrap_err();
            if error.code() == Some(&SqlState::DIVISION_BY_ZERO) { Ok(()) } else { Err(error) }
        }
        1 => {
            let seconds = if value % 4 == 0 { 0.03 } else { 0.003 };
            client.query("select pg_sleep($1)", &[&seconds]).map(drop)
        }
        2 => {
            let mut next = value;
            client.query_each(
                "select * from generate_series($1::int, $1 + 500)",
                &[&value],
                |row| {
                    assert_eq!(row.get::<_, i32>(0), next);
                    next += 1;
                    Ok::<_, Error>(())
                },
            )?;
            assert_eq!(next, value + 501);
            Ok(())
        }
        3 => {
            // Its own error ends it early.
            let mut rows = 0;
            let result = client.query_each("select generate_series(1, 3000)", &[], |_| {
                rows += 1;
                if rows < 5 { Ok(()) } else { Err(Ended(None)) }
            });
            match result {
                Err(Ended(Some(error))) => Err(error),
                _ => Ok(()),
            }
        }
        4 | 5 => client.transaction(|tx| {
            let sql = "insert into everything values ($1, $2)";
            tx.execute(sql, &[&1, &value])?;
            if what == 5 {
                cede::sleep(Duration::from_micros(300))?;
            }
            tx.execute(sql, &[&2, &value]).map(drop)
        }),
        6 => client.batch_execute("select 1; select 2"),
        7 => {
            // A text that nobody has prepared.
            let row = client.query_one(&format!("select {value} + $1::int"), &[&1])?;
            assert_eq!(row.get::<_, i32>(0), value + 1);
            Ok(())
        }
        8 => {
            let len = value % 30_000;
            let row = client.query_one("select repeat('y', $1::int), $1::int", &[&len])?;
            assert_eq!((row.get::<_, &str>(0).len() as i32, row.get::<_, i32>(1)), (len, len));
            Ok(())
        }
        _ => {
            let row =
                client.query_one("select $1::int, $2::text", &[&value, &value.to_string()])?;
            assert_eq!(row.get::<_, i32>(0), value);
            assert_eq!(row.get::<_, &str>(1), value.to_string());
            Ok(())
        }
    }
}

/// Why a `query_each` ended: by its closure, or an error.
struct Ended(Option<Error>);

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self(Some(error))
    }
}
