//! What users and servers do that nobody hopes for.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use cede::postgres::types::private::BytesMut;
use cede::postgres::types::{IsNull, ToSql, Type};
use cede::postgres::{Client, Config, Error, ErrorKind, SqlState};

use crate::common::{HANG, within_reason};
use crate::postgres::Postgres;
use crate::with_client;

#[test]
fn statements_that_the_user_discards_are_prepared_again_also_in_a_transaction() {
    with_client(|client| {
        for discard in ["discard all", "deallocate all"] {
            for simple in [true, false] {
                let one = |client: &Client| client.query_one("select 1", &[]).map(drop);
                one(&client).unwrap();
                match simple {
                    true => client.batch_execute(discard).unwrap(),
                    false => drop(client.execute(discard, &[]).unwrap()),
                }
                client.transaction(|tx| one(tx)).unwrap();
                one(&client).unwrap();
            }
        }
        assert_eq!(client.metrics().connects, 1);
        assert_eq!(client.metrics().errors, 0);
    });
}

/// A pooler may give the session of one client to another one: a name that both use would be the
/// statement of whoever came first.
#[test]
fn no_two_connections_give_a_statement_the_same_name() {
    with_client(|client| {
        let names = |client: &Client| {
            client.query("select 1", &[]).unwrap();
            let rows = client.query("select name from pg_prepared_statements", &[]).unwrap();
            rows.iter().map(|row| row.get(0)).collect::<BTreeSet<String>>()
        };
        let first = names(&client);
        let other = Client::connect(Postgres::shared().url("postgres")).unwrap();
        assert!(first.len() == 2 && first.is_disjoint(&names(&other)), "{first:?}");
        client.batch_execute(&format!("deallocate {}", first.iter().next().unwrap())).unwrap();
        client.batch_execute(&format!("deallocate {}", first.iter().last().unwrap())).unwrap();
        let error = client.transaction(|tx| tx.query("select 1", &[])).unwrap_err();
        assert!(error.to_string().contains("pooler"), "{error}");
    });
}

