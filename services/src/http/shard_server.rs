//! One shard of a server: its acceptor, its clock, the fibers of its connections, and their end.
//!
//! The surprising rule: a connection is counted from its accept to the end of its fiber, however
//! that ends, so a drain waits for all of them and for nothing else.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cede_fiber::Fiber;
use cede_fiber::net::{TcpListener, TcpStream};

use super::config::Config;
use super::connection::{self, Context};
use super::handler::Handler;
use super::server::Control;
use super::watch::Link;

/// What fibers that did not end in time get to leave through their errors, once cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// After an accept that failed for no reason known here.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What the fibers of one shard share.
struct ShardServer<H> {
    context: Context,
    handler: H,
    supervisor: Fiber,
    acceptor: RefCell<Option<Fiber>>,
    clock: RefCell<Option<Fiber>>,
}

pub(super) fn run_shard<H: Handler + 'static>(
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
        let builder = cede_fiber::Builder::new().name("http-clock".into()).no_deadline();
        builder.spawn(move || server.keep_time())?
    };
    server.clock.replace(Some(clock.fiber()));
    let flusher = {
        let server = Rc::clone(&server);
        let builder = cede_fiber::Builder::new().name("http-flush".into()).no_deadline();
        builder.spawn(move || server.context.flusher.run())?
    };
    server.context.flusher.set_fiber(flusher.fiber());
    let acceptor = {
        let server = Rc::clone(&server);
        let builder = cede_fiber::Builder::new().name("http-accept".into()).no_deadline();
        builder.spawn(move || server.accept(&listener))?
    };
    server.acceptor.replace(Some(acceptor.fiber()));
    let result = server.wait_for_drain(control);
    acceptor.cancel();
    let ended = cede_fiber::shield(|| {
        // It serves what was accepted, then closes the listener.
        let _ = acceptor.wait();
        server.drain(control)
    });
    clock.cancel();
    flusher.cancel();
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
                    if cede_fiber::sleep(ACCEPT_PAUSE).is_err() {
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

    fn connected(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
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
        let spawned = builder.spawn_detached(move || {
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
    fn drain(&self, control: &Control) -> io::Result<()> {
        self.context.drain();
        let patience = self.context.config().drain_timeout;
        let _ = cede_fiber::with_deadline(patience, || {
            while self.context.watch.len() > 0 && !control.is_hurrying() {
                cede_fiber::park()?;
            }
            io::Result::Ok(())
        });
        if self.context.watch.len() == 0 {
            return Ok(());
        }
        let fibers = self.context.watch.fibers();
        tracing::warn!(connections = fibers.len(), "the time to drain is over: cancelled");
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
