//! Connections for single fibers, lent one at a time.
//!
//! The rule of this file: a connection is lent again only if it is as it came, which it is asked for
//! without waiting.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

use redis::{RedisError, RedisResult, Value, cmd};

use super::config::IntoConfig;
use super::dedicated::Dedicated;
use super::error::Phase;
use super::link::Link;
use super::metrics::Metrics;
use super::server::Server;
use crate::pool::{Lent, Manage, PoolMetrics, PoolSettings, Refusal};

/// A connection, and what was done to it.
pub(super) struct Own {
    pub(super) link: Link,
    /// Whether a command has not been answered.
    pub(super) is_busy: bool,
    /// Whether keys are watched or a transaction is open.
    pub(super) is_open: bool,
    /// Whether it is another one than before, for good.
    pub(super) is_changed: bool,
}

impl Own {
    /// Whether it holds something that the next connection would not.
    pub(super) fn has_state(&self) -> bool {
        self.is_open || self.is_changed
    }

    /// Sends requests and receives all of their answers. It stays busy when it fails.
    pub(super) fn exchange(&mut self, requests: &[u8], replies: usize) -> io::Result<Vec<Value>> {
        self.is_busy = true;
        let values = self.link.exchange(requests, replies)?;
        self.is_busy = false;
        Ok(values)
    }
}

/// How the pool of the crate is to treat them.
pub(super) struct Links(Rc<Server>);

pub(super) type LentLink = Lent<Links>;

impl Manage for Links {
    type Connection = RefCell<Own>;
    type Error = RedisError;

    fn connect(&self) -> RedisResult<RefCell<Own>> {
        let link = self.0.open()?;
        Ok(RefCell::new(Own { link, is_busy: false, is_open: false, is_changed: false }))
    }

    fn is_usable(&self, connection: &RefCell<Own>) -> bool {
        let own = connection.borrow();
        !own.is_busy && !own.has_state() && own.link.is_quiet()
    }

    fn check(&self, connection: &RefCell<Own>) -> RedisResult<()> {
        let ping = cmd("PING").get_packed_command();
        let answer = cede_fiber::with_deadline(self.0.config.connect_timeout, || {
            connection.borrow_mut().exchange(&ping, 1)
        });
        match answer.map_err(|cause| self.0.failure(Phase::Handshake, cause))?.pop() {
            Some(Value::ServerError(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn refused(&self, refusal: Refusal) -> RedisError {
        let kind = match &refusal {
            Refusal::TimedOut(_) => io::ErrorKind::TimedOut,
            Refusal::TooManyWait(_) => io::ErrorKind::QuotaExceeded,
            Refusal::Closed => io::ErrorKind::NotConnected,
            Refusal::Wait(_) => io::ErrorKind::Other,
        };
        let cause = match refusal {
            Refusal::Wait(cause) => cause,
            refusal => io::Error::new(kind, refusal.to_string()),
        };
        self.0.failure(Phase::Queue, cause).into()
    }
}

/// Connections of one shard to one server, each lent to one fiber at a time.
///
/// Most commands need none: a [`Client`](super::Client) serves any number of fibers by one
/// connection, and has such a pool for [`Client::dedicated`](super::Client::dedicated). A pool of
/// one's own is for fibers that wait in blocking commands, beyond what that has room for.
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// use cede::redis::{Commands, Pool, PoolSettings, RedisResult};
///
/// # fn work() -> RedisResult<()> {
/// let pool = Pool::new("redis://127.0.0.1/", PoolSettings::new().size_max(8))?;
/// let job: Option<(String, String)> = pool.get()?.blpop("jobs", 5.0)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Pool {
    server: Rc<Server>,
    pool: crate::pool::Pool<Links>,
}

impl Pool {
    /// A pool that is empty, and connects when it lends.
    ///
    /// # Errors
    ///
    /// When the configuration is none.
    pub fn new(config: impl IntoConfig, settings: PoolSettings) -> RedisResult<Self> {
        let config = config.into_config()?.pool(settings);
        Ok(Self::of(&Server::new(config)))
    }

    pub(super) fn of(server: &Rc<Server>) -> Self {
        let links = Links(Rc::clone(server));
        let pool = crate::pool::Pool::new(links, server.config.pool.clone());
        Self { server: Rc::clone(server), pool }
    }

    /// Lends a connection; waits when all are lent.
    ///
    /// # Errors
    ///
    /// When none came back in time, or too many wait; a deadline or a cancel; when it cannot connect.
    pub fn get(&self) -> RedisResult<Dedicated> {
        Ok(Dedicated::new(self.clone(), self.lend()?))
    }

    pub(super) fn lend(&self) -> RedisResult<LentLink> {
        self.pool.get()
    }

    pub(super) fn server(&self) -> &Rc<Server> {
        &self.server
    }

    /// Lends nothing more. What is lent is closed when it comes back.
    pub fn close(&self) {
        self.pool.close();
    }

    /// What it does and has done: connections, waits and their time.
    #[must_use]
    pub fn metrics(&self) -> PoolMetrics {
        self.pool.metrics()
    }

    /// What was sent over its connections.
    #[must_use]
    pub fn command_metrics(&self) -> Metrics {
        self.server.counters.metrics()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("host", &self.server.host).finish_non_exhaustive()
    }
}
