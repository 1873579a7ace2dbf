//! What the calls do, in memory and in a file, from fibers, shards and plain threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cede::Runtime;
use cede::sqlite::{
    CheckpointMode, Config, Database, Error, ErrorKind, JournalMode, Phase, Result, Row,
    TransactionBehavior, named_params, params,
};

use crate::common::{eventually, within_reason};
use crate::folder::{Folder, Gate, squares};

/// Runs a test with a database in a file and with one in memory, in a fiber and in a plain thread.
fn everywhere(test: fn(&Database) -> Result<()>) {
    within_reason(move || {
        let folder = Folder::new();
        let open = |in_memory: bool, name: &str| {
            if in_memory { Database::open_in_memory() } else { Database::open(folder.file(name)) }
        };
        for in_memory in [false, true] {
            cede::run(|| test(&open(in_memory, "fiber").unwrap()).unwrap()).unwrap();
            test(&open(in_memory, "thread").unwrap()).unwrap();
        }
        let pool = Config::new().in_place(false).readers(1);
        cede::run(|| test(&pool.open(folder.file("pool")).unwrap()).unwrap()).unwrap();
    });
}

#[test]
fn calls_and_their_results() {
    everywhere(|db| {
        db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, size REAL)")?;
        assert_eq!(db.insert("INSERT INTO t (name, size) VALUES (?1, ?2)", ("a", 1.5))?, 1);
        assert_eq!(
            db.insert("INSERT INTO t (name) VALUES (:name)", named_params! {":name": "b"})?,
            2
        );
        let (all, more): (&str, String) = ("c", "d".into());
        let changed = db.execute("INSERT INTO t (name) VALUES (?1), (?2)", params![all, more])?;
        assert_eq!(changed, 2);
        assert_eq!(db.execute("UPDATE t SET size = ?1 WHERE size IS NULL", [2])?, 3);
        let rows: Vec<(i64, String, f64)> = db.query("SELECT * FROM t WHERE id < ?1", [3])?;
        assert_eq!(rows, [(1, "a".into(), 1.5), (2, "b".into(), 2.0)]);
        let one: String = db.query_one("SELECT name FROM t WHERE id = ?1", [3])?;
        assert_eq!(one, "c");
        assert_eq!(db.query_opt::<i64>("SELECT id FROM t WHERE id = ?1", [9])?, None);
        // A statement that returns rows and writes goes to the writer, the first time and later.
        for id in [5, 6] {
            let sql = "INSERT INTO t (name) VALUES ('x') RETURNING id";
            assert_eq!(db.query_one::<i64>(sql, ())?, id);
        }
        let row: Row = db.query_one("SELECT name AS Name, size FROM t WHERE id = 5", ())?;
        assert_eq!(row.get::<_, String>("name")?, "x");
        assert_eq!(row.get::<_, Option<f64>>(1)?, None);
        assert_eq!(row.columns().collect::<Vec<_>>(), ["Name", "size"]);
        let mut ids = Vec::new();
        let count = db.query_each("SELECT id FROM t", (), |id: i64| {
            ids.push(id);
            Ok(())
        })?;
        assert_eq!((count, ids), (6, vec![1, 2, 3, 4, 5, 6]));
        let max: i64 =
            db.read(|db| Ok(db.query_row("SELECT max(id) FROM t", (), |row| row.get(0))?))?;
        assert_eq!(max, 6);
        db.write(|db| Ok(db.execute_batch("VACUUM")?))?;
        db.optimize()?;
        assert_eq!(db.integrity_check()?, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn mistakes_are_named_and_harm_nothing() {
    everywhere(|db| {
        db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")?;
        db.insert("INSERT INTO t (name) VALUES (?1)", ["a"])?;
        let kind = |result: Result<i64>| result.unwrap_err().kind();
        let get = |sql: &str| db.query_one::<i64>(sql, ());
        assert_eq!(kind(get("SELECT nothing FROM t")), ErrorKind::Sql);
        assert_eq!(kind(get("SELEC")), ErrorKind::Sql);
        assert_eq!(kind(get("SELECT 1; SELECT 2")), ErrorKind::Sql);
        assert_eq!(kind(get("SELECT 1 WHERE 0")), ErrorKind::RowCount);
        assert_eq!(kind(get("SELECT 1 UNION SELECT 2")), ErrorKind::RowCount);
        assert_eq!(kind(get("SELECT name FROM t")), ErrorKind::FromSql);
        assert_eq!(kind(get("SELECT ?1")), ErrorKind::Parameters);
        assert_eq!(kind(db.query_one("SELECT ?1", [1, 2])), ErrorKind::Parameters);
        assert_eq!(kind(db.query_one("SELECT :a", named_params! {":b": 1})), ErrorKind::Parameters);
        assert_eq!(kind(db.insert("INSERT INTO t VALUES (1, 'b')", ())), ErrorKind::Constraint);
        let error = db.insert("INSERT INTO t (name) VALUES (?1)", ["a"]).unwrap_err();
        assert!(error.is_constraint() && !error.may_have_run());
        assert_eq!((error.extended_code(), error.path()), (Some(2067), db.path()));
        assert_eq!(error.phase(), Phase::Run);
        let error = db.query_each("DELETE FROM t RETURNING id", (), |_: i64| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        // A failed batch keeps what came before; one in a transaction nothing.
        let batch = "INSERT INTO t VALUES (2, 'b'); INSERT INTO t VALUES (2, 'c');";
        assert!(db.execute_batch(batch).unwrap_err().is_constraint());
        let batch = "BEGIN; INSERT INTO t VALUES (3, 'c'); INSERT INTO t VALUES (3, 'd'); COMMIT;";
        assert!(db.execute_batch(batch).unwrap_err().is_constraint());
        let error = db.execute_batch("BEGIN; INSERT INTO t VALUES (4, 'd')").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(db.query::<i64>("SELECT id FROM t", ())?, [1, 2]);
        // A reader cannot write.
        let error = db.read(|db| Ok(db.execute("DELETE FROM t", ())?));
        if db.path() != ":memory:" {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::ReadOnly);
            assert_eq!(db.query_one::<i64>("SELECT count(*) FROM t", ())?, 2);
        }
        Ok(())
    });
}

#[test]
fn transactions_commit_on_ok_and_on_nothing_else() {
    everywhere(|db| {
        db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY)")?;
        let insert = |id: i64| {
            move |tx: &mut cede::sqlite::Transaction<'_>| {
                tx.execute("INSERT INTO t VALUES (?1)", [id])?;
                Ok(id)
            }
        };
        assert_eq!(db.transaction(insert(1))?, 1);
        assert_eq!(db.transaction_with(TransactionBehavior::Deferred, insert(2))?, 2);
        let failed = db.transaction(move |tx| {
            insert(3)(tx)?;
            Err::<(), _>(Error::other("changed my mind"))
        });
        let error = failed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(error.to_string().contains("changed my mind"), "{error}");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            db.transaction(move |tx| -> Result<()> {
                insert(4)(tx)?;
                std::panic::panic_any(44_u8);
            })
        }));
        assert_eq!(*panicked.unwrap_err().downcast::<u8>().unwrap(), 44);
        // A savepoint fails alone.
        db.transaction(move |tx| {
            insert(5)(tx)?;
            let inner = tx.savepoint()?;
            inner.execute("INSERT INTO t VALUES (6)", ())?;
            drop(inner);
            let inner = tx.savepoint()?;
            inner.execute("INSERT INTO t VALUES (7)", ())?;
            Ok(inner.commit()?)
        })?;
        let ended = db.transaction(move |tx| {
            insert(8)(tx)?;
            Ok(tx.execute_batch("ROLLBACK")?)
        });
        assert_eq!(ended.unwrap_err().phase(), Phase::Commit);
        assert_eq!(db.query::<i64>("SELECT id FROM t", ())?, [1, 2, 5, 7]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            db.read(|_| -> Result<()> { panic!("in a closure that reads") })
        }));
        assert!(panicked.is_err());
        assert_eq!(db.transaction(insert(9))?, 9);
        Ok(())
    });
}

