//! Backups while the database is written, and the way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cede::sqlite::{Config, Database, ErrorKind, JournalMode, Phase, Row};

use crate::common::within_reason;
use crate::folder::{Folder, Gate, squares};

const ALL: &str = "SELECT * FROM squares ORDER BY n";

#[test]
fn a_backup_under_load_is_one_state_row_by_row() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 40_000).unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    let (db, stop) = (db.clone(), Arc::clone(&stop));
                    cede::spawn(move || {
                        let mut written = 0;
                        while !stop.load(Ordering::Relaxed) {
                            // Two rows that belong together.
                            db.transaction(|tx| {
                                tx.execute(
                                    "UPDATE squares SET square = square + 1 WHERE n = 1",
                                    (),
                                )?;
                                tx.execute(
                                    "UPDATE squares SET square = square - 1 WHERE n = 40000",
                                    (),
                                )
                                .map_err(Into::into)
                            })
                            .unwrap();
                            written += 1;
                        }
                        written
                    })
                })
                .collect();
            let sum = "SELECT sum(square), count(*) FROM squares";
            let expected: (i64, i64) = db.query_one(sum, ()).unwrap();
            for name in ["one.db", "two.db"] {
                let steps = Arc::new(AtomicU32::new(0));
                let counted = Arc::clone(&steps);
                db.backup(folder.file(name), move |progress| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    assert!(progress.remaining < progress.total);
                    std::thread::sleep(Duration::from_millis(1));
                })
                .unwrap();
                assert!(steps.load(Ordering::Relaxed) > 1);
                let copy = Database::open(folder.file(name)).unwrap();
                assert_eq!(copy.query_one::<(i64, i64)>(sum, ()).unwrap(), expected);
                let rows: Vec<Row> = copy.query(ALL, ()).unwrap();
                let theirs: Vec<Row> = db.query(ALL, ()).unwrap();
                assert_eq!(rows.len(), theirs.len());
                // All but the two that are written.
                assert!(rows[1..rows.len() - 1] == theirs[1..theirs.len() - 1]);
                assert_eq!(copy.integrity_check().unwrap(), Vec::<String>::new());
                copy.close().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            let written: u32 = writers.into_iter().map(|fiber| fiber.join().unwrap()).sum();
            assert!(written > 4, "{written} writes meanwhile");
            db.close().unwrap();
        })
        .unwrap();
        assert_eq!(folder.names(), ["a.db", "one.db", "two.db"]);
    });
}

#[test]
fn a_backup_comes_back_into_files_and_memory() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 5000).unwrap();
            db.backup(folder.file("copy.db"), |_| {}).unwrap();
            let rows: Vec<Row> = db.query(ALL, ()).unwrap();
            db.execute_batch("DELETE FROM squares; CREATE TABLE other (a)").unwrap();
            db.restore(folder.file("copy.db"), |_| {}).unwrap();
            assert!(db.query::<Row>(ALL, ()).unwrap() == rows);
            assert_eq!(
                db.query::<i64>("SELECT * FROM other", ()).unwrap_err().kind(),
                ErrorKind::Sql
            );
            db.execute("DELETE FROM squares WHERE n > 7", ()).unwrap();
            let memory = Database::open_in_memory().unwrap();
            memory.restore(folder.file("copy.db"), |_| {}).unwrap();
            assert!(memory.query::<Row>(ALL, ()).unwrap() == rows);
            memory.execute("DELETE FROM squares WHERE n > 3", ()).unwrap();
            memory.backup(folder.file("small.db"), |_| {}).unwrap();
            let small = Config::new().journal_mode(JournalMode::Keep);
            let small = small.open(folder.file("small.db")).unwrap();
            assert!(small.query::<Row>(ALL, ()).unwrap() == rows[..3]);
            assert_eq!(db.query_one::<i64>("SELECT count(*) FROM squares", ()).unwrap(), 7);
        })
        .unwrap();
    });
}

