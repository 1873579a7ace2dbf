//! Other connections, processes that hold the lock, and one that dies in the middle of its writes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cede::sqlite::{CheckpointMode, Config, Database, ErrorKind, JournalMode, Phase};

use crate::common::within_reason;
use crate::folder::{Folder, squares};

/// Another process with a transaction that it has begun and does not end.
struct Holder(Child);

impl Holder {
    fn begin(path: &Path, begin: &str) -> Self {
        let script = format!(
            "import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('{begin}')
db.execute('SELECT * FROM squares').fetchone()
print('held', flush=True)
sys.stdin.readline()
db.execute('COMMIT')
db.close()"
        );
        let mut command = Command::new("python3");
        command.args(["-c", &script]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = dies_with_us(&mut command).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }

    fn end(mut self) {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

fn dies_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: a plain system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    }
}

#[test]
fn a_lock_of_another_process_is_waited_for() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        cede::run(|| {
            let db = squares(&path, Config::new(), 10).unwrap();
            let holder = Holder::begin(&path, "BEGIN IMMEDIATE");
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let db = db.clone();
                    cede::spawn(move || db.execute("UPDATE squares SET text = ''", ()))
                })
                .collect();
            while db.metrics().busy == 0 {
                cede::yield_now();
            }
            // Readers do not wait for it.
            assert_eq!(db.query_one::<i64>("SELECT count(*) FROM squares", ()).unwrap(), 10);
            // Nor does a fiber for longer than it wants to; the thread is free soon after.
            let transaction = || db.transaction(|_| Ok(()));
            let error = cede::with_deadline(Duration::from_millis(20), transaction).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            cede::blocking(|| holder.end()).unwrap();
            for writer in writers {
                assert_eq!(writer.join().unwrap().unwrap(), 10);
            }
        })
        .unwrap();
    });
}

#[test]
fn a_lock_that_is_held_for_too_long_is_busy() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        cede::run(|| {
            let config = Config::new().busy_timeout(Duration::from_millis(60));
            let db = squares(&path, config, 10).unwrap();
            let holder = Holder::begin(&path, "BEGIN IMMEDIATE");
            let started = Instant::now();
            let error = db.execute("DELETE FROM squares", ()).unwrap_err();
            assert!(error.is_busy() && started.elapsed() >= Duration::from_millis(60), "{error}");
            let error = db.transaction(|_| Ok(())).unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Busy, Phase::Begin));
            // A deadline is the nearer end.
            let execute = || db.execute("DELETE FROM squares", ());
            let error = cede::with_deadline(Duration::from_millis(10), execute).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert!(db.metrics().busy >= 2);
            cede::blocking(|| holder.end()).unwrap();
            assert_eq!(db.execute("DELETE FROM squares", ()).unwrap(), 10);
            // A reader is in the way of nothing but the end of the log.
            let holder = Holder::begin(&path, "BEGIN");
            db.execute("INSERT INTO squares VALUES (1, 1, '')", ()).unwrap();
            assert!(db.checkpoint(CheckpointMode::Truncate).unwrap_err().is_busy());
            db.checkpoint(CheckpointMode::Passive).unwrap();
            cede::blocking(|| holder.end()).unwrap();
            db.checkpoint(CheckpointMode::Truncate).unwrap();
        })
        .unwrap();
    });
}

/// With a rollback journal a reader meets the lock of a writer: not on the thread of its shard.
#[test]
fn a_read_that_meets_a_lock_waits_in_the_pool() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        cede::run(|| {
            let config = Config::new().journal_mode(JournalMode::Delete);
            let db = squares(&path, config, 10).unwrap();
            let holder = Holder::begin(&path, "BEGIN EXCLUSIVE");
            let there = db.clone();
            let reader = cede::spawn(move || {
                there.query_one::<i64>("SELECT square FROM squares WHERE n = 3", ())
            });
            while db.metrics().busy < 2 {
                assert!(!reader.is_finished(), "{:?} {:?}", db.metrics(), reader.join());
                cede::yield_now();
            }
            assert!(!reader.is_finished());
            assert_eq!(db.metrics().moved, 1);
            cede::blocking(|| holder.end()).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), 9);
            // It is no slow statement for that.
            let before = db.metrics().in_place;
            let sql = "SELECT square FROM squares WHERE n = 3";
            assert_eq!(db.query_one::<i64>(sql, ()).unwrap(), 9);
            assert_eq!(db.metrics().in_place, before + 1);
        })
        .unwrap();
    });
}

const CHILD: &str = "CEDE_SQLITE_WRITES";

/// The child: writes pairs of rows, and prints a number when its pair is committed.
fn write_pairs(path: String) -> ! {
    cede::run(|| {
        let db = Arc::new(Database::open(path).unwrap());
        db.execute_batch("CREATE TABLE IF NOT EXISTS pairs (n INTEGER, half INTEGER)").unwrap();
        for n in 0_i64.. {
            db.transaction(move |tx| {
                tx.execute("INSERT INTO pairs VALUES (?1, 1)", [n])?;
                tx.execute("INSERT INTO pairs VALUES (?1, 2)", [n])?;
                Ok(())
            })
            .unwrap();
            println!("committed {n}");
        }
    })
    .unwrap();
    unreachable!("it is killed");
}

#[test]
fn what_was_committed_survives_a_kill() {
    if let Ok(path) = std::env::var(CHILD) {
        write_pairs(path);
    }
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        for killed_after in [1, 10, 60] {
            let _ = std::fs::remove_file(&path);
            let mut command = Command::new(std::env::current_exe().unwrap());
            let name = "others::what_was_committed_survives_a_kill";
            command.args(["--exact", name, "--nocapture"]).env(CHILD, &path);
            let mut child = dies_with_us(command.stdout(Stdio::piped())).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut next = || {
                lines.by_ref().map_while(Result::ok).find_map(|line| {
                    line.split("committed ").nth(1).and_then(|n| n.parse::<i64>().ok())
                })
            };
            let mut last = next().unwrap();
            while last < killed_after {
                last = next().unwrap();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            while let Some(n) = next() {
                last = n;
            }
            let path = path.clone();
            cede::run(move || {
                let db = Database::open(path).unwrap();
                let halves = "SELECT n, count(*) FROM pairs GROUP BY n ORDER BY n";
                let pairs: Vec<(i64, i64)> = db.query(halves, ()).unwrap();
                assert!(pairs.iter().all(|(_, halves)| *halves == 2), "{pairs:?}");
                // The one after what was told may be there.
                let count = i64::try_from(pairs.len()).unwrap();
                assert!(count == last + 1 || count == last + 2, "{count} pairs, told of {last}");
                assert_eq!(db.integrity_check().unwrap(), Vec::<String>::new());
                db.close().unwrap();
            })
            .unwrap();
        }
    });
}
