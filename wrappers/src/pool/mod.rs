//! Connections that are lent, one fiber at a time.
//!
//! ```text
//!   get: wait for a permit --> an idle connection, checked if it was idle for long --> lent
//!                          \-> none: connect, outside of any borrow ---------------/
//!   back: usable --> idle, the permit to the first who waits
//!         broken, in a transaction, too old --> closed, the permit likewise
//! ```
//!
//! The surprising rule: a permit, not a connection, is what is waited for, and who holds one without
//! finding an idle connection makes its own. So no more are opened than there are permits, however
//! many wait, and a server that refuses one fiber refuses that one only.

mod settings;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use cede_fiber::sync::AcquireError;
use cede_fiber::sync::local::Semaphore;
use cede_fiber::{Builder, Fiber, Park};

pub use settings::{
    CHECK_AFTER_DEFAULT, IDLE_TIME_MAX_DEFAULT, LIFETIME_MAX_DEFAULT, PoolMetrics, PoolSettings,
    SIZE_MAX_DEFAULT, WAIT_TIMEOUT_DEFAULT, WAITERS_MAX_DEFAULT,
};

/// How often is looked for connections that are too old, at most and at least.
const ROUND_MAX: Duration = Duration::from_secs(10);
const ROUND_MIN: Duration = Duration::from_millis(10);

/// What a pool has to know of its connections.
pub(crate) trait Manage: 'static {
    type Connection: 'static;
    type Error: fmt::Display;

    /// Makes one; it may wait.
    fn connect(&self) -> Result<Self::Connection, Self::Error>;

    /// Whether one that comes back can be lent again: nothing is broken or half done. It must not
    /// wait.
    fn is_usable(&self, connection: &Self::Connection) -> bool;

    /// Whether one that was idle for long still answers; it may wait.
    fn check(&self, connection: &Self::Connection) -> Result<(), Self::Error>;

    /// The error of a pool that lends nothing.
    fn refused(&self, refusal: Refusal) -> Self::Error;
}

/// Why a pool lends nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No connection came back in the time of the settings.
    TimedOut(Duration),
    /// So many wait already.
    TooManyWait(usize),
    Closed,
    /// A cancel or the deadline of the fiber.
    Wait(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(time) => write!(
                f,
                "no connection has come back within {time:?}: are they kept for too long, or is \
                 the pool too small?"
            ),
            Self::TooManyWait(max) => write!(f, "{max} fibers wait for a connection already"),
            Self::Closed => f.write_str("the pool is closed"),
            Self::Wait(error) => error.fmt(f),
        }
    }
}

/// A pool; a copy is another handle to the same.
pub(crate) struct Pool<M: Manage>(Rc<Inner<M>>);

impl<M: Manage> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Inner<M: Manage> {
    manager: M,
    settings: PoolSettings,
    /// One for each connection that is lent or being made.
    permits: Semaphore,
    /// The one that came back last is at the back, and is lent first.
    idle: RefCell<VecDeque<Idle<M::Connection>>>,
    /// The fiber that looks for what is too old.
    keeper: RefCell<Option<Fiber>>,
    has_keeper: Cell<bool>,
    metrics: Cell<PoolMetrics>,
}

struct Idle<C> {
    connection: C,
    born: Instant,
    since: Instant,
}

/// The right to have a connection.
struct Permit<M: Manage>(Rc<Inner<M>>);

impl<M: Manage> Drop for Permit<M> {
    fn drop(&mut self) {
        self.0.permits.add_permits(1);
    }
}

/// A number that counts until this is dropped.
struct Counted<'a, M: Manage>(&'a Inner<M>, fn(&mut PoolMetrics) -> &mut usize);

impl<'a, M: Manage> Counted<'a, M> {
    fn new(inner: &'a Inner<M>, number: fn(&mut PoolMetrics) -> &mut usize) -> Self {
        inner.count(|metrics| *number(metrics) += 1);
        Self(inner, number)
    }
}

impl<M: Manage> Drop for Counted<'_, M> {
    fn drop(&mut self) {
        self.0.count(|metrics| *(self.1)(metrics) -= 1);
    }
}

impl<M: Manage> Pool<M> {
    pub(crate) fn new(manager: M, settings: PoolSettings) -> Self {
        let pool = Self(Rc::new(Inner {
            manager,
            permits: Semaphore::new(settings.size_max),
            settings,
            idle: RefCell::default(),
            keeper: RefCell::default(),
            has_keeper: Cell::default(),
            metrics: Cell::default(),
        }));
        pool.start_keeper();
        pool
    }

