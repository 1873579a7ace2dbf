//! The settings of a server, and its listeners.
//!
//! The surprising rule: with several shards each has a listener of its own at the same address, and
//! yet a second server there is an error: a listener that does not share looks first.

use std::io;
use std::time::Duration;

use cede_fiber::net::{SocketAddr, TcpListener, ToSocketAddrs};

use super::config::Config;
use super::handler::Handler;
use super::proto::limits::Limits;
use super::server::Server;

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
        self.config.body.timeout = at_least_a_moment(timeout);
        self
    }

    /// Time without progress in the sending of a response. Default: 60 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.config.send.timeout = at_least_a_moment(timeout);
        self
    }

    /// Bytes in a second, on average, that a peer has to send of a body or to take of a response
    /// while the server waits for it. The two time-outs above are the patience: waits use it up and
    /// bytes bring it back at this rate, so a byte just before each time-out holds no connection for
    /// ever. Zero looks at each wait alone. Default: 240.
    ///
    /// A service whose peers send bodies with long pauses, such as a log that goes on, lets them with
    /// [`RequestBody::set_rate_min`](super::RequestBody::set_rate_min).
    pub fn rate_min(mut self, bytes_per_second: u32) -> Self {
        self.config.body.rate_min = bytes_per_second;
        self.config.send.rate_min = bytes_per_second;
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

    /// Whether SIGTERM drains the server, and a second one cancels what still runs. Default: yes.
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
    /// What the system says, with the addresses that were tried, and outside of a fiber.
    pub fn bind(self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        let addrs: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        self.bind_to(&addrs).map_err(|error| {
            let tried = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            io::Error::new(error.kind(), format!("listening at {tried}: {error}"))
        })
    }

    fn bind_to(self, addr: &[SocketAddr]) -> io::Result<Server> {
        let shards = self.config.shards.unwrap_or(usize::MAX).min(cede_fiber::shards().len());
        let builder = TcpListener::builder().nodelay(true);
        if shards <= 1 && !self.config.share_port {
            return Ok(Server::new(self.config, vec![builder.bind(addr)?.into_std()?]));
        }
        // Whoever listens there without sharing is found out by one listener that does not share.
        let addr = match self.config.share_port {
            true => None,
            false => Some(builder.bind(addr)?.local_addr()?),
        }
        .map_or_else(
            || builder.clone().reuse_port(true).bind(addr),
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
