//! The server: listeners on all shards, a fiber for each connection, and the way to its end.
//!
//! ```text
//!   run ──┬─> shard 0: acceptor ──> connection fibers     clock fiber: deadlines and the date
//!         ├─> shard 1: ...
//!         └─> signal fiber: SIGTERM drains
//!   drain: stop accepting, close idle ones, active ones answer with `Connection: close`, deadline
//! ```
//!
//! The surprising rule: a connection stays on the shard whose listener the kernel chose for it, so
//! nothing of a request ever crosses threads.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cede_fiber::net::{TcpListener, ToSocketAddrs};
use cede_fiber::{Fiber, JoinHandle, Shard, signal};

use super::config::Config;
use super::connection::{self, Context};
use super::handler::Handler;
use super::proto::limits::Limits;
use super::watch::Link;

/// What fibers that did not end in time get to leave through their errors, once cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of a server; every one has a default.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it binds"]
pub struct ServerBuilder {
    config: Config,
}

impl ServerBuilder {
    /// The limits of what a message may hold; see [`Limits`] for the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Bytes of a request body, unless a route has its own limit. Default: 1 MiB.
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.config.limits.body_bytes_max = bytes;
        self
    }

    /// Bytes of a head. Default: 32 KiB.
    pub fn head_bytes_max(mut self, bytes: usize) -> Self {
        self.config.limits.head_bytes_max = bytes;
        self
    }

    /// Field lines of a head. Default: 100.
    pub fn headers_max(mut self, lines: usize) -> Self {
        self.config.limits.headers_max = lines;
        self
    }

    /// Time for a whole head: from the accept, or from the first byte of a later head. A peer that
    /// sends a byte now and then does not extend it. Default: 30 s.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.config.head_timeout = at_least_a_moment(timeout);
        self
    }

    /// Time without progress in the reading of a body. Default: 60 s.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.config.body_timeout = at_least_a_moment(timeout);
        self
    }

    /// Time without progress in the sending of a response. Default: 60 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.config.send_timeout = at_least_a_moment(timeout);
        self
    }

    /// Time that a connection may stay open between two requests. Default: 75 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = at_least_a_moment(timeout);
        self
    }

    /// How long a refused peer may go on sending before the connection is closed. Default: 2 s.
    pub fn linger_timeout(mut self, timeout: Duration) -> Self {
        self.config.linger_timeout = at_least_a_moment(timeout);
        self
    }

    /// Time that active requests have to end when the server drains. Default: 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.config.drain_timeout = timeout;
        self
    }

    /// Bytes of an unwanted body that are read and thrown away to keep the connection. Default:
    /// 64 KiB.
    pub fn drain_bytes_max(mut self, bytes: u64) -> Self {
        self.config.drain_bytes_max = bytes;
        self
    }

    /// Requests on one connection before it is closed. Default: 1,000.
    pub fn requests_per_connection(mut self, requests: usize) -> Self {
        self.config.requests_max = requests.max(1);
        self
    }

    /// Connections at a time; more wait in the kernel's queue. Default: what the limit on
    /// descriptors leaves.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.config.connections_max = Some(connections.max(1));
        self
    }

    /// Hands requests with CONNECT, TRACE and unknown methods to the handler, which are answered
    /// 501 otherwise. A 2xx to CONNECT makes a tunnel. Default: no.
    pub fn any_method(mut self, on: bool) -> Self {
        self.config.any_method = on;
        self
    }

    /// How many shards of the runtime serve, from the current one on. Default: all.
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = Some(shards.max(1));
        self
    }

    /// Bytes of a connection's stack. Default: the runtime's.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = Some(bytes);
        self
    }

    /// Whether SIGTERM drains the server. Default: yes.
    pub fn drain_on_signal(mut self, on: bool) -> Self {
        self.config.drain_on_signal = on;
        self
    }

    /// Whether another process may listen at the address too, as for a restart without a gap.
    /// Default: no, so a second server by mistake is an error.
    pub fn share_port(mut self, on: bool) -> Self {
        self.config.share_port = on;
        self
    }

    /// Listens: once for each shard.
    ///
    /// # Errors
    ///
    /// What the system says, and outside of a fiber.
    pub fn bind(self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        let shards = self.config.shards.unwrap_or(usize::MAX).min(cede_fiber::shards().len());
        let builder = TcpListener::builder().nodelay(true);
        if shards <= 1 && !self.config.share_port {
            return Ok(Server::new(self.config, vec![builder.bind(addr)?.into_std()?]));
        }
        // Whoever listens there without sharing is found out by one listener that does not share.
        let addr = match self.config.share_port {
            true => None,
            false => Some(builder.bind(&addr)?.local_addr()?),
        }
        .map_or_else(
            || builder.clone().reuse_port(true).bind(&addr),
            |addr| builder.clone().reuse_port(true).bind(addr),
        )?;
        let local = addr.local_addr()?;
        let mut listeners = vec![addr.into_std()?];
        for _ in 1..shards {
            listeners.push(builder.clone().reuse_port(true).bind(local)?.into_std()?);
        }
        Ok(Server::new(self.config, listeners))
    }

    /// A server on one listener that is there already, on this shard only.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn listener(self, listener: TcpListener) -> io::Result<Server> {
        Ok(Server::new(self.config, vec![listener.into_std()?]))
    }

    /// Binds and runs; see [`Server::run`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind) and [`Server::run`].
    pub fn serve<H>(self, addr: impl ToSocketAddrs, handler: H) -> io::Result<()>
    where
        H: Handler + Clone + Send + 'static,
    {
        self.bind(addr)?.run(handler)
    }
}