    /// Lends a connection.
    pub(crate) fn get(&self) -> Result<Lent<M>, M::Error> {
        let inner = &*self.0;
        self.start_keeper();
        let permit = self.permit().map_err(|refusal| inner.manager.refused(refusal))?;
        while let Some(idle) = inner.take_idle() {
            if inner.is_too_old(idle.born) {
                inner.count(|metrics| metrics.closed_for_age += 1);
                continue;
            }
            if inner.is_usable(&idle) {
                inner.count(|metrics| metrics.lent += 1);
                return Ok(Lent { connection: Some(idle.connection), born: idle.born, permit });
            }
            // A fiber that was given up says nothing of the connection that it asked.
            if let Err(error) = may_wait() {
                inner.idle.borrow_mut().push_back(idle);
                return Err(inner.manager.refused(Refusal::Wait(error)));
            }
            inner.count(|metrics| metrics.closed_for_health += 1);
        }
        let connection = inner.connect()?;
        inner.count(|metrics| metrics.lent += 1);
        Ok(Lent { connection: Some(connection), born: Instant::now(), permit })
    }

    fn permit(&self) -> Result<Permit<M>, Refusal> {
        let inner = &*self.0;
        let permit = match inner.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) if inner.permits.is_closed() => return Err(Refusal::Closed),
            Err(_) => inner.wait_for_permit()?,
        };
        permit.forget();
        Ok(Permit(Rc::clone(&self.0)))
    }

    /// Lends nothing more; who waits gets an error. What is lent is closed when it comes back.
    pub(crate) fn close(&self) {
        self.0.permits.close();
        drop(self.0.idle.take());
        self.0.stop_keeper();
    }

    pub(crate) fn metrics(&self) -> PoolMetrics {
        let mut metrics = self.0.metrics.get();
        metrics.idle = self.0.idle.borrow().len();
        metrics.size = metrics.idle + metrics.lent + metrics.connecting;
        metrics
    }

    fn start_keeper(&self) {
        let inner = &*self.0;
        let has_work = inner.settings.idle_time_max.is_some()
            || inner.settings.lifetime_max.is_some()
            || inner.settings.idle_min > 0;
        if !has_work || inner.has_keeper.get() || inner.permits.is_closed() {
            return;
        }
        let weak = Rc::downgrade(&self.0);
        let round = inner.settings.round();
        let keeper = Builder::new().name("pool".into()).no_deadline();
        // Outside of a runtime there is none, and at the first use it is tried again.
        let started = keeper.spawn_detached(move || keep(&weak, round));
        inner.has_keeper.set(started.is_ok());
    }
}

/// The cancel of this fiber, or its deadline, if that has passed.
fn may_wait() -> io::Result<()> {
    match cede_fiber::deadline() {
        None => Park::begin().map(|_| ()),
        Some(_) => cede_fiber::sleep(Duration::ZERO),
    }
}

/// The life of the keeper's fiber.
fn keep<M: Manage>(pool: &Weak<Inner<M>>, round: Duration) {
    if let Some(inner) = pool.upgrade() {
        *inner.keeper.borrow_mut() = cede_fiber::try_current();
    }
    loop {
        // Only weakly held while it sleeps, so that the pool can go.
        let Some(inner) = pool.upgrade() else { return };
        if inner.permits.is_closed() {
            return;
        }
        inner.close_old();
        fill(&inner);
        drop(inner);
        if cede_fiber::sleep(round).is_err() {
            return;
        }
    }
}

/// Makes connections until the least number is idle, as long as nobody else wants to.
fn fill<M: Manage>(inner: &Rc<Inner<M>>) {
    while inner.idle.borrow().len() < inner.settings.idle_min {
        let Ok(permit) = inner.permits.try_acquire() else { return };
        permit.forget();
        let permit = Permit(Rc::clone(inner));
        // Failures are tried again in the next round.
        let Ok(connection) = inner.connect() else { return };
        inner.put_back(connection, Instant::now());
        drop(permit);
    }
}

impl PoolSettings {
    fn round(&self) -> Duration {
        let ages = [self.idle_time_max, self.lifetime_max];
        let shortest = ages.into_iter().flatten().min().unwrap_or(ROUND_MAX);
        (shortest / 2).clamp(ROUND_MIN, ROUND_MAX)
    }
}

impl<M: Manage> Inner<M> {
    fn count(&self, f: impl FnOnce(&mut PoolMetrics)) {
        let mut metrics = self.metrics.get();
        f(&mut metrics);
        self.metrics.set(metrics);
    }

