//! Requests that are given up before they are sent never run.
//!
//! The surprising rule: it takes megabytes until a server that stands still is noticed; up to there
//! the kernel takes what is sent.

use std::cell::RefCell;
use std::io::Write;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use cede::postgres::{Client, Error};

use crate::common::Random;
use crate::with_client;

/// More than the buffers of two sockets hold.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

/// A session whose server stands still, so that nothing more is sent; until it is dropped.
struct Stopped(String);

impl Stopped {
    fn kill(&self, signal: &str) -> Command {
        let mut kill = Command::new("kill");
        kill.args([signal, &self.0]);
        kill
    }

    fn signal(&self, signal: &str) {
        let mut kill = self.kill(signal);
        assert!(cede::blocking(move || kill.status()).unwrap().unwrap().success());
    }

    /// What was given up here is on its way: a part of it is sent, so all of it will be.
    fn new(client: &Client) -> Self {
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        let large = "x".repeat(LARGE_BYTES);
        let statement = client.prepare("select length($1::text)").unwrap();
        let this = Self(pid.to_string());
        this.signal("-STOP");
        let before = client.metrics().requests;
        let error = cede::scope(|scope| {
            let query = scope.spawn(|| client.query(&statement, &[&large]).map(drop));
            until(|| client.metrics().requests > before);
            // The writer comes behind it.
            cede::sleep(Duration::from_millis(1)).unwrap();
            query.cancel();
            query.join().unwrap().unwrap_err()
        });
        assert!(error.is_cancelled() && error.may_have_run(), "{error}");
        this
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Also while a panic unwinds, when no fiber waits.
        let _ = self.kill("-CONT").status();
    }
}

/// Lets others run until something has happened.
fn until(happened: impl Fn() -> bool) {
    while !happened() {
        cede::sleep(Duration::from_millis(1)).unwrap();
    }
}

fn table(client: &Client, name: &str) -> String {
    client
        .batch_execute(&format!("drop table if exists {name}; create table {name} (n int)"))
        .unwrap();
    // Known, so that what is given up is the insert itself.
    let insert = format!("insert into {name} values ($1)");
    client.prepare(&insert).unwrap();
    insert
}

