//! Statements, rows, errors: what one fiber and many see of a connection.

use std::cell::Cell;
use std::rc::Rc;

use cede::postgres::types::{Kind, Type};
use cede::postgres::{Client, Config, Error, ErrorKind, SqlState};

use crate::postgres::Postgres;
use crate::with_client;

#[test]
fn rows_come_with_their_columns() {
    with_client(|client| {
        let rows = client
            .query("select n, n::text as t, null::int as x from generate_series(1, 3) n", &[])
            .unwrap();
        let got: Vec<(i32, String, Option<i32>)> =
            rows.iter().map(|row| (row.get(0), row.get("t"), row.get("X"))).collect();
        assert_eq!(got, [(1, "1".into(), None), (2, "2".into(), None), (3, "3".into(), None)]);
        let columns: Vec<_> = rows[0].columns().iter().map(|c| (c.name(), c.type_())).collect();
        assert_eq!(columns, [("n", &Type::INT4), ("t", &Type::TEXT), ("x", &Type::INT4)]);
    });
}

#[test]
fn one_row_none_and_several() {
    with_client(|client| {
        let sql = "select * from generate_series(1, $1::int) n";
        assert_eq!(client.query_one(sql, &[&1]).unwrap().get::<_, i32>(0), 1);
        assert!(client.query_opt(sql, &[&0]).unwrap().is_none());
        for (n, result) in [(0, client.query_one(sql, &[&0])), (2, client.query_one(sql, &[&2]))] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::RowCount, "{n}");
        }
        assert_eq!(client.query_opt(sql, &[&2]).unwrap_err().kind(), ErrorKind::RowCount);
        assert_eq!(client.execute(sql, &[&7]).unwrap(), 7);
    });
}

#[test]
fn changes_are_counted_and_texts_of_several_statements_run() {
    with_client(|client| {
        client
            .batch_execute(
                "create temp table t (id int primary key, v text); insert into t values (1, 'a')",
            )
            .unwrap();
        let inserted = client
            .execute("insert into t select n, $1 from generate_series(2, 5) n", &[&"b"])
            .unwrap();
        assert_eq!(inserted, 4);
        assert_eq!(client.execute("update t set v = 'c' where id > $1", &[&3]).unwrap(), 2);
        assert_eq!(client.execute("create temp table u ()", &[]).unwrap(), 0);
        assert_eq!(client.execute("", &[]).unwrap(), 0);
        assert_eq!(client.query("delete from t", &[]).unwrap().len(), 0);
    });
}

