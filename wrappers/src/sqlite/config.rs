//! The settings of a database.
//!
//! The surprising rule: what is set with a statement is set on every connection; a database has
//! several.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::database::Database;
use super::error::{Error, ErrorKind, Phase, Result};
use super::open::Source;

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
    pub(super) readers: usize,
    pub(super) queue_max: usize,
    pub(super) busy_timeout: Duration,
    pub(super) statements_cached: usize,
    pub(super) journal_mode: JournalMode,
    pub(super) synchronous: Synchronous,
    pub(super) pragmas: Vec<(String, String)>,
    pub(super) on_connect: Option<OnConnect>,
    pub(super) read_only: bool,
    pub(super) create: bool,
    pub(super) in_place: bool,
}

/// What is done with each connection.
#[derive(Clone)]
pub(super) struct OnConnect(pub(super) Arc<SetUp>);

pub(super) type SetUp = dyn Fn(&Connection) -> Result<()> + Send + Sync;

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
    /// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
    /// use cede::sqlite::{Config, rusqlite::functions::FunctionFlags};
    ///
    /// # cede::run(|| -> cede::sqlite::Result<()> {
    /// let config = Config::new().on_connect(|conn| {
    ///     let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    ///     let double = |call: &cede::sqlite::rusqlite::functions::Context<'_>| {
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
    /// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
    /// # use cede::sqlite::{Config, Database, Result};
    /// # cede::run(|| -> Result<()> {
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
}
