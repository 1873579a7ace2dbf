//! A client: what programs call.
//!
//! The rule of this file: a statement is sent once more only if it is certain that it left nothing
//! behind the first time.

use std::fmt;
use std::rc::Rc;

use cede_fiber::sync::local::RwLockReadGuard;
use tracing::{Level, Span, field};

use super::config::Config;
use super::connection::Connection;
use super::core::Core;
use super::encode;
use super::error::{Error, ErrorKind, Phase};
use super::metrics::Metrics;
use super::pending::{Again, Item, Want};
use super::request::Request;
use super::row::Row;
use super::statement::{Statement, ToPrepare, ToStatement};
use super::transaction::{Own, Transaction, TransactionBuilder};
use super::turn::{Turn, Turnstile};
use super::types::{ToSql, Type};

/// How often a request is sent once more.
const ATTEMPTS_MAX: u32 = 4;
/// So much of a statement is shown in a span.
const SPAN_SQL_BYTES_MAX: usize = 512;

/// A client of PostgreSQL: one connection, used by any number of fibers of a shard at once.
///
/// A clone is the same client. Each call waits for its own answer only: requests of different fibers
/// are sent without waiting for one another and answered in order. When the last clone is dropped
/// the connection is closed.
///
/// A connection that is lost is made again by the next call; what was under way fails, with an error
/// that says whether it may have run. Settings of the session (`SET`) are lost with it.
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// use cede::postgres::{Client, Error};
///
/// fn name_of(client: &Client, id: i64) -> Result<Option<String>, Error> {
///     let row = client.query_opt("select name from people where id = $1", &[&id])?;
///     row.map(|row| row.try_get("name")).transpose()
/// }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(super) core: Rc<Core>,
    /// The transaction that it is inside of.
    pub(super) own: Option<Rc<Own>>,
    /// That of the client, of the transaction or of the savepoint.
    pub(super) turnstile: Rc<Turnstile>,
}

/// What a client can be made of: a [`Config`], or a URL or settings as text.
pub trait IntoConfig: sealed::Sealed {
    #[doc(hidden)]
    fn into_config(self) -> Result<Config, Error>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Config {}
    impl Sealed for &super::Config {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for String {}
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config, Error> {
        Ok(self)
    }
}

impl IntoConfig for &Config {
    fn into_config(self) -> Result<Config, Error> {
        Ok(self.clone())
    }
}

impl IntoConfig for &str {
    fn into_config(self) -> Result<Config, Error> {
        self.parse()
    }
}

impl IntoConfig for &String {
    fn into_config(self) -> Result<Config, Error> {
        self.parse()
    }
}

impl IntoConfig for String {
    fn into_config(self) -> Result<Config, Error> {
        self.parse()
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Of the settings; when no server can be reached, or none that fits; when it does not accept
    /// the user; a cancel or a deadline.
    pub fn connect(config: impl IntoConfig) -> Result<Self, Error> {
        let core = Core::connect(config.into_config()?)?;
        Ok(Self { core, own: None, turnstile: Rc::new(Turnstile::new()) })
    }

    /// Has a statement prepared. It is not necessary: a text that is executed is prepared once as
    /// well.
    ///
    /// # Errors
    ///
    /// What the server says of the statement; the end of the connection; a cancel or a deadline.
    pub fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        self.prepare_typed(sql, &[])
    }

    /// The same with the types of the first parameters; the server chooses those of the others.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn prepare_typed(&self, sql: &str, types: &[Type]) -> Result<Statement, Error> {
        let _turn = self.turn()?;
        self.on_connection(|connection| connection.prepared(sql, types, self.own.as_deref()))
    }

