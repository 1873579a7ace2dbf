//! Transactions and savepoints as closures.
//!
//! The surprising rule: BEGIN is sent together with the first statement, under one Sync. If it fails
//! the server skips that statement, so nothing ever runs outside of the transaction that it was
//! meant for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::{Park, is_shutdown_unwind, shield, sleep, with_deadline};

use super::client::Client;
use super::connection::Connection;
use super::error::{Error, ErrorKind, Phase};
use super::pending::{Again, Pending, Want};
use super::turn::Turnstile;

/// The longest time for a rollback that nothing else bounds; then the connection is closed, which
/// rolls back as well.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);
/// A rollback that a cancel request has met is sent again, so often.
const ROLLBACK_ATTEMPTS_MAX: usize = 4;

/// A transaction that owns its connection, or a savepoint within one; see
/// [`Client::transaction`].
///
/// It can do what a client can. Fibers of a scope may share it; their requests are pipelined.
pub struct Transaction {
    client: Client,
}

impl Transaction {
    fn new(client: &Client, own: Rc<Own>) -> Self {
        let core = Rc::clone(&client.core);
        Self { client: Client { core, own: Some(own), turnstile: Rc::new(Turnstile::new()) } }
    }
}

impl Deref for Transaction {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("host", &self.host()).finish_non_exhaustive()
    }
}

/// How much a transaction sees of others (PostgreSQL's documentation, 13.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// The same as `ReadCommitted` in PostgreSQL.
    ReadUncommitted,
    /// Each statement sees what was committed before it began.
    ReadCommitted,
    /// All statements see what was committed before the first one began.
    RepeatableRead,
    /// As if transactions ran one after the other; some fail and are to be run again
    /// ([`SqlState::is_retryable`](super::SqlState::is_retryable)).
    Serializable,
}

/// The properties of a transaction; see [`Client::build_transaction`].
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// # use cede::postgres::{Client, Error, IsolationLevel};
/// # fn f(client: &Client) -> Result<(), Error> {
/// let total: i64 = client
///     .build_transaction()
///     .isolation_level(IsolationLevel::RepeatableRead)
///     .read_only(true)
///     .run(|tx| tx.query_one("select count(*) from people", &[])?.try_get(0))?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it runs"]
pub struct TransactionBuilder<'a> {
    client: &'a Client,
    isolation_level: Option<IsolationLevel>,
    read_only: Option<bool>,
    deferrable: Option<bool>,
}

impl<'a> TransactionBuilder<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, isolation_level: None, read_only: None, deferrable: None }
    }

    /// The isolation level. Default: the session's.
    pub fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.isolation_level = Some(level);
        self
    }

    /// Whether it can change nothing. Default: the session's.
    pub fn read_only(mut self, on: bool) -> Self {
        self.read_only = Some(on);
        self
    }

    /// Whether a read-only serializable one may wait at its beginning so that it cannot fail.
    /// Default: the session's.
    pub fn deferrable(mut self, on: bool) -> Self {
        self.deferrable = Some(on);
        self
    }

    fn begin_sql(&self) -> String {
        let mut sql = String::from("BEGIN");
        let level = self.isolation_level.map(|level| match level {
            IsolationLevel::ReadUncommitted => " ISOLATION LEVEL READ UNCOMMITTED",
            IsolationLevel::ReadCommitted => " ISOLATION LEVEL READ COMMITTED",
            IsolationLevel::RepeatableRead => " ISOLATION LEVEL REPEATABLE READ",
            IsolationLevel::Serializable => " ISOLATION LEVEL SERIALIZABLE",
        });
        let read = self.read_only.map(|on| if on { " READ ONLY" } else { " READ WRITE" });
        let defer = self.deferrable.map(|on| if on { " DEFERRABLE" } else { " NOT DEFERRABLE" });
        sql.extend([level, read, defer].into_iter().flatten());
        sql
    }

    /// Runs it; see [`Client::transaction`].
    ///
    /// # Errors
    ///
    /// As [`Client::transaction`]; when properties are given to a savepoint, which has none.
    pub fn run<T, E: From<Error>>(
        self,
        f: impl FnOnce(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let sql = self.begin_sql();
        match &self.client.own {
            None => outer(self.client, sql, f),
            Some(_) if sql != "BEGIN" => {
                let message = "a savepoint has no properties of its own";
                Err(Error::new(ErrorKind::State, Phase::Send, message).into())
            }
            Some(own) => savepoint(self.client, own, f),
        }
    }
}

