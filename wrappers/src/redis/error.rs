//! What can go wrong besides what a server answers.
//!
//! The rule of this file: the crate's `RedisError` has no place for more than a kind and a text, so
//! what happened lies inside of it, as the payload of an `io::Error`.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError};

/// What a connection was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The name was resolved, or the socket connected.
    Connect,
    /// TLS was negotiated.
    Tls,
    /// Authentication, the choice of protocol and of database.
    Handshake,
    /// A lost connection was being made again, by this fiber or another.
    Reconnect,
    /// Others had filled the connection, or all connections were in use.
    Queue,
    /// A command was on its way, or being executed, or its answer on its way.
    Command,
    /// Messages of a subscription were waited for.
    Subscription,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "TLS handshake",
            Self::Handshake => "handshake",
            Self::Reconnect => "reconnect",
            Self::Queue => "queue",
            Self::Command => "command",
            Self::Subscription => "subscription",
        })
    }
}

/// What lies in a [`RedisError`] that no server sent: where, in which phase, and what is known of
/// the command.
#[derive(Debug)]
pub struct Failure {
    host: Arc<str>,
    phase: Phase,
    /// The name of the command, never its arguments.
    command: Option<Box<str>>,
    may_have_run: bool,
    cause: Arc<io::Error>,
}

impl Failure {
    /// Host and port, or the path of a socket.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What was going on.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The name of the command, if one was concerned.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Whether the server may have executed the command.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        self.may_have_run
    }

    pub(super) fn new(host: &Arc<str>, phase: Phase, cause: impl Into<Arc<io::Error>>) -> Self {
        let host = Arc::clone(host);
        Self { host, phase, command: None, may_have_run: false, cause: cause.into() }
    }

    pub(super) fn of_command(mut self, name: &[u8], may_have_run: bool) -> Self {
        self.command = Some(String::from_utf8_lossy(name).into());
        self.may_have_run = may_have_run;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis {}, {}", self.host, self.phase)?;
        if let Some(command) = &self.command {
            write!(f, " {command}")?;
        }
        write!(f, ": {}", self.cause)?;
        match (&self.command, self.may_have_run) {
            (Some(_), true) => f.write_str(" (the command may have run)"),
            (Some(_), false) => f.write_str(" (the command has not run)"),
            (None, _) => Ok(()),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

impl From<Failure> for RedisError {
    #[cold]
    fn from(failure: Failure) -> Self {
        io::Error::new(failure.cause.kind(), failure).into()
    }
}

/// What is known of an error that no server sent; `None` for what a server answered.
#[must_use]
pub fn failure(error: &RedisError) -> Option<&Failure> {
    let source = error.source()?;
    // The crate holds it by an `Arc`, which is an error of its own.
    let inner = match source.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref::<io::Error>()?,
        None => source.downcast_ref::<io::Error>()?,
    };
    inner.get_ref()?.downcast_ref()
}

/// Whether the command that failed may have been executed all the same: it was sent, and its answer
/// did not come. Not for what a server answered, which says itself what it has done.
///
/// A command that is repeated after such an error may so run twice.
#[must_use]
pub fn may_have_run(error: &RedisError) -> bool {
    failure(error).is_some_and(Failure::may_have_run)
}

/// The error of a part of something whose other parts may have been executed.
pub(super) fn of_a_part(error: RedisError) -> RedisError {
    let Some(failure) = failure(&error) else { return error };
    let part = Failure {
        host: Arc::clone(&failure.host),
        phase: failure.phase,
        command: failure.command.clone(),
        may_have_run: true,
        cause: Arc::clone(&failure.cause),
    };
    part.into()
}

/// Whether a deadline ended the call.
#[must_use]
pub fn is_timeout(error: &RedisError) -> bool {
    error.is_timeout()
}

/// Whether a cancel of the fiber ended the call.
#[must_use]
pub fn is_cancelled(error: &RedisError) -> bool {
    cede_fiber::is_cancelled(error)
}

/// A command that cannot be sent here; `instead` says what to do.
#[cold]
pub(super) fn refused(name: &[u8], instead: &'static str) -> RedisError {
    let name = String::from_utf8_lossy(name).into_owned();
    (ErrorKind::Client, instead, name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_inside_is_found_again() {
        let cause = io::Error::from(io::ErrorKind::ConnectionReset);
        let failure_of_get = Failure::new(&"h:1".into(), Phase::Command, cause);
        let error = RedisError::from(failure_of_get.of_command(b"GET", true));
        let found = failure(&error).unwrap();
        assert_eq!(
            (found.host(), found.phase(), found.command()),
            ("h:1", Phase::Command, Some("GET"))
        );
        assert!(may_have_run(&error) && may_have_run(&error.clone()));
        assert!(error.is_connection_dropped() && !is_timeout(&error) && !is_cancelled(&error));
        let text = "redis h:1, command GET: connection reset (the command may have run)";
        assert_eq!(error.to_string(), text);
        assert!(!may_have_run(&(ErrorKind::Client, "no").into()));
    }
}
