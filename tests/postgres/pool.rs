//! Pools: their limits, what comes back, what was broken meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cede::postgres::{Client, Error, ErrorKind, Phase, Pool, PoolSettings};

use crate::common::within_reason;
use crate::postgres::Postgres;

/// Runs a test body with a pool whose sessions have this name, and a client beside it.
fn with_pool(
    name: &str,
    settings: PoolSettings,
    body: impl FnOnce(&Pool, &Client) + Send + 'static,
) {
    let url = Postgres::shared().url("postgres");
    let named = format!("{url}?application_name={name}");
    within_reason(move || {
        cede::run(|| {
            let client = Client::connect(url).unwrap();
            let pool = Pool::new(named, settings).unwrap();
            body(&pool, &client);
        })
        .unwrap();
    });
}

fn sessions(client: &Client, name: &str) -> i64 {
    let sql = "select count(*) from pg_stat_activity where application_name = $1";
    client.query_one(sql, &[&name]).unwrap().get(0)
}

fn process(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
}

/// Ends sessions from outside, and waits until they are gone.
fn terminate(client: &Client, name: &str) {
    let sql = "select pg_terminate_backend(pid, 10000) from pg_stat_activity \
               where application_name = $1";
    client.query(sql, &[&name]).unwrap();
}

#[test]
fn a_storm_of_fibers_uses_no_more_sessions_than_the_limit() {
    with_pool("pool_storm", PoolSettings::new().size_max(4), |pool, client| {
        let fibers: Vec<_> = (0..200_i32)
            .map(|i| {
                let pool = pool.clone();
                cede::spawn(move || {
                    pool.get()?.query_one("select $1 + 1", &[&i])?.try_get::<_, i32>(0)
                })
            })
            .collect();
        for (i, fiber) in fibers.into_iter().enumerate() {
            assert_eq!(fiber.join().unwrap().unwrap(), i as i32 + 1);
        }
        let metrics = pool.metrics();
        assert_eq!((metrics.connects, metrics.size, metrics.idle), (4, 4, 4));
        assert_eq!((metrics.waits, metrics.waiting, metrics.lent), (196, 0, 0));
        assert!(metrics.wait_max > Duration::ZERO && metrics.wait_total >= metrics.wait_max);
        assert_eq!(sessions(client, "pool_storm"), 4);
    });
}

