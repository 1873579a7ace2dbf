//! How a database is opened: its connections, each with all settings.
//!
//! The surprising rule: a database in memory has one connection, for reading and for writing. Memory
//! that connections share (`cache=shared`) locks whole tables, and no timeout waits for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{MAIN_DB, OpenFlags};

use super::config::{Config, JournalMode, OnConnect, Synchronous};
use super::connection::Conn;
use super::database::Database;
use super::error::{Error, ErrorKind, Phase, Result};
use super::job::Job;
use super::lane::Lane;
use super::metrics::Counters;

/// What a database is opened of.
pub(super) enum Source {
    File(PathBuf),
    /// Bytes of a whole file; none: a new one.
    Memory(Vec<u8>),
}

impl Config {
    pub(super) fn open_in_pool(self, source: Source, name: Arc<str>) -> Result<Database> {
        let opened = Arc::clone(&name);
        cede_fiber::blocking(move || self.open_here(source, opened))
            .map_err(Error::io)
            .and_then(|result| result)
            .map_err(|error| error.at(&name, Phase::Open))
    }

    fn open_here(self, source: Source, name: Arc<str>) -> Result<Database> {
        let counters = Arc::default();
        let path = match source {
            Source::File(path) => path,
            Source::Memory(bytes) => {
                let only = Lane::new(vec![self.memory(bytes, &counters)?], self.queue_max);
                let writer = Some(Arc::clone(&only));
                return Ok(Database::new(name, only, writer, counters, self.in_place, false));
            }
        };
        let mut writer = None;
        let is_wal;
        if self.read_only {
            is_wal = journal_mode(&self.reader(&path, &counters)?)? == "wal";
        } else {
            let conn = self.writer(&path, &counters, &name)?;
            is_wal = journal_mode(&conn)? == "wal";
            writer = Some(Lane::new(vec![conn], self.queue_max));
        }
        let readers = (0..self.readers).map(|_| self.reader(&path, &counters));
        let readers = Lane::new(readers.collect::<Result<_>>()?, self.queue_max);
        Ok(Database::new(name, readers, writer, counters, self.in_place, is_wal))
    }

    /// The one connection of a database in memory; with bytes, of what they are.
    fn memory(&self, mut bytes: Vec<u8>, counters: &Arc<Counters>) -> Result<Conn> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        self.connect(None, flags, counters, |conn| {
            if bytes.is_empty() {
                return Ok(());
            }
            // Of a file in WAL mode. Memory has no log: https://sqlite.org/c3ref/deserialize.html
            if let Some(versions) = bytes.get_mut(18..20) {
                versions.fill(1);
            }
            let size = bytes.len();
            Ok(conn.db.deserialize_read_exact(MAIN_DB, &*bytes, size, false)?)
        })
    }

    fn writer(&self, path: &Path, counters: &Arc<Counters>, name: &str) -> Result<Conn> {
        let create = if self.create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | create;
        self.connect(Some(path), flags, counters, |conn| {
            let mode = match self.journal_mode {
                JournalMode::Wal => "wal",
                JournalMode::Delete => "delete",
                JournalMode::Keep => return Ok(()),
            };
            if journal_mode(conn)? != mode {
                let got = self.set_journal_mode(conn, mode)?;
                if got != mode {
                    tracing::warn!(db = name, wanted = mode, got, "SQLite keeps a journal mode");
                }
            }
            Ok(())
        })
    }

    /// The busy handler is not asked for this lock: <https://sqlite.org/c3ref/busy_handler.html>.
    fn set_journal_mode(&self, conn: &Conn, mode: &str) -> Result<String> {
        let since = Instant::now();
        loop {
            let set = conn.db.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0));
            match set.map_err(Error::from) {
                Err(error) if error.is_busy() && since.elapsed() < self.busy_timeout => {
                    thread::sleep(Duration::from_millis(5));
                }
                // A file that may not be written stays what it is.
                Err(error) if error.kind() == ErrorKind::ReadOnly => return journal_mode(conn),
                result => return result,
            }
        }
    }

    fn reader(&self, path: &Path, counters: &Arc<Counters>) -> Result<Conn> {
        let flags = if self.read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            // To read in WAL mode it may have to write the file beside the database.
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        self.connect(Some(path), flags, counters, |conn| {
            Ok(conn.db.pragma_update(None, "query_only", true)?)
        })
    }

    fn connect(
        &self,
        path: Option<&Path>,
        flags: OpenFlags,
        counters: &Arc<Counters>,
        set_up: impl FnOnce(&mut Conn) -> Result<()>,
    ) -> Result<Conn> {
        let mut conn = Conn::open(path, flags, self.busy_timeout, counters)?;
        // As part of a job it may take its time and wait for locks.
        let job = Job::new();
        job.begin();
        conn.slot.set(Some(job));
        conn.db.set_prepared_statement_cache_capacity(self.statements_cached);
        set_up(&mut conn)?;
        let synchronous = match self.synchronous {
            Synchronous::Full => "full",
            Synchronous::Normal => "normal",
            Synchronous::Off => "off",
        };
        conn.db.pragma_update(None, "synchronous", synchronous)?;
        for (name, value) in &self.pragmas {
            conn.db.execute_batch(&format!("PRAGMA {name} = {value}"))?;
        }
        if let Some(OnConnect(f)) = &self.on_connect {
            f(&conn.db)?;
        }
        // Reads the file for the first time: it may be something else.
        conn.db.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
        conn.slot.set(None);
        Ok(conn)
    }
}

fn journal_mode(conn: &Conn) -> Result<String> {
    Ok(conn.db.pragma_query_value(None, "journal_mode", |row| row.get(0))?)
}