#[test]
fn backups_that_fail_or_are_given_up_leave_nothing() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 60_000).unwrap();
            std::fs::write(folder.file("there.db"), "precious").unwrap();
            let error = db.backup(folder.file("there.db"), |_| {}).unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Open, Phase::Backup));
            assert!(error.to_string().contains("there.db"), "{error}");
            assert_eq!(std::fs::read(folder.file("there.db")).unwrap(), b"precious");
            assert!(db.backup(folder.file("no folder").join("b.db"), |_| {}).is_err());
            let gate = Gate::default();
            let held = gate.clone();
            let backup = || db.backup(folder.file("late.db"), move |_| held.pass());
            let error = cede::with_deadline(Duration::from_millis(10), backup).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            gate.open();
            let panics = db.clone();
            let path = folder.file("panic.db");
            let panicked = cede::spawn(move || panics.backup(path, |_| panic!("in progress")));
            assert!(panicked.join().is_err());

            db.backup(folder.file("copy.db"), |_| {}).unwrap();
            db.execute("UPDATE squares SET square = 0", ()).unwrap();
            let gate = Gate::default();
            let held = gate.clone();
            let restore = || db.restore(folder.file("copy.db"), move |_| held.pass());
            let error = cede::with_deadline(Duration::from_millis(10), restore).unwrap_err();
            assert!(error.is_timeout() && !error.may_have_run(), "{error}");
            gate.open();
            let error = db.restore(folder.file("there.db"), |_| {}).unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::NotADatabase, Phase::Restore));
            assert_eq!(
                db.restore(folder.file("no.db"), |_| {}).unwrap_err().kind(),
                ErrorKind::Open
            );
            assert_eq!(db.query_one::<i64>("SELECT max(square) FROM squares", ()).unwrap(), 0);
            assert_eq!(db.integrity_check().unwrap(), Vec::<String>::new());
            while db.metrics().readers_free < 8 {
                cede::yield_now();
            }
            db.close().unwrap();
        })
        .unwrap();
        assert_eq!(folder.names(), ["a.db", "copy.db", "there.db"]);
    });
}

#[test]
fn a_database_becomes_bytes_and_comes_back_into_memory() {
    let folder = Folder::new();
    within_reason(move || {
        cede::run(move || {
            let path = folder.file("app.db");
            let file = Database::open(&path).unwrap();
            // What is in the log only is there, too; and pages are added to what was bytes.
            file.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)").unwrap();
            let bytes = file.serialize().unwrap();
            let copy = Config::new().deserialize(bytes.clone()).unwrap();
            for value in 3..3000 {
                copy.execute("INSERT INTO t VALUES (?1)", [value]).unwrap();
            }
            let sum: i64 = copy.query_one("SELECT sum(a) FROM t", ()).unwrap();
            assert_eq!(sum, 2999 * 3000 / 2);
            assert_eq!(copy.integrity_check().unwrap(), [""; 0]);
            assert_eq!(file.query_one::<i64>("SELECT count(*) FROM t", ()).unwrap(), 2);
            let again = Config::new().deserialize(copy.serialize().unwrap()).unwrap();
            assert_eq!(again.query_one::<i64>("SELECT count(*) FROM t", ()).unwrap(), 2999);
            // The bytes are those of a file.
            std::fs::write(folder.file("copy.db"), &bytes).unwrap();
            let written = Database::open(folder.file("copy.db")).unwrap();
            assert_eq!(written.query::<i64>("SELECT a FROM t", ()).unwrap(), [1, 2]);

            for wrong in [vec![], vec![7; 10], vec![7; 5000], bytes[..bytes.len() - 1].to_vec()] {
                let opened = Config::new().deserialize(wrong.clone());
                let broken = opened.and_then(|db| db.query::<i64>("SELECT a FROM t", ()));
                let kind = broken.unwrap_err().kind();
                assert!(matches!(kind, ErrorKind::NotADatabase | ErrorKind::Corrupt), "{kind:?}");
            }
        })
        .unwrap()
    });
}