#[test]
fn a_closure_that_calls_its_own_database_is_told_so() {
    everywhere(|db| {
        let inner = db.clone();
        let error = db.transaction(move |_| inner.execute("SELECT 1", ())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        let inner = db.clone();
        let nested = db.transaction(move |_| inner.query_one::<i64>("SELECT 1", ()));
        // In a file, another connection answers.
        if db.path() == ":memory:" {
            assert_eq!(nested.unwrap_err().kind(), ErrorKind::State);
        } else {
            assert_eq!(nested?, 1);
        }
        assert_eq!(db.query_one::<i64>("SELECT 1", ())?, 1);
        Ok(())
    });
}

#[test]
fn shards_and_threads_share_a_database() {
    within_reason(|| {
        let folder = Folder::new();
        let db = squares(&folder.file("a.db"), Config::new().readers(3), 1000).unwrap();
        db.execute_batch("CREATE TABLE log (shard INTEGER, n INTEGER)").unwrap();
        let wrong = Arc::new(AtomicU64::new(0));
        let work = |db: &Database, shard: i64, wrong: &AtomicU64| {
            for i in 0..50 {
                let n = (shard * 50 + i) % 1000 + 1;
                let found: i64 =
                    db.query_one("SELECT square FROM squares WHERE n = ?1", [n]).unwrap();
                wrong.fetch_add(u64::from(found != n * n), Ordering::Relaxed);
                if i % 10 == 0 {
                    db.execute("INSERT INTO log VALUES (?1, ?2)", [shard, i]).unwrap();
                }
            }
        };
        Runtime::builder()
            .shards(3)
            .run(|| {
                let fibers: Vec<_> = (0..30)
                    .map(|i| {
                        let (db, wrong) = (db.clone(), Arc::clone(&wrong));
                        cede::shards()[i % 3].spawn(move || work(&db, i as i64, &wrong)).unwrap()
                    })
                    .collect();
                let (there, wrong) = (db.clone(), Arc::clone(&wrong));
                let thread = std::thread::spawn(move || work(&there, 30, &wrong));
                fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
                thread.join().unwrap();
            })
            .unwrap();
        assert_eq!(wrong.load(Ordering::Relaxed), 0);
        assert_eq!(db.query_one::<i64>("SELECT count(*) FROM log", ()).unwrap(), 31 * 5);
        let metrics = db.metrics();
        assert_eq!((metrics.readers_free, metrics.readers_waiting), (3, 0));
        assert!(metrics.in_place > 0 && metrics.writes > 155, "{metrics:?}");
    });
}

#[test]
fn writers_are_served_in_their_order_and_readers_do_not_wait_for_them() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 10).unwrap();
            let gate = Gate::default();
            let (held, there) = (gate.clone(), db.clone());
            let blocker = cede::spawn(move || {
                there.transaction(move |tx| {
                    tx.execute("DELETE FROM squares", ())?;
                    held.pass();
                    Ok(())
                })
            });
            while db.metrics().writes < 2 {
                cede::yield_now();
            }
            let writers: Vec<_> = (0..20)
                .map(|i| {
                    let db = db.clone();
                    cede::spawn(move || db.insert("INSERT INTO squares (square) VALUES (?1)", [i]))
                })
                .collect();
            while db.metrics().writers_waiting < 20 {
                cede::yield_now();
            }
            // The state before: nothing is committed.
            assert_eq!(db.query_one::<i64>("SELECT count(*) FROM squares", ()).unwrap(), 10);
            gate.open();
            blocker.join().unwrap().unwrap();
            let rowids = writers.into_iter().map(|fiber| fiber.join().unwrap().unwrap());
            assert_eq!(rowids.collect::<Vec<_>>(), (1..=20).collect::<Vec<i64>>());
            assert!(db.metrics().waits >= 20);
        })
        .unwrap();
    });
}

