//! One connection to a server, on which many fibers have requests under way.
//!
//! ```text
//!   fibers --append--> outbox --writer's fiber--> server
//!     |  push                                       |
//!     +------> queue of requests <--reader's fiber--+
//!                (answered in order)
//! ```
//!
//! The rule of this file: what is sent and what is pushed to the queue is in the same order, so
//! nothing may wait between the two.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use cede_fiber::{Builder, FiberId, Park, Ticket, Wait, WaitKind, shield};
use postgres_protocol::message::frontend;

use super::cancel::Canceller;
use super::config::Config;
use super::connect::Opened;
use super::encode;
use super::error::{Error, ErrorKind, Phase};
use super::gather::Gather;
use super::limits::Limits;
use super::listen::Hooks;
use super::metrics::Counters;
use super::pending::{Again, Pending, Want};
use super::request::Request;
use super::statement::Statement;
use super::statements::Statements;
use super::transaction::Own;
use super::types::{Oid, ToSql, Type};
use crate::outbox::{Outbox, check_deadline};
use crate::stream::Stream;

/// A buffer for requests that has grown further is given back.
const SCRATCH_BYTES_KEPT: usize = 256 * 1024;
/// As long as the server has so many requests to answer, and so many times more than are gathered,
/// more are gathered: they would only wait there for their turn. What is sent at once costs one
/// system call here, and one of the server.
const AHEAD_MIN: usize = 8;
const AHEAD_FACTOR: usize = 4;
/// Connections are told apart by their numbers, on all threads.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A connection. Two fibers hold it as long as it lasts.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) host: Arc<str>,
    pub(super) stream: Stream,
    pub(super) outbox: Outbox,
    pub(super) gather: Gather,
    /// The requests that are not answered completely, in the order in which they were sent.
    pub(super) queue: RefCell<VecDeque<Rc<Pending>>>,
    /// The number of the last request.
    pub(super) serial: Cell<u64>,
    is_closed: Cell<bool>,
    /// Nothing may be sent for the time being.
    pub(super) is_held: Cell<bool>,
    /// The fiber that sends the data of a COPY: nothing else may be sent.
    copying: Cell<Option<FiberId>>,
    /// Fibers that wait for the end of that, or until fewer requests are under way.
    waiting: RefCell<VecDeque<Ticket>>,
    /// The reader, while it waits until rows that have come are taken.
    pub(super) reader: Cell<Option<Ticket>>,
    /// The reader was cancelled: the runtime shuts down.
    pub(super) is_leaving: Cell<bool>,
    /// What the server said before it ended the connection.
    pub(super) last_words: RefCell<Option<Error>>,
    pub(super) canceller: Canceller,
    /// The fibers that are inside of their `query_each`.
    streaming: RefCell<Vec<FiberId>>,
    pub(super) statements: Statements,
    /// Names of statements that are to be closed with the next preparation.
    pub(super) closing: RefCell<Vec<Box<str>>>,
    names: Names,
    pub(super) types: RefCell<HashMap<Oid, Type>>,
    pub(super) parameters: RefCell<HashMap<String, String>>,
    scratch: Cell<BytesMut>,
    pub(super) message_bytes_max: usize,
    pub(super) limits: Limits,
    pub(super) counters: Rc<Counters>,
    pub(super) hooks: Rc<Hooks>,
}

impl Connection {
    /// Starts the two fibers of a connection that was opened.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::spawn_detached`].
    pub(super) fn start_on(
        mut opened: Opened,
        config: &Config,
        counters: Rc<Counters>,
        hooks: Rc<Hooks>,
    ) -> Result<Rc<Self>, Error> {
        let rest = std::mem::take(&mut opened.rest);
        counters.connects.add(1);
        let this = Self::new(opened, config, counters, hooks);
        let there = Rc::clone(&this);
        this.fiber("reader", move || there.read(&rest))?;
        let there = Rc::clone(&this);
        let started = this.fiber("writer", move || there.write());
        if let Err(error) = started {
            this.fail(error.clone());
            return Err(error);
        }
        Ok(this)
    }

