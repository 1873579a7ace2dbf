//! Transactions and savepoints.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use cede::postgres::{Client, Error, ErrorKind, IsolationLevel, Phase, SqlState};

use crate::postgres::Postgres;
use crate::with_client;

/// A table of its own with one column `id`.
fn table(client: &Client, name: &str) -> String {
    client.batch_execute(&format!("create temp table {name} (id int)")).unwrap();
    format!("insert into {name} values ($1)")
}

fn count(client: &Client, name: &str) -> i64 {
    client.query_one(&format!("select count(*) from {name}"), &[]).unwrap().get(0)
}

#[test]
fn ok_commits_and_an_error_rolls_back() {
    with_client(|client| {
        let insert = table(&client, "t1");
        let id: i32 = client
            .transaction(|tx| {
                tx.execute(&insert, &[&1])?;
                tx.query_one("select id + 1 from t1", &[])?.try_get(0)
            })
            .unwrap();
        assert_eq!((id, count(&client, "t1")), (2, 1));
        let error = client
            .transaction(|tx| {
                tx.execute(&insert, &[&2])?;
                assert_eq!(count(tx, "t1"), 2);
                tx.execute("select 1/0", &[])
            })
            .unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert_eq!(count(&client, "t1"), 1);
        // Nothing to commit, nothing to roll back.
        client.transaction(|_| Ok::<_, Error>(())).unwrap();
    });
}

#[test]
fn begin_goes_with_the_first_statement() {
    with_client(|client| {
        client.prepare("select 7").unwrap();
        client.prepare("select 8").unwrap();
        let before = client.metrics().requests;
        client.transaction(|tx| tx.query_one("select 7", &[]).map(drop)).unwrap();
        // With it, and the COMMIT.
        assert_eq!(client.metrics().requests - before, 2);
    });
}

#[test]
fn a_statement_behind_a_begin_that_fails_does_not_run() {
    with_client(|client| {
        let insert = table(&client, "t2");
        client.prepare(&insert).unwrap();
        // It needs a superuser, or this.
        let result =
            client.build_transaction().isolation_level(IsolationLevel::Serializable).run(|tx| {
                tx.batch_execute("set transaction isolation level read committed")?;
                tx.execute(&insert, &[&1])
            });
        assert_eq!(result.unwrap(), 1);
        client.batch_execute("set default_transaction_read_only = on").unwrap();
        let error = client.transaction(|tx| tx.execute("create table never ()", &[])).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
        client.batch_execute("set default_transaction_read_only = off").unwrap();
    });
}