fn at_least_a_moment(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

/// Serves HTTP at an address until SIGTERM; short for a [`Server`] with all defaults.
///
/// # Errors
///
/// As [`ServerBuilder::serve`].
pub fn serve<H>(addr: impl ToSocketAddrs, handler: H) -> io::Result<()>
where
    H: Handler + Clone + Send + 'static,
{
    Server::builder().serve(addr, handler)
}

/// A server that listens and does not accept yet.
pub struct Server {
    config: Config,
    listeners: Vec<StdTcpListener>,
    control: Arc<Control>,
}

impl Server {
    /// Settings for a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    fn new(config: Config, listeners: Vec<StdTcpListener>) -> Self {
        Self { config, listeners, control: Arc::default() }
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let listener = self.listeners.first().ok_or(io::ErrorKind::NotConnected)?;
        listener.local_addr()
    }

    /// What drains it, from any thread.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { control: Arc::clone(&self.control) }
    }

    /// Serves on all its shards with clones of a handler, until it has been drained.
    ///
    /// # Errors
    ///
    /// When a shard can not take its listener, and when the fiber is cancelled: what runs is then
    /// drained without a wait.
    pub fn run<H>(self, handler: H) -> io::Result<()>
    where
        H: Handler + Clone + Send + 'static,
    {
        self.run_with(move || handler.clone())
    }

    /// Serves on all its shards, each with a handler of its own that `factory` makes there: it may
    /// hold an `Rc`.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_with<F, H>(self, factory: F) -> io::Result<()>
    where
        F: Fn() -> H + Clone + Send + 'static,
        H: Handler + 'static,
    {
        let Self { mut config, mut listeners, control } = self;
        // Each shard counts its own.
        config.connections_max = Some((config.connections() / listeners.len().max(1)).max(1));
        let here = listeners.remove(0);
        let mut others = Vec::new();
        let elsewhere: Vec<Shard> = {
            let current = Shard::current().id();
            cede_fiber::shards().into_iter().filter(|shard| shard.id() != current).collect()
        };
        for (shard, listener) in elsewhere.iter().zip(listeners) {
            let (config, control, factory) =
                (config.clone(), Arc::clone(&control), factory.clone());
            others.push(shard.spawn(move || run_shard(config, listener, &control, factory()))?);
        }
        let signal = match config.drain_on_signal {
            true => Some(drain_on_signal(&control)?),
            false => None,
        };
        let result = run_shard(config, here, &control, factory());
        control.drain();
        if let Some(signal) = signal {
            signal.cancel();
        }
        let results = others.into_iter().map(|other| match other.join() {
            Ok(result) => result,
            Err(error) => Err(error.into()),
        });
        results.fold(result, Result::and)
    }

    /// Serves on this shard only, with a handler that need not be `Send`.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_local<H: Handler + 'static>(mut self, handler: H) -> io::Result<()> {
        self.listeners.truncate(1);
        let listener = self.listeners.pop().ok_or(io::ErrorKind::NotConnected)?;
        self.config.connections_max = Some(self.config.connections());
        let signal = match self.config.drain_on_signal {
            true => Some(drain_on_signal(&self.control)?),
            false => None,
        };
        let result = run_shard(self.config, listener, &self.control, handler);
        if let Some(signal) = signal {
            signal.cancel();
        }
        result
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.local_addr().ok()).finish_non_exhaustive()
    }
}

