//! When a wait gives up by itself, on the clock of whoever waits.

use std::io;
use std::time::{Duration, Instant};

use cede_reactor::Nanos;

use crate::deadline::Deadline;
use crate::shard;

/// The limit of one wait, beside the deadline that a fiber may have.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    #[doc(hidden)]
    Never,
    /// On the clock of the shard.
    #[doc(hidden)]
    Fiber(Nanos),
    /// Of a plain thread.
    #[doc(hidden)]
    Thread(Instant),
}

impl Limit {
    /// This long from now.
    pub(crate) fn after(duration: Duration) -> Self {
        let nanos = shard::with(|shard| Deadline::from(duration).nanos(&*shard.clock));
        match nanos {
            Some(nanos) => Self::Fiber(nanos),
            None => Instant::now().checked_add(duration).map_or(Self::Never, Self::Thread),
        }
    }

    /// This moment.
    pub(crate) fn at(moment: Instant) -> Self {
        match shard::with(|shard| shard.clock.nanos(moment)) {
            Some(nanos) => Self::Fiber(nanos),
            None => Self::Thread(moment),
        }
    }

    /// Whether it is over.
    pub(crate) fn has_passed(self) -> bool {
        match self {
            Self::Never => false,
            Self::Fiber(nanos) => shard::with(|s| s.clock.now()).is_some_and(|now| now >= nanos),
            Self::Thread(moment) => Instant::now() >= moment,
        }
    }

    /// Whether a wait that ended with this error ended because of this limit.
    pub(crate) fn is_why(self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::TimedOut && (cfg!(loom) || self.has_passed())
    }

    /// The earlier one of two.
    pub(crate) fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fiber(a), Self::Fiber(b)) => Self::Fiber(a.min(b)),
            (Self::Thread(a), Self::Thread(b)) => Self::Thread(a.min(b)),
            (Self::Never, limit) | (limit, _) => limit,
        }
    }

    /// For a fiber's wait.
    #[inline(always)]
    pub(crate) fn nanos(self) -> Option<Nanos> {
        match self {
            Self::Fiber(nanos) => Some(nanos),
            Self::Never | Self::Thread(_) => None,
        }
    }
}
