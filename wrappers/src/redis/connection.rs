//! One connection that many fibers use: each appends its command and waits for its own answer.
//!
//! ```text
//!   fiber --command--> outbox --one send--> server
//!     |                                       |
//!     +--its slot--> first in, first out <--answers-- one receive
//!     ^                       |
//!     +-----value, wakeup-----+
//! ```
//!
//! The rule of this file: answers come in the order of the commands, so a fiber that gives up leaves
//! its slot in the queue, marked. The answer is dropped when it comes, and nobody gets another's.

mod queue;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use cede_fiber::{Builder, Park, Ticket, Wait, WaitKind};
use redis::{RedisError, RedisResult, Value};

use self::queue::{Batch, Queue, Slot};
use super::error::{Failure, Phase};
use super::link::{Input, Link};
use super::metrics::add;
use super::server::Server;
use super::transaction;
use crate::outbox::{Outbox, check_deadline};
use crate::stream::Stream;

/// After so many answers of one receive the fibers that wait for them run, and their next commands
/// are sent, before the others are looked at: so the server has something to do meanwhile.
const ANSWERS_AT_A_TIME: usize = 128;

/// What a command ended with, if not with an answer.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was not sent, because the connection is lost: another one may send it.
    Unsent,
    /// It was sent, and the connection is lost.
    Lost,
    /// The fiber gave up, before or after the command was sent.
    GaveUp { cause: io::Error, sent: bool },
    /// The command is refused here.
    Refused(RedisError),
}

impl From<io::Error> for Ended {
    fn from(cause: io::Error) -> Self {
        Self::GaveUp { cause, sent: false }
    }
}

/// A connection, while it lasts.
pub(super) struct Connection {
    server: Rc<Server>,
    /// The server that it leads to.
    host: Arc<str>,
    stream: Stream,
    outbox: Outbox,
    queue: RefCell<Queue>,
    /// Who waits until fewer commands are in flight.
    waiting: RefCell<Vec<Ticket>>,
    /// Why it is lost.
    lost: RefCell<Option<Arc<io::Error>>>,
    is_open: Cell<bool>,
    /// Whether a command was ever answered.
    has_answered: Cell<bool>,
}

impl Connection {
    /// Starts the two fibers of a connection.
    pub(super) fn start(link: Link, server: &Rc<Server>) -> io::Result<Rc<Self>> {
        let Link { stream, input, host } = link;
        let connection = Rc::new(Self {
            server: Rc::clone(server),
            host: Arc::clone(&host),
            stream,
            outbox: Outbox::default(),
            queue: RefCell::default(),
            waiting: RefCell::default(),
            lost: RefCell::default(),
            is_open: Cell::new(true),
            has_answered: Cell::new(false),
        });
        let reader = Fiber(Rc::clone(&connection));
        Builder::new().name(format!("redis {host} reader")).no_deadline().spawn_detached(
            move || {
                let error = reader.0.read(input);
                reader.0.lose(error);
            },
        )?;
        let writer = Fiber(Rc::clone(&connection));
        Builder::new().name(format!("redis {host} writer")).no_deadline().spawn_detached(
            move || {
                if let Err(error) = writer.0.outbox.run(&writer.0.stream) {
                    writer.0.lose(error);
                }
            },
        )?;
        Ok(connection)
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.get()
    }

    /// Why it is lost.
    pub(super) fn failure(&self) -> Failure {
        let cause = self.lost.borrow().clone();
        let cause = cause.unwrap_or_else(|| Arc::new(io::Error::from(io::ErrorKind::NotConnected)));
        Failure::new(&self.host, Phase::Command, cause)
    }

