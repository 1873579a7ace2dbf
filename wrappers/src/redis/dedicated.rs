//! A connection that one fiber has for itself: for commands that block and for watched keys.
//!
//! The rule of this file: nothing is ever left in it. A call that fails in the middle closes it, and
//! it goes back for the next fiber only if it is as it came.

use std::fmt;
use std::io;
use std::rc::Rc;

use redis::{Cmd, ConnectionLike, Pipeline, RedisError, RedisResult, ToRedisArgs, Value};

use super::client::Client;
use super::command::{self, Mark, Place};
use super::error::Phase;
use super::metrics::add;
use super::pool::{LentLink, Pool};
use super::server::record;
use super::transaction;

/// A connection of one fiber.
///
/// It takes commands that block (`BLPOP`, `XREAD BLOCK`, `WAIT`), `WATCH` and `MULTI`, and is a
/// [`ConnectionLike`](redis::ConnectionLike) like the client. A deadline or a cancel in the middle of
/// a command closes it, since the answer would come sometime; the next command connects again, unless
/// keys were watched. When it is dropped, another fiber may get it.
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// use std::time::Duration;
///
/// use cede::redis::{Client, Commands, RedisResult};
///
/// # fn work(client: &Client) -> RedisResult<()> {
/// let mut jobs = client.dedicated()?;
/// let job: Option<(String, String)> = jobs.blpop("jobs", 5.0)?;
/// # Ok(()) }
/// ```
pub struct Dedicated {
    pool: Pool,
    /// `None` behind a command that did not end well.
    lent: Option<LentLink>,
    /// Whether keys were watched, or settings changed, on one that is gone.
    has_lost_state: bool,
}

impl Client {
    /// A connection of its own for the calling fiber; waits when as many are lent as
    /// [`Config::pool`](super::Config::pool) allows.
    ///
    /// # Errors
    ///
    /// When none came back in time; a deadline or a cancel; when it cannot connect.
    pub fn dedicated(&self) -> RedisResult<Dedicated> {
        self.pool().get()
    }

    /// A transaction by optimistic locking: watches keys and calls `body`, which reads, puts commands
    /// into the pipeline and ends with its `query`. That is `None` when somebody has changed a key
    /// meanwhile, and then `body` is called again.
    ///
    /// # Errors
    ///
    /// What `body` says; what the connection says.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// use cede::redis::{Client, Commands, RedisResult};
    ///
    /// # fn work(client: &Client) -> RedisResult<()> {
    /// let (doubled,): (i64,) = client.transaction(&["balance"], |con, pipe| {
    ///     let balance: i64 = con.get("balance")?;
    ///     pipe.set("balance", balance * 2).ignore().get("balance").query(con)
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn transaction<K: ToRedisArgs, T>(
        &self,
        keys: &[K],
        body: impl FnMut(&mut Dedicated, &mut Pipeline) -> RedisResult<Option<T>>,
    ) -> RedisResult<T> {
        redis::transaction(&mut self.dedicated()?, keys, body)
    }
}

impl Dedicated {
    pub(super) fn new(pool: Pool, lent: LentLink) -> Self {
        Self { pool, lent: Some(lent), has_lost_state: false }
    }

    /// Sends requests and receives all of their answers.
    fn exchange(
        &mut self,
        name: &[u8],
        requests: &[u8],
        replies: usize,
        marks: &[Mark],
    ) -> RedisResult<Vec<Value>> {
        let span = self.pool.server().span(name, || requests.len());
        let result = self.exchange_in(name, requests, replies, marks);
        record(&span, result.as_deref());
        result
    }

    fn exchange_in(
        &mut self,
        name: &[u8],
        requests: &[u8],
        replies: usize,
        marks: &[Mark],
    ) -> RedisResult<Vec<Value>> {
        let server = Rc::clone(self.pool.server());
        let counters = &server.counters;
        add(&counters.commands, 1);
        let failed = |error: RedisError| {
            add(&counters.errors, 1);
            error
        };
        let limit = server.config.request_bytes_max;
        if requests.len() > limit {
            let text = format!("a request exceeds the limit of {limit} bytes");
            let cause = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err(failed(server.failure(Phase::Queue, cause).of_command(name, false).into()));
        }
        if self.has_lost_state {
            let text = "this connection was closed by a failure, and what it held is gone \
                        (watched keys, settings): take another one";
            let cause = io::Error::new(io::ErrorKind::NotConnected, text);
            return Err(failed(
                server.failure(Phase::Command, cause).of_command(name, false).into(),
            ));
        }
        if let Err(cause) = crate::outbox::check_deadline() {
            return Err(failed(server.failure(Phase::Queue, cause).of_command(name, false).into()));
        }
        let mut lent = match self.lent.take() {
            Some(lent) => lent,
            None => self.pool.lend().map_err(failed)?,
        };
        let own = lent.get_mut();
        // Before it is sent: whether it was executed may never be known.
        own.is_open |= marks.contains(&Mark::Begins);
        own.is_changed |= marks.contains(&Mark::Changes);
        add(&counters.bytes_sent, requests.len());
        match own.exchange(requests, replies) {
            Ok(values) => {
                let decides = |mark: &&Mark| matches!(mark, Mark::Begins | Mark::Ends);
                if let Some(mark) = marks.iter().rfind(decides) {
                    own.is_open = *mark == Mark::Begins;
                }
                self.lent = Some(lent);
                let is_error = |value: &Value| matches!(value, Value::ServerError(_));
                add(&counters.errors, usize::from(values.iter().any(is_error)));
                Ok(values)
            }
            Err(cause) => {
                self.has_lost_state = own.has_state();
                if cede_fiber::is_cancelled(&cause) || cause.kind() == io::ErrorKind::TimedOut {
                    add(&counters.abandoned, 1);
                }
                Err(failed(server.failure(Phase::Command, cause).of_command(name, true).into()))
            }
        }
    }

    fn one(&mut self, name: &[u8], requests: &[u8]) -> RedisResult<Value> {
        let mut values = self.exchange(name, requests, 1, &[command::mark(name)])?;
        Ok(values.pop().unwrap_or_default())
    }
}

impl ConnectionLike for Dedicated {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        let name = command::check_packed(cmd, 1, Place::Dedicated)?;
        self.one(name, cmd)
    }

    fn req_packed_commands(
        &mut self,
        cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let replies = offset + count;
        if replies == 0 {
            return Ok(Vec::new());
        }
        let name = command::check_packed(cmd, replies, Place::Dedicated)?;
        let mut values = self.exchange(name, cmd, replies, &command::marks(cmd))?;
        let taken = values.split_off(offset);
        transaction::result(values, taken)
    }

    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let name = command::check(cmd, Place::Dedicated)?;
        self.one(name, &cmd.get_packed_command())
    }

    fn get_db(&self) -> i64 {
        self.pool.server().config.login.db()
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.lent.is_some()
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated").field("host", &self.pool.server().host).finish_non_exhaustive()
    }
}