    pub(super) fn new(
        opened: Opened,
        config: &Config,
        counters: Rc<Counters>,
        hooks: Rc<Hooks>,
    ) -> Rc<Self> {
        let Opened { stream, process_id, secret_key, parameters, host, cancel, .. } = opened;
        Rc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            host,
            stream,
            outbox: Outbox::default(),
            gather: Gather::default(),
            queue: RefCell::default(),
            serial: Cell::new(0),
            is_closed: Cell::new(false),
            is_held: Cell::new(false),
            copying: Cell::new(None),
            waiting: RefCell::default(),
            reader: Cell::new(None),
            is_leaving: Cell::new(false),
            last_words: RefCell::default(),
            canceller: Canceller::new(cancel, process_id, secret_key),
            streaming: RefCell::default(),
            statements: Statements::default(),
            closing: RefCell::default(),
            names: Names::new(),
            types: RefCell::default(),
            parameters: RefCell::new(parameters),
            scratch: Cell::default(),
            message_bytes_max: config.get_message_bytes_max(),
            limits: config.limits.clone(),
            counters,
            hooks,
        })
    }

    /// Starts a fiber that belongs to the connection.
    pub(super) fn fiber(&self, role: &str, f: impl FnOnce() + 'static) -> Result<(), Error> {
        let name = format!("postgres {} {role}", self.host);
        Builder::new()
            .name(name)
            .no_deadline()
            .spawn_detached(f)
            .map_err(|error| Error::io(Phase::Connect, error).at(&self.host))
    }

    /// The life of the writer. A cancel does not end it, for at a shutdown those who clean up send;
    /// the end of the reader does.
    fn write(&self) {
        match shield(|| self.outbox.run(&self.stream)) {
            // The last client is gone. The server still does what nobody waits for: it is told to
            // stop, and closes when it has.
            Ok(()) if self.canceller.is_watched() => return,
            Ok(()) => {}
            Err(error) => {
                let error = Error::io(Phase::Send, error).at(&self.host);
                self.last_words.borrow_mut().get_or_insert(error);
            }
        }
        // The reader takes what has come until then and finds the end.
        let _ = self.stream.shutdown();
    }

    /// Ends it in order, when nobody uses it any more.
    pub(super) fn end(&self) {
        let _ = self.outbox.append(|out| {
            let mut bytes = BytesMut::new();
            frontend::terminate(&mut bytes);
            out.extend_from_slice(&bytes);
            Ok::<_, std::io::Error>(())
        });
        self.outbox.close();
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// It is of no more use: everybody who waits is told so, each once.
    pub(super) fn fail(&self, error: Error) {
        if self.is_closed.replace(true) {
            return;
        }
        let error = error.at(&self.host);
        self.outbox.close();
        let _ = self.stream.shutdown();
        tracing::debug!(host = &*self.host, %error, "the connection has ended");
        let taken = self.outbox.taken();
        let words = self.last_words.take();
        let queue = self.queue.take();
        for (place, pending) in queue.iter().enumerate() {
            let was_sent = pending.start.get() < taken;
            // What the server said last, it said of what it was doing.
            let said = words.clone().filter(|words| place == 0 && words.as_db_error().is_some());
            let error = said.unwrap_or_else(|| match &words {
                Some(words) => {
                    let phase = if was_sent { Phase::Execute } else { Phase::Send };
                    Error::closed(phase).with_source(words.clone())
                }
                None => error.clone(),
            });
            if !was_sent {
                pending.again.set(Again::NotSent);
            }
            pending.fail(error.at(&self.host).maybe_run(was_sent));
        }
        self.wake_waiting();
        self.statements.wake_all();
        if let Some(ticket) = self.reader.take() {
            ticket.wake();
        }
        self.hooks.lost();
    }

    /// Wakes all who wait to send.
    pub(super) fn wake_waiting(&self) {
        for ticket in self.waiting.take() {
            ticket.wake();
        }
    }

    /// A request is answered: another one may go.
    #[inline]
    pub(super) fn one_less(&self, left: usize) {
        if self.waiting.borrow().is_empty() || self.is_held.get() {
            return;
        }
        if left == 0 {
            return self.wake_waiting();
        }
        // A ticket of a wait that was given up wakes nobody.
        loop {
            let Some(ticket) = self.waiting.borrow_mut().pop_front() else { return };
            if ticket.wake() {
                return;
            }
        }
    }

    /// Whether a request can be sent without waiting.
    #[inline]
    fn is_calm(&self) -> bool {
        !self.is_held.get()
            && self.copying.get().is_none()
            && self.outbox.has_room()
            && self.queue.borrow().len() < self.limits.in_flight_max
    }

    /// Waits until a request can be sent.
    ///
    /// # Errors
    ///
    /// When the connection has ended; when this fiber is inside of its own `query_each` here; a
    /// cancel or a deadline.
    #[inline]
    fn wait_calm(&self) -> Result<(), Error> {
        if !self.streaming.borrow().is_empty() || self.copying.get().is_some() {
            self.refuse_inside_of_stream()?;
        }
        while !self.is_calm() {
            self.wait_once()?;
        }
        Ok(())
    }

    /// Waits until it was a moment ago that something could not be sent.
    #[cold]
    pub(super) fn wait_once(&self) -> Result<(), Error> {
        if self.is_closed() {
            return Err(self.closed_before_send());
        }
        let waited = if self.outbox.has_room() {
            Park::begin().and_then(|park| {
                self.waiting.borrow_mut().push_back(park.ticket());
                let this = std::ptr::from_ref(self) as u64;
                park.wait(Wait::new(WaitKind::Send, this), None)
            })
        } else {
            self.outbox.wait_for_room()
        };
        if self.is_closed() {
            return Err(self.closed_before_send());
        }
        waited.map_err(|error| Error::io(Phase::Send, error).at(&self.host))
    }

    #[cold]
    pub(super) fn closed_before_send(&self) -> Error {
        Error::closed(Phase::Send).at(&self.host)
    }

    #[cold]
    fn refuse_inside_of_stream(&self) -> Result<(), Error> {
        let id = cede_fiber::try_current().map(|fiber| fiber.id());
        if id.is_some_and(|id| self.streaming.borrow().contains(&id)) {
            let message = "the closure of query_each, or who reads a copy_out, cannot use the \
                 connection whose rows it takes; use another one, or collect the rows first";
            return Err(Error::new(ErrorKind::State, Phase::Send, message).at(&self.host));
        }
        if id.is_some() && id == self.copying.get() {
            let message = "a COPY is under way in this fiber: finish it first";
            return Err(Error::new(ErrorKind::State, Phase::Send, message).at(&self.host));
        }
        Ok(())
    }

    /// This fiber is the consumer of rows that come on this connection, until the result is dropped.
    pub(super) fn stream(self: &Rc<Self>) -> Streaming {
        let id = cede_fiber::try_current().map(|fiber| fiber.id());
        self.streaming.borrow_mut().extend(id);
        Streaming(Rc::clone(self), id)
    }

    /// Runs `f` as that consumer.
    pub(super) fn while_streaming<R>(self: &Rc<Self>, f: impl FnOnce() -> R) -> R {
        let _streaming = self.stream();
        f()
    }

    /// This fiber sends the data of a COPY, and nobody sends anything else, until the result is
    /// dropped.
    pub(super) fn copy(self: &Rc<Self>) -> Copying {
        self.copying.set(cede_fiber::try_current().map(|fiber| fiber.id()));
        Copying(Rc::clone(self))
    }

    /// Sends what `encode` writes, which ends in one Sync, and has its answer collected.
    ///
    /// # Errors
    ///
    /// Those of `encode` and of waiting until it can be sent. Nothing is sent then.
    #[inline]
    pub(super) fn request(
        self: &Rc<Self>,
        want: Want,
        statement: Option<&Statement>,
        own: Option<&Own>,
        encode: impl Fn(&mut BytesMut) -> Result<(), Error>,
    ) -> Result<Request, Error> {
        // A fiber that was cancelled begins nothing, nor does one whose deadline has passed.
        let begun = Park::begin().and_then(|_| check_deadline());
        begun.map_err(|error| Error::io(Phase::Send, error).at(&self.host))?;
        loop {
            if let Some(own) = own {
                if self.copying.get().is_some() {
                    self.refuse_inside_of_stream()?;
                }
                own.wait_until_begun(self)?;
            }
            self.wait_calm()?;
            let mut scratch = self.scratch.take();
            scratch.clear();
            let begins = own.and_then(Own::begin_sql);
            if let Some(sql) = begins {
                encode::prefix(sql, &mut scratch)?;
            }
            encode(&mut scratch).map_err(|error| error.at(&self.host))?;
            // Code of the user's has run, which may have waited.
            if !self.is_calm() {
                continue;
            }
            let (start, len) = (self.outbox.appended(), scratch.len());
            self.outbox
                .gather(|out| {
                    out.extend_from_slice(&scratch);
                    Ok::<_, std::io::Error>(())
                })
                .map_err(|_| self.closed_before_send())?;
            self.counters.requests.add(1);
            self.counters.bytes_sent.add(len as u64);
            if scratch.capacity() <= SCRATCH_BYTES_KEPT {
                self.scratch.set(scratch);
            }
            let serial = self.serial.get() + 1;
            self.serial.set(serial);
            let statement = statement.cloned();
            let own_status = own.map(Own::status);
            let pending = Pending::new(want, statement, own_status, serial, start, len);
            let pending = Rc::new(pending);
            self.queue.borrow_mut().push_back(Rc::clone(&pending));
            if let Some(own) = own {
                own.has_sent(&pending);
            }
            self.send_in_time();
            return Ok(Request::new(Rc::clone(self), pending));
        }
    }

    /// Takes a request back that was given up before the writer has taken it.
    #[cold]
    pub(super) fn take_back(&self, pending: &Pending) -> bool {
        let mut queue = self.queue.borrow_mut();
        let Ok(place) = queue.binary_search_by_key(&pending.serial, |pending| pending.serial)
        else {
            return false;
        };
        if !self.outbox.take_back(pending.start.get(), pending.len) {
            return false;
        }
        queue.remove(place);
        for behind in queue.range(place..) {
            behind.start.set(behind.start.get() - pending.len as u64);
        }
        let left = queue.len();
        drop(queue);
        pending.take_back();
        self.counters.requests.subtract(1);
        self.counters.bytes_sent.subtract(pending.len as u64);
        if pending.own.is_some() {
            // Others of its transaction may wait until that has begun.
            self.wake_waiting();
        } else {
            self.one_less(left);
        }
        true
    }

    /// For the next statement.
    pub(super) fn next_name(&self) -> Box<str> {
        self.names.next()
    }

    /// Requests that are sent and not answered.
    #[inline]
    pub(super) fn under_way(&self) -> usize {
        self.queue.borrow().len().saturating_sub(self.outbox.gathered())
    }

    /// Has what is gathered sent, unless the server has so much to do that it would wait there.
    #[inline]
    pub(super) fn send_in_time(&self) {
        let gathered = self.outbox.gathered();
        if gathered == 0 {
            return;
        }
        let sent = self.under_way();
        if sent < AHEAD_MIN || gathered * AHEAD_FACTOR >= sent || !self.outbox.has_room() {
            self.outbox.rouse();
        }
    }

    /// Sends a statement that this connection has prepared.
    #[inline]
    pub(super) fn start(
        self: &Rc<Self>,
        statement: &Statement,
        params: &[&dyn ToSql],
        want: Want,
        own: Option<&Own>,
    ) -> Result<Request, Error> {
        self.request(want, Some(statement), own, |out| encode::execute(statement, params, out))
    }

    /// Sends more for a request that owns the connection.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<(), Error> {
        self.outbox
            .wait_for_room()
            .map_err(|error| Error::io(Phase::Copy, error).at(&self.host))?;
        self.outbox
            .append(|out| {
                out.extend_from_slice(bytes);
                Ok::<_, std::io::Error>(())
            })
            .map_err(|_| Error::closed(Phase::Copy).at(&self.host))?;
        self.counters.bytes_sent.add(bytes.len() as u64);
        Ok(())
    }
}

/// Names for statements. No other connection has the same: where a pooler gives one session to several
/// clients, a statement of that name must not be somebody else's.
struct Names {
    token: u64,
    count: Cell<u64>,
}

impl Names {
    fn new() -> Self {
        Self { token: RandomState::new().build_hasher().finish(), count: Cell::new(0) }
    }

    fn next(&self) -> Box<str> {
        self.count.set(self.count.get() + 1);
        format!("c{:x}_{}", self.token, self.count.get()).into()
    }
}

/// A fiber takes rows; see [`Connection::stream`].
pub(super) struct Streaming(Rc<Connection>, Option<FiberId>);

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut streaming = self.0.streaming.borrow_mut();
        if let Some(place) = streaming.iter().position(|id| Some(*id) == self.1) {
            streaming.swap_remove(place);
        }
    }
}

/// A fiber sends data; see [`Connection::copy`].
pub(super) struct Copying(Rc<Connection>);

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.copying.set(None);
        self.0.wake_waiting();
    }
}
