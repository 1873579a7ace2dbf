//! SQLite, compiled in.
//!
//! A [`Database`] is one connection that writes and several that read, for all shards and all plain
//! threads. Calls look like those of `rusqlite`; the fiber waits where a thread would.
//!
//! ```
//! # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
//! use cede::sqlite::{Database, Result};
//!
//! # cede::run(|| -> Result<()> {
//! let db = Database::open_in_memory()?;
//! db.execute_batch("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")?;
//! db.execute("INSERT INTO users (name) VALUES (?1)", ["ann"])?;
//! let name: Option<String> = db.query_opt("SELECT name FROM users WHERE id = ?1", [1])?;
//! assert_eq!(name.as_deref(), Some("ann"));
//! # Ok(()) }).unwrap().unwrap();
//! ```
//!
//! | what | how |
//! |---|---|
//! | rows | [`query`](Database::query), [`query_one`](Database::query_one), [`query_opt`](Database::query_opt), [`query_each`](Database::query_each) |
//! | changes | [`execute`](Database::execute), [`insert`](Database::insert), [`execute_batch`](Database::execute_batch) |
//! | several statements | [`transaction`](Database::transaction), [`read`](Database::read), [`write`](Database::write) |
//! | copies | [`backup`](Database::backup), [`restore`](Database::restore) |
//! | settings | [`Config`] |
//!
//! # Where statements run
//!
//! A call of SQLite blocks its thread. Whatever writes, and every closure, runs on a thread of the
//! blocking pool while the fiber waits. A read of one statement (`query`, `query_one`, `query_opt`)
//! begins on the thread of the shard, on a large stack, for as long as it is short: after
//! [`IN_PLACE_STEPS_MAX`] steps of SQLite's machine, or where it would have to wait for a lock, it is
//! stopped there and begun again in the pool. A statement that was too long goes to the pool at once
//! from then on, and is tried in place again at ever rarer times.
//!
//! That is the default because it was measured (4 cores that others used as well, a row by its key):
//! the bare call takes 3.8 us, the call in place 4.7, of which the large stack is 0.03; through the
//! pool it takes 27, because an empty job takes 9 to get to a thread and back. With a thread that
//! spins until work comes that would be 2.3, and a core would be gone.
//!
//! What cannot be foreseen is a page that is in no cache: the shard waits for the disk then. Look-ups
//! in a file of which nothing was cached took 76 us in place and 145 through the pool (99 of 100),
//! and the longest that another fiber of the shard had to wait was 0.7 ms and 0.2. Nor is a BLOB of
//! many megabytes, which is copied in a few steps. A statement that took more than a millisecond twice
//! in a row goes to the pool for a while, as a long one does. [`Config::in_place`] turns it all off.
//!
//! # Deadlines and cancels
//!
//! A fiber whose deadline passes, or that is cancelled, gets its error at once. If its call still
//! waits it is taken back; if it runs it is interrupted, and what it wrote is rolled back, for each
//! commit asks first whether it is still wanted. One that is committing in that moment is waited for,
//! for a second at most; only then is it unknown what became of it, and
//! [`Error::may_have_run`] says so.
//!
//! # One writer
//!
//! SQLite has one writer at a time. Here writes wait for it in their order, without a lock of the
//! file; readers see the state before the write until it is committed, and wait for nothing. Only
//! other processes are met as "busy", and waited for as long as
//! [`busy_timeout`](Config::busy_timeout) says.

mod backup;
mod calls;
mod config;
mod connection;
mod database;
mod each;
mod error;
mod job;
mod lane;
mod metrics;
mod open;
mod params;
mod place;
mod row;

pub use backup::{BACKUP_PAGES_PER_STEP, Progress};
pub use config::{
    BUSY_TIMEOUT_DEFAULT, Config, JournalMode, QUEUE_MAX_DEFAULT, READERS_DEFAULT,
    STATEMENTS_CACHED_DEFAULT, Synchronous,
};
pub use connection::IN_PLACE_STEPS_MAX;
pub use database::{CheckpointMode, Database};
pub use each::{EACH_BATCH_BYTES, EACH_BATCH_ROWS};
pub use error::{Error, ErrorKind, Phase, Result};
pub use metrics::Metrics;
pub use params::Params;
pub use row::{ColumnIndex, FromRow, Row};
pub use rusqlite::types::{FromSql, ToSql, Value};
pub use rusqlite::{
    self, Connection, Savepoint, Transaction, TransactionBehavior, named_params, params,
};
