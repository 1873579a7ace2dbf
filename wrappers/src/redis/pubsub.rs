//! Subscriptions, on a connection of their own.
//!
//! ```text
//!   server --messages--> reader's fiber --> queue, bounded --> recv
//!   fiber --SUBSCRIBE--> server --confirmation--> reader's fiber --> fiber
//! ```
//!
//! The surprising rule: nobody who publishes waits for a subscriber. When the queue is full nothing is
//! read, until the server closes the connection; like every loss, that is an event between messages.

mod reader;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;

use cede_fiber::{Builder, Park, Ticket, Wait, WaitKind};
use redis::{Cmd, ErrorKind, Msg, RedisError, RedisResult, ToRedisArgs, cmd};

use self::reader::Ended;
use super::client::Client;
use super::error::Phase;
use super::link::{Input, Link};
use super::metrics::add;
use super::server::Server;
use crate::stream::Stream;

/// How many messages wait for `recv` at most.
pub const PUBSUB_MESSAGES_MAX: usize = 4096;
/// How many bytes of payload wait for `recv`; one message may exceed it.
pub const PUBSUB_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What comes of a subscription.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Msg),
    /// The connection was lost and made again, with the same subscriptions: what was published
    /// meanwhile is lost.
    Lost,
}

/// The kinds of subscriptions, as the commands have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];

    fn command(self, is_on: bool) -> &'static str {
        match (self, is_on) {
            (Self::Channel, true) => "SUBSCRIBE",
            (Self::Channel, false) => "UNSUBSCRIBE",
            (Self::Pattern, true) => "PSUBSCRIBE",
            (Self::Pattern, false) => "PUNSUBSCRIBE",
            (Self::Shard, true) => "SSUBSCRIBE",
            (Self::Shard, false) => "SUNSUBSCRIBE",
        }
    }
}

/// Subscriptions, and the messages that come of them.
///
/// It has a connection of its own, which is made again when it is lost, with the same subscriptions.
/// That is told by [`Event::Lost`], since messages may be missing then. Dropping it closes the
/// connection.
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// use cede::redis::{Client, Event, RedisResult};
///
/// # fn work(client: &Client) -> RedisResult<()> {
/// let mut news = client.pubsub()?;
/// news.subscribe("news")?;
/// news.psubscribe(&["weather.*", "sports.*"])?;
/// while let Event::Message(message) = news.recv()? {
///     let text: String = message.get_payload()?;
///     println!("{}: {text}", message.get_channel_name());
/// }
/// # Ok(()) }
/// ```
pub struct PubSub(Rc<Shared>);

struct Shared {
    server: Rc<Server>,
    /// Where commands are written; `None` while there is no connection.
    stream: RefCell<Option<Rc<Stream>>>,
    /// What there is to be subscribed to, by kind.
    names: RefCell<[BTreeSet<Vec<u8>>; 3]>,
    /// Commands that are to be confirmed, in the order of sending.
    pending: RefCell<VecDeque<Rc<Pending>>>,
    events: RefCell<VecDeque<Event>>,
    /// Of payload, in `events`.
    bytes: Cell<usize>,
    receiver: Cell<Option<Ticket>>,
    /// The reader, while the queue is full.
    reader: Cell<Option<Ticket>>,
    is_closed: Cell<bool>,
    /// Why there will never be another message.
    failed: RefCell<Option<RedisError>>,
}

/// A command that is to be confirmed, once for each name.
struct Pending {
    left: Cell<usize>,
    ticket: Cell<Option<Ticket>>,
    result: RefCell<Option<RedisResult<()>>>,
}

impl Pending {
    fn end(&self, result: RedisResult<()>) {
        *self.result.borrow_mut() = Some(result);
        if let Some(ticket) = self.ticket.take() {
            ticket.wake();
        }
    }
}

