//! The client: one connection for all fibers of a shard.
//!
//! The rule of this file: a command is sent again only if it has certainly not left this process.
//! Everything else that goes wrong ends it, once, with an error that says what is known.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};

use cede_fiber::{Builder, Park, Ticket, Wait, WaitKind};
use redis::{Cmd, ConnectionLike, RedisError, RedisResult, Value};

use super::command::{self, Place};
use super::config::IntoConfig;
use super::connection::{Connection, Ended};
use super::error::Phase;
use super::link::{self, Link};
use super::metrics::{Metrics, add};
use super::pool::Pool;
use super::server::Server;
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
/// use cede_wrappers::redis::{Client, Commands, RedisResult};
///
/// cede_fiber::run(|| -> RedisResult<()> {
///     let mut client = Client::connect("redis://127.0.0.1/")?;
///     let _: () = client.set("greeting", "hello")?;
///     let fibers: Vec<_> = (0..100)
///         .map(|_| {
///             let mut client = client.clone();
///             cede_fiber::spawn(move || client.get::<_, String>("greeting"))
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
    /// Makes a new connection the one that is used.
    fn install(&self, link: Link) -> RedisResult<()> {
        let connection = Connection::start(link, &self.server)
            .map_err(|cause| self.server.failure(Phase::Connect, cause))?;
        let former = self.connection.replace(Some(connection));
        if former.is_some() {
            add(&self.server.counters.reconnects, 1);
        }
        *self.error.borrow_mut() = None;
        Ok(())
    }

    /// The connection; makes a new one when it is lost.
    #[inline]
    fn connection(self: &Rc<Self>, name: &[u8]) -> RedisResult<Rc<Connection>> {
        if let Some(connection) = &*self.connection.borrow()
            && connection.is_open()
        {
            return Ok(Rc::clone(connection));
        }
        self.reconnect(name)
    }

    #[cold]
    fn reconnect(self: &Rc<Self>, name: &[u8]) -> RedisResult<Rc<Connection>> {
        let own = cede_fiber::deadline();
        let gave_up = |cause: io::Error| {
            let failed = self.error.borrow().clone();
            let is_own = own.is_some_and(|at| at <= std::time::Instant::now());
            match failed {
                // It is no news that time has passed; what failed meanwhile is.
                Some(failed) if cause.kind() == io::ErrorKind::TimedOut && !is_own => failed,
                Some(failed) if cause.kind() == io::ErrorKind::TimedOut => {
                    let text = format!("the deadline has passed; the last attempt: {failed}");
                    let cause = io::Error::new(io::ErrorKind::TimedOut, text);
                    self.server.failure(Phase::Reconnect, cause).of_command(name, false).into()
                }
                _ => self.server.failure(Phase::Reconnect, cause).of_command(name, false).into(),
            }
        };
        cede_fiber::with_deadline(self.server.config.reconnect_timeout, || {
            loop {
                if let Some(connection) = &*self.connection.borrow()
                    && connection.is_open()
                {
                    return Ok(Rc::clone(connection));
                }
                let park = Park::begin().map_err(gave_up)?;
                if !self.is_connecting.get() {
                    *self.error.borrow_mut() = None;
                    self.start_connecting().map_err(gave_up)?;
                }
                self.waiting.borrow_mut().push(park.ticket());
                let _counted = Counted::new(&self.waiting_count);
                let object = std::ptr::from_ref(&**self) as u64;
                park.wait(Wait::new(WaitKind::Notify, object), None).map_err(gave_up)?;
                if !self.is_connecting.get()
                    && let Some(error) = self.error.borrow().clone()
                {
                    return Err(error);
                }
            }
        })
    }

    /// A fiber that connects on behalf of all who wait, so that none of their deadlines ends it.
    fn start_connecting(self: &Rc<Self>) -> io::Result<()> {
        let server = Rc::clone(&self.server);
        let connecting = Connecting(Rc::downgrade(self));
        // A connection that never answered is no sign that all is well.
        let failed_at_once =
            self.connection.borrow().as_ref().is_some_and(|former| !former.has_answered());
        let first_wait = failed_at_once.then(|| self.backoff.borrow_mut().next());
        self.is_connecting.set(true);
        let connect = move || {
            if let Some(wait) = first_wait
                && cede_fiber::sleep(wait).is_err()
            {
                return;
            }
            loop {
                let result = server.open();
                let Some(wait) = connecting.tried(result) else { return };
                if cede_fiber::sleep(wait).is_err() {
                    return;
                }
            }
        };
        Builder::new()
            .name(format!("redis {} connector", self.server.host))
            .no_deadline()
            .spawn_detached(connect)
    }

    fn wake_all(&self) {
        self.waiting.take().into_iter().for_each(|ticket| {
            ticket.wake();
        });
    }

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
        let _span = self.server.span(name, || cmd.get_packed_command().len());
        if cmd.is_no_response() {
            self.on_connection(name, |connection| {
                connection.cast(|out| cmd.write_packed_command(out))
            })?;
            return Ok(Value::Nil);
        }
        self.on_connection(name, |connection| connection.call(|out| cmd.write_packed_command(out)))
            .map(|value| self.counted(value))
    }

    fn call_packed(self: &Rc<Self>, bytes: &[u8]) -> RedisResult<Value> {
        let name = command::check_packed(bytes, 1, Place::Shared)?;
        let _span = self.server.span(name, || bytes.len());
        self.on_connection(name, |connection| connection.call(|out| out.extend_from_slice(bytes)))
            .map(|value| self.counted(value))
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
        let _span = self.server.span(name, || bytes.len());
        let values =
            self.on_connection(name, |connection| connection.call_many(bytes, skip, count))?;
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

/// The fiber that connects. When it ends, however that is, another one may begin.
struct Connecting(Weak<Shared>);

impl Connecting {
    /// What comes of an attempt: how long to wait before the next one, if there is to be one.
    fn tried(&self, result: RedisResult<Link>) -> Option<std::time::Duration> {
        let shared = self.0.upgrade()?;
        let error = match result.and_then(|link| shared.install(link)) {
            Ok(()) => {
                shared.backoff.borrow_mut().reset();
                return None;
            }
            Err(error) => error,
        };
        let goes_on = link::is_transient(&error) && shared.waiting_count.get() > 0;
        *shared.error.borrow_mut() = Some(error);
        goes_on.then(|| shared.backoff.borrow_mut().next())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.is_connecting.set(false);
            shared.wake_all();
        }
    }
}

/// One who waits, counted.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
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
