//! LISTEN and NOTIFY.
//!
//! ```text
//!   server --notification--> reader's fiber --> a queue for each listener --> recv
//! ```
//!
//! The surprising rule: notifications can be lost, and a listener is told so in their order. The
//! server keeps none for a session that is gone, and a queue that nobody reads is bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use cede_fiber::sync::local::Mutex;
use cede_fiber::{Builder, Park, Ticket, Wait, WaitKind};
use postgres_protocol::message::backend::NotificationResponseBody;

use super::client::Client;
use super::config::CONNECT_TIMEOUT_DEFAULT;
use super::connection::Connection;
use super::encode;
use super::error::{Error, ErrorKind, Phase};
use super::pending::Want;

/// So many notifications wait for a listener; further ones are lost.
pub const NOTIFICATIONS_MAX: usize = 10_000;
/// So many bytes of notifications wait for a listener; further ones are lost.
pub const NOTIFICATIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest name of a channel, in bytes; PostgreSQL would shorten a longer one.
pub const CHANNEL_BYTES_MAX: usize = 63;

/// What somebody has notified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// The channel.
    pub channel: String,
    /// What came with it; empty if nothing did.
    pub payload: String,
    /// The process of the session that sent it.
    pub process_id: i32,
}

/// What a listener receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A notification.
    Notification(Notification),
    /// The connection was lost and is there again. What was notified in between is lost: look at
    /// the tables for what has changed.
    Reconnected,
    /// The listener did not keep up: so many notifications were lost here.
    Overflowed(u64),
}

/// What happens on the connections of a client, for its listeners.
#[derive(Default)]
pub(super) struct Hooks {
    listeners: RefCell<Vec<Weak<Listener>>>,
    /// LISTEN and UNLISTEN go one after the other.
    order: Rc<Mutex<()>>,
}

/// Who listens to a channel.
struct Listener {
    channel: String,
    queue: RefCell<VecDeque<Event>>,
    /// Of the notifications in the queue.
    bytes: Cell<usize>,
    count: Cell<usize>,
    /// Lost since the last one in the queue.
    lost: Cell<u64>,
    ticket: Cell<Option<Ticket>>,
}

impl Notification {
    fn bytes(&self) -> usize {
        size_of::<Event>() + self.channel.len() + self.payload.len()
    }
}

impl Listener {
    fn notify(&self, notification: Notification) {
        let bytes = self.bytes.get() + notification.bytes();
        if self.count.get() >= NOTIFICATIONS_MAX || bytes > NOTIFICATIONS_BYTES_MAX {
            self.lost.set(self.lost.get() + 1);
            return;
        }
        self.bytes.set(bytes);
        self.count.set(self.count.get() + 1);
        let mut queue = self.queue.borrow_mut();
        if let lost @ 1.. = self.lost.take() {
            queue.push_back(Event::Overflowed(lost));
        }
        queue.push_back(Event::Notification(notification));
        drop(queue);
        self.wake();
    }

    fn reconnected(&self) {
        let mut queue = self.queue.borrow_mut();
        if let lost @ 1.. = self.lost.take() {
            queue.push_back(Event::Overflowed(lost));
        }
        if queue.back() != Some(&Event::Reconnected) {
            queue.push_back(Event::Reconnected);
        }
        drop(queue);
        self.wake();
    }

    fn pop(&self) -> Option<Event> {
        let event = self.queue.borrow_mut().pop_front();
        match event {
            Some(Event::Notification(notification)) => {
                self.bytes.set(self.bytes.get() - notification.bytes());
                self.count.set(self.count.get() - 1);
                Some(Event::Notification(notification))
            }
            Some(event) => Some(event),
            None => match self.lost.take() {
                0 => None,
                lost => Some(Event::Overflowed(lost)),
            },
        }
    }

    fn wake(&self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.wake();
        }
    }
}