    fn wait_for_permit(&self) -> Result<cede_fiber::sync::local::SemaphorePermit<'_>, Refusal> {
        let max = self.settings.waiters_max;
        if self.metrics.get().waiting >= max {
            self.count(|metrics| metrics.refused += 1);
            return Err(Refusal::TooManyWait(max));
        }
        let start = Instant::now();
        let waiting = Counted::new(self, |metrics| &mut metrics.waiting);
        let until =
            self.settings.wait_timeout.and_then(|time| Some((time, start.checked_add(time)?)));
        let acquired = match until {
            None => self.permits.acquire(),
            Some((time, _)) => cede_fiber::with_deadline(time, || self.permits.acquire()),
        };
        drop(waiting);
        let waited = start.elapsed();
        self.count(|metrics| {
            metrics.waits += 1;
            metrics.wait_total += waited;
            metrics.wait_max = metrics.wait_max.max(waited);
        });
        acquired.map_err(|error| match (error, until) {
            (AcquireError::Closed, _) => Refusal::Closed,
            (AcquireError::Wait(error), Some((time, at)))
                if error.kind() == io::ErrorKind::TimedOut
                    && cede_fiber::deadline().is_none_or(|own| at < own) =>
            {
                self.count(|metrics| metrics.timeouts += 1);
                Refusal::TimedOut(time)
            }
            (AcquireError::Wait(error), _) => Refusal::Wait(error),
        })
    }

    fn take_idle(&self) -> Option<Idle<M::Connection>> {
        self.idle.borrow_mut().pop_back()
    }

    fn is_too_old(&self, born: Instant) -> bool {
        self.settings.lifetime_max.is_some_and(|max| born.elapsed() >= max)
    }

    fn is_usable(&self, idle: &Idle<M::Connection>) -> bool {
        if !self.manager.is_usable(&idle.connection) {
            return false;
        }
        if self.settings.check_after.is_none_or(|after| idle.since.elapsed() < after) {
            return true;
        }
        let _lent = Counted::new(self, |metrics| &mut metrics.lent);
        self.manager.check(&idle.connection).is_ok()
    }

    fn connect(&self) -> Result<M::Connection, M::Error> {
        let _connecting = Counted::new(self, |metrics| &mut metrics.connecting);
        let result = self.manager.connect();
        self.count(|metrics| match result {
            Ok(_) => metrics.connects += 1,
            Err(_) => metrics.connect_failures += 1,
        });
        if let Err(error) = &result {
            tracing::debug!("a pool could not connect: {error}");
        }
        result
    }

    /// Keeps a connection that comes back, or closes it.
    fn put_back(&self, connection: M::Connection, born: Instant) {
        if self.permits.is_closed() {
            // It is dropped.
        } else if !self.manager.is_usable(&connection) {
            self.count(|metrics| metrics.closed_broken += 1);
        } else if self.is_too_old(born) {
            self.count(|metrics| metrics.closed_for_age += 1);
        } else {
            let idle = Idle { connection, born, since: Instant::now() };
            self.idle.borrow_mut().push_back(idle);
        }
    }

    /// Closes what is too old, or idle for too long as far as more than the least number are.
    fn close_old(&self) {
        let mut closed = Vec::new();
        let mut idle = self.idle.borrow_mut();
        let all = idle.len();
        // Those that are idle for longest are at the front.
        let mut spare = all.saturating_sub(self.settings.idle_min);
        let (mut aged, mut unused) = (0, 0);
        for entry in std::mem::take(&mut *idle) {
            if self.is_too_old(entry.born) {
                aged += 1;
                spare = spare.saturating_sub(1);
                closed.push(entry);
            } else if spare > 0
                && self.settings.idle_time_max.is_some_and(|max| entry.since.elapsed() >= max)
            {
                unused += 1;
                spare -= 1;
                closed.push(entry);
            } else {
                idle.push_back(entry);
            }
        }
        drop(idle);
        self.count(|metrics| {
            metrics.closed_for_age += aged;
            metrics.closed_for_idleness += unused;
        });
        // The destructors run without a borrow.
        drop(closed);
    }

    fn stop_keeper(&self) {
        let keeper = self.keeper.borrow_mut().take();
        if let Some(keeper) = keeper {
            keeper.cancel();
        }
    }
}

impl<M: Manage> Drop for Inner<M> {
    fn drop(&mut self) {
        self.stop_keeper();
    }
}

/// A connection that is lent. Dropping it gives it back.
pub(crate) struct Lent<M: Manage> {
    /// Always there, until it is given back.
    connection: Option<M::Connection>,
    born: Instant,
    /// Given back after the connection, when this is dropped.
    permit: Permit<M>,
}

impl<M: Manage> Lent<M> {
    /// Takes the connection out of the pool for good.
    pub(crate) fn detach(mut self) -> M::Connection {
        let connection = self.connection.take().expect("it is there until it is given back");
        self.permit.0.count(|metrics| metrics.lent -= 1);
        connection
    }
}

impl<M: Manage> Drop for Lent<M> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let inner = &self.permit.0;
            inner.count(|metrics| metrics.lent -= 1);
            inner.put_back(connection, self.born);
        }
    }
}

impl<M: Manage> Deref for Lent<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        self.connection.as_ref().expect("it is there until it is given back")
    }
}

impl<M: Manage> DerefMut for Lent<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        self.connection.as_mut().expect("it is there until it is given back")
    }
}
