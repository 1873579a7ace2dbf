//! What goes wrong between a program and its database.
//!
//! The surprising rule: an error can be copied. When a connection ends, everybody who waits on it
//! is told the same; only whether one's own statement may have run differs.

use std::borrow::Cow;
use std::error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::db_error::{DbError, Severity};
use super::sqlstate::SqlState;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings are wrong; nothing was sent.
    Config,
    /// No connection could be made.
    Connect,
    /// TLS could not be agreed on, or the certificate was not accepted.
    Tls,
    /// The server, or the client, was not convinced of who the other one is.
    Authentication,
    /// The server says that a statement failed: [`Error::as_db_error`] has its words.
    Db,
    /// The connection has ended.
    Closed,
    /// The server sent what the protocol does not allow.
    Protocol,
    /// A time-out of the settings, or the fiber's deadline, has passed.
    Timeout,
    /// The fiber was cancelled.
    Cancelled,
    /// A parameter could not be turned into what the statement asks for.
    ToSql,
    /// A column could not be turned into the type that was asked for.
    FromSql,
    /// A row has no such column.
    Column,
    /// The number of parameters is not that of the statement.
    Parameters,
    /// The number of rows is not the one that was asked for.
    RowCount,
    /// A limit of the settings is reached.
    Limit,
    /// The call is not possible in this state.
    State,
}

/// What was being done when it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the settings.
    Config,
    /// Waiting for a connection of the pool.
    Pool,
    /// Resolving the name, connecting the socket.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Who is it.
    Authenticate,
    /// From there to the first `ReadyForQuery`.
    Startup,
    /// Having a statement prepared.
    Prepare,
    /// Before or while the request was sent.
    Send,
    /// After it was sent, before the first of its answer.
    Execute,
    /// While its answer came.
    Receive,
    /// While data for COPY were sent.
    Copy,
    /// The end of a transaction.
    Commit,
    /// A connection on which nothing was asked.
    Idle,
}

impl Phase {
    fn doing(self) -> &'static str {
        match self {
            Self::Config => "reading the settings",
            Self::Pool => "waiting for a connection of the pool",
            Self::Connect => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::Authenticate => "authenticating",
            Self::Startup => "starting the session",
            Self::Prepare => "preparing a statement",
            Self::Send => "sending a request",
            Self::Execute => "executing a statement",
            Self::Receive => "receiving an answer",
            Self::Copy => "copying data",
            Self::Commit => "committing",
            Self::Idle => "idle",
        }
    }
}

/// An error of the client.
///
/// It says what went wrong ([`kind`](Self::kind), [`code`](Self::code)), where
/// ([`host`](Self::host), [`phase`](Self::phase)) and whether a statement may have run all the same
/// ([`may_have_run`](Self::may_have_run)). A cancel of the fiber is also known to
/// [`is_cancelled`](cede_fiber::is_cancelled).
///
/// # Examples
///
/// ```
/// # use cede_wrappers as cede;
/// use cede::postgres::{Error, SqlState};
///
/// fn is_taken(error: &Error) -> bool {
///     error.code() == Some(&SqlState::UNIQUE_VIOLATION)
/// }
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    phase: Phase,
    host: Option<Arc<str>>,
    /// What to say; what the source says if empty.
    message: Cow<'static, str>,
    source: Option<Source>,
    may_have_run: bool,
}

#[derive(Clone)]
enum Source {
    Db(Arc<DbError>),
    Other(Arc<dyn error::Error + Send + Sync>),
}