    /// Sends one command, which `encode` appends, and waits for its answer.
    #[inline]
    pub(super) fn call(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Value, Ended> {
        self.wait_for_room()?;
        let park = Park::begin()?;
        let begins_at = self.append(encode)?;
        let index = self.queue.borrow_mut().push(Slot::Waiting(park.ticket(), begins_at));
        match self.wait(park, index)? {
            Slot::Answered(value) => Ok(value),
            slot => Err(Self::ended(&slot)),
        }
    }

    /// Sends several commands together and waits for all of their answers, of which the first
    /// `skip` only count as errors.
    pub(super) fn call_many(
        &self,
        commands: &[u8],
        skip: usize,
        count: usize,
    ) -> Result<RedisResult<Vec<Value>>, Ended> {
        if skip + count == 0 {
            return Ok(Ok(Vec::new()));
        }
        self.wait_for_room()?;
        let park = Park::begin()?;
        let begins_at = self.append(|out| out.extend_from_slice(commands))?;
        let values = Vec::with_capacity(count);
        let left = skip + count;
        let batch =
            Batch { ticket: park.ticket(), begins_at, skip, left, skipped: Vec::new(), values };
        let index = self.queue.borrow_mut().push(Slot::Collecting(Box::new(batch)));
        match self.wait(park, index)? {
            Slot::Collected(batch) => Ok(transaction::result(batch.skipped, batch.values)),
            slot => Err(Self::ended(&slot)),
        }
    }

    /// Sends a command whose answer nobody wants.
    pub(super) fn cast(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), Ended> {
        self.wait_for_room()?;
        self.append(encode)?;
        self.queue.borrow_mut().push(Slot::Abandoned(1));
        add(&self.server.counters.in_flight, 1);
        Ok(())
    }

    fn ended(slot: &Slot) -> Ended {
        match slot {
            Slot::Lost { unsent: true } => Ended::Unsent,
            _ => Ended::Lost,
        }
    }

    /// Appends a command, and says where it begins.
    #[inline]
    fn append(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<u64, Ended> {
        let begins_at = self.outbox.appended();
        let limit = self.server.config.request_bytes_max;
        let appended = self.outbox.append(|out| {
            let len = out.len();
            encode(out);
            if out.len() - len > limit {
                // What it was copied into is too large to be kept.
                out.truncate(len);
                out.shrink_to(len);
                let text = format!("a request exceeds the limit of {limit} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            Ok(())
        });
        if let Err(error) = appended {
            return Err(self.not_appended(error));
        }
        let bytes = self.outbox.appended() - begins_at;
        add(&self.server.counters.bytes_sent, bytes as usize);
        Ok(begins_at)
    }

    #[cold]
    fn not_appended(&self, error: io::Error) -> Ended {
        if error.kind() == io::ErrorKind::NotConnected {
            return Ended::Unsent;
        }
        Ended::Refused(Failure::new(&self.host, Phase::Queue, error).into())
    }

    #[inline]
    fn wait_for_room(&self) -> Result<(), Ended> {
        check_deadline()?;
        if self.outbox.has_room() && self.has_room() {
            return Ok(());
        }
        self.wait_for_more_room()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.queue.borrow().order.len() < self.server.config.in_flight_max
    }

    #[cold]
    fn wait_for_more_room(&self) -> Result<(), Ended> {
        loop {
            match self.outbox.wait_for_room() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    return Err(Ended::Unsent);
                }
                result => result?,
            }
            if self.has_room() {
                return Ok(());
            }
            let park = Park::begin()?;
            self.waiting.borrow_mut().push(park.ticket());
            park.wait(Wait::new(WaitKind::Semaphore, std::ptr::from_ref(self) as u64), None)?;
        }
    }

    #[inline]
    fn wait(&self, park: Park, index: u32) -> Result<Slot, Ended> {
        let in_flight = InFlight { connection: self, index };
        add(&self.server.counters.in_flight, 1);
        let what = Wait::new(WaitKind::Receive, std::ptr::from_ref(self) as u64);
        match park.wait(what, None) {
            Ok(()) => {
                std::mem::forget(in_flight);
                Ok(self.queue.borrow_mut().take(index))
            }
            Err(cause) => Err(Ended::GaveUp { cause, sent: true }),
        }
    }

    /// The life of the reader.
    fn read(&self, mut input: Input) -> io::Error {
        loop {
            let mut delivered = 0;
            loop {
                match input.next() {
                    Ok(Some(value)) => {
                        if let Err(error) = self.deliver(value) {
                            return error;
                        }
                        delivered += 1;
                        if delivered % ANSWERS_AT_A_TIME == 0 {
                            cede_fiber::yield_now();
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
            match input.fill(&self.stream) {
                Ok(n) => add(&self.server.counters.bytes_received, n),
                Err(error) => return error,
            }
        }
    }

    /// Hands an answer to whom it belongs.
    #[inline]
    fn deliver(&self, value: Value) -> io::Result<()> {
        if matches!(value, Value::Push { .. }) {
            add(&self.server.counters.unasked, 1);
            return Ok(());
        }
        let mut queue = self.queue.borrow_mut();
        let queue = &mut *queue;
        let Some(&index) = queue.order.front() else {
            let text = "the server sent an answer that nobody asked for";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let slot = &mut queue.slots[index as usize];
        match slot {
            Slot::Waiting(ticket, _) => {
                let ticket = *ticket;
                *slot = Slot::Answered(value);
                ticket.wake();
            }
            Slot::Collecting(batch) => {
                batch.push(value);
                if batch.left > 0 {
                    return Ok(());
                }
                batch.ticket.wake();
                if let Slot::Collecting(batch) = std::mem::replace(slot, Slot::Free) {
                    *slot = Slot::Collected(batch);
                }
            }
            Slot::Abandoned(left) => {
                *left -= 1;
                if *left > 0 {
                    return Ok(());
                }
                queue.take(index);
            }
            Slot::Free | Slot::Answered(_) | Slot::Collected(_) | Slot::Lost { .. } => {
                unreachable!("an answered command has left the queue")
            }
        }
        queue.order.pop_front();
        self.has_answered.set(true);
        let in_flight = &self.server.counters.in_flight;
        in_flight.set(in_flight.get() - 1);
        if queue.order.len() < self.server.config.in_flight_max && !self.waiting.borrow().is_empty()
        {
            self.waiting.take().into_iter().for_each(|ticket| {
                ticket.wake();
            });
        }
        Ok(())
    }

    /// Nobody wants it any more.
    pub(super) fn close(&self) {
        self.lose(io::Error::new(io::ErrorKind::NotConnected, "the client was dropped"));
    }

    /// Ends the connection. Every command in flight ends, once.
    fn lose(&self, cause: io::Error) {
        if !self.is_open.replace(false) {
            return;
        }
        tracing::debug!(host = &*self.host, error = %cause, "a Redis connection has ended");
        *self.lost.borrow_mut() = Some(Arc::new(cause));
        self.outbox.close();
        // It may be closed already.
        let _ = self.stream.shutdown();
        let taken = self.outbox.taken();
        let mut queue = self.queue.borrow_mut();
        let queue = &mut *queue;
        for index in std::mem::take(&mut queue.order) {
            let in_flight = &self.server.counters.in_flight;
            in_flight.set(in_flight.get() - 1);
            let slot = &mut queue.slots[index as usize];
            let (ticket, begins_at) = match slot {
                Slot::Waiting(ticket, begins_at) => (*ticket, *begins_at),
                Slot::Collecting(batch) => (batch.ticket, batch.begins_at),
                _ => {
                    queue.take(index);
                    continue;
                }
            };
            *slot = Slot::Lost { unsent: begins_at >= taken };
            ticket.wake();
        }
        self.waiting.take().into_iter().for_each(|ticket| {
            ticket.wake();
        });
    }
}

/// One of the two fibers of a connection. Without it the connection is lost, also when a shutdown
/// unwinds it.
struct Fiber(Rc<Connection>);

impl Drop for Fiber {
    fn drop(&mut self) {
        let text = "the fiber of the connection has ended";
        self.0.lose(io::Error::new(io::ErrorKind::NotConnected, text));
    }
}

/// A command that its fiber waits for.
struct InFlight<'a> {
    connection: &'a Connection,
    index: u32,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut queue = self.connection.queue.borrow_mut();
        let slot = &mut queue.slots[self.index as usize];
        let answers = match slot {
            Slot::Waiting(..) => 1,
            Slot::Collecting(batch) => batch.left,
            // It was answered or lost while the fiber was unwound.
            _ => {
                queue.take(self.index);
                return;
            }
        };
        *slot = Slot::Abandoned(answers);
        add(&self.connection.server.counters.abandoned, 1);
    }
}