#[test]
fn an_error_has_its_code_its_host_and_leaves_the_connection_whole() {
    with_client(|client| {
        let error = client.query("select 1 / $1::int", &[&0]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert_eq!(error.host(), Some(client.host().as_str()));
        assert!(!error.may_have_run(), "{error}");
        let error = client.query("selekt 1", &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::SYNTAX_ERROR));
        let error = client.batch_execute("select 1; select 1/0; select 2").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        for (sql, params) in [("select $1::int", 0), ("select 1", 1)] {
            let params: &[&dyn cede::postgres::types::ToSql] =
                if params == 0 { &[] } else { &[&1] };
            assert_eq!(client.query(sql, params).unwrap_err().kind(), ErrorKind::Parameters);
        }
        let error = client.query("select $1::int", &[&"1"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ToSql);
        assert_eq!(client.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
        assert_eq!(client.metrics().errors, 3);
        assert_eq!(client.metrics().in_flight, 0);
    });
}

#[test]
fn fibers_get_each_their_own_answer() {
    with_client(|client| {
        let fibers: Vec<_> = (0..200)
            .map(|n: i32| {
                let client = client.clone();
                cede::spawn(move || {
                    for i in 0..20 {
                        let sql = if n % 7 == 0 {
                            "select $1::int / 0"
                        } else {
                            "select $1::int + $2::int"
                        };
                        if n % 7 == 0 {
                            let error = client.query_one(sql, &[&n]).unwrap_err();
                            assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
                        } else {
                            let sum: i32 = client.query_one(sql, &[&n, &i]).unwrap().get(0);
                            assert_eq!(sum, n + i);
                        }
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        // Each of the two statements was prepared once, by whoever came first.
        let metrics = client.metrics();
        assert_eq!(metrics.requests, 200 * 20 + 2, "{metrics:?}");
    });
}

#[test]
fn ten_thousand_requests_are_under_way_at_once() {
    with_client(|client| {
        let blocked = client.clone();
        let first = cede::spawn(move || blocked.query_one("select pg_sleep(0.3)", &[]).map(drop));
        let statement = client.prepare("select $1::int").unwrap();
        let most = Rc::new(Cell::new(0));
        let fibers: Vec<_> = (0..10_000)
            .map(|n: i32| {
                let (client, statement, most) =
                    (client.clone(), statement.clone(), Rc::clone(&most));
                cede::spawn(move || {
                    let row = client.query_one(&statement, &[&n]);
                    most.set(most.get().max(client.metrics().in_flight));
                    assert_eq!(row.unwrap().get::<_, i32>(0), n);
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        first.join().unwrap().unwrap();
        assert!(most.get() > 1000, "{}", most.get());
    });
}

#[test]
fn beyond_the_limit_requests_wait() {
    crate::common::within_reason(|| {
        cede::run(|| {
            let mut config: Config = Postgres::shared().url("postgres").parse().unwrap();
            config.in_flight_max(3);
            let client = Client::connect(config).unwrap();
            let most = Rc::new(Cell::new(0));
            let fibers: Vec<_> = (0..50)
                .map(|n: i32| {
                    let (client, most) = (client.clone(), Rc::clone(&most));
                    cede::spawn(move || {
                        most.set(most.get().max(client.metrics().in_flight));
                        client.query_one("select $1::int", &[&n]).unwrap().get::<_, i32>(0)
                    })
                })
                .collect();
            for (n, fiber) in fibers.into_iter().enumerate() {
                assert_eq!(fiber.join().unwrap(), n as i32);
            }
            assert!(most.get() <= 3, "{}", most.get());
        })
        .unwrap();
    });
}

#[test]
fn statements_are_kept_up_to_their_limit_and_closed_beyond_it() {
    crate::common::within_reason(|| {
        cede::run(|| {
            let mut config: Config = Postgres::shared().url("postgres").parse().unwrap();
            config.statements_max(5);
            let client = Client::connect(config).unwrap();
            let held: Vec<_> =
                (0..8).map(|n| client.prepare(&format!("select {n}")).unwrap()).collect();
            for n in 0..50 {
                let sql = format!("select {n} + 1");
                assert_eq!(client.query_one(&sql, &[]).unwrap().get::<_, i32>(0), n + 1);
            }
            for (n, statement) in held.iter().enumerate() {
                assert_eq!(client.query_one(statement, &[]).unwrap().get::<_, i32>(0), n as i32);
            }
            drop(held);
            for n in 0..10 {
                client.query_one(&format!("select {n} - 1"), &[]).unwrap();
            }
            let sql = "select count(*) from pg_prepared_statements";
            let count: i64 = client.query_one(sql, &[]).unwrap().get(0);
            assert!(count <= 7, "{count}");
        })
        .unwrap();
    });
}

#[test]
fn a_statement_that_the_server_refuses_is_prepared_again() {
    with_client(|client| {
        client.batch_execute("create temp table s (a int); insert into s values (1)").unwrap();
        let statement = client.prepare("select * from s").unwrap();
        assert_eq!(client.query_one(&statement, &[]).unwrap().len(), 1);
        // "cached plan must not change result type"
        client.batch_execute("alter table s add b int default 2").unwrap();
        assert_eq!(client.query_one(&statement, &[]).unwrap().len(), 2);
        assert_eq!(client.query_one("select * from s", &[]).unwrap().get::<_, i32>("b"), 2);
        for row in client.query("select name from pg_prepared_statements", &[]).unwrap() {
            client.batch_execute(&format!("deallocate {}", row.get::<_, &str>(0))).unwrap();
        }
        assert_eq!(client.query_one(&statement, &[]).unwrap().len(), 2);
        assert!(client.metrics().retries >= 2);
        // Within a transaction nothing can be repeated.
        client.batch_execute("alter table s drop b").unwrap();
        let error = client.transaction(|tx| tx.query_one(&statement, &[]).map(drop)).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
        assert_eq!(client.query_one(&statement, &[]).unwrap().len(), 1);
    });
}

#[test]
fn types_of_the_user_are_looked_up() {
    with_client(|client| {
        client
            .batch_execute(
                "create type pg_temp.mood as enum ('sad', 'ok');
                 create domain pg_temp.age as int check (value >= 0);
                 create type pg_temp.person as (name text, mood pg_temp.mood, age pg_temp.age)",
            )
            .unwrap();
        let sql = "select row('x', 'ok', 3)::pg_temp.person, array['sad']::pg_temp.mood[], 4::pg_temp.age";
        let statement = client.prepare(sql).unwrap();
        let types: Vec<_> = statement.columns().iter().map(|column| column.type_()).collect();
        let Kind::Composite(fields) = types[0].kind() else { panic!("{:?}", types[0].kind()) };
        let names: Vec<_> =
            fields.iter().map(|field| (field.name(), field.type_().name())).collect();
        assert_eq!(names, [("name", "text"), ("mood", "mood"), ("age", "age")]);
        let Kind::Array(mood) = types[1].kind() else { panic!("{:?}", types[1].kind()) };
        assert_eq!(*mood.kind(), Kind::Enum(vec!["sad".into(), "ok".into()]));
        assert_eq!(*fields[2].type_().kind(), Kind::Domain(Type::INT4));
        // The server itself says of a column what is behind the domain.
        assert_eq!(*types[2], Type::INT4);
        // Also inside of a transaction, as its first statement.
        let again = Client::connect(Postgres::shared().url("postgres")).unwrap();
        again
            .transaction(|tx| {
                tx.batch_execute("create type pg_temp.mood as enum ('new')")?;
                let statement = tx.prepare("select 'new'::pg_temp.mood")?;
                assert_eq!(*statement.columns()[0].type_().kind(), Kind::Enum(vec!["new".into()]));
                Ok::<_, Error>(())
            })
            .unwrap();
    });
}

#[test]
fn rows_are_streamed_and_what_is_left_is_dropped() {
    with_client(|client| {
        let sql = "select n, repeat('x', 100) from generate_series(1, $1::int) n";
        let mut sum = 0;
        let rows = client
            .query_each(sql, &[&100_000], |row| {
                sum += i64::from(row.get::<_, i32>(0));
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!((rows, sum), (100_000, 5_000_050_000));
        let mut seen = 0;
        let error = client
            .query_each(sql, &[&50_000_000], |_| {
                seen += 1;
                if seen == 10 { Err(Own("enough".into())) } else { Ok(()) }
            })
            .unwrap_err();
        assert_eq!(error.0, "enough");
        // The server was told to stop.
        assert_eq!(client.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
        assert!(client.metrics().rows < 50_000_000);
        assert_eq!(client.metrics().cancels, 1);
    });
}

/// An error of the closure's own.
#[derive(Debug)]
struct Own(String);

impl From<Error> for Own {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

#[test]
fn a_consumer_that_lags_holds_the_rows_back() {
    with_client(|client| {
        let taken = Rc::new(Cell::new(0));
        let there = Rc::clone(&taken);
        let other = client.clone();
        let lagging = cede::spawn(move || {
            other.query_each("select repeat('x', 1000) from generate_series(1, 20000)", &[], |_| {
                there.set(there.get() + 1);
                if there.get() == 1 {
                    cede::park().unwrap();
                }
                Ok::<_, Error>(())
            })
        });
        while taken.get() == 0 {
            cede::sleep(std::time::Duration::from_millis(1)).unwrap();
        }
        // Time for rows that nobody holds back.
        cede::sleep(std::time::Duration::from_millis(80)).unwrap();
        assert_eq!(taken.get(), 1);
        assert!(client.metrics().rows < 2000, "{:?}", client.metrics());
        lagging.fiber().wakeup();
        // This one waits behind it.
        assert_eq!(client.query_one("select 5", &[]).unwrap().get::<_, i32>(0), 5);
        assert_eq!(lagging.join().unwrap().unwrap(), 20_000);
    });
}

#[test]
fn the_closure_of_query_each_cannot_use_the_same_connection() {
    with_client(|client| {
        let error = client
            .query_each("select 1", &[], |_| client.query_one("select 2", &[]).map(drop))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(client.query_one("select 3", &[]).unwrap().get::<_, i32>(0), 3);
    });
}

#[test]
fn what_belongs_to_copy_or_to_transactions_is_refused() {
    with_client(|client| {
        client.batch_execute("create temp table c (stdin int)").unwrap();
        for sql in ["copy c from stdin", "copy c to stdout", "begin", "start transaction"] {
            assert_eq!(client.query(sql, &[]).unwrap_err().kind(), ErrorKind::State, "{sql}");
        }
        let error = client.batch_execute("copy c to stdout").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(!client.is_closed());
        // Only the server can tell that of a text; the connection is not usable then.
        for sql in ["copy c from stdin", "select 1; begin; select 2"] {
            let error = client.batch_execute(sql).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State, "{sql}: {error}");
            assert_eq!(client.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
            client.batch_execute("create temp table if not exists c (a int)").unwrap();
        }
        client.batch_execute("begin; select 2; commit").unwrap();
    });
}

#[test]
fn a_result_beyond_its_limit_is_an_error() {
    crate::common::within_reason(|| {
        cede::run(|| {
            let mut config: Config = Postgres::shared().url("postgres").parse().unwrap();
            config.result_bytes_max(1 << 20).message_bytes_max(1 << 16);
            let client = Client::connect(config).unwrap();
            let sql = "select repeat('x', 1000) from generate_series(1, $1::int)";
            assert_eq!(client.query(sql, &[&500]).unwrap().len(), 500);
            let error = client.query(sql, &[&5000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
            let error = client.simple_query(&sql.replace("$1", "5000")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
            assert!(!client.is_closed());
            assert_eq!(client.query(sql, &[&500]).unwrap().len(), 500);
            // A message cannot be skipped.
            let error = client.query("select repeat('x', 70000)", &[]).unwrap_err();
            assert!(error.to_string().contains("message"), "{error}");
            assert_eq!(client.query(sql, &[&5]).unwrap().len(), 5);
        })
        .unwrap();
    });
}

#[test]
fn large_values_go_both_ways() {
    with_client(|client| {
        for len in [0, 1, 30_000, 70_000, 5_000_000, 40_000_000] {
            let value: Vec<u8> = (0..len).map(|i: u32| (i * 7) as u8).collect();
            let row = client.query_one("select $1::bytea, length($1)", &[&value]).unwrap();
            assert!(row.get::<_, &[u8]>(0) == value, "{len}");
            assert_eq!(row.get::<_, i32>(1), len as i32);
        }
    });
}

#[test]
fn a_unix_socket_serves_many_fibers_too() {
    crate::common::within_reason(|| {
        let server = Postgres::shared();
        let mut config = Config::new();
        config.host_path(server.socket_dir()).port(server.port()).user("postgres");
        config.dbname("postgres");
        cede::run(|| {
            let client = Client::connect(config).unwrap();
            assert!(client.host().ends_with(&format!(".s.PGSQL.{}", server.port())));
            let fibers: Vec<_> = (0..100)
                .map(|n: i32| {
                    let client = client.clone();
                    cede::spawn(move || {
                        for i in 0..50 {
                            let row = client.query_one("select $1::int * $2::int", &[&n, &i]);
                            assert_eq!(row.unwrap().get::<_, i32>(0), n * i);
                        }
                    })
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            // What is given up while it is prepared needs no cancel.
            let slow = client.prepare("select pg_sleep(60)").unwrap();
            let result = cede::with_deadline(std::time::Duration::from_millis(100), || {
                client.query(&slow, &[])
            });
            assert!(result.unwrap_err().is_timeout());
            assert_eq!(client.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
            assert_eq!(client.metrics().cancels, 1);
        })
        .unwrap();
    });
}

/// Answers of quite different sizes and durations, while many are under way: what is read together
/// is still what each one asked for, and a slow one does not keep what came before it.
#[test]
fn answers_that_are_read_together_stay_apart() {
    with_client(|client| {
        let mut fibers = Vec::new();
        for n in 0..300_i32 {
            let client = client.clone();
            fibers.push(cede::spawn(move || {
                for i in 0..20 {
                    let len = (n * 31 + i * 977) % 5000;
                    let row = client.query_one("select repeat('x', $1::int)", &[&len]).unwrap();
                    assert_eq!(row.get::<_, &str>(0).len(), len as usize);
                }
            }));
        }
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        // 30 quick ones, then one that takes a second: the quick ones are not read with it.
        let early: Vec<_> = (0..30)
            .map(|n: i32| {
                let client = client.clone();
                cede::spawn(move || {
                    client.query_one("select repeat('x', $1::int)", &[&n]).unwrap();
                })
            })
            .collect();
        let slow = {
            let client = client.clone();
            cede::spawn(move || client.query("select pg_sleep(1)", &[]).map(drop))
        };
        early.into_iter().for_each(|fiber| fiber.join().unwrap());
        assert!(!slow.is_finished());
        slow.join().unwrap().unwrap();
    });
}