impl Source {
    fn error(&self) -> &(dyn error::Error + 'static) {
        match self {
            Self::Db(error) => &**error,
            Self::Other(error) => &**error,
        }
    }
}

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        phase: Phase,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let message = message.into();
        Self(Box::new(Inner {
            kind,
            phase,
            host: None,
            message,
            source: None,
            may_have_run: false,
        }))
    }

    /// Settings that cannot be used.
    pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, Phase::Config, message)
    }

    /// The server broke the protocol.
    pub(crate) fn protocol(phase: Phase, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Protocol, phase, message)
    }

    /// The connection is gone.
    pub(crate) fn closed(phase: Phase) -> Self {
        Self::new(ErrorKind::Closed, phase, "the connection is closed")
    }

    /// What the server says of a statement.
    pub(crate) fn db(phase: Phase, error: DbError) -> Self {
        let mut this = Self::new(ErrorKind::Db, phase, "");
        this.0.source = Some(Source::Db(Arc::new(error)));
        this
    }

    /// An error of the system, of the fiber's deadline or of its cancel. An [`Error`] inside of it
    /// comes out as it was.
    pub(crate) fn io(phase: Phase, error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            return match error.into_inner().map(|inner| inner.downcast::<Self>()) {
                Some(Ok(inner)) => *inner,
                _ => unreachable!("it was seen to be one"),
            };
        }
        let (kind, message) = if cede_fiber::is_cancelled(&error) {
            (ErrorKind::Cancelled, "")
        } else {
            match error.kind() {
                // That of the system says that the other end does not answer any more.
                io::ErrorKind::TimedOut if error.raw_os_error().is_none() => {
                    (ErrorKind::Timeout, "the deadline has passed")
                }
                _ if phase == Phase::Connect => (ErrorKind::Connect, ""),
                _ if phase == Phase::Tls => (ErrorKind::Tls, ""),
                io::ErrorKind::InvalidData => (ErrorKind::Protocol, ""),
                io::ErrorKind::UnexpectedEof => {
                    (ErrorKind::Closed, "the server has closed the connection")
                }
                _ => (ErrorKind::Closed, ""),
            }
        };
        Self::new(kind, phase, message).with_source(error)
    }

    /// The same, caused by another one.
    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(Source::Other(Arc::from(source.into())));
        self
    }

    /// The same, in other words.
    pub(crate) fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
    }

    /// The same, about no server in particular.
    pub(crate) fn without_host(mut self) -> Self {
        self.0.host = None;
        self
    }

    /// The same, of this kind.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same, in this phase.
    pub(crate) fn with_phase(mut self, phase: Phase) -> Self {
        self.0.phase = phase;
        self
    }

    /// The same, at this host, unless one is named already.
    pub(crate) fn at(mut self, host: &Arc<str>) -> Self {
        self.0.host.get_or_insert_with(|| Arc::clone(host));
        self
    }

    /// The same, and whether the statement may have run.
    pub(crate) fn maybe_run(mut self, may_have_run: bool) -> Self {
        self.0.may_have_run = may_have_run;
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The server: `host:port`, or the path of its socket. `None` when it was not about one server.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// What the server said, if the error came from there.
    #[must_use]
    pub fn as_db_error(&self) -> Option<&DbError> {
        match &self.0.source {
            Some(Source::Db(error)) => Some(error),
            _ => None,
        }
    }

    /// The server's code, if the error came from there.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.as_db_error().map(DbError::code)
    }

    /// Whether the statement may have run, although its success was never heard of: the connection
    /// was lost, or the wait given up, after it was sent. False when it certainly did not run, and
    /// for what the server itself reports as failed.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        self.0.may_have_run
    }

    /// Whether a time-out or the fiber's deadline has passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// Whether the fiber was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.kind == ErrorKind::Cancelled
    }

    /// Whether the connection has ended; a further call on it fails as well.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let is_fatal = |error: &DbError| {
            matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        };
        self.0.kind == ErrorKind::Closed || self.as_db_error().is_some_and(is_fatal)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.write_str("postgres")?;
        if let Some(host) = &inner.host {
            write!(f, " {host}")?;
        }
        write!(f, ", {}: ", inner.phase.doing())?;
        match (&*inner.message, &inner.source) {
            ("", Some(source)) => write!(f, "{}", source.error())?,
            ("", None) => write!(f, "{:?}", inner.kind)?,
            (message, _) => f.write_str(message)?,
        }
        if inner.may_have_run {
            f.write_str(" (the statement may have run)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut f = f.debug_struct("Error");
        f.field("kind", &inner.kind).field("phase", &inner.phase);
        if let Some(host) = &inner.host {
            f.field("host", host);
        }
        if !inner.message.is_empty() {
            f.field("message", &inner.message);
        }
        if let Some(source) = &inner.source {
            f.field("source", &source.error());
        }
        f.field("may_have_run", &inner.may_have_run).finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_ref().map(Source::error)
    }
}

impl From<Error> for io::Error {
    /// Of the kind that the error has: [`TimedOut`](io::ErrorKind::TimedOut) for a time-out. The
    /// error is inside, and a cancel is still known as one.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Config | ErrorKind::ToSql | ErrorKind::Parameters => {
                io::ErrorKind::InvalidInput
            }
            ErrorKind::Protocol | ErrorKind::FromSql => io::ErrorKind::InvalidData,
            ErrorKind::Authentication => io::ErrorKind::PermissionDenied,
            ErrorKind::Closed => io::ErrorKind::ConnectionAborted,
            ErrorKind::Connect => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<io::Error> for Error {
    /// As one that came up before anything was sent.
    fn from(error: io::Error) -> Self {
        Self::io(Phase::Send, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cancelled() -> io::Error {
        cede_fiber::run(|| {
            let fiber = cede_fiber::spawn(|| cede_fiber::park().unwrap_err());
            fiber.cancel();
            fiber.join().unwrap()
        })
        .unwrap()
    }

    #[test]
    fn a_cancel_is_known_inside_and_outside_of_an_io_error() {
        let error = Error::from(cancelled());
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(error.is_cancelled() && cede_fiber::is_cancelled(&error));
        let error = io::Error::from(error);
        assert!(cede_fiber::is_cancelled(&error));
        let error = Error::from(error);
        assert!(error.is_cancelled() && cede_fiber::is_cancelled(&error));
    }

    #[test]
    fn a_deadline_stays_one_through_an_io_error_and_back() {
        let host = Arc::from("db:5432");
        let error = Error::io(Phase::Commit, io::ErrorKind::TimedOut.into());
        let error = io::Error::from(error.at(&host).maybe_run(true));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = Error::from(error);
        assert!(error.is_timeout() && error.may_have_run());
        assert_eq!((error.phase(), error.host()), (Phase::Commit, Some("db:5432")));
        assert_eq!(
            error.to_string(),
            "postgres db:5432, committing: the deadline has passed (the statement may have run)"
        );
    }

    #[test]
    fn it_may_go_to_other_threads_and_be_copied() {
        fn check<T: Send + Sync + Clone + 'static>() {}
        check::<Error>();
        let copy = Error::from(cancelled()).clone();
        assert!(cede_fiber::is_cancelled(&copy));
    }

    #[test]
    fn the_first_host_stays() {
        let error = Error::closed(Phase::Idle).at(&Arc::from("a:1")).at(&Arc::from("b:2"));
        assert_eq!(error.host(), Some("a:1"));
    }
}
