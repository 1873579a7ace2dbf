//! The client: one connection for all fibers of a shard.
//!
//! The rule of this file: a command is sent again only if it has certainly not left this process.
//! Everything else that goes wrong ends it, once, with an error that says what is known.

mod reconnect;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::slice;

use cede_fiber::Ticket;
use redis::{Cmd, ConnectionLike, RedisError, RedisResult, Value};

use super::command::{self, Place};
use super::config::IntoConfig;
use super::connection::{Connection, Ended};
use super::error::Phase;
use super::metrics::{Metrics, add};
use super::pool::Pool;
use super::server::{Server, record};
use crate::backoff::Backoff;
use crate::pool::PoolMetrics;

/// How often a command is sent again that has not left this process when its connection was lost.
const RESENDS_MAX: usize = 8;

/// A server, for all fibers of a shard, on one connection.
///
/// A clone is another handle to the same connection. Commands of many fibers are sent together as
/// they come, and each fiber gets its own answer. It is a
/// [`ConnectionLike`](redis::ConnectionLike), so all commands of the crate `redis` work on it, and
/// so is `&Client`.
///
/// When the connection is lost, the commands that were sent fail with an error for which
/// [`may_have_run`](super::may_have_run) says yes; the next one connects again. The last handle
/// closes the connection.
///
/// # Examples
///
/// ```no_run
/// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
/// use cede::redis::{Client, Commands, RedisResult};
///
/// cede::run(|| -> RedisResult<()> {
///     let mut client = Client::connect("redis://127.0.0.1/")?;
///     let _: () = client.set("greeting", "hello")?;
///     let fibers: Vec<_> = (0..100)
///         .map(|_| {
///             let mut client = client.clone();
///             cede::spawn(move || client.get::<_, String>("greeting"))
///         })
///         .collect();
///     for fiber in fibers {
///         assert_eq!(fiber.join().unwrap()?, "hello");
///     }
///     Ok(())
/// })
/// .unwrap()
/// .unwrap();
/// ```
#[derive(Clone)]
pub struct Client(Rc<Shared>);

/// What the handles of a client have in common.
pub(super) struct Shared {
    server: Rc<Server>,
    connection: RefCell<Option<Rc<Connection>>>,
    /// Whether a fiber connects.
    is_connecting: Cell<bool>,
    /// Fibers that wait for it.
    waiting: RefCell<Vec<Ticket>>,
    waiting_count: Cell<usize>,
    /// Why the last attempt failed.
    error: RefCell<Option<RedisError>>,
    backoff: RefCell<Backoff>,
    /// Connections for single fibers, from the first one on.
    pool: OnceCell<Pool>,
}

impl Client {
    /// Connects, logs in and checks that the server answers.
    ///
    /// # Errors
    ///
    /// When that fails within [`Config::connect_timeout`](super::Config::connect_timeout), at the first attempt; outside of a fiber.
    pub fn connect(config: impl IntoConfig) -> RedisResult<Self> {
        let client = Self::lazy(config)?;
        client.0.install(client.0.server.open()?)?;
        Ok(client)
    }

    /// A client that connects when it is first used.
    ///
    /// # Errors
    ///
    /// When the configuration is none.
    pub fn lazy(config: impl IntoConfig) -> RedisResult<Self> {
        let config = config.into_config()?;
        Ok(Self(Rc::new(Shared {
            server: Server::new(config),
            connection: RefCell::default(),
            is_connecting: Cell::new(false),
            waiting: RefCell::default(),
            waiting_count: Cell::new(0),
            error: RefCell::default(),
            backoff: RefCell::new(Backoff::new()),
            pool: OnceCell::new(),
        })))
    }

    /// Host and port of the server, or the path of its socket.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.server.host
    }

    /// What it has done so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.server.counters.metrics()
    }

    /// What the connections of [`dedicated`](Self::dedicated) do and have done.
    #[must_use]
    pub fn pool_metrics(&self) -> PoolMetrics {
        self.0.pool.get().map(Pool::metrics).unwrap_or_default()
    }

    /// Sends a command to a node that has its slot only in part yet.
    pub(super) fn call_asking(&self, packed: &[u8]) -> RedisResult<Value> {
        let name = command::check_packed(packed, 1, Place::Shared)?;
        let both = [&redis::cmd("ASKING").get_packed_command(), packed].concat();
        let values = self.0.on_connection(name, |connection| connection.call_many(&both, 0, 2))?;
        Ok(values?.pop().unwrap_or_default())
    }

    pub(super) fn pool(&self) -> &Pool {
        self.0.pool.get_or_init(|| Pool::of(&self.0.server))
    }

    pub(super) fn server(&self) -> &Rc<Server> {
        &self.0.server
    }
}

