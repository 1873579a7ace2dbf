//! Where statements run: in place while they are short, and in the pool otherwise.

use cede::sqlite::{Config, Database, FromRow, Result, rusqlite};

use crate::common::within_reason;
use crate::folder::{Folder, squares};

const COUNT: &str = "SELECT count(*) FROM squares AS a, squares AS b";

#[test]
fn look_ups_stay_and_long_reads_move() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 1000).unwrap();
            for n in 1..=500 {
                let found: i64 =
                    db.query_one("SELECT square FROM squares WHERE n = ?1", [n]).unwrap();
                assert_eq!(found, n * n);
            }
            let metrics = db.metrics();
            // A machine that stands still for a moment makes a statement look slow.
            assert!(metrics.in_place > 300, "{metrics:?}");
            assert_eq!((metrics.reads, metrics.moved), (500, 0));
            for run in 1..=5 {
                assert_eq!(db.query_one::<i64>(COUNT, ()).unwrap(), 1_000_000);
                let now = db.metrics();
                assert_eq!((now.moved, now.reads), (1, 500 + run), "{now:?}");
                assert_eq!(now.in_place, metrics.in_place);
            }
        })
        .unwrap();
    });
}

#[test]
fn steps_of_many_short_runs_do_not_add_up() {
    within_reason(|| {
        cede::run(|| {
            let db = Database::open_in_memory().unwrap();
            let sql = "WITH RECURSIVE some (n) AS
                (VALUES (1) UNION ALL SELECT n + 1 FROM some WHERE n < 100) SELECT sum(n) FROM some";
            for _ in 0..1000 {
                assert_eq!(db.query_one::<i64>(sql, ()).unwrap(), 5050);
            }
            assert_eq!(db.metrics().moved, 0);
        })
        .unwrap();
    });
}

#[test]
fn a_shard_goes_on_while_a_long_read_runs() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new(), 2000).unwrap();
            let there = db.clone();
            let long = cede::spawn(move || there.query_one::<i64>(COUNT, ()));
            let mut turns = 0_u64;
            while !long.is_finished() {
                turns += 1;
                cede::yield_now();
            }
            assert_eq!(long.join().unwrap().unwrap(), 4_000_000);
            assert!(turns > 100, "{turns} turns of the shard meanwhile");
        })
        .unwrap();
    });
}

#[test]
fn long_reads_leave_a_connection_for_short_ones() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new().readers(2), 10).unwrap();
            let long: Vec<_> = (0..4)
                .map(|_| {
                    let db = db.clone();
                    cede::spawn(move || db.query_one::<i64>(crate::folder::ENDLESS, ()))
                })
                .collect();
            while db.metrics().readers_waiting < 3 || db.metrics().readers_free != 1 {
                cede::yield_now();
            }
            for n in 1..=10 {
                let found: i64 =
                    db.query_one("SELECT square FROM squares WHERE n = ?1", [n]).unwrap();
                assert_eq!(found, n * n);
            }
            for fiber in long {
                fiber.cancel();
                assert!(fiber.join().unwrap().unwrap_err().is_cancelled());
            }
        })
        .unwrap();
    });
}

/// Deep enough to overflow the stack of a fiber.
#[test]
fn a_deep_expression_has_the_stack_that_it_needs() {
    within_reason(|| {
        let fiber = || {
            let db = Database::open_in_memory().unwrap();
            let sql = format!("SELECT {}1", "?1 + ".repeat(990));
            assert_eq!(db.query_one::<i64>(&sql, [1]).unwrap(), 991);
            let sql = format!("SELECT 1 WHERE {}", vec!["?1 = 1"; 990].join(" AND "));
            assert_eq!(db.query_one::<i64>(&sql, [1]).unwrap(), 1);
            assert_eq!(db.metrics().in_place, 2);
        };
        cede::Runtime::builder().stack_size(64 * 1024).run(fiber).unwrap();
    });
}

/// Waits in its conversion, and counts how often.
struct Waits(i64);

impl FromRow for Waits {
    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self> {
        cede::sleep(std::time::Duration::from_millis(1)).map_err(cede::sqlite::Error::other)?;
        if row.get::<_, i64>(0)? < 0 {
            panic!("below zero");
        }
        Ok(Self(row.get(0)?))
    }
}

#[test]
fn a_conversion_in_place_may_wait_and_panic() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let db = squares(&folder.file("a.db"), Config::new().readers(2), 100).unwrap();
            let fibers: Vec<_> = (1..=20)
                .map(|n| {
                    let db = db.clone();
                    let sql = "SELECT square FROM squares WHERE n = ?1";
                    cede::spawn(move || (n, db.query_one::<Waits>(sql, [n])))
                })
                .collect();
            for fiber in fibers {
                let (n, found) = fiber.join().unwrap();
                assert_eq!(found.unwrap().0, n * n);
            }
            let there = db.clone();
            let panics = cede::spawn(move || there.query_one::<Waits>("SELECT -1", ()).map(|_| ()));
            assert!(panics.join().is_err());
            let there = db.clone();
            let waits =
                cede::spawn(move || there.query::<Waits>("SELECT n FROM squares", ()).map(|_| ()));
            cede::yield_now();
            waits.cancel();
            assert!(waits.join().unwrap().is_err());
            assert_eq!(db.metrics().readers_free, 2);
            assert_eq!(db.query_one::<i64>("SELECT count(*) FROM squares", ()).unwrap(), 100);
        })
        .unwrap();
    });
}
