//! How a database is opened, and what each of its connections is given.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cede::sqlite::{Config, Database, Error, ErrorKind};

use crate::common::within_reason;
use crate::folder::Folder;

#[test]
fn every_connection_has_what_it_was_given() {
    let folder = Folder::new();
    within_reason(move || {
        cede::run(move || {
            let other = folder.file("other.db");
            Database::open(&other).unwrap().execute_batch("CREATE TABLE o (a)").unwrap();
            let connections = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&connections);
            let config = Config::new().readers(3).on_connect(move |conn| {
                seen.fetch_add(1, Ordering::Relaxed);
                let backwards = |a: &str, b: &str| b.cmp(a);
                conn.create_collation("backwards", backwards)?;
                conn.execute("ATTACH ?1 AS other", [other.to_str()])?;
                Ok(())
            });
            let db = config.clone().open(folder.file("app.db")).unwrap();
            assert_eq!(connections.load(Ordering::Relaxed), 4);
            db.execute("INSERT INTO other.o VALUES ('a'), ('c'), ('b')", ()).unwrap();
            let sorted = "SELECT a FROM o ORDER BY a COLLATE backwards";
            let fibers: Vec<_> = (0..20)
                .map(|_| {
                    let db = db.clone();
                    cede::spawn(move || db.query::<String>(sorted, ()).unwrap())
                })
                .collect();
            for fiber in fibers {
                assert_eq!(fiber.join().unwrap(), ["c", "b", "a"]);
            }
            let refuses = config.on_connect(|_| Err(Error::other("not today")));
            let error = refuses.open(folder.file("app.db")).unwrap_err();
            assert!(error.to_string().contains("not today"), "{error}");
        })
        .unwrap()
    });
}

#[test]
fn a_path_may_be_a_uri() {
    let folder = Folder::new();
    within_reason(move || {
        cede::run(move || {
            let path = folder.file("a b.db");
            let uri = format!("file:{}", path.to_str().unwrap().replace(' ', "%20"));
            let db = Database::open(&uri).unwrap();
            db.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
            db.close().unwrap();
            assert!(path.exists());
            let frozen = Config::new().read_only(true).open(format!("{uri}?immutable=1")).unwrap();
            assert_eq!(frozen.query_one::<i64>("SELECT a FROM t", ()).unwrap(), 7);
            assert!(
                !folder.file("a b.db-shm").exists(),
                "an immutable file needs nothing beside it"
            );
            let read = Database::open(format!("{uri}?mode=ro")).unwrap();
            assert_eq!(read.query_one::<i64>("SELECT a FROM t", ()).unwrap(), 7);
            let error = read.execute("DELETE FROM t", ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReadOnly);
            // Each connection would have a database of its own.
            for memory in
                ["file::memory:", "file:", "file:x?mode=memory&cache=shared", "file:/x?vfs=memdb"]
            {
                let error = Database::open(memory).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{memory}");
            }
            assert!(!Path::new(&uri).exists());
        })
        .unwrap()
    });
}
