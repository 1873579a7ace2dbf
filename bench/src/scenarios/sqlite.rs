//! `sqlite`: a row by its key, from a file that is in memory by then.
//!
//! `tasks` share one thread of their runtime and ask one after the other; each has a part of the
//! selects. The bare call has no tasks: it is the floor, a loop on the thread that has the connection.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome, Sample, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "sqlite",
    about: "select one of 100,000 rows of SQLite by its key, through what keeps the thread free",
    cores: 2,
    measures: &[Measure { name: "", unit: "us per select", better: Better::Lower }],
    cases: || [1, 1000].map(|tasks| Params::new().with("tasks", tasks)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, sqlite::Database: in place while it is short",
            program: Program::Rust(|job| cede(job, true)),
        },
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede (pool)",
            settings: "one shard, sqlite::Database with in_place(false): on threads of the pool",
            program: Program::Rust(|job| cede(job, false)),
        },
        Contestant {
            who: "rusqlite (bare)",
            settings: "no runtime: prepare_cached and query_row in a loop, whatever the tasks",
            program: Program::Rust(bare),
        },
        Contestant {
            who: "tokio (spawn_blocking)",
            settings: "current_thread, 8 connections behind a semaphore, each call on its pool",
            program: Program::Rust(tokio),
        },
    ],
};

const ROWS: u64 = 100_000;
const CONNECTIONS: usize = 8;
const SELECT: &str = "SELECT number, name FROM items WHERE id = ?1";

/// The file with the rows, deleted in the end.
struct Items {
    path: PathBuf,
}

impl Items {
    fn make() -> Result<Items, Miss> {
        let file = format!("cede-bench-{}.db", std::process::id());
        let items = Items { path: std::env::temp_dir().join(file) };
        items.remove();
        let db = items.open()?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN;
             CREATE TABLE items (id INTEGER PRIMARY KEY, number INTEGER, name TEXT);",
        )
        .map_err(peers::failed)?;
        for id in 0..ROWS {
            let mut insert = db
                .prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3)")
                .map_err(peers::failed)?;
            insert.execute((id.cast_signed(), number(id), name(id))).map_err(peers::failed)?;
        }
        db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);").map_err(peers::failed)?;
        Ok(items)
    }

    fn open(&self) -> Result<Connection, Miss> {
        Connection::open(&self.path).map_err(peers::failed)
    }

    fn remove(&self) {
        for end in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(end);
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.remove();
    }
}

fn number(id: u64) -> i64 {
    (id * 7 + 3).cast_signed()
}

fn name(id: u64) -> String {
    format!("item number {id}")
}

/// A part of the selects: every task has its own, and the keys jump over the whole table.
struct Plan {
    tasks: u64,
    warm: u64,
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        let tasks = job.number("tasks")?;
        let counted = job.count(200_000, 40_000);
        Ok(Plan { tasks, warm: counted / 5, counted })
    }

    fn key(i: u64) -> i64 {
        (i.wrapping_mul(48_271) % ROWS).cast_signed()
    }

    /// Of one task, for this many selects in all.
    fn keys(&self, task: u64, all: u64) -> impl Iterator<Item = i64> + use<> {
        let tasks = self.tasks;
        (0..all / tasks).map(move |i| Plan::key(i * tasks + task))
    }

    fn digest(number: i64, name: &str) -> u64 {
        number.cast_unsigned().wrapping_mul(name.len() as u64)
    }

    fn expected(&self, all: u64) -> u64 {
        (0..self.tasks).flat_map(|task| self.keys(task, all)).fold(0, |sum: u64, id| {
            let id = id.cast_unsigned();
            sum.wrapping_add(Plan::digest(number(id), &name(id)))
        })
    }

    fn sample(&self, meter: Meter, sum: u64) -> Result<Sample, Miss> {
        let spent = meter.stop();
        check("the sum over all rows", sum, self.expected(self.counted))?;
        Ok(spent.with_values(self.counted, vec![spent.ns_per(self.counted) / 1e3]))
    }
}