impl Hooks {
    fn listeners(&self) -> Vec<Rc<Listener>> {
        self.listeners.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    fn has(&self, channel: &str) -> bool {
        self.listeners().iter().any(|listener| listener.channel == channel)
    }

    /// Called by the reader; it does not wait.
    pub(super) fn notify(&self, body: &NotificationResponseBody) {
        let (Ok(channel), Ok(payload)) = (body.channel(), body.message()) else {
            tracing::debug!("a notification that is not UTF-8");
            return;
        };
        for listener in self.listeners() {
            if listener.channel == channel {
                listener.notify(Notification {
                    channel: channel.to_owned(),
                    payload: payload.to_owned(),
                    process_id: body.process_id(),
                });
            }
        }
    }

    /// A connection has ended: who listens has to see to the next one.
    pub(super) fn lost(&self) {
        self.listeners().iter().for_each(|listener| listener.wake());
    }

    /// Called on each connection that replaces one that was lost, before anybody else uses it.
    pub(super) fn connected(&self, connection: &Rc<Connection>) -> Result<(), Error> {
        let listeners = self.listeners();
        if listeners.is_empty() {
            return Ok(());
        }
        let mut channels: Vec<_> = listeners.iter().map(|listener| &*listener.channel).collect();
        channels.sort_unstable();
        channels.dedup();
        let sql: String = channels.iter().map(|name| format!("LISTEN {};", quoted(name))).collect();
        cede_fiber::with_deadline(CONNECT_TIMEOUT_DEFAULT, || {
            let encode = |out: &mut bytes::BytesMut| encode::simple(&sql, out);
            connection.request(Want::Count, None, None, encode)?.finish()
        })?;
        listeners.iter().for_each(|listener| listener.reconnected());
        Ok(())
    }
}

/// A name that is none of SQL's words, whatever it holds.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Client {
    /// Listens to a channel, from now on.
    ///
    /// The result keeps the connection; a client whose fibers also have long statements under way
    /// hears of notifications behind their answers, so a listener is best given a client of its own.
    ///
    /// # Errors
    ///
    /// What the server says; a name that is too long; inside of a transaction; the end of the
    /// connection; a cancel or a deadline.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use cede::postgres::{Client, Error, Event};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let mut jobs = client.listen("jobs")?;
    /// loop {
    ///     match jobs.recv()? {
    ///         Event::Notification(job) => println!("{}", job.payload),
    ///         // Something may have been missed.
    ///         _ => println!("looking at the table"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn listen(&self, channel: &str) -> Result<Notifications, Error> {
        let refused = |message: &'static str| {
            Err(Error::new(ErrorKind::State, Phase::Send, message).at(&self.core.host()))
        };
        if self.own.is_some() {
            return refused("what is listened to in a transaction would be lost with it");
        }
        if channel.is_empty() || channel.len() > CHANNEL_BYTES_MAX {
            return refused("the name of a channel has 1 to 63 bytes");
        }
        let hooks = &self.core.hooks;
        let _order = hooks.order.lock().map_err(|error| Error::io(Phase::Send, error))?;
        let listener = Rc::new(Listener {
            channel: channel.to_owned(),
            queue: RefCell::default(),
            bytes: Cell::new(0),
            count: Cell::new(0),
            lost: Cell::new(0),
            ticket: Cell::new(None),
        });
        let mut listeners = hooks.listeners.borrow_mut();
        listeners.retain(|listener| listener.strong_count() > 0);
        // Before LISTEN is sent, so that nothing behind it is missed.
        listeners.push(Rc::downgrade(&listener));
        drop(listeners);
        let notifications = Notifications { client: self.clone(), listener: Some(listener) };
        self.batch_execute(&format!("LISTEN {}", quoted(channel)))?;
        Ok(notifications)
    }

    /// Notifies all who listen to a channel; in a transaction, when it is committed.
    ///
    /// # Errors
    ///
    /// What the server says (a payload has less than 8000 bytes); the end of the connection; a
    /// cancel or a deadline.
    pub fn notify(&self, channel: &str, payload: &str) -> Result<(), Error> {
        self.execute("SELECT pg_catalog.pg_notify($1, $2)", &[&channel, &payload]).map(drop)
    }
}

/// What comes on a channel; see [`Client::listen`].
///
/// Up to [`NOTIFICATIONS_MAX`] wait here, of up to [`NOTIFICATIONS_BYTES_MAX`]; then the newest are
/// lost, which an [`Event::Overflowed`] says in their place.
#[must_use = "it listens as long as it is there"]
pub struct Notifications {
    client: Client,
    /// Always there, until it is dropped.
    listener: Option<Rc<Listener>>,
}

impl Notifications {
    /// Waits for the next event. A connection that was lost is made again here.
    ///
    /// # Errors
    ///
    /// When there is no connection to be had, after which it may be called again; a cancel or a
    /// deadline.
    pub fn recv(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_recv() {
                return Ok(event);
            }
            let Some(listener) = &self.listener else {
                return Err(Error::closed(Phase::Idle));
            };
            if self.client.is_closed() {
                self.client.core.connection()?;
                continue;
            }
            let waited = Park::begin().and_then(|park| {
                listener.ticket.set(Some(park.ticket()));
                let listener = Rc::as_ptr(listener) as u64;
                park.wait(Wait::new(WaitKind::Receive, listener), None)
            });
            waited.map_err(|error| Error::io(Phase::Idle, error).at(&self.client.core.host()))?;
        }
    }

    /// Waits for the next event, for at most this long; `None` when none has come.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        let at = std::time::Instant::now().checked_add(timeout);
        match cede_fiber::with_deadline(timeout, || self.recv()) {
            Err(error)
                if error.is_timeout()
                    && cede_fiber::deadline().is_none_or(|own| at.is_some_and(|at| at < own)) =>
            {
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    /// The next event, if one is there.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.listener.as_ref()?.pop()
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.listener.as_ref().map_or("", |listener| &listener.channel)
    }
}

/// Waits for one event after the other; it never ends by itself.
impl Iterator for Notifications {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.recv())
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        let channel = listener.channel.clone();
        drop(listener);
        let (client, hooks) = (self.client.clone(), Rc::clone(&self.client.core.hooks));
        if hooks.has(&channel) || client.is_closed() {
            return;
        }
        // A destructor cannot wait. While the runtime shuts down there is no such fiber, and the
        // session ends anyway.
        let _ = Builder::new().name("postgres unlisten".into()).no_deadline().spawn_detached(
            move || {
                let unlisten = || -> io::Result<()> {
                    let _order = hooks.order.lock()?;
                    // Somebody may listen again.
                    if !hooks.has(&channel) {
                        client.batch_execute(&format!("UNLISTEN {}", quoted(&channel)))?;
                    }
                    Ok(())
                };
                if let Err(error) = unlisten() {
                    tracing::debug!(%error, "UNLISTEN has failed");
                }
            },
        );
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").field("channel", &self.channel()).finish_non_exhaustive()
    }
}
