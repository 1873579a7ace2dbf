//! The rows of a long result, as they come.
//!
//! ```text
//!   thread of the pool: step, step, .. --> [ at most 2 batches ] --> fiber: one row after the other
//! ```
//!
//! The surprising rule: the statement lasts as long as the fiber takes for its rows, and so does the
//! state of the database that it reads; a write-ahead log cannot be cut meanwhile.

use cede_fiber::sync::mpsc::{self, RecvError, SyncSender};
use rusqlite::Rows;
use rusqlite::types::ValueRef;

use super::connection::Conn;
use super::database::Database;
use super::error::{Error, ErrorKind, Phase, Result};
use super::params::{OwnParams, Params};
use super::row::FromRow;

/// Rows that go to the fiber together, at most.
pub const EACH_BATCH_ROWS: usize = 256;
/// Bytes of text and BLOBs after which rows go to the fiber.
pub const EACH_BATCH_BYTES: usize = 256 * 1024;
/// Batches that wait for the fiber before the statement does.
const BATCHES_WAITING_MAX: usize = 2;

impl Database {
    /// Calls a closure with each row of a result that may be too long to be held in memory. The
    /// closure runs in the fiber, and may wait: the statement, on a thread of the pool, then waits
    /// too. Returns the number of rows.
    ///
    /// The connection is taken as long. A closure that uses the database needs another one; a
    /// database in memory has none.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); that of the closure, which ends the statement. A call in the
    /// closure that would wait for the very connection is an error of the kind
    /// [`State`](ErrorKind::State).
    ///
    /// # Panics
    ///
    /// When the closure panics.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
    /// # use cede::sqlite::{Database, Result};
    /// # cede::run(|| -> Result<()> {
    /// # let db = Database::open_in_memory()?;
    /// let mut sum = 0;
    /// let numbers = "WITH RECURSIVE numbers (n) AS
    ///     (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1) SELECT n FROM numbers";
    /// let rows = db.query_each(numbers, [1000], |n: i64| {
    ///     sum += n;
    ///     Ok(())
    /// })?;
    /// assert_eq!((rows, sum), (1000, 500_500));
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn query_each<T, F>(&self, sql: &str, params: impl Params, mut each: F) -> Result<u64>
    where
        T: FromRow + Send + 'static,
        F: FnMut(T) -> Result<()>,
    {
        let span = self.span(sql);
        let result = self.each_in(sql, &params, &mut each);
        if let Ok(rows) = &result {
            span.record("rows", *rows);
        }
        self.ended(&span, result)
    }

    fn each_in<T: FromRow + Send + 'static>(
        &self,
        sql: &str,
        params: &impl Params,
        each: &mut dyn FnMut(T) -> Result<()>,
    ) -> Result<u64> {
        let params = params.to_own()?;
        let sql = sql.to_owned();
        self.counts_read();
        let lease = self.lease_to_read(true)?;
        // The statement may end before its last rows are taken, or after they are given up.
        let (_taking, making) = self.inner.readers.stream();
        let (sender, receiver) = mpsc::sync_channel(BATCHES_WAITING_MAX);
        let db = self.clone();
        let produce = move || {
            db.on_pool(lease, Phase::Run, move |conn| {
                let _making = making;
                send_all::<T>(conn, &sql, &params, &sender)
            })
        };
        // Outside of a runtime a thread takes the place of the fiber.
        if cede_fiber::try_current().is_none() {
            let thread = std::thread::spawn(produce);
            let taken = take_all(&receiver, each);
            drop(receiver);
            let produced = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            return taken.and_then(|rows| produced.map(|()| rows));
        }
        let fiber = cede_fiber::Builder::new().name("sqlite rows".into()).spawn(produce);
        let producer = Producer(Some(fiber.map_err(Error::io)?));
        let taken = take_all(&receiver, each);
        drop(receiver);
        let produced = producer.end(taken.is_err());
        taken.and_then(|rows| produced.map(|()| rows))
    }
}

/// The fiber that waits for the thread of the pool. Dropped by a panic of the closure, it gives up.
struct Producer(Option<cede_fiber::JoinHandle<Result<()>>>);

impl Producer {
    fn end(mut self, gives_up: bool) -> Result<()> {
        let Some(fiber) = self.0.take() else { return Ok(()) };
        if gives_up {
            fiber.cancel();
        }
        // It ends soon: it was cancelled, or its statement has ended.
        match cede_fiber::shield(|| fiber.join()) {
            Ok(result) => result,
            Err(error) => Err(Error::other(error)),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(fiber) = &self.0 {
            fiber.cancel();
        }
    }
}

fn take_all<T>(
    receiver: &mpsc::Receiver<Vec<T>>,
    each: &mut dyn FnMut(T) -> Result<()>,
) -> Result<u64> {
    let mut count = 0;
    loop {
        match receiver.recv() {
            Ok(batch) => {
                for row in batch {
                    count += 1;
                    each(row)?;
                }
            }
            Err(RecvError::Disconnected) => return Ok(count),
            Err(RecvError::Wait(error)) => return Err(Error::io(error)),
        }
    }
}

/// On a thread of the pool. That nobody takes the rows any more is no error of anybody's.
fn send_all<T: FromRow>(
    conn: &Conn,
    sql: &str,
    params: &OwnParams,
    batches: &SyncSender<Vec<T>>,
) -> Result<()> {
    let mut statement = conn.db.prepare_cached(sql)?;
    if !statement.readonly() {
        return Err(Error::new(ErrorKind::State, "query_each is for statements that only read"));
    }
    params.bind(&mut statement)?;
    let mut rows = statement.raw_query();
    loop {
        let (batch, is_last) = next_batch(&mut rows)?;
        if !batch.is_empty() && batches.send(batch).is_err() || is_last {
            return Ok(());
        }
    }
}

fn next_batch<T: FromRow>(rows: &mut Rows<'_>) -> Result<(Vec<T>, bool)> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < EACH_BATCH_ROWS && bytes < EACH_BATCH_BYTES {
        let Some(row) = rows.next()? else { return Ok((batch, true)) };
        for column in 0..row.as_ref().column_count() {
            bytes += match row.get_ref(column)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                _ => 0,
            };
        }
        batch.push(T::from_row(row)?);
    }
    Ok((batch, false))
}
