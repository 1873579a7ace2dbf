//! The database: what programs call.
//!
//! The surprising rule: a statement that returns rows may write all the same (`RETURNING`), and then
//! finds its way to the connection that writes.

use std::fmt;
use std::sync::Arc;

use rusqlite::{Connection, Rows, Transaction, TransactionBehavior};

use super::config::Config;
use super::error::{Error, ErrorKind, Phase, Result};
use super::lane::Lane;
use super::metrics::{Counters, Metrics};
use super::params::Params;
use super::place::Places;
use super::row::FromRow;

/// What a checkpoint does with the write-ahead log.
/// <https://sqlite.org/pragma.html#pragma_wal_checkpoint>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointMode {
    /// Copies what it can without waiting.
    Passive,
    /// Waits for readers, copies everything, and makes the log empty.
    Truncate,
}

/// A database: one connection that writes, and several that read.
///
/// It is a handle: clones are the same database, on all shards and all plain threads. The last one
/// that is dropped closes the connections, which may take a write to the disk; [`close`](Self::close)
/// does that in the pool.
///
/// Errors are those of [`ErrorKind`](super::ErrorKind). Whatever waits ends with the deadline or the
/// cancel of its fiber.
#[derive(Clone)]
pub struct Database {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) path: Arc<str>,
    pub(super) readers: Arc<Lane>,
    /// None: the database is only read. In memory it is the same as `readers`.
    pub(super) writer: Option<Arc<Lane>>,
    pub(super) counters: Arc<Counters>,
    pub(super) places: Places,
    pub(super) in_place: bool,
    pub(super) is_wal: bool,
}

impl Database {
    pub(super) fn new(
        path: Arc<str>,
        readers: Arc<Lane>,
        writer: Option<Arc<Lane>>,
        counters: Arc<Counters>,
        in_place: bool,
        is_wal: bool,
    ) -> Self {
        let places = Places::default();
        let inner = Inner { path, readers, writer, counters, places, in_place, is_wal };
        Self { inner: Arc::new(inner) }
    }