#[test]
fn a_full_queue_refuses() {
    within_reason(|| {
        cede::run(|| {
            let db = Config::new().queue_max(2).open_in_memory().unwrap();
            let gate = Gate::default();
            let (there, held) = (db.clone(), gate.clone());
            let blocker = cede::spawn(move || {
                there.read(move |_| {
                    held.pass();
                    Ok(())
                })
            });
            while db.metrics().readers_free > 0 {
                cede::yield_now();
            }
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let db = db.clone();
                    cede::spawn(move || db.query_one::<i64>("SELECT 1", ()))
                })
                .collect();
            while db.metrics().readers_waiting < 2 {
                cede::yield_now();
            }
            let error = db.query_one::<i64>("SELECT 1", ()).unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Limit, Phase::Wait));
            assert_eq!(db.metrics().refused, 1);
            gate.open();
            blocker.join().unwrap().unwrap();
            for fiber in waiting {
                assert_eq!(fiber.join().unwrap().unwrap(), 1);
            }
        })
        .unwrap();
    });
}

#[test]
fn long_rows_come_in_batches_and_the_statement_waits_for_their_reader() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 20_000).unwrap();
            let mut sum = 0;
            let rows = db.query_each("SELECT n, text FROM squares ORDER BY n", (), |row| {
                let (n, text): (i64, String) = row;
                assert_eq!(text, format!("{n} squared"));
                sum += n;
                if n % 1000 == 0 {
                    cede::sleep(std::time::Duration::from_millis(1)).map_err(Error::other)?;
                    // The same database, meanwhile.
                    db.execute("UPDATE squares SET square = 0 WHERE n = ?1", [n])?;
                }
                Ok(())
            });
            assert_eq!((rows.unwrap(), sum), (20_000, 20_000 * 20_001 / 2));
            // One that ends early leaves nothing behind.
            let mut seen = 0;
            let stopped = db.query_each("SELECT n FROM squares", (), |_: i64| {
                seen += 1;
                if seen == 700 { Err(Error::other("enough")) } else { Ok(()) }
            });
            assert!(stopped.unwrap_err().to_string().contains("enough"));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                db.query_each("SELECT n FROM squares", (), |_: i64| panic!("in a row"))
            }));
            assert!(panicked.is_err());
            while db.metrics().readers_free < 8 {
                cede::yield_now();
            }
            db.checkpoint(CheckpointMode::Truncate).unwrap();
        })
        .unwrap();
    });
}