impl Client {
    /// A connection for subscriptions.
    ///
    /// # Errors
    ///
    /// When it cannot connect.
    pub fn pubsub(&self) -> RedisResult<PubSub> {
        let server = self.server();
        let link = server.open()?;
        let shared = Rc::new(Shared {
            server: Rc::clone(server),
            stream: RefCell::default(),
            names: RefCell::default(),
            pending: RefCell::default(),
            events: RefCell::default(),
            bytes: Cell::new(0),
            receiver: Cell::default(),
            reader: Cell::default(),
            is_closed: Cell::new(false),
            failed: RefCell::default(),
        });
        let input = shared.install(link);
        let there = Ended(Rc::clone(&shared));
        Builder::new()
            .name(format!("redis {} subscriber", server.host))
            .no_deadline()
            .spawn_detached(move || there.0.live(input))
            .map_err(|cause| server.failure(Phase::Connect, cause))?;
        Ok(PubSub(shared))
    }
}

impl PubSub {
    /// Subscribes to channels. When it returns, what is published to them comes.
    ///
    /// # Errors
    ///
    /// What the server says (`NOPERM`); a deadline or a cancel, which leave open what became of it.
    pub fn subscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.0.change(Kind::Channel, true, &channels.to_redis_args())
    }

    /// Subscribes to all channels whose names match patterns.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn psubscribe(&mut self, patterns: impl ToRedisArgs) -> RedisResult<()> {
        self.0.change(Kind::Pattern, true, &patterns.to_redis_args())
    }

    /// Subscribes to channels of a shard of a cluster.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn ssubscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.0.change(Kind::Shard, true, &channels.to_redis_args())
    }

    /// Ends subscriptions. Messages that came before may still be in the queue.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.0.change(Kind::Channel, false, &channels.to_redis_args())
    }

    /// Ends subscriptions by [`psubscribe`](Self::psubscribe).
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn punsubscribe(&mut self, patterns: impl ToRedisArgs) -> RedisResult<()> {
        self.0.change(Kind::Pattern, false, &patterns.to_redis_args())
    }

    /// Ends subscriptions by [`ssubscribe`](Self::ssubscribe).
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn sunsubscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.0.change(Kind::Shard, false, &channels.to_redis_args())
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// A deadline or a cancel, after which it goes on as before; when the connection could not be made
    /// again within [`Config::reconnect_timeout`](super::Config::reconnect_timeout), and then for ever.
    pub fn recv(&mut self) -> RedisResult<Event> {
        let shared = &*self.0;
        loop {
            if let Some(event) = shared.take() {
                return Ok(event);
            }
            if let Some(error) = &*shared.failed.borrow() {
                return Err(error.clone());
            }
            let wait = || {
                let park = Park::begin()?;
                shared.receiver.set(Some(park.ticket()));
                park.wait(Wait::new(WaitKind::Receive, std::ptr::from_ref(shared) as u64), None)
            };
            wait().map_err(|cause| shared.server.failure(Phase::Subscription, cause))?;
        }
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.0.take()
    }

    /// The events as they come. It ends after the first error.
    pub fn events(&mut self) -> impl Iterator<Item = RedisResult<Event>> {
        let mut has_failed = false;
        std::iter::from_fn(move || {
            let event = (!has_failed).then(|| self.recv())?;
            has_failed = event.is_err();
            Some(event)
        })
    }
}

impl Drop for PubSub {
    fn drop(&mut self) {
        self.0.is_closed.set(true);
        if let Some(stream) = self.0.stream.take() {
            // It may be closed already.
            let _ = stream.shutdown();
        }
        self.0.wake_reader();
    }
}

impl Shared {
    fn take(&self) -> Option<Event> {
        let event = self.events.borrow_mut().pop_front()?;
        if let Event::Message(message) = &event {
            self.bytes.set(self.bytes.get() - message.get_payload_bytes().len());
        }
        if self.has_room() {
            self.wake_reader();
        }
        Some(event)
    }

