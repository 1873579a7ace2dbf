//! One server, as all who speak to it know it.
//!
//! The rule of this file: it holds no connection; it makes them, counts and names.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use redis::RedisResult;
use tracing::Span;

use super::config::Config;
use super::error::{Failure, Phase};
use super::link::Link;
use super::metrics::{Counters, add};

/// What clients, pools and subscriptions have in common.
pub(super) struct Server {
    pub(super) config: Config,
    /// For people.
    pub(super) host: Arc<str>,
    pub(super) counters: Counters,
}

impl Server {
    pub(super) fn new(config: Config) -> Rc<Self> {
        let host = match &config.sentinels {
            Some(sentinels) => sentinels.master.as_str().into(),
            None => config.address.to_string().into(),
        };
        Rc::new(Self { config, host, counters: Counters::default() })
    }

    /// A new connection.
    pub(super) fn open(&self) -> RedisResult<Link> {
        let config = &self.config;
        let opened = match &config.sentinels {
            Some(sentinels) => sentinels.open(config),
            None => Link::open(config, &config.address, &self.host),
        };
        let counters = &self.counters;
        add(if opened.is_ok() { &counters.connects } else { &counters.connect_errors }, 1);
        if let Err(error) = &opened {
            tracing::debug!(host = &*self.host, %error, "no connection to Redis");
        }
        opened
    }

    pub(super) fn failure(&self, phase: Phase, cause: impl Into<Arc<io::Error>>) -> Failure {
        Failure::new(&self.host, phase, cause)
    }

    /// The span of a command, for as long as it takes. It is not entered: other fibers run meanwhile.
    #[inline]
    pub(super) fn span(&self, name: &[u8], size: impl FnOnce() -> usize) -> Span {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Span::none();
        }
        let command = &*String::from_utf8_lossy(name);
        tracing::debug_span!("redis", host = &*self.host, command, size = size())
    }
}
