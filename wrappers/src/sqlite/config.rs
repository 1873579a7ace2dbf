//! The settings of a database, and how it is opened.
//!
//! The surprising rule: a database in memory has one connection, for reading and for writing. Memory
//! that connections share (`cache=shared`) locks whole tables, and no timeout waits for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;

use super::connection::Conn;
use super::database::Database;
use super::error::{Error, ErrorKind, Phase, Result};
use super::job::Job;
use super::lane::Lane;
use super::metrics::Counters;

/// Connections for reading, unless told otherwise.
pub const READERS_DEFAULT: usize = 8;
/// Calls that may wait for a connection for reading, and as many for the one for writing, unless
/// told otherwise. Those that come then get [`ErrorKind::Limit`].
pub const QUEUE_MAX_DEFAULT: usize = 100_000;
/// How long a call waits for a lock that another process holds, unless told otherwise.
pub const BUSY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps, unless told otherwise.
pub const STATEMENTS_CACHED_DEFAULT: usize = 128;

/// How the file is kept whole. <https://sqlite.org/pragma.html#pragma_journal_mode>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalMode {
    /// Readers and the writer do not wait for each other. The default. Where the file system has no
    /// shared memory SQLite keeps another mode, and a warning is logged.
    Wal,
    /// The rollback journal: the writer waits for readers and they for it.
    Delete,
    /// Whatever the file has.
    Keep,
}

/// When a commit is on the disk. <https://sqlite.org/pragma.html#pragma_synchronous>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// When it returns. The default.
    Full,
    /// Later: a loss of power may take the last commits away, never the whole of the file. A
    /// process that dies takes nothing away.
    Normal,
    /// When the system likes: a loss of power may damage the file.
    Off,
}