#[test]
fn transactions_run_at_the_same_time_and_end_with_their_closure() {
    with_pool("pool_transactions", PoolSettings::new().size_max(2), |pool, client| {
        client.batch_execute("drop table if exists pool_t; create table pool_t (id int)").unwrap();
        let (sender, receiver) = cede::sync::local::mpsc::sync_channel(0);
        let there = pool.clone();
        let other = cede::spawn(move || {
            there.transaction(|tx| {
                tx.execute("insert into pool_t values (1)", &[])?;
                // Both are inside of theirs.
                receiver.recv().map_err(std::io::Error::other)?;
                Ok::<_, Error>(())
            })
        });
        pool.transaction(|tx| {
            tx.execute("insert into pool_t values (2)", &[])?;
            sender.send(()).map_err(std::io::Error::other)?;
            Ok::<_, Error>(())
        })
        .unwrap();
        other.join().unwrap().unwrap();
        let failed = pool.transaction(|tx| {
            tx.execute("insert into pool_t values (3)", &[])?;
            Err::<(), Error>(tx.execute("select 1/0", &[]).unwrap_err())
        });
        assert!(failed.is_err());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            pool.transaction(|tx| -> Result<(), Error> {
                tx.execute("insert into pool_t values (4)", &[])?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        let sum: i64 = client.query_one("select sum(id) from pool_t", &[]).unwrap().get(0);
        assert_eq!(sum, 3);
        // All came back whole.
        let metrics = pool.metrics();
        assert_eq!((metrics.connects, metrics.idle, metrics.closed_broken), (2, 2, 0));
        client.batch_execute("drop table pool_t").unwrap();
    });
}

#[test]
fn sessions_that_the_server_has_ended_are_replaced() {
    with_pool("pool_ended", PoolSettings::new().size_max(2), |pool, client| {
        let first = process(&pool.get().unwrap());
        assert_eq!(process(&pool.get().unwrap()), first);
        terminate(client, "pool_ended");
        // Idle while that happened; whether it was heard of already does not matter.
        while pool.get().unwrap().is_closed() {
            cede::yield_now();
        }
        let lent = pool.get().unwrap();
        assert_ne!(process(&lent), first);
        terminate(client, "pool_ended");
        while !lent.is_closed() {
            cede::sleep(Duration::from_millis(1)).unwrap();
        }
        drop(lent);
        let metrics = pool.metrics();
        assert_eq!((metrics.closed_broken, metrics.idle), (1, 0), "{metrics:?}");
    });
}

#[test]
fn one_that_was_idle_is_asked_whether_it_is_alive() {
    let settings = PoolSettings::new().size_max(1).check_after(Some(Duration::ZERO));
    with_pool("pool_check", settings, |pool, _| {
        let first = process(&pool.get().unwrap());
        assert_eq!(process(&pool.get().unwrap()), first);
        assert_eq!(pool.metrics().closed_for_health, 0);
    });
}

#[test]
fn who_waits_in_vain_hears_of_the_pool() {
    let time = Duration::from_millis(20);
    let settings = PoolSettings::new().size_max(1).wait_timeout(Some(time)).waiters_max(1);
    with_pool("pool_vain", settings, move |pool, _| {
        let lent = pool.get().unwrap();
        let there = pool.clone();
        let waiter = cede::spawn(move || there.get().map(drop).unwrap_err());
        cede::yield_now();
        let error = pool.get().unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Limit, Phase::Pool), "{error}");
        let error = waiter.join().unwrap();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Pool), "{error}");
        assert!(error.to_string().contains("20ms"), "{error}");
        let there = pool.clone();
        let waiter = cede::spawn(move || there.get().map(drop).unwrap_err());
        cede::yield_now();
        waiter.cancel();
        assert!(cede::is_cancelled(&waiter.join().unwrap()));
        let metrics = pool.metrics();
        assert_eq!((metrics.timeouts, metrics.refused, metrics.waiting), (1, 1, 0));
        // It belongs to nobody but its fiber now, and makes room in the pool.
        let own = lent.detach();
        assert_eq!(pool.metrics().size, 0);
        assert_ne!(process(&pool.get().unwrap()), process(&own));
        let clone = Client::clone(&pool.get().unwrap());
        let lent = pool.get().unwrap();
        assert_ne!(process(&lent), process(&clone));
        drop(lent);
        pool.close();
        let error = pool.get().unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Closed, Phase::Pool), "{error}");
    });
}

#[test]
fn a_failure_to_connect_is_told_to_the_one_who_tried() {
    within_reason(|| {
        let url = format!("{}?dbname=nowhere", Postgres::shared().url("postgres"));
        cede::run(|| {
            let pool = Pool::new(url, PoolSettings::new().size_max(1)).unwrap();
            let fibers: Vec<_> = (0..5)
                .map(|_| {
                    let pool = pool.clone();
                    cede::spawn(move || pool.get().map(drop).unwrap_err())
                })
                .collect();
            for fiber in fibers {
                let error = fiber.join().unwrap();
                assert_eq!(error.code(), Some(&cede::postgres::SqlState::INVALID_CATALOG_NAME));
            }
            assert_eq!(pool.metrics().connect_failures, 5);
        })
        .unwrap();
    });
}

#[test]
fn sessions_are_made_beforehand_and_closed_when_nobody_needs_them() {
    let idle = Some(Duration::from_millis(30));
    let settings = PoolSettings::new().size_max(3).idle_min(1).idle_time_max(idle);
    with_pool("pool_idle", settings, |pool, client| {
        while pool.metrics().idle < 1 {
            cede::sleep(Duration::from_millis(1)).unwrap();
        }
        let lent: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
        assert_eq!(sessions(client, "pool_idle"), 3);
        drop(lent);
        while sessions(client, "pool_idle") > 1 {
            cede::sleep(Duration::from_millis(5)).unwrap();
        }
        assert_eq!(pool.metrics().closed_for_idleness, 2);
    });
}