impl Shared {
    /// Sends by `send`, on a new connection if need be.
    #[inline]
    fn on_connection<T>(
        self: &Rc<Self>,
        name: &[u8],
        mut send: impl FnMut(&Connection) -> Result<T, Ended>,
    ) -> RedisResult<T> {
        add(&self.server.counters.commands, 1);
        let mut resends = 0;
        loop {
            let connection = match self.connection(name) {
                Ok(connection) => connection,
                Err(error) => {
                    add(&self.server.counters.errors, 1);
                    return Err(error);
                }
            };
            match send(&connection) {
                Ok(value) => return Ok(value),
                Err(Ended::Unsent) if resends < RESENDS_MAX => resends += 1,
                Err(ended) => return Err(self.failed(name, &connection, ended)),
            }
        }
    }

    #[cold]
    fn failed(&self, name: &[u8], connection: &Connection, ended: Ended) -> RedisError {
        add(&self.server.counters.errors, 1);
        let error = match ended {
            Ended::Refused(error) => error,
            Ended::GaveUp { cause, sent } => {
                let phase = if sent { Phase::Command } else { Phase::Queue };
                self.server.failure(phase, cause).of_command(name, sent).into()
            }
            Ended::Lost => connection.failure().of_command(name, true).into(),
            Ended::Unsent => connection.failure().of_command(name, false).into(),
        };
        tracing::debug!(host = &*self.server.host, error = %error, "a Redis command has failed");
        error
    }

    #[inline]
    fn counted(&self, value: Value) -> Value {
        if matches!(value, Value::ServerError(_)) {
            add(&self.server.counters.errors, 1);
        }
        value
    }

    fn call(self: &Rc<Self>, cmd: &Cmd) -> RedisResult<Value> {
        let name = command::check(cmd, Place::Shared)?;
        let span = self.server.span(name, || cmd.get_packed_command().len());
        if cmd.is_no_response() {
            self.on_connection(name, |connection| {
                connection.cast(|out| cmd.write_packed_command(out))
            })?;
            return Ok(Value::Nil);
        }
        let result = self
            .on_connection(name, |connection| connection.call(|out| cmd.write_packed_command(out)))
            .map(|value| self.counted(value));
        record(&span, result.as_ref().map(slice::from_ref));
        result
    }

    fn call_packed(self: &Rc<Self>, bytes: &[u8]) -> RedisResult<Value> {
        let name = command::check_packed(bytes, 1, Place::Shared)?;
        let span = self.server.span(name, || bytes.len());
        let result = self
            .on_connection(name, |connection| connection.call(|out| out.extend_from_slice(bytes)))
            .map(|value| self.counted(value));
        record(&span, result.as_ref().map(slice::from_ref));
        result
    }

    fn call_many(
        self: &Rc<Self>,
        bytes: &[u8],
        skip: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let is_atomic = command::is_atomic(bytes, skip, count);
        let place = if is_atomic { Place::Atomic } else { Place::Shared };
        let first = command::check_packed(bytes, skip + count, place)?;
        let name: &[u8] = if is_atomic { b"MULTI .. EXEC" } else { first };
        let span = self.server.span(name, || bytes.len());
        let values =
            self.on_connection(name, |connection| connection.call_many(bytes, skip, count));
        let values = values.inspect_err(|error| record(&span, Err(error)))?;
        record(&span, values.as_deref());
        let errors = match &values {
            Ok(values) => {
                values.iter().filter(|value| matches!(value, Value::ServerError(_))).count()
            }
            Err(_) => 1,
        };
        add(&self.server.counters.errors, usize::from(errors > 0));
        values
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

macro_rules! connection_like {
    ($type:ty) => {
        impl ConnectionLike for $type {
            fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
                self.0.call_packed(cmd)
            }

            fn req_packed_commands(
                &mut self,
                cmd: &[u8],
                offset: usize,
                count: usize,
            ) -> RedisResult<Vec<Value>> {
                self.0.call_many(cmd, offset, count)
            }

            fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
                self.0.call(cmd)
            }

            fn get_db(&self) -> i64 {
                self.0.server.config.login.db()
            }

            fn check_connection(&mut self) -> bool {
                redis::cmd("PING").exec(self).is_ok()
            }

            fn is_open(&self) -> bool {
                self.0.connection.borrow().as_ref().is_some_and(|connection| connection.is_open())
            }
        }
    };
}

connection_like!(Client);
connection_like!(&Client);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.0.server.host).finish_non_exhaustive()
    }
}
