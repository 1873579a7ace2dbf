//! A connection, with the handlers that SQLite asks whether to go on.
//!
//! The surprising rule: the handlers are installed once and look up in the slot for whom they are
//! asked. So taking a connection and giving it back costs two stores.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle, OpenFlags, Rows, Statement};

use super::error::{Error, ErrorKind, Result};
use super::job::{Slot, Verdict};
use super::metrics::{Counters, count};

/// Steps of SQLite's virtual machine between two looks at whether to go on: some 20 us.
const STEPS_PER_CALL: u32 = 1_000;
/// Steps of a statement after which it leaves the thread of its shard. It takes a microsecond to make
/// some fifty, and a look-up by key makes some ten.
pub const IN_PLACE_STEPS_MAX: u32 = 4 * STEPS_PER_CALL;
/// The waits for a lock of another process, one after the other; the last is repeated. A call that
/// is stopped leaves its wait after this long at most.
const BUSY_WAITS_MS: [u64; 6] = [1, 2, 5, 10, 15, 20];

/// See the module.
pub(super) struct Conn {
    pub(super) db: Connection,
    pub(super) slot: Arc<Slot>,
    pub(super) interrupt: Arc<InterruptHandle>,
}

/// What a statement that was to read has brought.
pub(super) enum Fetched<R> {
    /// The result and the number of its rows.
    Rows(R, usize),
    /// Nothing: it writes, and was not begun.
    Writes,
}

/// Makes a result of rows; returns their number too.
pub(super) type Take<R> = fn(&mut Rows<'_>) -> Result<(R, usize)>;

impl Conn {
    /// Opens a file, or a database in memory.
    pub(super) fn open(
        path: Option<&Path>,
        flags: OpenFlags,
        busy_timeout: Duration,
        counters: &Arc<Counters>,
    ) -> rusqlite::Result<Self> {
        let mut flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if path.is_some_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"file:")) {
            flags |= OpenFlags::SQLITE_OPEN_URI;
        }
        let mut db = match path {
            Some(path) => Connection::open_with_flags(path, flags)?,
            None => Connection::open_in_memory_with_flags(flags)?,
        };
        let slot = Arc::new(Slot::default());
        let asked = Arc::clone(&slot);
        db.progress_handler(
            STEPS_PER_CALL.cast_signed(),
            Some(move || asked.progress() != Verdict::GoOn),
        )?;
        let asked = Arc::clone(&slot);
        db.commit_hook(Some(move || !asked.may_commit()))?;
        let mut wait = BusyWait::new(Arc::clone(&slot), busy_timeout, Arc::clone(counters));
        db.busy_handler(Some(move |calls| wait.again(calls)))?;
        let interrupt = Arc::new(db.get_interrupt_handle());
        Ok(Self { db, slot, interrupt })
    }

    /// Runs a statement that reads; with `may_write` one that writes, too.
    pub(super) fn fetch<R>(
        &self,
        sql: &str,
        bind: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<()>,
        take: Take<R>,
        may_write: bool,
    ) -> Result<Fetched<R>> {
        let mut statement = self.db.prepare_cached(sql)?;
        if !may_write && !statement.readonly() {
            return Ok(Fetched::Writes);
        }
        bind(&mut statement)?;
        let before = self.db.total_changes();
        let taken = take(&mut statement.raw_query());
        match taken {
            Ok((result, rows)) => Ok(Fetched::Rows(result, rows)),
            // Its rows were not what was asked for, but it has written.
            Err(error) if may_write && self.db.total_changes() != before => {
                Err(error.that_may_have_run())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn begin_in_place(&self) {
        // One more call may come at once, for the steps of earlier runs count too.
        self.slot.begin_in_place(IN_PLACE_STEPS_MAX / STEPS_PER_CALL);
    }

    /// Ends a transaction that somebody has left open, so that nothing stays locked. An interrupt
    /// that met no statement lasts until the next one begins, and would stop a checkpoint.
    pub(super) fn clean(&self, was_interrupted: bool) -> Result<()> {
        self.begin_in_place();
        if was_interrupted {
            // It only has to begin.
            let _ = self.db.execute_batch("SELECT 1");
        }
        if self.db.is_autocommit() {
            return Ok(());
        }
        // It cannot fail but for a transaction that SQLite has just ended by itself.
        let _ = self.db.execute_batch("ROLLBACK");
        let says = "a transaction was left open, and is rolled back: use transaction(..)";
        Err(Error::new(ErrorKind::State, says))
    }
}

/// The wait of a pool's thread for a lock that another process or connection holds.
struct BusyWait {
    slot: Arc<Slot>,
    timeout: Duration,
    counters: Arc<Counters>,
    since: Instant,
}

impl BusyWait {
    fn new(slot: Arc<Slot>, timeout: Duration, counters: Arc<Counters>) -> Self {
        Self { slot, timeout, counters, since: Instant::now() }
    }

    /// Whether to try again; `calls`: how often it was asked for this lock before.
    fn again(&mut self, calls: i32) -> bool {
        if calls == 0 {
            self.since = Instant::now();
            count(&self.counters.busy);
        }
        if self.slot.busy() != Verdict::GoOn {
            return false;
        }
        let left = self.timeout.saturating_sub(self.since.elapsed());
        let step = usize::try_from(calls).unwrap_or_default().min(BUSY_WAITS_MS.len() - 1);
        let wait = Duration::from_millis(BUSY_WAITS_MS[step]).min(left);
        thread::sleep(wait);
        !wait.is_zero()
    }
}