#[test]
fn closing_waits_ends_what_waits_and_leaves_one_file() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 10).unwrap();
            assert!(folder.names().len() > 1, "{:?}", folder.names());
            let there = db.clone();
            let reading = cede::spawn(move || {
                there.read(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    Ok(7)
                })
            });
            while db.metrics().readers_free == 8 {
                cede::yield_now();
            }
            db.close().unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), 7);
            assert_eq!(folder.names(), ["a.db"]);
            assert_eq!(db.query::<i64>("SELECT 1", ()).unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(db.execute("SELECT 1", ()).unwrap_err().kind(), ErrorKind::Closed);
            db.close().unwrap();
        })
        .unwrap();
        eventually("all files are closed", || folder.open_files() == 0);
    });
}

#[test]
fn settings_are_those_of_every_connection() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        let config = Config::new().readers(2).pragma("cache_size", "-777");
        let db = config.clone().open(&path).unwrap();
        let get = |db: &Database, name: &'static str| {
            let ask = move |db: &cede::sqlite::Connection| {
                Ok(db.pragma_query_value(None, name, |row| row.get::<_, String>(0))?)
            };
            let text = |v: Result<String>| v.unwrap();
            [text(db.read(ask)), text(db.write(ask))]
        };
        assert_eq!(get(&db, "journal_mode"), ["wal", "wal"]);
        let number = |name: &'static str| {
            let ask = move |db: &cede::sqlite::Connection| {
                Ok(db.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?)
            };
            [db.read(ask).unwrap(), db.write(ask).unwrap()]
        };
        assert_eq!(number("cache_size"), [-777, -777]);
        assert_eq!(number("synchronous"), [2, 2]);
        assert_eq!(number("query_only"), [1, 0]);
        assert_eq!(number("foreign_keys"), [1, 1]);
        drop(db);
        let db = Config::new().journal_mode(JournalMode::Delete).open(&path).unwrap();
        assert_eq!(get(&db, "journal_mode"), ["delete", "delete"]);
        for path in ["", ":memory:"] {
            assert_eq!(Database::open(path).unwrap_err().kind(), ErrorKind::Config);
        }
        let error = Config::new().create(false).open(folder.file("none.db")).unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Open, Phase::Open));
        assert!(error.to_string().contains("none.db"), "{error}");
        assert!(Database::open(folder.file("no folder").join("a.db")).is_err());
    });
}

