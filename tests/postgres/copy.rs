//! COPY in both directions, whole, wrong, and given up half way.

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use cede::postgres::{Client, Error, ErrorKind, Phase, SqlState};

use crate::with_client;

fn table(client: &Client, name: &str) {
    let sql = format!("create temp table {name} (id int primary key, name text)");
    client.batch_execute(&sql).unwrap();
}

fn count(client: &Client, name: &str) -> i64 {
    client.query_one(&format!("select count(*) from {name}"), &[]).unwrap().get(0)
}

/// The statement's error in an error of `Write`.
fn db_error(error: io::Error) -> Error {
    Error::from(error)
}

#[test]
fn rows_go_in_and_come_out_in_every_format() {
    with_client(|client| {
        table(&client, "c1");
        let mut copy = client.copy_in("copy c1 from stdin").unwrap();
        for id in 0..1000 {
            writeln!(copy, "{id}\tname {id}").unwrap();
        }
        assert_eq!(copy.finish().unwrap(), 1000);
        let sum: i64 = client.query_one("select sum(id) from c1", &[]).unwrap().get(0);
        assert_eq!(sum, 499_500);
        for format in ["text", "csv", "binary"] {
            let mut bytes = Vec::new();
            let sql = format!("copy c1 to stdout (format {format})");
            client.copy_out(&sql).unwrap().read_to_end(&mut bytes).unwrap();
            client.batch_execute("truncate c1").unwrap();
            let mut copy =
                client.copy_in(&format!("copy c1 from stdin (format {format})")).unwrap();
            copy.write_all(&bytes).unwrap();
            assert_eq!(copy.finish().unwrap(), 1000, "{format}");
        }
        let out = client.copy_out("copy (select * from c1 order by id) to stdout").unwrap();
        let lines: Vec<_> = out.lines().map(Result::unwrap).collect();
        assert_eq!((lines.len(), &*lines[999]), (1000, "999\tname 999"));
        let rows = client.copy_out("copy (select 7 where false) to stdout").unwrap();
        assert_eq!(rows.count(), 0);
        assert_eq!(client.copy_in("copy c1 from stdin").unwrap().finish().unwrap(), 0);
    });
}

#[test]
fn a_lot_goes_through_without_being_gathered() {
    with_client(|client| {
        table(&client, "c2");
        let mut copy = client.copy_in("copy c2 from stdin").unwrap();
        let name = "x".repeat(100);
        // Far more than all buffers on the way hold.
        for id in 0..200_000 {
            writeln!(copy, "{id}\t{name}").unwrap();
        }
        assert_eq!(copy.finish().unwrap(), 200_000);
        let mut bytes = 0;
        for (i, piece) in client.copy_out("copy c2 to stdout").unwrap().enumerate() {
            bytes += piece.unwrap().len();
            if i % 10_000 == 0 {
                cede::sleep(Duration::from_millis(1)).unwrap();
            }
        }
        assert!(bytes > 20_000_000, "{bytes}");
    });
}

#[test]
fn an_error_in_the_data_names_the_line_and_keeps_nothing() {
    with_client(|client| {
        table(&client, "c3");
        let mut copy = client.copy_in("copy c3 from stdin").unwrap();
        copy.write_all(b"1\tone\nnonsense\n").unwrap();
        let error = copy.finish().unwrap_err();
        assert_eq!(error.phase(), Phase::Copy, "{error}");
        assert_eq!(error.code(), Some(&SqlState::INVALID_TEXT_REPRESENTATION), "{error}");
        assert!(error.as_db_error().unwrap().where_().unwrap().contains("line 2"), "{error}");
        assert_eq!(count(&client, "c3"), 0);
        // One that the server reports while more is written ends the writing.
        let mut copy = client.copy_in("copy c3 from stdin").unwrap();
        let error = loop {
            if let Err(error) = copy.write_all(b"1\tthe same key each time\n") {
                break db_error(error);
            }
        };
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error}");
        assert!(copy.finish().is_err());
        assert_eq!(count(&client, "c3"), 0);
    });
}

#[test]
fn what_is_not_finished_is_not_kept() {
    with_client(|client| {
        table(&client, "c4");
        let process: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        let mut copy = client.copy_in("copy c4 from stdin").unwrap();
        copy.write_all(b"1\tone\n").unwrap();
        copy.flush().unwrap();
        drop(copy);
        assert_eq!(count(&client, "c4"), 0);
        let mut copy = client.copy_in("copy c4 from stdin").unwrap();
        copy.write_all(b"1\tone\n").unwrap();
        copy.abort().unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut copy = client.copy_in("copy c4 from stdin").unwrap();
            copy.write_all(b"1\tone\n").unwrap();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        // A deadline in the middle.
        let late = cede::with_deadline(Duration::from_millis(10), || -> Result<u64, Error> {
            let mut copy = client.copy_in("copy c4 from stdin")?;
            copy.write_all(b"1\tone\n")?;
            cede::sleep(Duration::from_secs(100))?;
            copy.finish()
        });
        assert!(late.unwrap_err().is_timeout());
        assert_eq!(count(&client, "c4"), 0);
        // All of that on the same connection.
        let same: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        assert_eq!(same, process);
    });
}

