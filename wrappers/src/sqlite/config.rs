//! The settings of a database, and how it is opened.
//!
//! The surprising rule: a database in memory has one connection, for reading and for writing. Memory
//! that connections share (`cache=shared`) locks whole tables, and no timeout waits for them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, MAIN_DB, OpenFlags};

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
/// use cede_wrappers::sqlite::{Config, Synchronous};
///
/// # cede_fiber::run(|| -> cede_wrappers::sqlite::Result<()> {
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
    on_connect: Option<OnConnect>,
    read_only: bool,
    create: bool,
    in_place: bool,
}

/// What is done with each connection.
#[derive(Clone)]
struct OnConnect(Arc<SetUp>);

type SetUp = dyn Fn(&Connection) -> Result<()> + Send + Sync;

impl fmt::Debug for OnConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnConnect(..)")
    }
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
            on_connect: None,
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

    /// A closure that is called with every connection, behind all other settings: for functions and
    /// collations of one's own, and for `ATTACH`, which each connection needs. The handlers of the
    /// connection (busy, progress, commit) are the database's own. Functions and collations run on the
    /// thread of the shard or of the pool, wherever the statement does, and should not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use cede_wrappers::sqlite::{Config, rusqlite::functions::FunctionFlags};
    ///
    /// # cede_fiber::run(|| -> cede_wrappers::sqlite::Result<()> {
    /// let config = Config::new().on_connect(|conn| {
    ///     let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    ///     let double = |call: &cede_wrappers::sqlite::rusqlite::functions::Context<'_>| {
    ///         Ok(call.get::<i64>(0)? * 2)
    ///     };
    ///     Ok(conn.create_scalar_function("double", 1, flags, double)?)
    /// });
    /// let db = config.open_in_memory()?;
    /// assert_eq!(db.query_one::<i64>("SELECT double(21)", ())?, 42);
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn on_connect<F>(mut self, f: F) -> Self
    where
        F: Fn(&Connection) -> Result<()> + Send + Sync + 'static,
    {
        self.on_connect = Some(OnConnect(Arc::new(f)));
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

    /// Opens the database of a file. A path that begins with `file:` is a URI:
    /// `file:app.db?immutable=1`. <https://sqlite.org/uri.html>
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or made, is no database, or is locked for longer than the
    /// `busy_timeout`; a deadline or a cancel of the fiber. `:memory:`, the empty path and URIs of
    /// memory are none of a file.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        let path = path.as_ref().to_path_buf();
        let name: Arc<str> = path.to_string_lossy().into();
        let is_file = match name.strip_prefix("file:") {
            None => !name.is_empty() && &*name != ":memory:",
            Some(uri) => {
                let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
                !["", ":memory:"].contains(&path)
                    && !query
                        .split('&')
                        .any(|option| ["mode=memory", "vfs=memdb"].contains(&option))
            }
        };
        if !is_file {
            let says = "this is not the path of a file: use open_in_memory()";
            return Err(Error::new(ErrorKind::Config, says).at(&name, Phase::Open));
        }
        self.open_in_pool(Source::File(path), name)
    }

    /// Opens a new, empty database in memory. It has one connection, which is lent in order of
    /// arrival to those who read and those who write.
    ///
    /// # Errors
    ///
    /// Those of the pragmas; a deadline or a cancel of the fiber.
    pub fn open_in_memory(self) -> Result<Database> {
        self.open_in_pool(Source::Memory(Vec::new()), ":memory:".into())
    }

    /// Opens a database in memory that [`Database::serialize`] has made, or that is the content of a
    /// whole file.
    ///
    /// # Errors
    ///
    /// When the bytes are no database; else as [`open_in_memory`](Self::open_in_memory).
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_wrappers::sqlite::{Config, Database, Result};
    /// # cede_fiber::run(|| -> Result<()> {
    /// let db = Database::open_in_memory()?;
    /// db.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?;
    /// let copy = Config::new().deserialize(db.serialize()?)?;
    /// assert_eq!(copy.query_one::<i64>("SELECT a FROM t", ())?, 1);
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn deserialize(self, bytes: Vec<u8>) -> Result<Database> {
        let name = ":memory:".into();
        // SQLite itself takes half a page for a page.
        let size = match bytes.get(16..18) {
            Some(&[0, 1]) => 65_536,
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        };
        if size == 0 || !bytes.len().is_multiple_of(size) {
            let says = "these bytes are not the whole pages of a database";
            return Err(Error::new(ErrorKind::NotADatabase, says).at(&name, Phase::Open));
        }
        self.open_in_pool(Source::Memory(bytes), name)
    }

    fn open_in_pool(self, source: Source, name: Arc<str>) -> Result<Database> {
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

/// What a database is opened of.
enum Source {
    File(PathBuf),
    /// Bytes of a whole file; none: a new one.
    Memory(Vec<u8>),
}

fn journal_mode(conn: &Conn) -> Result<String> {
    Ok(conn.db.pragma_query_value(None, "journal_mode", |row| row.get(0))?)
}
