//! A connection that one fiber has for itself: for commands that block and for watched keys.
//!
//! The rule of this file: nothing is ever left in it. A call that fails in the middle closes it, and
//! it goes back for the next fiber only if it is as it came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;

use cede_fiber::{Park, Ticket, Wait, WaitKind};
use redis::{Cmd, ConnectionLike, Pipeline, RedisError, RedisResult, ToRedisArgs, Value};

use super::client::{Client, Shared};
use super::command::{self, Mark, Place};
use super::error::{Failure, Phase};
use super::link::Link;
use super::metrics::add;
use super::transaction;

/// Connections for single fibers, those in use and those that are idle.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    idle: RefCell<Vec<Link>>,
    in_use: Cell<usize>,
    waiting: RefCell<VecDeque<Ticket>>,
}

impl Reserve {
    /// Waits until one more may be used.
    fn enter(&self, limit: usize) -> io::Result<()> {
        // Who waits comes first.
        let mut may_enter = self.waiting.borrow().is_empty();
        loop {
            if may_enter && self.in_use.get() < limit {
                self.in_use.set(self.in_use.get() + 1);
                return Ok(());
            }
            let park = Park::begin()?;
            self.waiting.borrow_mut().push_back(park.ticket());
            let what = Wait::new(WaitKind::Semaphore, std::ptr::from_ref(self) as u64);
            if let Err(error) = park.wait(what, None) {
                // Stale tickets are passed over.
                return Err(error);
            }
            may_enter = true;
        }
    }

    fn leave(&self) {
        self.in_use.set(self.in_use.get() - 1);
        while let Some(ticket) = self.pop_waiting() {
            if ticket.wake() {
                break;
            }
        }
    }

    fn pop_waiting(&self) -> Option<Ticket> {
        self.waiting.borrow_mut().pop_front()
    }

    /// An idle connection that the server has not closed meanwhile.
    fn take_idle(&self) -> Option<Link> {
        loop {
            let link = self.idle.borrow_mut().pop()?;
            if link.is_quiet() {
                return Some(link);
            }
        }
    }
}

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
/// use std::time::Duration;
///
/// use cede_wrappers::redis::{Client, Commands, RedisResult};
///
/// # fn work(client: &Client) -> RedisResult<()> {
/// let mut jobs = client.dedicated()?;
/// let job: Option<(String, String)> = jobs.blpop("jobs", 5.0)?;
/// # Ok(()) }
/// ```
pub struct Dedicated {
    shared: Rc<Shared>,
    /// Away while a command is executed: one that does not end well does not put it back.
    link: Option<Link>,
    /// Whether keys are watched or a transaction is open.
    is_open: bool,
    /// Whether it can never go back.
    is_changed: bool,
}

impl Client {
    /// A connection of its own for the calling fiber; waits when [`Config::dedicated_max`] are in
    /// use.
    ///
    /// [`Config::dedicated_max`]: super::Config::dedicated_max
    ///
    /// # Errors
    ///
    /// A deadline or a cancel; when it cannot connect.
    pub fn dedicated(&self) -> RedisResult<Dedicated> {
        let shared = self.shared();
        let reserve = &shared.reserve;
        reserve
            .enter(shared.config.dedicated_max)
            .map_err(|cause| Failure::new(&shared.host, Phase::Queue, cause))?;
        let mut dedicated =
            Dedicated { shared: Rc::clone(shared), link: None, is_open: false, is_changed: false };
        dedicated.link = Some(match reserve.take_idle() {
            Some(link) => link,
            None => shared.open()?,
        });
        Ok(dedicated)
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
    /// use cede_wrappers::redis::{Client, Commands, RedisResult};
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
    /// Sends requests and receives all of their answers.
    fn exchange(
        &mut self,
        name: &[u8],
        requests: &[u8],
        replies: usize,
    ) -> RedisResult<Vec<Value>> {
        let shared = Rc::clone(&self.shared);
        let counters = &shared.counters;
        let _span = shared.span(name, || requests.len());
        add(&counters.commands, 1);
        let failed = |error: RedisError| {
            add(&counters.errors, 1);
            error
        };
        if requests.len() > shared.config.request_bytes_max {
            let limit = shared.config.request_bytes_max;
            let text = format!("a request exceeds the limit of {limit} bytes");
            let cause = io::Error::new(io::ErrorKind::InvalidInput, text);
            let failure = Failure::new(&shared.host, Phase::Queue, cause);
            return Err(failed(failure.of_command(name, false).into()));
        }
        let mut link = match self.link.take() {
            Some(link) => link,
            None if self.is_open || self.is_changed => {
                let text = "this connection was closed by a failure, and what it held is gone \
                            (watched keys, settings): take another one";
                let cause = io::Error::new(io::ErrorKind::NotConnected, text);
                let failure = Failure::new(&shared.host, Phase::Command, cause);
                return Err(failed(failure.of_command(name, false).into()));
            }
            None => shared.open().map_err(failed)?,
        };
        add(&counters.bytes_out, requests.len());
        match link.exchange(requests, replies) {
            Ok(values) => {
                self.link = Some(link);
                let is_error = |value: &Value| matches!(value, Value::ServerError(_));
                add(&counters.errors, usize::from(values.iter().any(is_error)));
                Ok(values)
            }
            Err(cause) => {
                if cede_fiber::is_cancelled(&cause) || cause.kind() == io::ErrorKind::TimedOut {
                    add(&counters.abandoned, 1);
                }
                let failure = Failure::new(&shared.host, Phase::Command, cause);
                Err(failed(failure.of_command(name, true).into()))
            }
        }
    }

    fn note(&mut self, mark: Mark) {
        match mark {
            Mark::Nothing => {}
            Mark::Begins => self.is_open = true,
            Mark::Ends => self.is_open = false,
            Mark::Changes => self.is_changed = true,
        }
    }

    fn one(&mut self, name: &[u8], requests: &[u8]) -> RedisResult<Value> {
        // Before it is sent: whether it was executed may never be known.
        let mark = command::mark(name);
        if mark != Mark::Ends {
            self.note(mark);
        }
        let mut values = self.exchange(name, requests, 1)?;
        self.note(mark);
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
        let marks = command::marks(cmd);
        marks.iter().filter(|mark| **mark != Mark::Ends).for_each(|mark| self.note(*mark));
        let mut values = self.exchange(name, cmd, replies)?;
        marks.into_iter().for_each(|mark| self.note(mark));
        let taken = values.split_off(offset);
        transaction::result(values, taken)
    }

    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let name = command::check(cmd, Place::Dedicated)?;
        self.one(name, &cmd.get_packed_command())
    }

    fn get_db(&self) -> i64 {
        self.shared.config.login.db()
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.link.is_some()
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        let reserve = &self.shared.reserve;
        if let Some(link) = self.link.take()
            && !self.is_open
            && !self.is_changed
            && link.input.is_empty()
        {
            reserve.idle.borrow_mut().push(link);
        }
        reserve.leave();
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated").field("host", &self.shared.host).finish_non_exhaustive()
    }
}