/// Settings of a [`Database`].
///
/// # Examples
///
/// ```
/// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
/// use cede::sqlite::{Config, Synchronous};
///
/// # cede::run(|| -> cede::sqlite::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("cede-doc-config-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("app.db");
/// let db = Config::new()
///     .readers(4)
///     .synchronous(Synchronous::Normal)
///     .pragma("cache_size", "-16000")
///     .open(&path)?;
/// # db.close()?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    readers: usize,
    queue_max: usize,
    busy_timeout: Duration,
    statements_cached: usize,
    journal_mode: JournalMode,
    synchronous: Synchronous,
    pragmas: Vec<(String, String)>,
    read_only: bool,
    create: bool,
    in_place: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            readers: READERS_DEFAULT,
            queue_max: QUEUE_MAX_DEFAULT,
            busy_timeout: BUSY_TIMEOUT_DEFAULT,
            statements_cached: STATEMENTS_CACHED_DEFAULT,
            journal_mode: JournalMode::Wal,
            synchronous: Synchronous::Full,
            pragmas: Vec::new(),
            read_only: false,
            create: true,
            in_place: true,
        }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections for reading, [`READERS_DEFAULT`] if not told; at least one. Each has a page cache
    /// of its own (2 MB, by the pragma `cache_size`). A database in memory has none.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Calls that may wait for a connection of each kind, [`QUEUE_MAX_DEFAULT`] if not told.
    #[must_use]
    pub fn queue_max(mut self, calls: usize) -> Self {
        self.queue_max = calls;
        self
    }

    /// How long a call waits for a lock that another process holds, [`BUSY_TIMEOUT_DEFAULT`] if not
    /// told. The fiber's deadline ends it earlier.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Prepared statements that each connection keeps, [`STATEMENTS_CACHED_DEFAULT`] if not told.
    #[must_use]
    pub fn statements_cached(mut self, statements: usize) -> Self {
        self.statements_cached = statements;
        self
    }

    /// How the file is kept whole.
    #[must_use]
    pub fn journal_mode(mut self, mode: JournalMode) -> Self {
        self.journal_mode = mode;
        self
    }

    /// When a commit is on the disk.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Another pragma, set on every connection after those of the other settings.
    #[must_use]
    pub fn pragma(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.pragmas.push((name.into(), value.into()));
        self
    }

    /// Only reads; a file that is not there is an error then.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether a file that is not there is made. It is, if not told.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether short reads run on the thread of the shard; they do, if not told. See
    /// [the module](super#where-statements-run).
    #[must_use]
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Opens the database of a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or made, is no database, or is locked for longer than the
    /// `busy_timeout`; a deadline or a cancel of the fiber. `:memory:` and the empty path are none
    /// of a file.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        let path = path.as_ref().to_path_buf();
        let name: Arc<str> = path.to_string_lossy().into();
        if name.is_empty() || &*name == ":memory:" {
            let says = "this is not the path of a file: use open_in_memory()";
            return Err(Error::new(ErrorKind::Config, says).at(&name, Phase::Open));
        }
        self.open_in_pool(Some(path), name)
    }

    /// Opens a new, empty database in memory. It has one connection, which is lent in order of
    /// arrival to those who read and those who write.
    ///
    /// # Errors
    ///
    /// Those of the pragmas; a deadline or a cancel of the fiber.
    pub fn open_in_memory(self) -> Result<Database> {
        self.open_in_pool(None, ":memory:".into())
    }

    fn open_in_pool(self, path: Option<PathBuf>, name: Arc<str>) -> Result<Database> {
        let opened = Arc::clone(&name);
        cede_fiber::blocking(move || self.open_here(path.as_deref(), opened))
            .map_err(Error::io)
            .and_then(|result| result)
            .map_err(|error| error.at(&name, Phase::Open))
    }

    fn open_here(self, path: Option<&Path>, name: Arc<str>) -> Result<Database> {
        let counters = Arc::default();
        let mut writer = None;
        let is_wal;
        if self.read_only && path.is_some() {
            is_wal = self.is_wal(path, &counters)?;
        } else {
            let conn = self.writer(path, &counters, &name)?;
            is_wal = path.is_some() && journal_mode(&conn)? == "wal";
            writer = Some(Lane::new(vec![conn], self.queue_max));
        }
        let readers = match (path, &writer) {
            (None, Some(only)) => Arc::clone(only),
            _ => {
                let readers = (0..self.readers).map(|_| self.reader(path, &counters));
                Lane::new(readers.collect::<Result<_>>()?, self.queue_max)
            }
        };
        Ok(Database::new(name, readers, writer, counters, self.in_place, is_wal))
    }

    fn is_wal(&self, path: Option<&Path>, counters: &Arc<Counters>) -> Result<bool> {
        Ok(journal_mode(&self.reader(path, counters)?)? == "wal")
    }

    fn writer(&self, path: Option<&Path>, counters: &Arc<Counters>, name: &str) -> Result<Conn> {
        let create = if self.create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | create;
        self.connect(path, flags, counters, |conn| {
            let mode = match self.journal_mode {
                JournalMode::Wal => "wal",
                JournalMode::Delete => "delete",
                JournalMode::Keep => return Ok(()),
            };
            if path.is_some() && journal_mode(conn)? != mode && !self.read_only {
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

    fn reader(&self, path: Option<&Path>, counters: &Arc<Counters>) -> Result<Conn> {
        let flags = if self.read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            // To read in WAL mode it may have to write the file beside the database.
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        self.connect(path, flags, counters, |conn| {
            Ok(conn.db.pragma_update(None, "query_only", true)?)
        })
    }

    fn connect(
        &self,
        path: Option<&Path>,
        flags: OpenFlags,
        counters: &Arc<Counters>,
        set_up: impl FnOnce(&Conn) -> Result<()>,
    ) -> Result<Conn> {
        let conn = Conn::open(path, flags, self.busy_timeout, counters)?;
        // As part of a job it may take its time and wait for locks.
        let job = Job::new();
        job.begin();
        conn.slot.set(Some(job));
        conn.db.set_prepared_statement_cache_capacity(self.statements_cached);
        set_up(&conn)?;
        let synchronous = match self.synchronous {
            Synchronous::Full => "full",
            Synchronous::Normal => "normal",
            Synchronous::Off => "off",
        };
        conn.db.pragma_update(None, "synchronous", synchronous)?;
        for (name, value) in &self.pragmas {
            conn.db.execute_batch(&format!("PRAGMA {name} = {value}"))?;
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