fn outer<T, E: From<Error>>(
    client: &Client,
    begin: String,
    f: impl FnOnce(&Transaction) -> Result<T, E>,
) -> Result<T, E> {
    let turn = client.own_turn()?;
    let own = Rc::new(Own::new(client.core.connection()?, begin));
    let transaction = Transaction::new(client, Rc::clone(&own));
    let _end = End(&own);
    let result = catch_unwind(AssertUnwindSafe(|| f(&transaction)));
    let result = match result {
        Ok(Ok(value)) => own.commit(&transaction).map(|()| value).map_err(E::from),
        Ok(Err(error)) => {
            own.roll_back(&transaction, "ROLLBACK", b'I');
            Err(error)
        }
        Err(payload) => {
            // A fiber that a shutdown unwinds cannot wait any more.
            if !is_shutdown_unwind(&*payload) {
                own.roll_back(&transaction, "ROLLBACK", b'I');
            }
            drop(_end);
            drop(turn);
            resume_unwind(payload)
        }
    };
    drop(turn);
    result
}

fn savepoint<T, E: From<Error>>(
    client: &Client,
    own: &Rc<Own>,
    f: impl FnOnce(&Transaction) -> Result<T, E>,
) -> Result<T, E> {
    /// Who still has a clone of it would send to the transaction around it.
    struct Over<'a>(&'a Transaction);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.client.turnstile.end();
        }
    }
    let _turn = client.own_turn()?;
    let number = own.savepoints.get() + 1;
    own.savepoints.set(number);
    let transaction = Transaction::new(client, Rc::clone(own));
    let _over = Over(&transaction);
    transaction.batch_execute(&format!("SAVEPOINT cede_{number}"))?;
    let back = format!("ROLLBACK TO SAVEPOINT cede_{number}; RELEASE SAVEPOINT cede_{number}");
    match catch_unwind(AssertUnwindSafe(|| f(&transaction))) {
        Ok(Ok(value)) => {
            let released = transaction.batch_execute(&format!("RELEASE SAVEPOINT cede_{number}"));
            match released {
                Ok(()) => Ok(value),
                Err(error) => {
                    // What was never sent, or fails, leaves the savepoint.
                    if !error.may_have_run() {
                        own.roll_back(&transaction, &back, b'T');
                    }
                    Err(error.into())
                }
            }
        }
        Ok(Err(error)) => {
            own.roll_back(&transaction, &back, b'T');
            Err(error)
        }
        Err(payload) => {
            if !is_shutdown_unwind(&*payload) {
                own.roll_back(&transaction, &back, b'T');
            }
            resume_unwind(payload)
        }
    }
}

/// A transaction has ended, however that came.
struct End<'a>(&'a Own);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if self.0.state.replace(State::Ended) == State::Open {
            // The server rolls back what its client leaves.
            let message = "a transaction was left open";
            let error = Error::closed(Phase::Idle).with_source(std::io::Error::other(message));
            self.0.connection.fail(error);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// BEGIN was not sent yet.
    New,
    Open,
    Ended,
}

/// What requests of a transaction share.
pub(super) struct Own {
    connection: Rc<Connection>,
    begin: String,
    state: Cell<State>,
    /// The request that BEGIN went with.
    first: RefCell<Option<Rc<Pending>>>,
    /// Behind the last answer; `T` before the first one.
    status: Rc<Cell<u8>>,
    savepoints: Cell<u64>,
}

impl Own {
    fn new(connection: Rc<Connection>, begin: String) -> Self {
        Self {
            connection,
            begin,
            state: Cell::new(State::New),
            first: RefCell::default(),
            status: Rc::new(Cell::new(b'T')),
            savepoints: Cell::new(0),
        }
    }

    /// Its connection, never another one.
    ///
    /// # Errors
    ///
    /// When it was lost; when the transaction has ended.
    pub(super) fn connection(&self) -> Result<Rc<Connection>, Error> {
        if self.state.get() == State::Ended {
            let message = "the transaction has ended";
            let error = Error::new(ErrorKind::State, Phase::Send, message);
            return Err(error.at(&self.connection.host));
        }
        if self.connection.is_closed() {
            return Err(self.connection.closed_before_send());
        }
        Ok(Rc::clone(&self.connection))
    }

    /// Where the reader keeps its state.
    pub(super) fn status(&self) -> Rc<Cell<u8>> {
        Rc::clone(&self.status)
    }

