//! What goes wrong between a program and its database file.
//!
//! The surprising rule: an error of a closure has no path yet. `?` makes it from what rusqlite says,
//! and the database adds its path and the phase when the closure has returned.

use std::error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings, or the path, cannot be used.
    Config,
    /// The file cannot be opened.
    Open,
    /// Another connection holds the lock, and the `busy_timeout` has passed.
    Busy,
    /// A constraint is violated: UNIQUE, NOT NULL, FOREIGN KEY, CHECK.
    Constraint,
    /// The database, or this connection to it, may not be written.
    ReadOnly,
    /// The disk, or the size that the database may have, is full.
    Full,
    /// The file is damaged.
    Corrupt,
    /// The file is something else than a database.
    NotADatabase,
    /// The system failed to read or write.
    Io,
    /// The statement was interrupted.
    Interrupted,
    /// The fiber's deadline has passed.
    Timeout,
    /// The fiber was cancelled.
    Cancelled,
    /// A limit of the settings is reached: too many wait for a connection already.
    Limit,
    /// The database was closed.
    Closed,
    /// A parameter has no form that SQLite can keep.
    ToSql,
    /// A column could not be turned into the type that was asked for.
    FromSql,
    /// A row has no such column.
    Column,
    /// The parameters are not those of the statement.
    Parameters,
    /// The number of rows is not the one that was asked for.
    RowCount,
    /// The call is not possible here.
    State,
    /// Anything else that SQLite says, mistakes in a statement above all.
    Sql,
    /// An error of a closure: [`Error::other`].
    Other,
}

/// What was being done when it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Opening the database.
    Open,
    /// Waiting for a connection to be free.
    Wait,
    /// Running a statement, or a closure.
    Run,
    /// Beginning a transaction, that is waiting for the lock of the database.
    Begin,
    /// Committing a transaction.
    Commit,
    /// Copying the database to a file.
    Backup,
    /// Copying a file into the database.
    Restore,
    /// Closing the database.
    Close,
}

impl Phase {
    fn doing(self) -> &'static str {
        match self {
            Self::Open => "opening",
            Self::Wait => "waiting for a connection",
            Self::Run => "running a statement",
            Self::Begin => "beginning a transaction",
            Self::Commit => "committing",
            Self::Backup => "making a backup",
            Self::Restore => "restoring a backup",
            Self::Close => "closing",
        }
    }
}

/// An error of the database.
///
/// It says what went wrong ([`kind`](Self::kind), [`extended_code`](Self::extended_code)), where
/// ([`path`](Self::path), [`phase`](Self::phase)) and whether a write may have been committed all
/// the same ([`may_have_run`](Self::may_have_run)). A cancel of the fiber is also known to
/// [`is_cancelled`](cede_fiber::is_cancelled).
///
/// # Examples
///
/// ```
/// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
/// # use cede::sqlite::{Database, Result};
/// # cede::run(|| -> Result<()> {
/// let db = Database::open_in_memory()?;
/// db.execute_batch("CREATE TABLE users (name TEXT UNIQUE)")?;
/// db.execute("INSERT INTO users VALUES (?1)", ["ann"])?;
/// let error = db.execute("INSERT INTO users VALUES (?1)", ["ann"]).unwrap_err();
/// assert!(error.is_constraint());
/// assert_eq!(
///     error.to_string(),
///     "SQLite database :memory:, running a statement: UNIQUE constraint failed: users.name",
/// );
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    phase: Option<Phase>,
    path: Option<Arc<str>>,
    source: Source,
    may_have_run: bool,
}

enum Source {
    Says(&'static str),
    Sqlite(rusqlite::Error),
    Io(io::Error),
    Other(Box<dyn error::Error + Send + Sync>),
}

impl Error {
    fn make(kind: ErrorKind, source: Source) -> Self {
        Self(Box::new(Inner { kind, phase: None, path: None, source, may_have_run: false }))
    }

    pub(super) fn new(kind: ErrorKind, says: &'static str) -> Self {
        Self::make(kind, Source::Says(says))
    }

    /// The end of a wait by deadline or cancel, or an error of the system.
    pub(super) fn io(error: io::Error) -> Self {
        let kind = if cede_fiber::is_cancelled(&error) {
            ErrorKind::Cancelled
        } else {
            match error.kind() {
                io::ErrorKind::TimedOut => ErrorKind::Timeout,
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => ErrorKind::Open,
                io::ErrorKind::StorageFull => ErrorKind::Full,
                _ => ErrorKind::Io,
            }
        };
        Self::make(kind, Source::Io(error))
    }

    /// An error of the program's own, to leave a closure with; a transaction is rolled back then.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
    /// # use cede::sqlite::{Database, Error, Result};
    /// # cede::run(|| -> Result<()> {
    /// # let db = Database::open_in_memory()?;
    /// let result = db.transaction(|_| -> Result<()> { Err(Error::other("out of stock")) });
    /// assert!(result.unwrap_err().to_string().ends_with("out of stock"));
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    pub fn other(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::make(ErrorKind::Other, Source::Other(error.into()))
    }

    /// Adds where it was, unless that is known already.
    pub(super) fn at(mut self, path: &Arc<str>, phase: Phase) -> Self {
        self.0.path.get_or_insert_with(|| Arc::clone(path));
        self.in_phase(phase)
    }

    /// Adds the phase, unless it is known already.
    pub(super) fn in_phase(mut self, phase: Phase) -> Self {
        self.0.phase.get_or_insert(phase);
        self
    }

    pub(super) fn that_may_have_run(mut self) -> Self {
        self.0.may_have_run = true;
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
        self.0.phase.unwrap_or(Phase::Run)
    }

