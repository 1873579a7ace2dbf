//! The limits of a pool, and what it counts.
//!
//! The rule of this file: a pool belongs to one shard, so that each limit is one of a shard: four
//! shards with pools of 16 have up to 64 connections.

use std::time::Duration;

/// How many connections a pool has at most.
pub const SIZE_MAX_DEFAULT: usize = 16;
/// For how long a connection may be idle.
pub const IDLE_TIME_MAX_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// How old a connection may become.
pub const LIFETIME_MAX_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// A connection that was idle for longer is asked whether it is alive before it is lent.
pub const CHECK_AFTER_DEFAULT: Duration = Duration::from_secs(30);
/// How long a fiber waits for a connection.
pub const WAIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How many fibers may wait for a connection.
pub const WAITERS_MAX_DEFAULT: usize = 10_000;

/// The limits of a pool.
///
/// # Examples
///
/// ```
/// # use cede_wrappers as cede;
/// use std::time::Duration;
///
/// use cede::PoolSettings;
///
/// let settings = PoolSettings::new().size_max(4).wait_timeout(Some(Duration::from_secs(2)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PoolSettings {
    pub(super) size_max: usize,
    pub(super) idle_min: usize,
    pub(super) idle_time_max: Option<Duration>,
    pub(super) lifetime_max: Option<Duration>,
    pub(super) check_after: Option<Duration>,
    pub(super) wait_timeout: Option<Duration>,
    pub(super) waiters_max: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            size_max: SIZE_MAX_DEFAULT,
            idle_min: 0,
            idle_time_max: Some(IDLE_TIME_MAX_DEFAULT),
            lifetime_max: Some(LIFETIME_MAX_DEFAULT),
            check_after: Some(CHECK_AFTER_DEFAULT),
            wait_timeout: Some(WAIT_TIMEOUT_DEFAULT),
            waiters_max: WAITERS_MAX_DEFAULT,
        }
    }
}

impl PoolSettings {
    /// The defaults, which are constants here.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections there are at most: lent, idle and being made.
    ///
    /// # Panics
    ///
    /// For 0.
    pub fn size_max(mut self, connections: usize) -> Self {
        assert!(connections > 0, "a pool without connections would lend nothing, ever");
        self.size_max = connections;
        self
    }

    /// How many are kept idle, though they were so for long; as many are made beforehand.
    pub fn idle_min(mut self, connections: usize) -> Self {
        self.idle_min = connections;
        self
    }

    /// For how long one may be idle; `None` is for ever.
    pub fn idle_time_max(mut self, time: Option<Duration>) -> Self {
        self.idle_time_max = time;
        self
    }

    /// How old one may become; it is closed when it comes back then. `None` is for ever.
    pub fn lifetime_max(mut self, time: Option<Duration>) -> Self {
        self.lifetime_max = time;
        self
    }

    /// One that was idle for at least so long is asked whether it is alive before it is lent; `None`
    /// is never.
    pub fn check_after(mut self, time: Option<Duration>) -> Self {
        self.check_after = time;
        self
    }

    /// How long a fiber waits for one; `None` is until its own deadline.
    pub fn wait_timeout(mut self, time: Option<Duration>) -> Self {
        self.wait_timeout = time;
        self
    }

    /// How many fibers may wait; a further one gets an error at once.
    pub fn waiters_max(mut self, fibers: usize) -> Self {
        self.waiters_max = fibers;
        self
    }
}

/// What a pool is doing, and what it has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Connections: lent, idle and being made.
    pub size: usize,
    /// Those that wait to be lent.
    pub idle: usize,
    /// Those that are lent, or asked whether they are alive.
    pub lent: usize,
    /// Those that are being made.
    pub connecting: usize,
    /// Fibers that wait for one.
    pub waiting: usize,
    /// How often a fiber had to wait, whatever came of it.
    pub waits: u64,
    /// For how long they did, together.
    pub wait_total: Duration,
    /// The longest such wait.
    pub wait_max: Duration,
    /// Waits that the settings' time-out has ended.
    pub timeouts: u64,
    /// Fibers that were sent away because too many waited.
    pub refused: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Attempts that failed.
    pub connect_failures: u64,
    /// Connections that were closed because they were too old.
    pub closed_for_age: u64,
    /// Those that were idle for too long.
    pub closed_for_idleness: u64,
    /// Those that no longer worked when they were to be lent.
    pub closed_for_health: u64,
    /// Those that came back broken, or with something half done.
    pub closed_broken: u64,
}
