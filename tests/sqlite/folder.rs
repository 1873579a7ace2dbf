//! A folder for the files of a test, deleted in the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cede::sqlite::{Config, Database, Result};

pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cede-sqlite-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Files in it that this process has open.
    pub(crate) fn open_files(&self) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let files = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        files.filter(|file| file.starts_with(&self.0)).count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers and their squares, from 1 to `rows`.
pub(crate) fn squares(path: &Path, config: Config, rows: i64) -> Result<Database> {
    let db = config.open(path)?;
    db.transaction(move |tx| {
        tx.execute_batch(
            "CREATE TABLE squares (n INTEGER PRIMARY KEY, square INTEGER, text TEXT)",
        )?;
        let mut insert = tx.prepare("INSERT INTO squares VALUES (?1, ?2, ?3)")?;
        for n in 1..=rows {
            insert.execute((n, n * n, format!("{n} squared")))?;
        }
        Ok(())
    })?;
    Ok(db)
}

/// Statements that never end by themselves.
pub(crate) const ENDLESS: &str = "WITH RECURSIVE endless (n) AS
    (VALUES (1) UNION ALL SELECT n + 1 FROM endless) SELECT count(*) FROM endless";