    /// The path of the database, `:memory:` for one in memory; empty while the error is in a closure
    /// of the database still.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path.as_deref().unwrap_or_default()
    }

    /// SQLite's extended result code, such as `SQLITE_CONSTRAINT_UNIQUE` (2067); `None` if it is not
    /// SQLite that failed. <https://sqlite.org/rescode.html>
    #[must_use]
    pub fn extended_code(&self) -> Option<i32> {
        self.sqlite().map(|error| error.extended_code)
    }

    /// SQLite's primary result code, such as `SQLITE_CONSTRAINT` (19).
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.extended_code().map(|code| code & 0xff)
    }

    fn sqlite(&self) -> Option<&ffi::Error> {
        match &self.0.source {
            Source::Sqlite(rusqlite::Error::SqlInputError { error, .. }) => Some(error),
            Source::Sqlite(error) => error.sqlite_error(),
            _ => None,
        }
    }

    /// Whether SQLite was told to stop, by an interrupt or by the commit hook.
    pub(super) fn says_stopped(&self) -> bool {
        self.0.kind == ErrorKind::Interrupted
            || self.extended_code() == Some(ffi::SQLITE_CONSTRAINT_COMMITHOOK)
    }

    /// Whether the write may be there: the wait had to be given up, by deadline or cancel, while a
    /// commit was under way, or a write has returned rows (`RETURNING`) that were not those that were
    /// asked for. With every other error nothing of the call remains in the database, but
    /// for what a closure of [`write`](super::Database::write) or a batch had committed before.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        self.0.may_have_run
    }

    /// Whether somebody else held the lock of the database for too long.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.kind == ErrorKind::Busy
    }

    /// Whether a constraint is violated.
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        self.0.kind == ErrorKind::Constraint
    }

    /// Whether the fiber's deadline has passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// Whether the fiber was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.kind == ErrorKind::Cancelled
    }
}

impl From<rusqlite::Error> for Error {
    #[cold]
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let kind = match &error {
            E::SqliteFailure(code, _) | E::SqlInputError { error: code, .. } => match code.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ErrorKind::Busy,
                ErrorCode::ConstraintViolation => ErrorKind::Constraint,
                ErrorCode::OperationInterrupted => ErrorKind::Interrupted,
                ErrorCode::ReadOnly => ErrorKind::ReadOnly,
                ErrorCode::DiskFull => ErrorKind::Full,
                ErrorCode::DatabaseCorrupt => ErrorKind::Corrupt,
                ErrorCode::NotADatabase => ErrorKind::NotADatabase,
                ErrorCode::CannotOpen => ErrorKind::Open,
                ErrorCode::SystemIoFailure => ErrorKind::Io,
                _ => ErrorKind::Sql,
            },
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..)
            | E::InvalidColumnType(..) => ErrorKind::FromSql,
            E::ToSqlConversionFailure(_) => ErrorKind::ToSql,
            E::InvalidColumnIndex(_) | E::InvalidColumnName(_) => ErrorKind::Column,
            E::InvalidParameterName(_) | E::InvalidParameterCount(..) => ErrorKind::Parameters,
            E::QueryReturnedNoRows
            | E::QueryReturnedMoreThanOneRow
            | E::StatementChangedRows(_) => ErrorKind::RowCount,
            E::InvalidPath(_) | E::NulError(_) => ErrorKind::Config,
            _ => ErrorKind::Sql,
        };
        Self::make(kind, Source::Sqlite(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.0.path {
            write!(f, "SQLite database {path}, {}: ", self.phase().doing())?;
        }
        match &self.0.source {
            Source::Says(says) => f.write_str(says)?,
            Source::Sqlite(error) => write!(f, "{error}")?,
            Source::Io(error) if self.is_timeout() => {
                let _ = error;
                f.write_str("the deadline has passed")?;
            }
            Source::Io(error) => write!(f, "{error}")?,
            Source::Other(error) => write!(f, "{error}")?,
        }
        if self.0.may_have_run {
            f.write_str("; it was committing, and may have done so")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("extended_code", &self.extended_code())
            .field("message", &format_args!("{self}"))
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.0.source {
            Source::Says(_) => None,
            Source::Sqlite(error) => Some(error),
            Source::Io(error) => Some(error),
            Source::Other(error) => Some(&**error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_may_go_anywhere() {
        fn anywhere<T: Send + Sync + 'static>() {}
        anywhere::<Error>();
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn where_it_was_is_said_once_and_by_the_innermost() {
        let path: Arc<str> = "a.db".into();
        let error = Error::new(ErrorKind::State, "no").in_phase(Phase::Commit);
        let error = error.at(&path, Phase::Run).at(&"b.db".into(), Phase::Open);
        assert_eq!(error.to_string(), "SQLite database a.db, committing: no");
        assert_eq!((error.phase(), error.path()), (Phase::Commit, "a.db"));
    }

    #[test]
    fn codes_are_those_of_sqlite() {
        let unique = ffi::Error::new(ffi::SQLITE_CONSTRAINT_UNIQUE);
        let error = Error::from(rusqlite::Error::SqliteFailure(unique, None));
        assert!(error.is_constraint());
        assert_eq!((error.code(), error.extended_code()), (Some(19), Some(2067)));
        assert_eq!(Error::other("x").code(), None);
    }

    #[test]
    fn a_cancel_is_known_through_it() {
        let error = cede_fiber::run(|| {
            let fiber = cede_fiber::spawn(|| Error::io(cede_fiber::park().unwrap_err()));
            fiber.cancel();
            fiber.join().unwrap()
        });
        let error = error.unwrap();
        assert!(error.is_cancelled() && cede_fiber::is_cancelled(&error));
    }
}