    /// What begins it, if that was not sent yet.
    pub(super) fn begin_sql(&self) -> Option<&str> {
        (self.state.get() == State::New).then_some(&*self.begin)
    }

    /// What begins it goes with the next request, if the first one was given up before it was sent.
    fn begin_again(&self) {
        if self.state.get() == State::Open && self.was_taken_back() {
            self.state.set(State::New);
            self.first.take();
        }
    }

    /// A request of it was sent; what begins it went with the first one.
    pub(super) fn has_sent(&self, pending: &Rc<Pending>) {
        if self.state.get() == State::New {
            self.state.set(State::Open);
            self.first.replace(Some(Rc::clone(pending)));
        }
    }

    /// Waits until the answer to the first request shows that the transaction has begun.
    ///
    /// # Errors
    ///
    /// When it has not, or a statement has ended it; the end of the connection.
    pub(super) fn wait_until_begun(&self, connection: &Connection) -> Result<(), Error> {
        loop {
            let waits = self.first.borrow().as_ref().is_some_and(|first| !first.is_done());
            if !waits {
                break;
            }
            connection.wait_once()?;
        }
        self.begin_again();
        self.check_open()
    }

    /// Whether what begins it was given up before it was sent.
    fn was_taken_back(&self) -> bool {
        self.first.borrow().as_ref().is_some_and(|first| first.is_taken_back())
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.status.get() == b'I' {
            let message = "the transaction did not begin, or was ended by a statement in it";
            let error = Error::new(ErrorKind::State, Phase::Execute, message);
            return Err(error.at(&self.connection.host));
        }
        Ok(())
    }

    fn commit(&self, transaction: &Transaction) -> Result<(), Error> {
        self.begin_again();
        if self.state.get() == State::New {
            return Ok(());
        }
        let host = &self.connection.host;
        let sent = Self::check_fiber()
            .map_err(|error| Error::io(Phase::Commit, error).at(host))
            .and_then(|()| transaction.simple(&self.connection, "COMMIT", Want::Count));
        let request = match sent {
            Ok(request) => request,
            Err(error) => {
                self.roll_back(transaction, "ROLLBACK", b'I');
                return Err(error.with_phase(Phase::Commit));
            }
        };
        // Whatever comes of it, the transaction is over.
        self.state.set(State::Ended);
        request.finish().map_err(|error| {
            if request.again() == Again::Hit {
                self.roll_back(transaction, "ROLLBACK", b'I');
            } else if request.was_taken_back() {
                self.state.set(State::Open);
                self.roll_back(transaction, "ROLLBACK", b'I');
            }
            error.with_phase(Phase::Commit)
        })?;
        if request.was_rollback() {
            let message = "a statement of the transaction had failed, so it was rolled back";
            return Err(Error::new(ErrorKind::State, Phase::Commit, message).at(host));
        }
        Ok(())
    }

    /// A fiber that was cancelled, or whose deadline has passed, does not commit.
    pub(super) fn check_fiber() -> std::io::Result<()> {
        match cede_fiber::deadline() {
            None => Park::begin().map(drop),
            Some(_) => sleep(Duration::ZERO),
        }
    }

    /// Rolls back, also when the fiber was cancelled; closes the connection if that takes too long.
    fn roll_back(&self, transaction: &Transaction, sql: &str, status: u8) {
        self.begin_again();
        if self.state.get() == State::New || self.connection.is_closed() {
            return;
        }
        // A statement may have ended it.
        if self.check_open().is_err() {
            self.state.set(State::Ended);
            return;
        }
        let rolled_back = shield(|| {
            with_deadline(ROLLBACK_TIMEOUT, || {
                let mut attempts = 0;
                loop {
                    attempts += 1;
                    let request = transaction.simple(&self.connection, sql, Want::Count)?;
                    match request.finish() {
                        Ok(()) => return Ok(request.status()),
                        Err(_)
                            if request.again() == Again::Hit
                                && attempts < ROLLBACK_ATTEMPTS_MAX => {}
                        Err(error) => return Err(error),
                    }
                }
            })
        });
        match rolled_back {
            Ok(now) if now == status => {
                if status == b'I' {
                    self.state.set(State::Ended);
                }
            }
            Ok(_) | Err(_) => {
                tracing::debug!(host = &*self.connection.host, "a rollback failed");
                let error = Error::closed(Phase::Idle);
                let message = "a transaction could not be rolled back";
                self.connection.fail(error.with_source(std::io::Error::other(message)));
                self.state.set(State::Ended);
            }
        }
    }
}