    /// Executes a statement and returns its rows.
    ///
    /// # Errors
    ///
    /// What the server says of it; when the parameters do not fit; when the result is beyond the
    /// limit; the end of the connection; a cancel or a deadline.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use cede::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// for row in client.query("select id, name from people where id > $1", &[&7i64])? {
    ///     let (id, name): (i64, &str) = (row.get(0), row.get("name"));
    ///     println!("{id} {name}");
    /// }
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn query<T: ToStatement + ?Sized>(
        &self,
        statement: &T,
        params: &[&dyn ToSql],
    ) -> Result<Vec<Row>, Error> {
        self.execute_spanned(statement.to_statement(), params, Want::Rows)?.rows()
    }

    /// Executes a statement that returns exactly one row.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and when it is another number of rows
    /// ([`ErrorKind::RowCount`]).
    pub fn query_one<T: ToStatement + ?Sized>(
        &self,
        statement: &T,
        params: &[&dyn ToSql],
    ) -> Result<Row, Error> {
        let row = self.query_opt(statement, params)?;
        row.ok_or_else(|| self.wrong_row_count("none"))
    }

    /// Executes a statement that returns one row or none.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and when it is more than one ([`ErrorKind::RowCount`]).
    pub fn query_opt<T: ToStatement + ?Sized>(
        &self,
        statement: &T,
        params: &[&dyn ToSql],
    ) -> Result<Option<Row>, Error> {
        let mut rows = self.query(statement, params)?;
        if rows.len() > 1 {
            return Err(self.wrong_row_count("several"));
        }
        Ok(rows.pop())
    }

    #[cold]
    fn wrong_row_count(&self, got: &str) -> Error {
        let message = format!("one row was expected, and {got} came");
        let error = Error::new(ErrorKind::RowCount, Phase::Receive, message);
        error.at(&self.core.host()).maybe_run(true)
    }