/// Drains a server, from any thread.
#[derive(Clone)]
pub struct ServerHandle {
    control: Arc<Control>,
}

impl ServerHandle {
    /// Stops accepting, closes idle connections, lets active requests finish with
    /// `Connection: close`, and gives up on them after the drain time-out; [`Server::run`] then
    /// returns.
    pub fn drain(&self) {
        self.control.drain();
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("draining", &self.control.is_draining()).finish()
    }
}

/// What the shards of a server share.
#[derive(Default)]
struct Control {
    draining: AtomicBool,
    /// The fibers that wait for the end, one on each shard. Held for a few instructions.
    supervisors: Mutex<Vec<Fiber>>,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Vec<Fiber>> {
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        let supervisors = self.lock().clone();
        supervisors.iter().for_each(Fiber::wakeup);
    }
}

fn drain_on_signal(control: &Arc<Control>) -> io::Result<JoinHandle<()>> {
    let mut terminate = signal::terminate()?;
    let control = Arc::clone(control);
    cede_fiber::Builder::new().name("http-signal").no_deadline().spawn(move || {
        if terminate.recv().is_ok() {
            control.drain();
        }
    })
}

/// What the fibers of one shard share.
struct ShardServer<H> {
    context: Context,
    handler: H,
    supervisor: Fiber,
    acceptor: std::cell::RefCell<Option<Fiber>>,
    clock: std::cell::RefCell<Option<Fiber>>,
}

fn run_shard<H: Handler + 'static>(
    config: Config,
    listener: StdTcpListener,
    control: &Arc<Control>,
    handler: H,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let supervisor = cede_fiber::current();
    control.lock().push(supervisor.clone());
    let server = Rc::new(ShardServer {
        context: Context::new(config),
        handler,
        supervisor,
        acceptor: Default::default(),
        clock: Default::default(),
    });
    let clock = {
        let server = Rc::clone(&server);
        let builder = cede_fiber::Builder::new().name("http-clock").no_deadline();
        builder.spawn(move || server.keep_time())?
    };
    server.clock.replace(Some(clock.fiber()));
    let acceptor = {
        let server = Rc::clone(&server);
        let builder = cede_fiber::Builder::new().name("http-accept").no_deadline();
        builder.spawn(move || server.accept(&listener))?
    };
    server.acceptor.replace(Some(acceptor.fiber()));
    let result = server.wait_for_drain(control);
    acceptor.cancel();
    let ended = cede_fiber::shield(|| {
        // It serves what was accepted, then closes the listener.
        let _ = acceptor.wait();
        server.drain()
    });
    clock.cancel();
    control.lock().retain(|fiber| *fiber != server.supervisor);
    result.and(ended)
}