    /// Opens the database of a file, and makes the file if it is not there.
    ///
    /// # Errors
    ///
    /// As [`Config::open`].
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Config::new().open(path)
    }

    /// Opens a new, empty database in memory.
    ///
    /// # Errors
    ///
    /// As [`Config::open_in_memory`].
    pub fn open_in_memory() -> Result<Self> {
        Config::new().open_in_memory()
    }

    /// The path that it was opened with; `:memory:` for one in memory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// What it has done, and what it is doing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let inner = &self.inner;
        let mut metrics = inner.counters.metrics();
        metrics.readers_free = inner.readers.free();
        metrics.readers_waiting = inner.readers.waiting();
        metrics.writers_waiting = inner.writer.as_ref().map_or(0, |writer| writer.waiting());
        metrics
    }

    /// All rows of a statement.
    ///
    /// A statement that also writes (`INSERT .. RETURNING ..`) goes to the connection that writes.
    ///
    /// # Errors
    ///
    /// What SQLite says; a row that cannot be converted; a deadline or a cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
    /// # use cede::sqlite::{Database, Result};
    /// # cede::run(|| -> Result<()> {
    /// # let db = Database::open_in_memory()?;
    /// let rows: Vec<(i64, String)> =
    ///     db.query("SELECT value, 'v' || value FROM json_each(?1)", ["[1, 2]"])?;
    /// assert_eq!(rows, [(1, "v1".to_owned()), (2, "v2".to_owned())]);
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn query<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<T>> {
        self.fetch(sql, &params, |rows| {
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(T::from_row(row)?);
            }
            let len = all.len();
            Ok((all, len))
        })
    }

    /// The one row of a statement.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); [`RowCount`](ErrorKind::RowCount) when there is none, or more than
    /// one.
    pub fn query_one<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<T> {
        self.fetch(sql, &params, |rows| match take_one(rows)? {
            Some(value) => Ok((value, 1)),
            None => Err(rusqlite::Error::QueryReturnedNoRows.into()),
        })
    }

    /// The row of a statement, if there is one.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); [`RowCount`](ErrorKind::RowCount) when there is more than one.
    pub fn query_opt<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Option<T>> {
        self.fetch(sql, &params, |rows| {
            let value = take_one(rows)?;
            let len = usize::from(value.is_some());
            Ok((value, len))
        })
    }

    /// Runs a statement that writes; returns how many rows it has changed.
    ///
    /// # Errors
    ///
    /// What SQLite says; a deadline or a cancel.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.change(sql, &params, |_, changed| changed)
    }

    /// Runs an `INSERT` of one row; returns its rowid, which is its `INTEGER PRIMARY KEY`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn insert(&self, sql: &str, params: impl Params) -> Result<i64> {
        self.change(sql, &params, |db, _| db.last_insert_rowid())
    }

    /// Runs statements that are separated by semicolons. Each is committed by itself, unless there is
    /// a `BEGIN` and a `COMMIT` among them.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), of the first that fails: those before it remain.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        let sql = sql.to_owned();
        self.write(move |db| Ok(db.execute_batch(&sql)?))
    }

    /// Runs a closure in a transaction, which is committed when the closure returns `Ok`, and rolled
    /// back when it returns an error or panics.
    ///
    /// It begins `IMMEDIATE`: the lock for writing is taken first, so it cannot fail in its middle
    /// because another one has written. The closure runs on a thread of the pool; it cannot wait as
    /// a fiber does. For a part that may fail alone there is
    /// [`savepoint`](rusqlite::Transaction::savepoint).
    ///
    /// # Errors
    ///
    /// That of the closure; what SQLite says; a deadline or a cancel. Nothing remains then.
    ///
    /// # Panics
    ///
    /// When the closure panics, with its payload.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
    /// # use cede::sqlite::{Database, Result, params};
    /// # cede::run(|| -> Result<()> {
    /// # let db = Database::open_in_memory()?;
    /// # db.execute_batch("CREATE TABLE stock (item TEXT UNIQUE, count INTEGER CHECK (count >= 0));
    /// #     INSERT INTO stock VALUES ('nut', 3)")?;
    /// let taken = db.transaction(|tx| {
    ///     tx.execute("UPDATE stock SET count = count - ?1 WHERE item = 'nut'", [5])?;
    ///     Ok(5)
    /// });
    /// assert!(taken.unwrap_err().is_constraint());
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn transaction<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.transaction_with(TransactionBehavior::Immediate, work)
    }

    /// [`transaction`](Self::transaction) with another beginning.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    ///
    /// # Panics
    ///
    /// As [`transaction`](Self::transaction).
    pub fn transaction_with<T, F>(&self, behavior: TransactionBehavior, work: F) -> Result<T>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.on_writer("a transaction", move |conn| {
            let begun = conn.db.transaction_with_behavior(behavior);
            let mut transaction = begun.map_err(|e| Error::from(e).in_phase(Phase::Begin))?;
            let value = work(&mut transaction)?;
            transaction.commit().map_err(|e| Error::from(e).in_phase(Phase::Commit))?;
            Ok(value)
        })
    }

    /// Runs a closure with a connection that reads, on a thread of the pool. Statements see one and
    /// the same state of the database only within a transaction (`conn.unchecked_transaction()`).
    ///
    /// # Errors
    ///
    /// That of the closure; a deadline or a cancel.
    ///
    /// # Panics
    ///
    /// When the closure panics, with its payload.
    pub fn read<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let span = self.span("a closure that reads");
        self.counts_read();
        let result = self
            .lease_to_read(true)
            .and_then(|lease| self.on_pool(lease, Phase::Run, move |conn| work(&conn.db)));
        self.ended(&span, result)
    }

    /// Runs a closure with the connection that writes, on a thread of the pool, outside of a
    /// transaction: each statement is committed by itself. It is for what cannot be in a transaction,
    /// such as `VACUUM`. The handlers of the connection (busy, progress, commit) are the database's
    /// own.
    ///
    /// # Errors
    ///
    /// That of the closure; a deadline or a cancel. What it had committed by then remains.
    ///
    /// # Panics
    ///
    /// When the closure panics, with its payload.
    pub fn write<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.on_writer("a closure that writes", move |conn| work(&conn.db))
    }

    /// Copies the write-ahead log into the database.
    ///
    /// # Errors
    ///
    /// [`Busy`](ErrorKind::Busy) when readers are in the way of [`CheckpointMode::Truncate`] for as
    /// long as the `busy_timeout`; else as [`execute`](Self::execute).
    pub fn checkpoint(&self, mode: CheckpointMode) -> Result<()> {
        let sql = match mode {
            CheckpointMode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            CheckpointMode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        self.write(move |db| {
            let is_busy: bool = db.query_row(sql, (), |row| row.get(0))?;
            if is_busy && mode == CheckpointMode::Truncate {
                return Err(Error::new(ErrorKind::Busy, "readers were in the way of a checkpoint"));
            }
            Ok(())
        })
    }

    /// Lets SQLite look after its statistics: worth a call now and then, and before closing.
    /// <https://sqlite.org/pragma.html#pragma_optimize>
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn optimize(&self) -> Result<()> {
        self.execute_batch("PRAGMA optimize")
    }

    /// Reads the whole database and returns what is wrong with it; nothing, if all is well.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn integrity_check(&self) -> Result<Vec<String>> {
        let mut said: Vec<String> = self.read(|db| {
            let mut statement = db.prepare("PRAGMA integrity_check")?;
            let mut lines = statement.query(())?;
            let mut said = Vec::new();
            loop {
                match lines.next().map_err(Error::from) {
                    Ok(Some(line)) => said.push(line.get(0)?),
                    Ok(None) => return Ok(said),
                    // What it cannot even go on from.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        said.push(error.to_string());
                        return Ok(said);
                    }
                    Err(error) => return Err(error),
                }
            }
        })?;
        said.retain(|line| line != "ok");
        Ok(said)
    }

    /// Waits for all calls that run, and closes the connections; what waits and what comes later
    /// gets [`Closed`](ErrorKind::Closed).
    ///
    /// # Errors
    ///
    /// A deadline or a cancel before the last call has ended: it is open then as before, or the
    /// connections for reading are closed already.
    pub fn close(&self) -> Result<()> {
        let inner = &self.inner;
        let mut conns = inner.readers.close().map_err(|e| self.at(e, Phase::Close))?;
        if let Some(writer) = &inner.writer {
            // The last to be dropped, and so the one that cleans up the log.
            conns.extend(writer.close().map_err(|e| self.at(e, Phase::Close))?);
        }
        let closed = cede_fiber::blocking(move || conns.into_iter().for_each(drop));
        closed.map_err(|error| self.at(Error::io(error), Phase::Close))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path()).finish_non_exhaustive()
    }
}

fn take_one<T: FromRow>(rows: &mut Rows<'_>) -> Result<Option<T>> {
    let value = match rows.next()? {
        None => return Ok(None),
        Some(row) => T::from_row(row)?,
    };
    match rows.next()? {
        None => Ok(Some(value)),
        Some(_) => Err(rusqlite::Error::QueryReturnedMoreThanOneRow.into()),
    }
}
