//! What all clones of a client share: the connection of the moment.
//!
//! The rule of this file: a fiber that finds no connection waits for the one that makes it; nobody
//! makes a second one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use super::config::Config;
use super::connect;
use super::connection::Connection;
use super::error::{Error, ErrorKind, Phase};
use super::listen::Hooks;
use super::metrics::Counters;
use crate::backoff::Backoff;
use cede_fiber::{Builder, Park, Ticket, Wait, WaitKind, deadline, sleep, with_deadline};

/// Shared by the clones of a client.
pub(super) struct Core {
    pub(super) config: Config,
    connection: RefCell<Rc<Connection>>,
    pub(super) counters: Rc<Counters>,
    pub(super) hooks: Rc<Hooks>,
    /// A fiber makes a new connection.
    is_connecting: Cell<bool>,
    /// Who waits for it, and how many of them still do.
    waiting: RefCell<Vec<Ticket>>,
    waiters: Cell<usize>,
    /// Why there is none yet, and whether it makes no sense to go on.
    failure: RefCell<Option<(Error, bool)>>,
}

impl Core {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Those of [`connect::open`].
    pub(super) fn connect(config: Config) -> Result<Rc<Self>, Error> {
        let counters = Rc::new(Counters::default());
        let hooks = Rc::new(Hooks::default());
        let opened = connect::open(&config)?;
        let connection =
            Connection::start_on(opened, &config, Rc::clone(&counters), Rc::clone(&hooks))?;
        Ok(Rc::new(Self {
            config,
            connection: RefCell::new(connection),
            counters,
            hooks,
            is_connecting: Cell::new(false),
            waiting: RefCell::default(),
            waiters: Cell::new(0),
            failure: RefCell::default(),
        }))
    }

    /// The server of the moment.
    pub(super) fn host(&self) -> Arc<str> {
        Arc::clone(&self.connection.borrow().host)
    }

    /// The connection of the moment, which may have ended.
    pub(super) fn current(&self) -> Rc<Connection> {
        Rc::clone(&self.connection.borrow())
    }

    /// The connection; a new one if it was lost.
    ///
    /// # Errors
    ///
    /// When there is none within the time of the settings; a cancel or a deadline.
    #[inline]
    pub(super) fn connection(self: &Rc<Self>) -> Result<Rc<Connection>, Error> {
        let connection = self.current();
        if connection.is_closed() { self.reconnected() } else { Ok(connection) }
    }

    #[cold]
    fn reconnected(self: &Rc<Self>) -> Result<Rc<Connection>, Error> {
        struct Waiter<'a>(&'a Cell<usize>);
        impl Drop for Waiter<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let timeout = self.config.limits.reconnect_timeout;
        let at = Instant::now().checked_add(timeout);
        let is_nearer = deadline().is_none_or(|own| at.is_some_and(|at| at < own));
        self.waiters.set(self.waiters.get() + 1);
        let _waiter = Waiter(&self.waiters);
        let mut has_waited = false;
        let result = with_deadline(timeout, || {
            loop {
                let connection = self.current();
                if !connection.is_closed() {
                    return Ok(connection);
                }
                if has_waited
                    && let Some((error, true)) = &*self.failure.borrow()
                    && !self.is_connecting.get()
                {
                    return Err(error.clone());
                }
                self.start_connecting()?;
                has_waited = true;
                let waited = Park::begin().and_then(|park| {
                    self.waiting.borrow_mut().push(park.ticket());
                    let this = Rc::as_ptr(self) as u64;
                    park.wait(Wait::new(WaitKind::Other, this), None)
                });
                waited.map_err(|error| Error::io(Phase::Connect, error).at(&self.host()))?;
            }
        });
        result.map_err(|error| {
            if !error.is_timeout() {
                return error;
            }
            // The reason why it failed says more than that it took too long.
            match &*self.failure.borrow() {
                Some((failure, _)) if is_nearer => failure.clone(),
                Some((failure, _)) => {
                    let text = format!("the deadline has passed; the last attempt: {failure}");
                    error.with_message(text)
                }
                None if !is_nearer => error,
                None => {
                    let text = format!("no connection within the {timeout:?} of reconnect_timeout");
                    error.with_message(text).with_kind(ErrorKind::Connect)
                }
            }
        })
    }

    /// Has a fiber connect, unless one does so already.
    fn start_connecting(self: &Rc<Self>) -> Result<(), Error> {
        if self.is_connecting.replace(true) {
            return Ok(());
        }
        // One of an earlier outage says nothing of this one.
        self.failure.take();
        let core = Rc::downgrade(self);
        let host = self.host();
        let name = format!("postgres {host} connector");
        let spawned = Builder::new()
            .name(name)
            .no_deadline()
            .spawn_detached(move || Self::connect_again(&core));
        spawned.map_err(|error| {
            self.is_connecting.set(false);
            Error::io(Phase::Connect, error).at(&host)
        })
    }

    /// The life of the connector: attempts, as long as somebody waits.
    fn connect_again(core: &Weak<Self>) {
        /// Also when it is unwound.
        struct End<'a>(&'a Weak<Core>);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                if let Some(core) = self.0.upgrade() {
                    core.is_connecting.set(false);
                    core.wake_waiting();
                }
            }
        }
        let _end = End(core);
        let mut backoff = Backoff::new();
        loop {
            let Some(this) = core.upgrade() else { return };
            let config = this.config.clone();
            let (counters, hooks) = (Rc::clone(&this.counters), Rc::clone(&this.hooks));
            drop(this);
            let connected = connect::open(&config).and_then(|opened| {
                let connection =
                    Connection::start_on(opened, &config, counters, Rc::clone(&hooks))?;
                hooks.connected(&connection).inspect_err(|_| connection.end())?;
                Ok(connection)
            });
            let Some(this) = core.upgrade() else {
                if let Ok(connection) = connected {
                    connection.end();
                }
                return;
            };
            match connected {
                Ok(connection) => {
                    tracing::debug!(host = &*connection.host, "connected again");
                    this.connection.replace(connection);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "an attempt to connect again failed");
                    let is_final = is_final(&error);
                    this.failure.replace(Some((error, is_final)));
                    if is_final {
                        return;
                    }
                }
            }
            let is_wanted = this.waiters.get() > 0;
            drop(this);
            if !is_wanted || sleep(backoff.next()).is_err() {
                return;
            }
        }
    }

    fn wake_waiting(&self) {
        for ticket in self.waiting.take() {
            ticket.wake();
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.connection.get_mut().end();
    }
}

/// Whether another attempt would fail alike.
fn is_final(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Config | ErrorKind::Authentication | ErrorKind::Cancelled => true,
        // Invalid authorization, no such database.
        ErrorKind::Db => error.code().is_some_and(|code| matches!(code.class(), "28" | "3D")),
        _ => false,
    }
}
