//! A pool of clients: one connection each, for one fiber at a time.
//!
//! The rule of this file: a session comes back as it is. What was `SET` in it is there for the next
//! one.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, IntoConfig};
use super::config::Config;
use super::error::{Error, ErrorKind, Phase};
use super::transaction::Transaction;
use crate::pool::{self, Lent, Manage, PoolMetrics, PoolSettings, Refusal};

/// How long a connection that was idle may take to answer before it counts as dead.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

struct Manager(Config);

impl Manage for Manager {
    type Connection = Client;
    type Error = Error;

    fn connect(&self) -> Result<Client, Error> {
        Client::connect(&self.0)
    }

    fn is_usable(&self, client: &Client) -> bool {
        // Nobody else may have a clone of it, a listener for example.
        !client.is_closed() && Rc::strong_count(&client.core) == 1
    }

    fn check(&self, client: &Client) -> Result<(), Error> {
        // Nothing is executed, but it is answered.
        cede_fiber::with_deadline(CHECK_TIMEOUT, || client.batch_execute(""))
    }

    fn refused(&self, refusal: Refusal) -> Error {
        let kind = match &refusal {
            Refusal::TimedOut(_) => ErrorKind::Timeout,
            Refusal::TooManyWait(_) => ErrorKind::Limit,
            Refusal::Closed => ErrorKind::Closed,
            Refusal::Wait(_) => ErrorKind::Cancelled,
        };
        match refusal {
            Refusal::Wait(error) => Error::io(Phase::Pool, error),
            refusal => Error::new(kind, Phase::Pool, refusal.to_string()),
        }
    }
}

/// A pool of connections of one shard, for those who do not want to share one: long transactions,
/// COPY, statements that take long.
///
/// A clone is the same pool. Connections are made when they are needed, up to
/// [`size_max`](PoolSettings::size_max), and fibers that wait for one get it in the order of coming.
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// use cede::postgres::{Error, Pool, PoolSettings};
///
/// fn f() -> Result<(), Error> {
///     let pool = Pool::new("postgres://joe@db/shop", PoolSettings::new().size_max(8))?;
///     let client = pool.get()?;
///     client.execute("update stock set sum = sum - 1 where id = $1", &[&7])?;
///     drop(client);
///     let sum: i64 = pool.transaction(|tx| {
///         tx.query_one("select sum(sum) from stock", &[])?.try_get(0)
///     })?;
///     println!("{sum}, {:?}", pool.metrics());
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Pool(pool::Pool<Manager>);

impl Pool {
    /// A pool, which connects when it is first used, or at once in the background when the settings
    /// want connections beforehand.
    ///
    /// # Errors
    ///
    /// Settings of the connection that cannot be used.
    pub fn new(config: impl IntoConfig, settings: PoolSettings) -> Result<Self, Error> {
        Ok(Self(pool::Pool::new(Manager(config.into_config()?), settings)))
    }

    /// Lends a connection until the result is dropped.
    ///
    /// One that is broken then, or older than the settings allow, is closed.
    ///
    /// # Errors
    ///
    /// Of phase [`Pool`](Phase::Pool): when none is free in time, too many wait, or the pool is
    /// closed; a cancel or a deadline. Those of connecting, which are this fiber's only.
    pub fn get(&self) -> Result<PooledClient, Error> {
        self.0.get().map(PooledClient)
    }

    /// Runs a transaction on a connection that is lent for it; see [`Client::transaction`].
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and of [`Client::transaction`].
    pub fn transaction<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.get()?.transaction(f)
    }

    /// What it is doing, and what it has done.
    #[must_use]
    pub fn metrics(&self) -> PoolMetrics {
        self.0.metrics()
    }

    /// Lends nothing more: who waits gets an error, and a connection that comes back is closed.
    pub fn close(&self) {
        self.0.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// A client that belongs to a [`Pool`], and goes back when it is dropped.
///
/// It does not if a clone of it is left then: whoever has that keeps the connection.
pub struct PooledClient(Lent<Manager>);

impl PooledClient {
    /// Takes the client out of the pool for good; the pool may make another one.
    #[must_use]
    pub fn detach(self) -> Client {
        self.0.detach()
    }
}

impl Deref for PooledClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl fmt::Debug for PooledClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledClient").field("host", &self.host()).finish_non_exhaustive()
    }
}