#[test]
fn a_call_that_would_wait_for_the_rows_of_its_own_fiber_is_refused() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let in_memory = Database::open_in_memory().unwrap();
            // One of the two readers is never for long reads.
            let in_file = Config::new().readers(2).open(folder.file("rows")).unwrap();
            for db in [in_memory, in_file] {
                // More than what may wait for the fiber.
                db.execute_batch(
                    "CREATE TABLE squares AS WITH RECURSIVE numbers (n) AS
                     (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000)
                     SELECT n FROM numbers",
                )
                .unwrap();
                let each = |inner: &dyn Fn() -> Result<u64>| {
                    db.query_each("SELECT n FROM squares", (), |_: i64| inner().map(drop))
                };
                let nested = || db.query_each("SELECT n FROM squares", (), |_: i64| Ok(()));
                let error = each(&nested).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::State, "{error}");
                // Another fiber's call does wait, and has its turn.
                let there = db.clone();
                let mut other = None;
                db.query_each("SELECT n FROM squares", (), |_: i64| {
                    let there = there.clone();
                    other.get_or_insert_with(|| {
                        cede::spawn(move || {
                            there.query_each("SELECT n FROM squares", (), |_: i64| Ok(()))
                        })
                    });
                    cede::yield_now();
                    Ok(())
                })
                .unwrap();
                assert_eq!(other.unwrap().join().unwrap().unwrap(), 3000);
                assert_eq!(nested().unwrap(), 3000);
            }
        })
        .unwrap();
    });
}

#[test]
fn a_write_whose_rows_do_not_fit_says_that_it_was_done() {
    everywhere(|db| {
        db.execute_batch("CREATE TABLE done (a UNIQUE)")?;
        let count = || db.query_one::<i64>("SELECT count(*) FROM done", ()).unwrap();
        let two = "INSERT INTO done VALUES (?1), (?1 + 1) RETURNING a";
        let error = db.query_one::<i64>(two, [1]).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run(), count()), (ErrorKind::RowCount, true, 2));
        let error = db.query_opt::<i64>(two, [3]).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run(), count()), (ErrorKind::RowCount, true, 4));
        let error = db.query::<String>(two, [5]).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run(), count()), (ErrorKind::FromSql, true, 6));
        // Nothing was written.
        let error = db.query::<i64>(two, [6]).unwrap_err();
        assert!(error.is_constraint() && !error.may_have_run() && count() == 6, "{error}");
        let none = "DELETE FROM done WHERE a = 99 RETURNING a";
        let error = db.query_one::<i64>(none, ()).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::RowCount, false));
        let error = db.query_one::<i64>("SELECT a FROM done", ()).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::RowCount, false));
        Ok(())
    });
}