    /// Executes a statement and calls `f` with each row as it comes; returns how many came. The
    /// first error of `f` ends it, and what is left of the result is dropped.
    ///
    /// While `f` lags behind, by more than `stream_bytes_max`, the connection reads nothing: other
    /// fibers that use this client wait as well. `f` cannot use this client; a second connection
    /// can.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and those of `f`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use cede::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let mut total = 0;
    /// client.query_each("select size from files", &[], |row| {
    ///     total += row.try_get::<_, i64>(0)?;
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn query_each<T: ToStatement + ?Sized, E: From<Error>>(
        &self,
        statement: &T,
        params: &[&dyn ToSql],
        mut f: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<u64, E> {
        let statement = statement.to_statement();
        let span = span(statement.sql());
        let mut attempts = 0;
        let mut rows = 0;
        loop {
            let request = self.send(statement, params, Want::Stream)?;
            let connection = Rc::clone(request.connection());
            let result = connection.while_streaming(|| -> Result<Result<(), Error>, E> {
                loop {
                    match request.next() {
                        Ok(Some(Item::Row(row))) => {
                            rows += 1;
                            f(row)?;
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => return Ok(Ok(())),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            })?;
            match result {
                Ok(()) => {
                    span.record("rows", rows);
                    return Ok(rows);
                }
                // Rows that were handed out cannot be taken back.
                Err(_) if rows == 0 && self.may_repeat(&request, &mut attempts) => {}
                Err(error) => {
                    record_error(&span, &error);
                    return Err(error.into());
                }
            }
        }
    }

    /// Executes a statement and returns how many rows it changed, or returned. Rows are dropped.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn execute<T: ToStatement + ?Sized>(
        &self,
        statement: &T,
        params: &[&dyn ToSql],
    ) -> Result<u64, Error> {
        let request = self.execute_spanned(statement.to_statement(), params, Want::Count)?;
        Ok(request.affected())
    }

    /// Executes statements without parameters, separated by semicolons, as one text. Unless they say
    /// otherwise they are one transaction. Rows are dropped; [`simple_query`](Self::simple_query)
    /// returns them.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); also when they leave a transaction open, outside of
    /// [`transaction`](Self::transaction).
    pub fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        let span = span(sql);
        let request = self.simple_to_end(sql, Want::Count);
        let request = request.inspect_err(|error| record_error(&span, error))?;
        span.record("rows", request.affected());
        Ok(())
    }

    /// Executes a text in the simple protocol to its end.
    pub(super) fn simple_to_end(&self, sql: &str, want: Want) -> Result<Request, Error> {
        let mut attempts = 0;
        loop {
            let turn = self.turn()?;
            let request = self.on_connection(|connection| self.simple(connection, sql, want))?;
            drop(turn);
            match request.finish() {
                Ok(()) => return Ok(request),
                Err(_) if self.may_repeat(&request, &mut attempts) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a text in the simple protocol.
    pub(super) fn simple(
        &self,
        connection: &Rc<Connection>,
        sql: &str,
        want: Want,
    ) -> Result<Request, Error> {
        let own = self.own.as_deref();
        if own.is_some_and(|own| own.begin_sql().is_some()) {
            // What begins the transaction is of the other protocol, and ends in a Sync.
            let begun = connection.request(Want::Count, None, own, |out| {
                encode::sync(out);
                Ok(())
            });
            begun?.finish()?;
        }
        connection.request(want, None, own, |out| encode::simple(sql, out))
    }

    /// Runs `f` in a transaction, which owns the connection as long: requests of other fibers wait
    /// until it has ended. Use a pool where transactions are to run at the same time.
    ///
    /// It is committed when `f` returns `Ok`. It is rolled back when `f` returns an error or panics,
    /// and when the fiber is cancelled or its deadline passes on the way. Inside of a transaction
    /// this makes a savepoint, which owns the transaction in the same way.
    ///
    /// `f` uses what it is given; a call of the outer client in it is an error
    /// ([`ErrorKind::State`]), because that client waits for the end of the transaction.
    ///
    /// # Errors
    ///
    /// Those of `f`; those of beginning and committing. An error of phase
    /// [`Commit`](Phase::Commit) with [`may_have_run`](Error::may_have_run) says that the
    /// connection was lost while it was committed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use cede::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// client.transaction(|tx| {
    ///     tx.execute("update accounts set sum = sum - 10 where id = $1", &[&1])?;
    ///     tx.execute("update accounts set sum = sum + 10 where id = $1", &[&2])?;
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn transaction<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.build_transaction().run(f)
    }

    /// A transaction with an isolation level or other properties.
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }

    /// The server: `host:port`, or the path of its socket; the last one, when there is no
    /// connection at the moment.
    #[must_use]
    pub fn host(&self) -> String {
        self.core.host().to_string()
    }

    /// What the server has reported of the session: `server_version`, `TimeZone` and others
    /// (PostgreSQL's documentation, 55.2.7).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.core.current().parameters.borrow().get(name).cloned()
    }

    /// Forgets what is known of types that are not built in, and the statements that use them, as
    /// after `ALTER TYPE .. ADD VALUE`. A new connection knows nothing of the kind.
    pub fn clear_type_cache(&self) {
        let connection = self.core.current();
        connection.types.take();
        connection.forget_all();
    }

    /// Whether the connection was lost; the next call makes a new one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.current().is_closed()
    }

    /// What was done so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let in_flight = self.core.current().queue.borrow().len();
        self.core.counters.metrics(in_flight)
    }