    fn has_room(&self) -> bool {
        self.events.borrow().len() < PUBSUB_MESSAGES_MAX && self.bytes.get() < PUBSUB_BYTES_MAX
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn push(&self, event: Event) {
        if let Event::Message(message) = &event {
            self.bytes.set(self.bytes.get() + message.get_payload_bytes().len());
        }
        self.events.borrow_mut().push_back(event);
        if let Some(receiver) = self.receiver.take() {
            receiver.wake();
        }
    }

    /// Makes a connection the one that commands are written to.
    fn install(&self, link: Link) -> (Rc<Stream>, Input) {
        let stream = Rc::new(link.stream);
        *self.stream.borrow_mut() = Some(Rc::clone(&stream));
        (stream, link.input)
    }

    /// Sends a command and waits until it is confirmed.
    fn change(&self, kind: Kind, is_on: bool, names: &[Vec<u8>]) -> RedisResult<()> {
        if names.is_empty() {
            let text = "a subscription needs names of channels or patterns";
            return Err((ErrorKind::Client, text).into());
        }
        if let Some(error) = &*self.failed.borrow() {
            return Err(error.clone());
        }
        let command = kind.command(is_on);
        add(&self.server.counters.commands, 1);
        if let Err(cause) = crate::outbox::check_deadline() {
            add(&self.server.counters.errors, 1);
            let failure = self.server.failure(Phase::Queue, cause);
            return Err(failure.of_command(command.as_bytes(), false).into());
        }
        let wait = || -> io::Result<Option<RedisResult<()>>> {
            let pending = Rc::new(Pending {
                left: Cell::new(names.len()),
                ticket: Cell::default(),
                result: RefCell::default(),
            });
            {
                let of_kind = &mut self.names.borrow_mut()[kind as usize];
                for name in names {
                    if is_on {
                        of_kind.insert(name.clone())
                    } else {
                        of_kind.remove(name)
                    };
                }
            }
            self.pending.borrow_mut().push_back(Rc::clone(&pending));
            let mut request = cmd(command);
            names.iter().for_each(|name| {
                request.arg(name.as_slice());
            });
            self.send(&request)?;
            while pending.result.borrow().is_none() {
                let park = Park::begin()?;
                pending.ticket.set(Some(park.ticket()));
                park.wait(Wait::new(WaitKind::Receive, std::ptr::from_ref(self) as u64), None)?;
            }
            Ok(pending.result.take())
        };
        let result = match wait() {
            Ok(result) => result.unwrap_or(Ok(())),
            Err(cause) => {
                let failure = self.server.failure(Phase::Subscription, cause);
                Err(failure.of_command(command.as_bytes(), true).into())
            }
        };
        if let Err(error) = &result {
            add(&self.server.counters.errors, 1);
            // The server has refused it, and would again.
            if error.code().is_some() && is_on {
                let of_kind = &mut self.names.borrow_mut()[kind as usize];
                names.iter().for_each(|name| {
                    of_kind.remove(name);
                });
            }
        }
        result
    }

    /// Writes a command; while there is no connection, the next one will say it all.
    fn send(&self, request: &Cmd) -> io::Result<()> {
        let Some(stream) = self.stream.borrow().clone() else { return Ok(()) };
        let bytes = request.get_packed_command();
        add(&self.server.counters.bytes_sent, bytes.len());
        let mut writer = &*stream;
        // Half of a command may have been sent: nothing can follow it.
        let broken = Broken(&stream);
        let result = writer.write_all(&bytes).and_then(|()| writer.flush());
        match result {
            Ok(()) => {
                std::mem::forget(broken);
                Ok(())
            }
            Err(error)
                if cede_fiber::is_cancelled(&error) || error.kind() == io::ErrorKind::TimedOut =>
            {
                Err(error)
            }
            // The reader finds the end, and the next connection says it all.
            Err(_) => Ok(()),
        }
    }
}

/// A stream that is closed unless it is forgotten.
struct Broken<'a>(&'a Stream);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.0.shutdown();
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub").field("host", &self.0.server.host).finish_non_exhaustive()
    }
}