#[test]
fn a_result_whose_columns_have_changed_is_asked_for_again() {
    with_client(|client| {
        client
            .batch_execute("create temp table altered (a int); insert into altered values (1)")
            .unwrap();
        let held = client.prepare("select * from altered").unwrap();
        let columns = || {
            let row = client.query_one(&held, &[]).unwrap();
            row.columns().iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(columns(), "a int4");
        client.batch_execute("alter table altered add b text").unwrap();
        assert_eq!(columns(), "a int4,b text");
        client.batch_execute("alter table altered alter a type text").unwrap();
        assert_eq!(columns(), "a text,b text");
        client.batch_execute("alter table altered rename b to c").unwrap();
        assert_eq!(columns(), "a text,c text");
        // In a transaction the server has rolled back; the next one knows it.
        client.batch_execute("alter table altered drop a").unwrap();
        let error = client.transaction(|tx| tx.query("select * from altered", &[])).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{error}");
        let rows = client.transaction(|tx| tx.query("select * from altered", &[])).unwrap();
        assert_eq!(rows[0].len(), 1);
        client.batch_execute("drop table altered").unwrap();
        let error = client.query(&held, &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error}");
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn an_enum_that_grows_is_looked_up_again() {
    with_client(|client| {
        client
            .batch_execute("drop type if exists growing; create type growing as enum ('a')")
            .unwrap();
        let kind =
            || format!("{:?}", client.prepare("select $1::growing").unwrap().params()[0].kind());
        assert_eq!(kind(), r#"Enum(["a"])"#);
        client.batch_execute("alter type growing add value 'b'").unwrap();
        client.clear_type_cache();
        assert_eq!(kind(), r#"Enum(["a", "b"])"#);
        client.batch_execute("drop type growing").unwrap();
    });
}

#[test]
fn as_many_columns_and_parameters_as_there_can_be() {
    with_client(|client| {
        let columns: Vec<_> = (0..1600).map(|n| format!("{n} as c{n}")).collect();
        let row = client.query_one(&format!("select {}", columns.join(",")), &[]).unwrap();
        assert_eq!(
            (row.len(), row.get::<_, i32>(1599), row.get::<_, i32>("c800")),
            (1600, 1599, 800)
        );
        for (count, fits) in [(65_535, true), (65_536, false)] {
            let places: Vec<_> = (1..=count).map(|n| format!("${n}")).collect();
            let sql =
                format!("select count(*) from (values (7)) v(n) where n in ({})", places.join(","));
            let params: Vec<&dyn ToSql> = vec![&7i32; count];
            match client.query_one(&sql, &params) {
                Ok(row) => assert!(fits && row.get::<_, i64>(0) == 1),
                Err(error) => assert!(!fits && error.to_string().contains("65,535"), "{error}"),
            }
        }
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn nothing_is_a_statement_too() {
    with_client(|client| {
        for sql in ["", " ", ";", "-- no more", "/* */"] {
            assert!(client.query(sql, &[]).unwrap().is_empty(), "{sql}");
            assert_eq!(client.execute(sql, &[]).unwrap(), 0);
            client.batch_execute(sql).unwrap();
            assert_eq!(client.query_each(sql, &[], |_| Ok::<_, Error>(())).unwrap(), 0);
            client.transaction(|tx| tx.execute(sql, &[])).unwrap();
            assert!(client.copy_in(sql).is_err() && client.copy_out(sql).is_err());
        }
        let error = client.query("select 1; select 2", &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::SYNTAX_ERROR));
        assert!(client.query("select '\0'", &[]).unwrap_err().to_string().contains("null"));
        assert_eq!(client.metrics().connects, 1);
    });
}

#[test]
fn a_flood_of_notices_is_nothing() {
    with_client(|client| {
        let sql = "set client_min_messages = notice;
            do $$ begin for i in 1..20000 loop raise notice 'again %', i; end loop; end $$";
        let there = client.clone();
        let other = cede::spawn(move || there.query_one("select 5", &[]).unwrap().get::<_, i32>(0));
        client.batch_execute(sql).unwrap();
        assert_eq!(other.join().unwrap(), 5);
    });
}

#[test]
fn another_encoding_of_the_client_ends_the_connection() {
    with_client(|client| {
        let error = client.batch_execute("set client_encoding = 'LATIN1'").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
        assert!(error.to_string().contains("client_encoding"), "{error}");
        let row = client.query_one("select 'é'", &[]).unwrap();
        assert_eq!(row.get::<_, &str>(0), "é");
        client.batch_execute("set client_encoding = 'unicode'").unwrap();
        assert_eq!(client.metrics().connects, 2);
    });
}

#[test]
fn databases_of_other_encodings() {
    with_client(|client| {
        for encoding in ["LATIN1", "SQL_ASCII"] {
            let name = format!("as_{}", encoding.to_ascii_lowercase());
            client
                .batch_execute(&format!(
                    "create database {name} encoding '{encoding}' locale 'C' template template0"
                ))
                .unwrap();
            let other = Client::connect(Postgres::shared().url(&name)).unwrap();
            let row = other.query_one("select $1::text as \"é\"", &[&"é"]).unwrap();
            assert_eq!(row.get::<_, &str>("é"), "é");
            match encoding {
                "LATIN1" => {
                    let error = other.query("select $1::text", &[&"€"]).unwrap_err();
                    assert_eq!(error.code().map(SqlState::code), Some("22P05"), "{error}");
                }
                _ => {
                    // The server looks at what it sends.
                    let error = other.query("select E'\\xff'::text", &[]).unwrap_err();
                    assert_eq!(error.code().map(SqlState::code), Some("22021"), "{error}");
                    assert!(other.simple_query("select E'\\xff'").is_err());
                }
            }
            assert_eq!(other.metrics().connects, 1);
            drop(other);
        }
    });
}

#[test]
fn names_of_all_alphabets() {
    with_client(|client| {
        client.batch_execute("create database \"дата базы\"").unwrap();
        client.batch_execute("create role \"Ümläut\" login").unwrap();
        let mut config: Config = Postgres::shared().url("postgres").parse().unwrap();
        config.dbname("дата базы").user("Ümläut").application_name("приложение");
        let other = Client::connect(config).unwrap();
        let row = other
            .query_one("select current_user::text, current_database()::text as \"名前\"", &[])
            .unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>("名前")), ("Ümläut", "дата базы"));
        let mut news = other.listen("канал \"x\"").unwrap();
        other.notify("канал \"x\"", "привет").unwrap();
        let event = format!("{:?}", news.recv().unwrap());
        assert!(event.contains("привет"), "{event}");
        // One byte less than what the server refuses.
        other.notify("канал \"x\"", &"x".repeat(7999)).unwrap();
        assert!(other.notify("канал \"x\"", &"x".repeat(8000)).is_err());
    });
}

#[test]
fn a_panic_anywhere_leaves_the_connection_whole() {
    #[derive(Debug)]
    struct Panics;
    impl ToSql for Panics {
        fn to_sql(
            &self,
            _: &Type,
            _: &mut BytesMut,
        ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
            panic!("in to_sql")
        }
        fn accepts(_: &Type) -> bool {
            true
        }
        fn to_sql_checked(
            &self,
            ty: &Type,
            out: &mut BytesMut,
        ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
            self.to_sql(ty, out)
        }
    }
    with_client(|client| {
        client.batch_execute("create temp table panics (n int)").unwrap();
        let series = "select n from generate_series(1, 100000) n";
        for round in 0..6 {
            let result = catch_unwind(AssertUnwindSafe(|| match round {
                0 => drop(client.query_each(series, &[], |_| -> Result<(), Error> { panic!("0") })),
                1 => drop(client.query("select $1::int", &[&Panics])),
                2 => drop(client.transaction(|tx| {
                    tx.execute("insert into panics values ($1)", &[&1])?;
                    tx.transaction(|sp| sp.query("select $1::int", &[&Panics]))
                })),
                3 => {
                    let mut copy = client.copy_in("copy panics from stdin").unwrap();
                    copy.write_all(b"1\n2\n").unwrap();
                    panic!("3");
                }
                4 => {
                    let mut copy = client.copy_out(&format!("copy ({series}) to stdout")).unwrap();
                    copy.next().unwrap().unwrap();
                    panic!("4");
                }
                _ => drop(client.transaction(|tx| {
                    tx.execute("insert into panics values ($1)", &[&1])?;
                    let mut copy = tx.copy_in("copy panics from stdin")?;
                    copy.write_all(b"1\n2\n").unwrap();
                    copy.flush().unwrap();
                    if true {
                        panic!("5")
                    }
                    Ok::<_, Error>(())
                })),
            }));
            assert!(result.is_err(), "{round}");
            let count: i64 = client.query_one("select count(*) from panics", &[]).unwrap().get(0);
            assert_eq!(count, 0, "{round}");
        }
        assert_eq!(client.metrics().connects, 1);
    });
}

/// One of what fibers do with a session that may end at any moment; how many rows it has committed.
fn step(client: &Client, what: usize) -> Result<i64, Error> {
    let series = "select n from generate_series(1, 1000) n";
    let mut rows = 0;
    match what {
        0 => drop(client.query_one("select $1::int", &[&1])?),
        1 => {
            rows = client.transaction(|tx| {
                tx.execute("insert into victims values (1)", &[])?;
                tx.transaction(|sp| sp.execute("insert into victims values (2)", &[]))?;
                Ok::<_, Error>(2)
            })?;
        }
        2 => {
            let mut copy = client.copy_in("copy victims from stdin")?;
            copy.write_all(b"3\n4\n5\n").map_err(Error::from)?;
            rows = copy.finish()? as i64;
        }
        3 => {
            let pieces = client.copy_out(&format!("copy ({series}) to stdout"))?;
            assert_eq!(pieces.collect::<Result<Vec<_>, _>>()?.len(), 1000);
        }
        4 => assert_eq!(client.query_each(series, &[], |_| Ok::<_, Error>(()))?, 1000),
        _ => {
            let mut news = client.listen("victims")?;
            client.notify("victims", "x")?;
            news.recv()?;
        }
    }
    Ok(rows)
}

#[test]
fn sessions_that_are_terminated_at_any_moment_fail_once_and_keep_their_word() {
    within_reason(|| {
        cede::run(|| {
            let url = Postgres::shared().url("postgres");
            let killer = Client::connect(&url).unwrap();
            killer.batch_execute("create table victims (n int)").unwrap();
            let mut config: Config = url.parse().unwrap();
            config.application_name("victim").reconnect_timeout(HANG);
            let client = Client::connect(config).unwrap();
            let is_over = Rc::new(Cell::new(false));
            let fibers: Vec<_> = (0..6)
                .map(|what| {
                    let (client, is_over) = (client.clone(), Rc::clone(&is_over));
                    cede::spawn(move || {
                        let (mut committed, mut unsure) = (0, 0);
                        while !is_over.get() {
                            match step(&client, what) {
                                Ok(rows) => committed += rows,
                                Err(error) => {
                                    let code = error.code().map(SqlState::code);
                                    assert!(
                                        error.is_closed() || code == Some("57P01"),
                                        "{error:?}"
                                    );
                                    unsure += i64::from(error.may_have_run()) * 3;
                                }
                            }
                            cede::yield_now();
                        }
                        (committed, unsure)
                    })
                })
                .collect();
            let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'victim'";
            for _ in 0..30 {
                cede::sleep(Duration::from_millis(7)).unwrap();
                killer.query(kill, &[]).unwrap();
            }
            is_over.set(true);
            let (mut committed, mut unsure) = (0, 0);
            for fiber in fibers {
                let (fiber_committed, fiber_unsure) = fiber.join().unwrap();
                committed += fiber_committed;
                unsure += fiber_unsure;
            }
            let count = killer.query_one("select count(*) from victims", &[]).unwrap();
            let count: i64 = count.get(0);
            assert!((committed..=committed + unsure).contains(&count), "{count} {committed}");
            assert!(client.metrics().connects > 1);
        })
        .unwrap();
    });
}