#[cfg(feature = "cede")]
fn cede(job: &Job, in_place: bool) -> Outcome {
    use ::cede::sqlite::{Config, Database};
    let plan = Plan::of(job)?;
    let items = Items::make()?;
    fn select_all(db: &Database, keys: impl Iterator<Item = i64>) -> Result<u64, Miss> {
        let mut sum = 0_u64;
        for id in keys {
            let (number, name): (i64, String) =
                db.query_one(SELECT, [id]).map_err(peers::failed)?;
            sum = sum.wrapping_add(Plan::digest(number, &name));
        }
        Ok(sum)
    }
    ::cede::run(|| {
        let config = Config::new().readers(CONNECTIONS).in_place(in_place);
        let db = config.open(&items.path).map_err(peers::failed)?;
        let (mut meter, mut sum) = (Meter::start(), 0);
        for all in [plan.warm, plan.counted] {
            sum = 0_u64;
            meter = Meter::start();
            let fibers: Vec<_> = (0..plan.tasks)
                .map(|task| {
                    let (db, keys) = (db.clone(), plan.keys(task, all));
                    ::cede::spawn(move || select_all(&db, keys))
                })
                .collect();
            for fiber in fibers {
                sum = sum.wrapping_add(fiber.join().map_err(peers::failed)??);
            }
        }
        let sample = plan.sample(meter, sum)?;
        let metrics = db.metrics();
        let in_place = metrics.in_place;
        check("the reads", metrics.reads, plan.warm + plan.counted)?;
        db.close().map_err(peers::failed)?;
        Ok(sample.note(format!("{in_place} of {} in place", metrics.reads)))
    })
    .map_err(peers::failed)?
}

fn select(db: &Connection, id: i64) -> rusqlite::Result<u64> {
    let mut select = db.prepare_cached(SELECT)?;
    let row: (i64, String) = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Plan::digest(row.0, &row.1))
}

fn bare(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let items = Items::make()?;
    let db = items.open()?;
    let (mut meter, mut sum) = (Meter::start(), 0);
    for all in [plan.warm, plan.counted] {
        sum = 0_u64;
        meter = Meter::start();
        for task in 0..plan.tasks {
            for id in plan.keys(task, all) {
                sum = sum.wrapping_add(select(&db, id).map_err(peers::failed)?);
            }
        }
    }
    plan.sample(meter, sum)
}

fn tokio(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let items = Items::make()?;
    let connections: Result<Vec<_>, _> = (0..CONNECTIONS).map(|_| items.open()).collect();
    let connections = Arc::new(Mutex::new(connections?));
    let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    let runtime = peers::tokio_current_thread()?;
    runtime.block_on(async {
        let (mut meter, mut total) = (Meter::start(), 0);
        for all in [plan.warm, plan.counted] {
            let sum = Arc::new(AtomicU64::new(0));
            meter = Meter::start();
            let tasks: Vec<_> = (0..plan.tasks)
                .map(|task| {
                    let (connections, permits) = (Arc::clone(&connections), Arc::clone(&permits));
                    let (sum, keys) = (Arc::clone(&sum), plan.keys(task, all));
                    tokio::spawn(async move {
                        for id in keys {
                            let permit = permits.acquire().await.map_err(peers::failed)?;
                            let connections = Arc::clone(&connections);
                            let selected = tokio::task::spawn_blocking(move || {
                                let db =
                                    connections.lock().unwrap().pop().expect("a permit for it");
                                let selected = select(&db, id);
                                connections.lock().unwrap().push(db);
                                selected
                            });
                            let selected = selected.await.map_err(peers::failed)?;
                            drop(permit);
                            sum.fetch_add(selected.map_err(peers::failed)?, Ordering::Relaxed);
                        }
                        Ok::<_, Miss>(())
                    })
                })
                .collect();
            for task in tasks {
                task.await.map_err(peers::failed)??;
            }
            total = sum.load(Ordering::Relaxed);
        }
        plan.sample(meter, total)
    })
}
