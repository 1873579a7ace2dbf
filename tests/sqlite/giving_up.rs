//! Deadlines and cancels: the fiber is told at once, and nothing stays locked or written.

use std::io::ErrorKind::TimedOut;
use std::time::Duration;

use cede::sqlite::{Config, Database, Error, Phase, Result};

use crate::common::{Random, eventually, within_reason};
use crate::folder::{ENDLESS, Folder, Gate, squares};

const DEADLINE: Duration = Duration::from_millis(20);
/// Ends when it is interrupted and by nothing else.
const ENDLESS_WRITE: &str = "WITH RECURSIVE endless (n) AS
    (VALUES (1) UNION ALL SELECT n + 1 FROM endless) INSERT INTO t SELECT n FROM endless";

fn table(config: Config, folder: &Folder) -> Database {
    let db = config.open(folder.file("a.db")).unwrap();
    db.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
    db
}

#[test]
fn every_kind_of_call_ends_with_its_deadline_and_its_cancel() {
    type Call = fn(&Database) -> Result<()>;
    let calls: [(&str, Call); 7] = [
        ("query", |db| db.query_one::<i64>(ENDLESS, ()).map(drop)),
        ("query_each", |db| db.query_each(ENDLESS, (), |_: i64| Ok(())).map(drop)),
        ("read", |db| db.read(|db| Ok(db.query_row(ENDLESS, (), |_| Ok(()))?))),
        ("execute", |db| db.execute(ENDLESS_WRITE, ()).map(drop)),
        ("batch", |db| db.execute_batch(ENDLESS_WRITE)),
        ("transaction", |db| {
            db.transaction(|tx| {
                tx.execute("INSERT INTO t VALUES (1)", ())?;
                tx.execute(ENDLESS_WRITE, ())?;
                Ok(())
            })
        }),
        ("a transaction that ignores it", |db| {
            db.transaction(|tx| {
                let _ = tx.execute(ENDLESS_WRITE, ());
                tx.execute("INSERT INTO t VALUES (2)", ())?;
                Ok(())
            })
        }),
    ];
    within_reason(move || {
        for in_memory in [false, true] {
            let folder = Folder::new();
            cede::run(|| {
                let db = if in_memory {
                    let db = Database::open_in_memory().unwrap();
                    db.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
                    db
                } else {
                    table(Config::new(), &folder)
                };
                for (name, call) in calls {
                    let error = cede::with_deadline(DEADLINE, || call(&db)).unwrap_err();
                    assert!(error.is_timeout() && !error.may_have_run(), "{name}: {error}");
                    assert_eq!(error.path(), db.path());
                    let there = db.clone();
                    let fiber = cede::spawn(move || call(&there));
                    cede::sleep(Duration::from_millis(5)).unwrap();
                    fiber.cancel();
                    let error = fiber.join().unwrap().unwrap_err();
                    assert!(cede::is_cancelled(&error) && error.is_cancelled(), "{name}: {error}");
                    // The connections are free again, and nothing was written.
                    let rows: i64 = db.query_one("SELECT count(*) FROM t", ()).unwrap();
                    assert_eq!(rows, 0, "{name}");
                    db.transaction(|_| Ok(())).unwrap();
                }
                assert!(db.metrics().interrupted >= 7, "{:?}", db.metrics());
            })
            .unwrap();
        }
    });
}

#[test]
fn a_batch_keeps_what_it_had_committed_when_it_was_given_up() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = table(Config::new(), &folder);
            let batch = format!("INSERT INTO t VALUES (1); {ENDLESS}; INSERT INTO t VALUES (2)");
            let run = || db.execute_batch(&batch);
            let error = cede::with_deadline(Duration::from_millis(100), run).unwrap_err();
            assert!(error.is_timeout() && !error.may_have_run(), "{error}");
            let gate = Gate::default();
            let held = gate.clone();
            let closure = || {
                db.write(move |db| {
                    db.execute("INSERT INTO t VALUES (3)", ())?;
                    held.pass();
                    Ok(db.execute("INSERT INTO t VALUES (4)", ())?)
                })
            };
            // It has committed, and nobody knows what it will do.
            let error = cede::with_deadline(Duration::from_millis(100), closure).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            gate.open();
            db.execute("INSERT INTO t VALUES (5)", ()).unwrap();
            let kept: Vec<i64> = db.query("SELECT n FROM t ORDER BY n", ()).unwrap();
            // The deadline may have come before the first.
            assert!(!kept.contains(&2) && !kept.contains(&4), "{kept:?}");
            assert!(error.may_have_run() == kept.contains(&3) && kept.contains(&5), "{kept:?}");
        })
        .unwrap();
    });
}

#[test]
fn a_call_that_would_be_too_late_does_not_begin() {
    within_reason(|| {
        cede::run(|| {
            let db = Database::open_in_memory().unwrap();
            let select = || db.query_one::<i64>("SELECT 1", ());
            let error = cede::with_deadline(Duration::ZERO, select).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            let io: &std::io::Error =
                std::error::Error::source(&error).unwrap().downcast_ref().unwrap();
            assert_eq!(io.kind(), TimedOut);
            // Nor in the pool, whose threads may be faster than the wait for them.
            db.execute_batch("CREATE TABLE late (a)").unwrap();
            for _ in 0..500 {
                let insert = || db.execute("INSERT INTO late VALUES (1)", ());
                let error = cede::with_deadline(Duration::ZERO, insert).unwrap_err();
                assert!(error.is_timeout() && !error.may_have_run(), "{error}");
                let error = cede::with_deadline(Duration::ZERO, || db.serialize()).unwrap_err();
                assert!(error.is_timeout(), "{error}");
            }
            assert_eq!(db.query_one::<i64>("SELECT count(*) FROM late", ()).unwrap(), 0);
            let there = db.clone();
            let fiber = cede::spawn(move || {
                let _ = cede::park();
                there.query_one::<i64>("SELECT 1", ())
            });
            fiber.cancel();
            assert!(fiber.join().unwrap().unwrap_err().is_cancelled());
            // A shield is one here as well.
            let there = db.clone();
            let fiber = cede::spawn(move || {
                let _ = cede::park();
                cede::shield(|| there.query_one::<i64>("SELECT 1", ()))
            });
            fiber.cancel();
            assert_eq!(fiber.join().unwrap().unwrap(), 1);
        })
        .unwrap();
    });
}