    /// Waits for the turn of a request.
    #[inline]
    pub(super) fn turn(&self) -> Result<RwLockReadGuard<'_, ()>, Error> {
        self.turnstile.pass().map_err(|error| error.at(&self.core.host()))
    }

    /// Waits until what this client sends through belongs to this fiber alone.
    pub(super) fn own_turn(&self) -> Result<Turn<'_>, Error> {
        self.turnstile.own().map_err(|error| error.at(&self.core.host()))
    }

    /// Runs `f` with a connection; once more on the next one if that was lost before anything of
    /// the request was sent.
    #[inline]
    pub(super) fn on_connection<R>(
        &self,
        mut f: impl FnMut(&Rc<Connection>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut attempts = 0;
        loop {
            let connection = match &self.own {
                None => self.core.connection()?,
                Some(own) => own.connection()?,
            };
            match f(&connection) {
                Err(error)
                    if self.own.is_none()
                        && attempts < ATTEMPTS_MAX
                        && !error.may_have_run()
                        && error.is_closed() =>
                {
                    attempts += 1;
                    self.core.counters.retries.add(1);
                }
                result => return result,
            }
        }
    }

    /// Sends a statement.
    #[inline]
    pub(super) fn send(
        &self,
        statement: ToPrepare<'_>,
        params: &[&dyn ToSql],
        want: Want,
    ) -> Result<Request, Error> {
        let own = self.own.as_deref();
        let _turn = self.turn()?;
        self.on_connection(|connection| {
            let statement = connection.statement(statement, own)?;
            if statement.is_begin() && own.is_none() {
                let message = "fibers share the connection: use `transaction` to begin one";
                let error = Error::new(ErrorKind::State, Phase::Send, message);
                return Err(error.at(&connection.host));
            }
            if statement.is_copy() && want != Want::Copy {
                let message = "COPY from stdin or to stdout: use `copy_in` or `copy_out`";
                let error = Error::new(ErrorKind::State, Phase::Send, message);
                return Err(error.at(&connection.host));
            }
            connection.start(&statement, params, want, own)
        })
    }

    /// Executes a statement to its end.
    #[inline]
    fn execute_to_end(
        &self,
        statement: ToPrepare<'_>,
        params: &[&dyn ToSql],
        want: Want,
    ) -> Result<Request, Error> {
        let mut attempts = 0;
        loop {
            let request = self.send(statement, params, want)?;
            match request.finish() {
                Ok(()) => return Ok(request),
                Err(_) if self.may_repeat(&request, &mut attempts) => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    fn execute_spanned(
        &self,
        statement: ToPrepare<'_>,
        params: &[&dyn ToSql],
        want: Want,
    ) -> Result<Request, Error> {
        if !tracing::enabled!(Level::DEBUG) {
            return self.execute_to_end(statement, params, want);
        }
        let span = span(statement.sql());
        let request = self.execute_to_end(statement, params, want);
        match &request {
            Ok(request) => {
                span.record("rows", request.affected());
            }
            Err(error) => record_error(&span, error),
        }
        request
    }

    /// Whether a request that failed left nothing behind, and may be sent once more.
    #[cold]
    fn may_repeat(&self, request: &Request, attempts: &mut u32) -> bool {
        let again = match request.again() {
            Again::No => false,
            Again::NotSent => true,
            Again::Hit => request.statement().is_some_and(Statement::is_atomic),
            Again::Stale => {
                if let Some(statement) = request.statement() {
                    request.connection().forget(statement);
                }
                request.statement().is_some()
            }
        };
        *attempts += 1;
        let again = again && self.own.is_none() && *attempts < ATTEMPTS_MAX;
        if again {
            self.core.counters.retries.add(1);
        }
        again
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.host()).finish_non_exhaustive()
    }
}

/// What went wrong, without the server's words: they may hold values.
pub(super) fn record_error(span: &Span, error: &Error) {
    match error.code() {
        Some(code) => span.record("error", code.code()),
        None => span.record("error", field::debug(error.kind())),
    };
}

/// A span for a statement: its text, never a value. It is not entered, for other fibers run while
/// this one waits.
pub(super) fn span(sql: &str) -> Span {
    let mut end = sql.len().min(SPAN_SQL_BYTES_MAX);
    while !sql.is_char_boundary(end) {
        end -= 1;
    }
    tracing::debug_span!(
        "postgres",
        statement = &sql[..end],
        rows = field::Empty,
        error = field::Empty
    )
}
