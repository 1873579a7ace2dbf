//! A connection in the place of one that was lost.
//!
//! The rule of this file: one fiber connects for all who wait, and none of these is it. So nobody's
//! deadline ends an attempt that others wait for, and a server that is away is asked by one.

use std::cell::Cell;
use std::io;
use std::rc::{Rc, Weak};

use cede_fiber::{Builder, Park, Wait, WaitKind};
use redis::RedisResult;

use super::Shared;
use crate::redis::connection::Connection;
use crate::redis::error::Phase;
use crate::redis::link::{self, Link};
use crate::redis::metrics::add;

impl Shared {
    /// Makes a new connection the one that is used.
    pub(super) fn install(&self, link: Link) -> RedisResult<()> {
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
    pub(super) fn connection(self: &Rc<Self>, name: &[u8]) -> RedisResult<Rc<Connection>> {
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
