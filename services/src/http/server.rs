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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cede_fiber::net::ToSocketAddrs;
use cede_fiber::{Fiber, JoinHandle, Shard, signal};

use super::builder::ServerBuilder;
use super::config::Config;
use super::handler::Handler;
use super::shard_server::run_shard;

/// Serves HTTP at an address until SIGTERM; short for a [`Server`] with all defaults.
///
/// # Errors
///
/// As [`ServerBuilder::serve`].
///
/// # Examples
///
/// ```no_run
/// # mod cede { pub use cede_fiber::*; pub use cede_services::*; }
/// # fn main() -> anyhow::Result<()> {
/// use cede::http::{Request, Router};
///
/// fn router() -> Router {
///     Router::new().get("/", |_: &mut Request| "Hello, World!\n")
/// }
///
/// cede::run(|| cede::http::serve("127.0.0.1:8080", router()))??;
/// # Ok(())
/// # }
/// ```
pub fn serve<H>(addr: impl ToSocketAddrs, handler: H) -> io::Result<()>
where
    H: Handler + Clone + Send + 'static,
{
    Server::builder().serve(addr, handler)
}

/// A server that listens and does not accept yet.
///
/// # Examples
///
/// ```no_run
/// # mod cede { pub use cede_fiber::*; pub use cede_services::*; }
/// # fn main() -> anyhow::Result<()> {
/// use cede::http::{Request, Server};
///
/// cede::Runtime::builder().shard_per_core().run(|| -> anyhow::Result<()> {
///     let server = Server::builder().bind("127.0.0.1:8080")?;
///     let handle = server.handle(); // drains it, from any thread
///     println!("listening on http://{}/", server.local_addr()?);
///     Ok(server.run(|_: &mut Request| "Hello, World!\n")?)
/// })?
/// # }
/// ```
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

    pub(super) fn new(config: Config, listeners: Vec<StdTcpListener>) -> Self {
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
        let results = others.into_iter().map(|other| match other.join() {
            Ok(result) => result,
            Err(error) => Err(error.into()),
        });
        let result = results.fold(result, Result::and);
        if let Some(signal) = signal {
            signal.cancel();
        }
        result
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
pub(super) struct Control {
    draining: AtomicBool,
    /// Nothing is waited for any more.
    hurrying: AtomicBool,
    /// The fibers that wait for the end, one on each shard. Held for a few instructions.
    supervisors: Mutex<Vec<Fiber>>,
}

impl Control {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Fiber>> {
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn is_hurrying(&self) -> bool {
        self.hurrying.load(Ordering::Acquire)
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the patience of a drain.
    fn hurry(&self) {
        self.hurrying.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        let supervisors = self.lock().clone();
        supervisors.iter().for_each(Fiber::wakeup);
    }
}

fn drain_on_signal(control: &Arc<Control>) -> io::Result<JoinHandle<()>> {
    let mut terminate = signal::terminate()?;
    let control = Arc::clone(control);
    cede_fiber::Builder::new().name("http-signal".into()).no_deadline().spawn(move || {
        if terminate.recv().is_ok() {
            control.drain();
        }
        // Whoever says it twice means it.
        if terminate.recv().is_ok() {
            control.hurry();
        }
    })
}