/// A COPY whose start was given up took its connection with it, and what others had under way there.
#[test]
fn a_copy_that_is_given_up_before_it_begins_harms_nobody() {
    with_client(|client| {
        table(&client, "c8");
        let process: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        for i in 0..20 {
            for sql in ["copy c8 from stdin", "copy c8 to stdout", "copy nothing from stdin"] {
                let there = client.clone();
                let given_up = cede::spawn(move || {
                    // As a text of the other direction too.
                    let result = there.copy_in(sql).map(drop);
                    let other = there.copy_out(sql).map(drop);
                    result.or(other)
                });
                for _ in 0..i % 3 {
                    cede::yield_now();
                }
                given_up.cancel();
                let _ = given_up.join().unwrap();
                let there = client.clone();
                let late = cede::spawn(move || there.copy_out(sql).map(drop));
                cede::yield_now();
                late.cancel();
                assert_eq!(count(&client, "c8"), 0);
                let _ = late.join().unwrap();
            }
        }
        let same: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        assert_eq!(same, process);
    });
}

#[test]
fn an_output_that_is_left_half_way_is_dropped() {
    with_client(|client| {
        let process: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        // Weeks of rows.
        let sql = "copy (select generate_series(1, 1000000000000)) to stdout";
        let mut out = client.copy_out(sql).unwrap();
        assert_eq!(&out.next().unwrap().unwrap()[..], b"1\n");
        let error = client.query("select 1", &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
        drop(out);
        let same: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        assert_eq!(same, process);
        // An error of the server behind the first rows.
        let sql = "copy (select 1 / (10000 - i) from generate_series(1, 20000) i) to stdout";
        let mut out = client.copy_out(sql).unwrap();
        let mut rows = 0;
        let error = loop {
            match out.next().unwrap() {
                Ok(_) => rows += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code(), rows), (Some(&SqlState::DIVISION_BY_ZERO), 9999), "{error}");
    });
}

#[test]
fn statements_that_do_not_fit_are_refused() {
    with_client(|client| {
        table(&client, "c5");
        let state = |error: Error| {
            assert_eq!((error.kind(), error.phase()), (ErrorKind::State, Phase::Copy), "{error}");
        };
        state(client.copy_in("select 1").unwrap_err());
        state(client.copy_in("copy c5 to stdout").unwrap_err());
        state(client.copy_out("select 1").unwrap_err());
        state(client.copy_out("copy c5 from stdin").unwrap_err());
        let twice = client.copy_in("copy c5 from stdin; copy c5 from stdin").unwrap();
        state(twice.finish().unwrap_err());
        let error = client.copy_in("copy nothing from stdin").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error}");
        let error = client.copy_out("copy nothing to stdout").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error}");
        assert_eq!(count(&client, "c5"), 0);
    });
}

#[test]
fn others_wait_until_the_data_are_sent() {
    with_client(|client| {
        table(&client, "c6");
        let mut copy = client.copy_in("copy c6 from stdin").unwrap();
        let error = client.query("select 1", &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
        let there = client.clone();
        let other = cede::spawn(move || count(&there, "c6"));
        for id in 0..10 {
            writeln!(copy, "{id}\tname").unwrap();
            copy.flush().unwrap();
            cede::yield_now();
        }
        assert!(!other.is_finished());
        copy.finish().unwrap();
        assert_eq!(other.join().unwrap(), 10);
    });
}

#[test]
fn a_copy_is_a_part_of_its_transaction() {
    with_client(|client| {
        table(&client, "c7");
        let failed = client.transaction(|tx| {
            // The very first of the transaction.
            let mut copy = tx.copy_in("copy c7 from stdin")?;
            copy.write_all(b"1\tone\n")?;
            let error = tx.query("select 1", &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State, "{error}");
            copy.finish()?;
            assert_eq!(count(tx, "c7"), 1);
            assert_eq!(tx.copy_out("copy c7 to stdout")?.count(), 1);
            tx.execute("select 1/0", &[])
        });
        assert_eq!(failed.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert_eq!(count(&client, "c7"), 0);
        client
            .transaction(|tx| {
                let mut copy = tx.copy_in("copy c7 from stdin")?;
                copy.write_all(b"1\tone\n")?;
                copy.finish()
            })
            .unwrap();
        assert_eq!(count(&client, "c7"), 1);
    });
}