#[test]
fn a_closure_that_does_not_end_is_left_behind_and_rolled_back() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = table(Config::new(), &folder);
            let gate = Gate::default();
            let held = gate.clone();
            let error = cede::with_deadline(DEADLINE, || {
                db.transaction(move |tx| {
                    tx.execute("INSERT INTO t VALUES (1)", ())?;
                    held.pass();
                    Ok(())
                })
            })
            .unwrap_err();
            // Told before the closure has ended.
            assert!(error.is_timeout() && !error.may_have_run(), "{error}");
            let there = db.clone();
            let next = cede::spawn(move || there.execute("INSERT INTO t VALUES (2)", ()));
            while db.metrics().writers_waiting == 0 && !next.is_finished() {
                cede::yield_now();
            }
            gate.open();
            assert_eq!(next.join().unwrap().unwrap(), 1);
            assert_eq!(db.query::<i64>("SELECT n FROM t", ()).unwrap(), [2]);
        })
        .unwrap();
    });
}

#[test]
fn storms_of_deadlines_and_cancels_leave_nothing_behind() {
    let calls = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    within_reason(move || {
        let folder = Folder::new();
        let mut random = Random::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new().readers(4), 1000).unwrap();
            let kinds: Vec<usize> = (0..calls).map(|_| random.below(100)).collect();
            for wave in kinds.chunks(1000) {
                let fibers: Vec<_> = wave
                    .iter()
                    .map(|&kind| {
                        let db = db.clone();
                        let after = Duration::from_micros(random.next() % 3000);
                        cede::spawn(move || {
                            cede::with_deadline(after, || match kind {
                                0 => db.query_one::<i64>(ENDLESS, ()),
                                1 => db.transaction(|tx| {
                                    tx.execute("UPDATE squares SET square = -1", ())?;
                                    Err(Error::other("no"))
                                }),
                                2..30 => db
                                    .read(|db| Ok(db.query_row("SELECT 7", (), |row| row.get(0))?)),
                                _ => db.query_one("SELECT square FROM squares WHERE n = 7", ()),
                            })
                        })
                    })
                    .collect();
                for (i, fiber) in fibers.iter().enumerate() {
                    if i % 3 == 0 {
                        fiber.cancel();
                    }
                }
                for fiber in fibers {
                    if let Err(error) = fiber.join().unwrap() {
                        let ours = error.to_string().contains("no");
                        assert!(error.is_timeout() || error.is_cancelled() || ours, "{error}");
                    }
                }
            }
            eventually("all connections are free", || db.metrics().readers_free == 4);
            let wrong = "SELECT count(*) FROM squares WHERE square <> n * n";
            assert_eq!(db.query_one::<i64>(wrong, ()).unwrap(), 0);
            db.execute("INSERT INTO squares VALUES (0, 0, '')", ()).unwrap();
            assert_eq!(db.integrity_check().unwrap(), Vec::<String>::new());
            let metrics = db.metrics();
            assert_eq!((metrics.readers_waiting, metrics.writers_waiting), (0, 0));
            db.close().unwrap();
        })
        .unwrap();
        eventually("all files are closed", || folder.open_files() == 0);
    });
}

#[test]
fn what_a_given_up_commit_became_is_known() {
    let rounds = if cfg!(debug_assertions) { 200 } else { 1000 };
    within_reason(move || {
        let folder = Folder::new();
        let mut random = Random::new();
        cede::run(|| {
            let db = table(Config::new(), &folder);
            let mut expected = Vec::new();
            for n in 0..rounds {
                let after = Duration::from_micros(random.next() % 800);
                let write = |n: i64| db.execute("INSERT INTO t VALUES (?1)", [n]);
                match cede::with_deadline(after, || write(n)) {
                    Ok(changed) => {
                        assert_eq!(changed, 1);
                        expected.push(n);
                    }
                    Err(error) => assert!(error.is_timeout() && !error.may_have_run(), "{error}"),
                }
            }
            assert!(!expected.is_empty());
            assert_eq!(db.query::<i64>("SELECT n FROM t ORDER BY n", ()).unwrap(), expected);
        })
        .unwrap();
    });
}

#[test]
fn a_shutdown_ends_what_runs() {
    within_reason(|| {
        let folder = Folder::new();
        let there = cede::run(|| {
            let db = table(Config::new(), &folder);
            for _ in 0..3 {
                let db = db.clone();
                cede::spawn(move || db.execute(ENDLESS_WRITE, ()));
            }
            let reading = db.clone();
            cede::spawn(move || reading.query_one::<i64>(ENDLESS, ()));
            while db.metrics().writers_waiting < 2 || db.metrics().readers_free > 7 {
                cede::yield_now();
            }
            db
        })
        .unwrap();
        eventually("the readers are free", || there.metrics().readers_free == 8);
        there.execute("INSERT INTO t VALUES (1)", ()).unwrap();
        assert_eq!(there.query::<i64>("SELECT n FROM t", ()).unwrap(), [1]);
        let error = there.query_one::<i64>("SELECT 1 WHERE 0", ()).unwrap_err();
        assert_eq!(error.phase(), Phase::Run);
    });
}
