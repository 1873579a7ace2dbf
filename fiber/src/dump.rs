//! What all fibers of a shard do right now.
//!
//! Nothing is kept for it but what every park stores anyway: the reason, the place and the time.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::fiber::FiberId;
use crate::record::{Record, State};
use crate::shard::{self, ShardState};
use crate::wait::Wait;

/// A fiber at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FiberInfo {
    /// Its number.
    pub id: FiberId,
    /// The name that it was given.
    pub name: Option<String>,
    /// What it does.
    pub state: FiberState,
    /// The fiber that spawned it; `None` for the first one and for work that came from another
    /// thread.
    pub parent: Option<FiberId>,
    /// Where `spawn` was called.
    pub spawned_at: &'static Location<'static>,
    /// How long it has existed, by the shard's coarse clock.
    pub age: Duration,
    /// Usable bytes of its stack.
    pub stack_size: usize,
    /// Whether it was asked to end.
    pub cancelled: bool,
}

/// What a fiber does.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum FiberState {
    /// It runs: it is the one that asked.
    Running,
    /// It waits for its turn.
    Ready,
    /// It waits for something.
    Parked {
        /// For what.
        wait: Wait,
        /// Where.
        at: &'static Location<'static>,
        /// For how long, by the shard's coarse clock.
        since: Duration,
    },
}

impl fmt::Display for FiberInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fiber {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        match self.state {
            FiberState::Running => f.write_str(" runs")?,
            FiberState::Ready => f.write_str(" is ready")?,
            FiberState::Parked { wait, at, since } => {
                write!(f, " waits for {wait} at {at} since {:.3} s", since.as_secs_f64())?;
            }
        }
        write!(f, "; spawned at {}", self.spawned_at)?;
        if self.cancelled {
            f.write_str("; cancelled")?;
        }
        Ok(())
    }
}

/// All fibers of this shard, oldest first; none on a thread without a runtime.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// cede::Builder::new().name("idle".into()).spawn(cede::park).unwrap();
/// cede::yield_now();
/// let line = cede::fibers()[1].to_string();
/// assert!(line.contains("(idle) waits for a wakeup at"), "{line}");
/// # }).unwrap();
/// ```
#[must_use]
pub fn fibers() -> Vec<FiberInfo> {
    shard::with(all).unwrap_or_default()
}

pub(crate) fn all(shard: &ShardState) -> Vec<FiberInfo> {
    // SAFETY: what is in the table is live.
    let mut all: Vec<_> = shard
        .fibers
        .borrow()
        .iter()
        .map(|(_, record)| describe(shard, unsafe { &**record }))
        .collect();
    all.sort_by_key(|info| info.id);
    all
}

fn describe(shard: &ShardState, record: &Record) -> FiberInfo {
    let now = shard.coarse_now.get();
    let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
    FiberInfo {
        id: FiberId::new(shard.id(), record.serial),
        name: record.name.get().map(|name| name.to_string()),
        state: match record.state.get() {
            State::Running => FiberState::Running,
            State::Ready => FiberState::Ready,
            State::Parked => FiberState::Parked {
                wait: record.wait.get(),
                at: record.wait_at.get(),
                since: since(record.wait_since.get()),
            },
        },
        parent: (record.parent != 0).then(|| FiberId::new(shard.id(), record.parent)),
        spawned_at: record.spawned_at,
        age: since(record.spawned_since),
        stack_size: record.stack.usable,
        cancelled: record.cancel_requested.get(),
    }
}
