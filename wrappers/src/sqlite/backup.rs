//! Copies of a whole database, made while it is used.
//!
//! The surprising rule: a copy is made beside its place and put there when it is whole, and never
//! over a file that is there: a write-ahead log of the old file would be played into the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::config::BUSY_TIMEOUT_DEFAULT;
use super::connection::Conn;
use super::database::Database;
use super::error::{Error, ErrorKind, Phase, Result};

/// Pages copied between two looks at whether the copy is still wanted, and two calls of the closure
/// that is told of the progress.
pub const BACKUP_PAGES_PER_STEP: u32 = 256;
/// How long a step waits before it is tried again after it has met a lock.
const LOCKED_WAIT: Duration = Duration::from_millis(5);

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Pages to be copied.
    pub remaining: u32,
    /// Pages of the database.
    pub total: u32,
}

impl Database {
    /// Copies the database, as it is now, into a new file.
    ///
    /// Writes go on meanwhile, and are not in the copy. It takes one of the connections for reading;
    /// the write-ahead log cannot be cut until it is done. In another journal mode than WAL a copy
    /// begins again whenever something is written.
    ///
    /// `progress` is called on a thread of the pool.
    ///
    /// # Errors
    ///
    /// When there is a file of that name; what SQLite and the system say; a deadline or a cancel.
    /// Nothing remains at the path then.
    ///
    /// # Panics
    ///
    /// When `progress` panics.
    pub fn backup<F>(&self, path: impl AsRef<Path>, mut progress: F) -> Result<()>
    where
        F: FnMut(Progress) + Send + 'static,
    {
        let path = path.as_ref().to_path_buf();
        let span = self.span("a backup");
        let is_wal = self.is_wal();
        let lease = self.lease_to_read(true);
        let result = lease.and_then(|lease| {
            self.on_pool(lease, Phase::Backup, move |conn| {
                if fs::exists(&path).map_err(Error::io)? {
                    let error = io::Error::new(io::ErrorKind::AlreadyExists, in_the_way(&path));
                    return Err(Error::io(error));
                }
                let partial = Partial::beside(&path);
                copy_out(conn, &partial.0, is_wal, &mut progress)?;
                fs::rename(&partial.0, &path).map_err(Error::io)?;
                sync_folder(&path).map_err(Error::io)
            })
        });
        self.ended(&span, result)
    }

    /// The database, as it is now, as the bytes of a file: to be sent and kept elsewhere, or for
    /// [`Config::deserialize`](super::Config::deserialize).
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query). SQLite does not say more than that it failed when there is no
    /// memory for all of it.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        let span = self.span("a serialization");
        let lease = self.lease_to_read(true);
        let result = lease.and_then(|lease| {
            self.on_pool(lease, Phase::Backup, |conn| Ok(conn.db.serialize(MAIN_DB)?.to_vec()))
        });
        self.ended(&span, result)
    }

    /// Replaces everything in the database by what is in a file.
    ///
    /// It is one write: readers see the state before it until it is done. `progress` is called on a
    /// thread of the pool.
    ///
    /// # Errors
    ///
    /// When the file is not there or no database, or has another size of pages; what SQLite says; a
    /// deadline or a cancel. The database is as it was then.
    ///
    /// # Panics
    ///
    /// When `progress` panics.
    pub fn restore<F>(&self, path: impl AsRef<Path>, mut progress: F) -> Result<()>
    where
        F: FnMut(Progress) + Send + 'static,
    {
        let path = path.as_ref().to_path_buf();
        let span = self.span("a restore");
        let lease = self.lease_to_write();
        let result = lease.and_then(|lease| {
            self.on_pool(lease, Phase::Restore, move |conn| {
                // One that may only read leaves the files of the log beside the copy.
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let from = Connection::open_with_flags(&path, flags)?;
                from.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
                let Conn { db, slot, .. } = conn;
                let pages = from.pragma_query_value(None, "page_count", |row| row.get(0))?;
                let backup = Backup::new(&from, db)?;
                let may_end = || slot.may_commit();
                copy(&backup, pages, || slot.is_stopped(), may_end, &mut progress)
            })
        });
        self.ended(&span, result)
    }
}

fn in_the_way(path: &Path) -> String {
    format!("{} is there already", path.display())
}

fn copy_out(
    conn: &Conn,
    path: &Path,
    is_wal: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let mut to = Connection::open(path)?;
    // The file is thrown away if anything goes wrong.
    to.pragma_update(None, "journal_mode", "off")?;
    // Holds on to one state, or else each write would begin the copy again.
    let snapshot = if is_wal { Some(conn.db.unchecked_transaction()?) } else { None };
    if snapshot.is_some() {
        conn.db.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    }
    let backup = Backup::new(&conn.db, &mut to)?;
    copy(&backup, 0, || conn.slot.is_stopped(), || true, progress)?;
    drop(backup);
    if let Some(snapshot) = snapshot {
        snapshot.commit()?;
    }
    to.close().map_err(|(_, error)| error.into())
}

/// Copies all pages. `may_end` is asked before the step that ends it, which is known by `pages`,
/// how many there are, and then by what is left.
fn copy(
    backup: &Backup<'_, '_>,
    mut pages: u32,
    is_stopped: impl Fn() -> bool,
    may_end: impl Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let mut locked_since = None;
    loop {
        if is_stopped() || pages <= BACKUP_PAGES_PER_STEP && !may_end() {
            return Err(Error::new(ErrorKind::Interrupted, "nobody waits for it any more"));
        }
        match backup.step(BACKUP_PAGES_PER_STEP.cast_signed())? {
            StepResult::Busy | StepResult::Locked => {
                let since = *locked_since.get_or_insert_with(Instant::now);
                if since.elapsed() > BUSY_TIMEOUT_DEFAULT {
                    return Err(Error::new(ErrorKind::Busy, "the database is locked"));
                }
                thread::sleep(LOCKED_WAIT);
                continue;
            }
            step => {
                locked_since = None;
                let done = backup.progress();
                pages = u32::try_from(done.remaining).unwrap_or(0);
                progress(Progress {
                    remaining: pages,
                    total: u32::try_from(done.pagecount).unwrap_or(0),
                });
                if matches!(step, StepResult::Done) {
                    return Ok(());
                }
            }
        }
    }
}

/// A file that is deleted again unless it was given its name.
struct Partial(PathBuf);

impl Partial {
    fn beside(path: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".partial-{}-{number}", std::process::id()));
        Self(name.into())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the renaming there is none.
        let _ = fs::remove_file(&self.0);
    }
}

/// The new name is on the disk then, too.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}