fn rows(client: &Client, name: &str) -> Vec<i32> {
    let rows = client.query(&format!("select n from {name} order by n"), &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// It was not sent, and says so.
fn unsent<T>(f: impl FnOnce() -> Result<T, Error>) {
    let Err(error) = cede::with_deadline(Duration::from_millis(5), f) else {
        panic!("it was sent")
    };
    assert!(error.is_timeout() && !error.may_have_run(), "{error}");
}

#[test]
fn what_is_given_up_before_it_is_sent_never_runs() {
    with_client(|client| {
        let insert = table(&client, "unsent_queries");
        let stopped = Stopped::new(&client);
        let before = client.metrics();
        let fibers: Vec<_> = (0..100)
            .map(|n| {
                let (client, insert) = (client.clone(), insert.clone());
                cede::spawn(move || match n % 4 {
                    0 => client.execute(&insert, &[&n]).map(drop),
                    1 => {
                        unsent(|| client.execute(&insert, &[&n]));
                        Ok(())
                    }
                    2 => {
                        unsent(|| client.query_each("select 1", &[], |_| Ok::<_, Error>(())));
                        Ok(())
                    }
                    // Cancelled below.
                    _ => {
                        let error = client.execute(&insert, &[&n]).unwrap_err();
                        assert!(error.is_cancelled() && !error.may_have_run(), "{error}");
                        Ok(())
                    }
                })
            })
            .collect();
        cede::sleep(Duration::from_millis(20)).unwrap();
        fibers.iter().skip(3).step_by(4).for_each(|fiber| fiber.cancel());
        cede::yield_now();
        drop(stopped);
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
        let expected: Vec<i32> = (0..100).step_by(4).collect();
        assert_eq!(rows(&client, "unsent_queries"), expected);
        let after = client.metrics();
        assert_eq!((after.connects, after.in_flight), (1, 0));
        // 25 inserts, and the preparation and the query of `rows`.
        assert_eq!(after.requests - before.requests, 27);
    });
}

#[test]
fn a_transaction_whose_begin_was_not_sent_begins_with_the_next_statement() {
    with_client(|client| {
        let insert = table(&client, "unsent_begin");
        let stopped = Stopped::new(&client);
        let result = client.transaction(|tx| {
            unsent(|| tx.execute(&insert, &[&1]));
            unsent(|| tx.batch_execute("insert into unsent_begin values (2)"));
            unsent(|| tx.transaction(|sp| sp.execute(&insert, &[&3])));
            drop(stopped);
            tx.execute(&insert, &[&4])?;
            let others = Client::connect(crate::Postgres::shared().url("postgres"))?;
            assert_eq!(rows(&others, "unsent_begin"), [0; 0]);
            tx.execute(&insert, &[&5])
        });
        assert_eq!(result.unwrap(), 1);
        assert_eq!(rows(&client, "unsent_begin"), [4, 5]);
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn a_commit_that_was_not_sent_rolls_back() {
    with_client(|client| {
        let insert = table(&client, "unsent_commit");
        let stopped = Rc::new(RefCell::new(None));
        let before = client.metrics().requests;
        let (there, holds) = (client.clone(), Rc::clone(&stopped));
        let commit = cede::spawn(move || {
            there.transaction(|tx| {
                tx.execute(&insert, &[&1])?;
                holds.replace(Some(Stopped::new(tx)));
                Ok::<_, Error>(())
            })
        });
        // The insert, four of `Stopped`, and COMMIT.
        until(|| client.metrics().requests == before + 6);
        commit.cancel();
        cede::yield_now();
        stopped.take();
        let error = commit.join().unwrap().unwrap_err();
        assert!(error.is_cancelled() && !error.may_have_run(), "{error}");
        assert_eq!(rows(&client, "unsent_commit"), [0; 0]);
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn a_copy_that_was_not_sent_leaves_the_others_their_answers() {
    with_client(|client| {
        let insert = table(&client, "unsent_copy");
        let stopped = Stopped::new(&client);
        unsent(|| client.copy_in("copy unsent_copy from stdin").map(drop));
        unsent(|| client.copy_out("copy unsent_copy to stdout").map(drop));
        // Preparing another statement closes those that were evicted, also with the next one.
        unsent(|| client.prepare("select 'unsent'").map(drop));
        let there = client.clone();
        let waits = cede::spawn(move || there.execute(&insert, &[&7]));
        cede::yield_now();
        drop(stopped);
        assert_eq!(waits.join().unwrap().unwrap(), 1);
        client.prepare("select 'unsent'").unwrap();
        assert_eq!(rows(&client, "unsent_copy"), [7]);
        assert_eq!(client.metrics().connects, 1);
    });
}

/// Inserts a number in one of many ways.
fn insert_in_some_way(client: &Client, what: usize, n: i32, large: &str) -> Result<(), Error> {
    let insert = "insert into said values ($1)";
    let text = format!("insert into said values ({n})");
    match what {
        0 | 1 => client.execute(insert, &[&n]).map(drop),
        // It fills the buffers.
        2 | 3 => client
            .execute("insert into said select $1 where $2::text > ''", &[&n, &large])
            .map(drop),
        4 => client.batch_execute(&text),
        5 => client.simple_query(&text).map(drop),
        // A text that nobody has prepared.
        6 => client.query(&text, &[]).map(drop),
        7 => {
            let returning = "insert into said values ($1) returning n";
            client.query_each(returning, &[&n], |_| Ok::<_, Error>(())).map(drop)
        }
        8 => {
            let mut copy = client.copy_in("copy said from stdin")?;
            writeln!(copy, "{n}")?;
            copy.finish().map(drop)
        }
        9 => client.transaction(|tx| {
            tx.query("select 1", &[])?;
            tx.transaction(|sp| sp.execute(insert, &[&n]).map(drop))
        }),
        _ => client.transaction(|tx| tx.execute(insert, &[&n]).map(drop)),
    }
}

#[test]
fn whether_something_may_have_run_is_true_of_the_table() {
    with_client(|client| {
        table(&client, "said");
        let mut random = Random::new();
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        let large: Rc<str> = "x".repeat(300_000).into();
        let fibers: Vec<_> = (0..40)
            .map(|fiber: i32| {
                let (client, large) = (client.clone(), Rc::clone(&large));
                let mut random = random.fork();
                cede::spawn(move || {
                    let mut said = Vec::new();
                    for n in fiber * 100..fiber * 100 + 12 {
                        let time = Duration::from_micros(100 + random.below(30_000) as u64);
                        let what = random.below(11);
                        let result = cede::with_deadline(time, || {
                            insert_in_some_way(&client, what, n, &large)
                        });
                        said.push((n, what, result));
                    }
                    said
                })
            })
            .collect();
        let server = Stopped(pid.to_string());
        while !fibers.iter().all(|fiber| fiber.is_finished()) {
            server.signal("-STOP");
            cede::sleep(Duration::from_millis(1 + random.below(12) as u64)).unwrap();
            server.signal("-CONT");
            cede::sleep(Duration::from_millis(1 + random.below(8) as u64)).unwrap();
        }
        let said: Vec<_> = fibers.into_iter().flat_map(|fiber| fiber.join().unwrap()).collect();
        let there = rows(&client, "said");
        let mut unsent = 0;
        for (n, what, result) in said {
            let count = there.iter().filter(|there| **there == n).count();
            match &result {
                Ok(()) => assert_eq!(count, 1, "{n} {what}"),
                Err(error) if error.may_have_run() => assert!(count < 2, "{n} {what}: {error}"),
                Err(error) => assert_eq!(count, 0, "{n} {what}: {error}"),
            }
            unsent += usize::from(result.is_err_and(|error| !error.may_have_run()));
        }
        println!("{unsent} unsent, {:?}", client.metrics());
        assert_eq!(client.metrics().connects, 1);
    });
}