#[test]
fn a_panic_rolls_back_and_goes_on() {
    with_client(|client| {
        let insert = table(&client, "t3");
        let there = client.clone();
        let panicked = cede::spawn(move || {
            there.transaction(|tx| -> Result<(), Error> {
                tx.execute(&insert, &[&1])?;
                panic!("on purpose")
            })
        });
        let payload = panicked.join().unwrap_err().into_panic().unwrap();
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        assert_eq!(count(&client, "t3"), 0);
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn a_cancel_or_a_deadline_rolls_back_on_the_same_connection() {
    with_client(|client| {
        let insert = table(&client, "t4");
        for case in 0..4 {
            let (there, insert) = (client.clone(), insert.clone());
            let fiber = cede::spawn(move || {
                let run = || {
                    there.transaction(|tx| {
                        tx.execute(&insert, &[&1])?;
                        if case % 2 == 0 {
                            cede::sleep(Duration::from_secs(60))?;
                        } else {
                            tx.execute("select pg_sleep(60)", &[])?;
                        }
                        Ok::<_, Error>(())
                    })
                };
                if case < 2 { run() } else { cede::with_deadline(Duration::from_millis(30), run) }
            });
            if case < 2 {
                cede::sleep(Duration::from_millis(30)).unwrap();
                fiber.cancel();
            }
            let error = fiber.join().unwrap().unwrap_err();
            assert!(if case < 2 { error.is_cancelled() } else { error.is_timeout() }, "{error}");
            assert_eq!(count(&client, "t4"), 0);
        }
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn a_cancelled_fiber_does_not_commit() {
    with_client(|client| {
        let insert = table(&client, "t5");
        let there = client.clone();
        let executed = Rc::new(Cell::new(false));
        let is_executed = Rc::clone(&executed);
        let fiber = cede::spawn(move || {
            there.transaction(|tx| {
                tx.execute(&insert, &[&1])?;
                executed.set(true);
                let _ = cede::sleep(Duration::from_secs(60));
                Ok::<_, Error>(())
            })
        });
        while !is_executed.get() {
            cede::sleep(Duration::from_millis(1)).unwrap();
        }
        fiber.cancel();
        let error = fiber.join().unwrap().unwrap_err();
        assert!(error.is_cancelled() && error.phase() == Phase::Commit, "{error}");
        assert_eq!(count(&client, "t5"), 0);
    });
}

#[test]
fn savepoints_roll_back_their_part() {
    with_client(|client| {
        let insert = table(&client, "t6");
        client
            .transaction(|tx| {
                tx.execute(&insert, &[&1])?;
                let inner = tx.transaction(|sp| {
                    sp.execute(&insert, &[&2])?;
                    sp.transaction(|deep| deep.execute(&insert, &[&3]))?;
                    sp.execute("select 1/0", &[])
                });
                assert_eq!(inner.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
                tx.transaction(|sp| sp.execute(&insert, &[&4]))?;
                let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    tx.transaction(|sp| -> Result<(), Error> {
                        sp.execute(&insert, &[&5])?;
                        panic!("on purpose")
                    })
                }));
                assert!(panicked.is_err());
                Ok::<_, Error>(())
            })
            .unwrap();
        let rows = client.query("select id from t6 order by id", &[]).unwrap();
        let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(ids, [1, 4]);
    });
}

#[test]
fn a_savepoint_that_hides_an_error_takes_only_its_own_part_along() {
    with_client(|client| {
        let insert = table(&client, "hidden");
        client
            .transaction(|tx| {
                tx.execute(&insert, &[&1])?;
                let result = tx.transaction(|sp| {
                    sp.execute(&insert, &[&2])?;
                    let _ = sp.query("select 1/0", &[]);
                    Ok::<_, Error>(())
                });
                let error = result.unwrap_err();
                assert_eq!(error.code().map(SqlState::code), Some("25P02"), "{error}");
                tx.execute(&insert, &[&3])
            })
            .unwrap();
        assert_eq!(count(&client, "hidden"), 2);
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn others_wait_for_the_end_of_a_transaction() {
    with_client(|client| {
        let insert = table(&client, "t7");
        let there = client.clone();
        let owner = cede::spawn(move || {
            there.transaction(|tx| {
                tx.execute(&insert, &[&1])?;
                cede::sleep(Duration::from_millis(20))?;
                tx.execute(&insert, &[&2])
            })
        });
        cede::sleep(Duration::from_millis(5)).unwrap();
        let fibers: Vec<_> = (0..5)
            .map(|_| {
                let client = client.clone();
                cede::spawn(move || count(&client, "t7"))
            })
            .collect();
        for fiber in fibers {
            assert_eq!(fiber.join().unwrap(), 2);
        }
        owner.join().unwrap().unwrap();
    });
}

#[test]
fn the_outer_client_in_its_own_transaction_is_refused() {
    with_client(|client| {
        let (first, second) = client
            .transaction(|_| {
                let first = client.query("select 1", &[]).unwrap_err();
                let second = client.transaction(|_| Ok::<_, Error>(())).unwrap_err();
                Ok::<_, Error>((first, second))
            })
            .unwrap();
        assert_eq!((first.kind(), second.kind()), (ErrorKind::State, ErrorKind::State));
        assert!(first.to_string().contains("closure"), "{first}");
    });
}

#[test]
fn a_transaction_that_outlives_its_closure_is_refused() {
    with_client(|client| {
        let leaked = client.transaction(|tx| Ok::<_, Error>((**tx).clone())).unwrap();
        assert_eq!(leaked.query("select 1", &[]).unwrap_err().kind(), ErrorKind::State);
        let leaked = client
            .transaction(|tx| {
                tx.execute("select 1", &[])?;
                Ok::<_, Error>((**tx).clone())
            })
            .unwrap();
        assert_eq!(leaked.query("select 1", &[]).unwrap_err().kind(), ErrorKind::State);
        client.query("select 1", &[]).unwrap();
    });
}

#[test]
fn a_commit_that_does_not_commit_is_an_error() {
    with_client(|client| {
        client
            .batch_execute("create temp table t8 (id int unique deferrable initially deferred)")
            .unwrap();
        let error = client
            .transaction(|tx| {
                tx.execute("insert into t8 values (1)", &[])?;
                tx.execute("insert into t8 values (1)", &[])
            })
            .unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
        assert_eq!(error.phase(), Phase::Commit);
        assert_eq!(count(&client, "t8"), 0);
        let error = client
            .transaction(|tx| {
                tx.execute("insert into t8 values (2)", &[])?;
                let _ = tx.execute("select 1/0", &[]);
                Ok::<_, Error>(())
            })
            .unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::State, Phase::Commit));
        assert_eq!(count(&client, "t8"), 0);
        // A statement that ends it is found out.
        let error = client
            .transaction(|tx| {
                tx.execute("insert into t8 values (3)", &[])?;
                tx.batch_execute("rollback")?;
                tx.execute("insert into t8 values (4)", &[])
            })
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(count(&client, "t8"), 0);
    });
}

#[test]
fn properties_reach_the_server() {
    with_client(|client| {
        let builder = client.build_transaction();
        let builder = builder.isolation_level(IsolationLevel::Serializable).read_only(true);
        let shown = builder.deferrable(true).run(|tx| {
            let show =
                |name: &str| tx.query_one(&format!("show {name}"), &[])?.try_get::<_, String>(0);
            Ok::<_, Error>([
                show("transaction_isolation")?,
                show("transaction_read_only")?,
                show("transaction_deferrable")?,
            ])
        });
        assert_eq!(shown.unwrap(), ["serializable", "on", "on"]);
    });
}

#[test]
fn fibers_of_a_scope_share_a_transaction() {
    with_client(|client| {
        let insert = table(&client, "t9");
        client
            .transaction(|tx| {
                cede::scope(|scope| {
                    for id in 0..20 {
                        let insert = &insert;
                        scope.spawn(move || tx.execute(insert, &[&id]).unwrap());
                    }
                });
                assert_eq!(count(tx, "t9"), 20);
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(count(&client, "t9"), 20);
        let _ = Postgres::shared();
    });
}

#[test]
fn a_savepoint_owns_its_transaction_for_its_duration() {
    with_client(|client| {
        let insert = table(&client, "owned");
        client
            .transaction(|tx| {
                cede::scope(|scope| {
                    let first = scope.spawn(|| {
                        tx.transaction(|sp| {
                            sp.execute(&insert, &[&1])?;
                            cede::sleep(Duration::from_millis(5))?;
                            // The transaction itself would wait for the end of this one.
                            let error = tx.execute(&insert, &[&2]).unwrap_err();
                            assert_eq!(error.kind(), ErrorKind::State, "{error}");
                            Err::<(), _>(error)
                        })
                    });
                    cede::yield_now();
                    // Both would be rolled back with the other one's part.
                    let second = scope.spawn(|| tx.execute(&insert, &[&3]));
                    let third = scope.spawn(|| tx.transaction(|sp| sp.execute(&insert, &[&4])));
                    assert!(first.join().unwrap().is_err());
                    assert_eq!(second.join().unwrap()?, 1);
                    assert_eq!(third.join().unwrap()?, 1);
                    Ok::<_, Error>(())
                })?;
                let outlived = tx.transaction(|sp| Ok::<_, Error>(Client::clone(sp)))?;
                let error = outlived.execute(&insert, &[&5]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::State, "{error}");
                Ok::<_, Error>(())
            })
            .unwrap();
        let rows = client.query("select id from owned order by id", &[]).unwrap();
        let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(ids, [3, 4]);
        assert_eq!(client.metrics().connects, 1);
    });
}
