//! Files that are none, damaged, full or not to be written.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use cede::sqlite::{Config, Database, ErrorKind, Phase};

use crate::common::within_reason;
use crate::folder::{Folder, squares};

#[test]
fn what_is_no_database_is_not_opened() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.txt");
        fs::write(&path, "this is a text and no database\n".repeat(100)).unwrap();
        cede::run(|| {
            let error = Database::open(&path).unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::NotADatabase, Phase::Open));
            assert!(error.to_string().contains("a.txt"), "{error}");
            let error = Config::new().read_only(true).open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotADatabase);
            assert_eq!(Database::open(folder.file("")).unwrap_err().kind(), ErrorKind::Open);
        })
        .unwrap();
        assert_eq!(folder.open_files(), 0);
    });
}

#[test]
fn damage_is_reported_and_the_rest_can_be_read() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        squares(&path, Config::new(), 10_000).unwrap().close().unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        // The end of the table; its root and its first pages stay.
        let len = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(len - 8 * 4096)).unwrap();
        file.write_all(&vec![0xa5; 8 * 4096]).unwrap();
        drop(file);
        cede::run(|| {
            let db = Database::open(&path).unwrap();
            for _ in 0..2 {
                let error = db.query::<String>("SELECT text FROM squares", ()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert_eq!(error.code(), Some(11));
            }
            let first: i64 = db.query_one("SELECT square FROM squares WHERE n = 5", ()).unwrap();
            assert_eq!(first, 25);
            assert!(!db.integrity_check().unwrap().is_empty());
            assert_eq!(db.metrics().readers_free, 8);
        })
        .unwrap();
    });
}

#[test]
fn a_full_database_loses_the_write_only() {
    within_reason(|| {
        let folder = Folder::new();
        cede::run(|| {
            let config = Config::new().pragma("max_page_count", "64");
            let db = squares(&folder.file("a.db"), config, 100).unwrap();
            let fill = || {
                db.transaction(|tx| {
                    tx.execute("UPDATE squares SET square = 0", ())?;
                    let sql = "INSERT INTO squares (text) VALUES (?1)";
                    for _ in 0..1000 {
                        tx.execute(sql, ["x".repeat(1000)])?;
                    }
                    Ok(())
                })
            };
            for _ in 0..3 {
                let error = fill().unwrap_err();
                assert_eq!((error.kind(), error.code()), (ErrorKind::Full, Some(13)), "{error}");
                let sum: i64 = db.query_one("SELECT sum(square) FROM squares", ()).unwrap();
                assert_eq!(sum, 338_350);
            }
            db.execute("UPDATE squares SET text = ''", ()).unwrap();
            assert_eq!(db.integrity_check().unwrap(), Vec::<String>::new());
        })
        .unwrap();
    });
}

#[test]
fn a_read_only_database_is_read() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        squares(&path, Config::new(), 10).unwrap().close().unwrap();
        cede::run(|| {
            let db = Config::new().read_only(true).open(&path).unwrap();
            assert_eq!(db.query_one::<i64>("SELECT max(n) FROM squares", ()).unwrap(), 10);
            for error in [
                db.execute("DELETE FROM squares", ()).unwrap_err(),
                db.query::<i64>("DELETE FROM squares RETURNING n", ()).unwrap_err(),
                db.transaction(|_| Ok(())).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
            }
            db.close().unwrap();
            let error = Config::new().read_only(true).open(folder.file("b.db")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Open);
        })
        .unwrap();
        assert!(!folder.names().contains(&"b.db".to_owned()));
    });
}

/// Root may write everything, so a file system does the refusing where it can.
#[test]
fn a_file_that_may_not_be_written_can_be_read() {
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        let config = || Config::new().journal_mode(cede::sqlite::JournalMode::Delete);
        squares(&path, config(), 10).unwrap().close().unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        let may_write = fs::OpenOptions::new().write(true).open(&path).is_ok();
        cede::run(|| {
            let db = config().open(&path).unwrap();
            assert_eq!(db.query_one::<i64>("SELECT max(n) FROM squares", ()).unwrap(), 10);
            match db.execute("DELETE FROM squares", ()) {
                Ok(deleted) => assert!(may_write && deleted == 10),
                Err(error) => assert!(!may_write && error.kind() == ErrorKind::ReadOnly, "{error}"),
            }
        })
        .unwrap();
    });
}