impl<H: Handler + 'static> ShardServer<H> {
    fn wait_for_drain(&self, control: &Control) -> io::Result<()> {
        while !control.is_draining() {
            cede_fiber::park()?;
        }
        Ok(())
    }

    /// Ticks while there are connections.
    fn keep_time(&self) {
        loop {
            let waited = match self.context.watch.len() {
                0 => cede_fiber::park(),
                _ => cede_fiber::sleep(self.context.watch.tick_length()),
            };
            if waited.is_err() {
                return;
            }
            self.context.refresh_date();
            self.context.watch.tick();
        }
    }

    fn accept(self: &Rc<Self>, listener: &TcpListener) {
        let max = self.context.config().connections_max.unwrap_or(usize::MAX);
        loop {
            while self.context.watch.len() >= max {
                // The end of a connection wakes this fiber.
                if cede_fiber::park().is_err() {
                    return;
                }
            }
            match listener.accept_with_backoff() {
                Ok((stream, peer)) => self.connected(stream, peer),
                Err(error) if cede_fiber::is_cancelled(&error) => break,
                Err(error) => {
                    tracing::error!(%error, "the listener failed");
                    if cede_fiber::sleep(Duration::from_millis(10)).is_err() {
                        break;
                    }
                }
            }
        }
        // Closing the listener would reset what the kernel has accepted already.
        let _ = listener.set_nonblocking(true);
        while self.context.watch.len() < max
            && let Ok((stream, peer)) = listener.accept()
        {
            self.connected(stream, peer);
        }
    }

    fn connected(self: &Rc<Self>, stream: cede_fiber::net::TcpStream, peer: SocketAddr) {
        let mut builder = cede_fiber::Builder::new().no_deadline();
        if let Some(bytes) = self.context.config().stack_size {
            builder = builder.stack_size(bytes);
        }
        let link = Link::new(stream);
        let was_empty = self.context.watch.len() == 0;
        // Here and not in its fiber, so that the acceptor counts right.
        self.context.watch.add(&link);
        let server = Rc::clone(self);
        let unwatch = Unwatch { server, link };
        let spawned = builder.spawn(move || {
            let Unwatch { server, link } = &unwatch;
            server.context.watch.set_fiber(link, cede_fiber::current());
            let upgraded = connection::serve(&server.context, link, peer, &server.handler);
            if let Some((run, buffered)) = upgraded {
                connection::upgrade(link, buffered, run);
            }
        });
        if let Err(error) = spawned {
            // The connection has been dropped with the closure.
            tracing::warn!(%error, "no fiber for a connection");
        }
        if was_empty {
            self.context.refresh_date();
            if let Some(clock) = &*self.clock.borrow() {
                clock.wakeup();
            }
        }
    }

    /// Ends all connections, by and by or at last at once.
    fn drain(&self) -> io::Result<()> {
        self.context.drain();
        let patience = self.context.config().drain_timeout;
        let _ = cede_fiber::with_deadline(patience, || self.wait_for_connections());
        if self.context.watch.len() == 0 {
            return Ok(());
        }
        let fibers = self.context.watch.fibers();
        tracing::warn!(connections = fibers.len(), "the drain time-out is over: cancelled");
        fibers.iter().for_each(Fiber::cancel);
        let _ = cede_fiber::with_deadline(CANCEL_TIMEOUT, || self.wait_for_connections());
        Ok(())
    }

    fn wait_for_connections(&self) -> io::Result<()> {
        while self.context.watch.len() > 0 {
            cede_fiber::park()?;
        }
        Ok(())
    }

    /// A connection has ended.
    fn disconnected(&self) {
        let left = self.context.watch.len();
        if left == 0 && self.context.is_draining() {
            self.supervisor.wakeup();
        }
        let max = self.context.config().connections_max.unwrap_or(usize::MAX);
        if left.saturating_add(1) == max
            && let Some(acceptor) = &*self.acceptor.borrow()
        {
            acceptor.wakeup();
        }
    }
}

/// Ends the watch of a connection however its fiber ends, also when it never began.
struct Unwatch<H: Handler + 'static> {
    server: Rc<ShardServer<H>>,
    link: Rc<Link>,
}

impl<H: Handler + 'static> Drop for Unwatch<H> {
    fn drop(&mut self) {
        self.server.context.watch.remove(&self.link);
        self.server.disconnected();
    }
}
