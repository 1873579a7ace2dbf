//! The reader's fiber of a connection: it cuts what comes into messages and hands them to the
//! requests, in the order of the queue.
//!
//! The rule of this file: what the server sends is believed only where the protocol allows it at
//! that moment; everything else ends the connection.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use cede_fiber::{Park, Wait, WaitKind, is_cancelled, shield};
use postgres_protocol::message::backend::Message;

use super::config::is_utf8;
use super::connection::Connection;
use super::db_error::{DbError, Severity};
use super::error::{Error, ErrorKind, Phase};
use super::input::Input;
use super::limits::PARAMETERS_MAX;
use super::pending::{Again, Item, Pending, Want};
use super::row::Row;
use super::sqlstate::SqlState;
use super::statement::Statement;

/// The longest time for the cancel request of a runtime that shuts down.
const LAST_CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
/// What a server says of a statement that took too long. It has the SQLSTATE of one that was
/// cancelled, and nothing else that differs but a text, which some servers have in another language.
const STATEMENT_TIMEOUT: &str = "canceling statement due to statement timeout";

impl Connection {
    /// The life of the reader. `read` was read already.
    pub(super) fn read(&self, read: &[u8]) {
        /// Also when a shutdown unwinds the fiber.
        struct End<'a>(&'a Connection);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.fail(Error::closed(Phase::Idle));
            }
        }
        let _end = End(self);
        let mut input = Input::new(read, self.message_bytes_max);
        let error = self.read_all(&mut input);
        if self.is_leaving.get() && !self.is_idle() {
            // Nobody else is left to have the server stop.
            shield(|| self.cancel_once(LAST_CANCEL_TIMEOUT));
        }
        self.fail(error);
    }

    /// Ends with the reason why there is nothing more to read.
    fn read_all(&self, input: &mut Input) -> Error {
        let mut read = 0;
        loop {
            let before = self.queue.borrow().len();
            if let Err(error) = self.take_messages(input) {
                return error;
            }
            // Nobody can have added one meanwhile, but where the reader has waited for a consumer.
            self.gather.came(before.saturating_sub(self.queue.borrow().len()), read);
            self.send_in_time();
            match self.read_some(input.space()) {
                Ok(0) => {
                    let phase = if self.is_idle() { Phase::Idle } else { Phase::Receive };
                    let error = Error::closed(phase);
                    return error.with_source(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                Ok(n) => {
                    self.counters.bytes_received.add(n as u64);
                    read = n;
                    input.filled(n);
                }
                Err(error) => return Error::io(Phase::Receive, error).with_kind(ErrorKind::Closed),
            }
        }
    }

    #[inline]
    fn read_some(&self, space: &mut [u8]) -> io::Result<usize> {
        match self.gather.read(&self.stream, space, self.under_way()) {
            // The runtime shuts down: those who still wait are served.
            Err(error) if is_cancelled(&error) => {
                self.is_leaving.set(true);
                if !self.is_waited_for() {
                    return Err(error);
                }
                shield(|| self.gather.read(&self.stream, space, self.under_way()))
            }
            read => read,
        }
    }

    /// Whether anybody waits for an answer.
    fn is_waited_for(&self) -> bool {
        self.queue.borrow().iter().any(|pending| !pending.is_abandoned())
    }

    /// The reader only stays for those who wait: is it the time to go?
    pub(super) fn leave_in_time(&self) {
        if self.is_leaving.get() && !self.is_waited_for() {
            let _ = self.stream.shutdown();
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Hands over all messages that are complete.
    pub(super) fn take_messages(&self, input: &mut Input) -> Result<(), Error> {
        while let Some((tag, body)) = input.next().map_err(malformed)? {
            match tag {
                b'D' => self.data_row(input, body)?,
                // ParseComplete, BindComplete, CloseComplete, CopyDone.
                b'1' | b'2' | b'3' | b'c' => self.head(tag)?.has_begun.set(true),
                b'C' => self.command_complete(input.body(body))?,
                b'Z' => self.ready_for_query(input.body(body))?,
                _ => self.rare(input, tag, body)?,
            }
        }
        Ok(())
    }

    /// The request that is being answered.
    #[inline]
    fn head(&self, tag: u8) -> Result<Rc<Pending>, Error> {
        self.queue.borrow().front().map(Rc::clone).ok_or_else(|| unexpected(tag))
    }

    #[inline]
    fn data_row(&self, input: &mut Input, body: Range<usize>) -> Result<(), Error> {
        let head = self.head(b'D')?;
        self.counters.rows.add(1);
        head.has_begun.set(true);
        if head.is_abandoned() || head.error.borrow().is_some() {
            return Ok(());
        }
        let (Want::Rows | Want::Stream, Some(statement)) = (head.want, &head.statement) else {
            if head.want == Want::Texts {
                head.push(Item::Data(input.take(body)));
                self.limit_result(&head);
            }
            return Ok(());
        };
        let Some(row) = Row::new(statement, input.take(body)) else {
            return Err(malformed(io::Error::new(
                io::ErrorKind::InvalidData,
                "a row that is not one of its statement",
            )));
        };
        if head.want == Want::Stream {
            head.push(Item::Row(row));
            return self.wait_for_consumer(&head);
        }
        head.push_row(row);
        self.limit_result(&head);
        Ok(())
    }

    #[inline]
    fn limit_result(&self, head: &Pending) {
        let max = self.limits.result_bytes_max;
        if head.bytes.get() > max {
            let message = format!(
                "a result of more than {max} bytes; use query_each, or raise the limit \
                 (result_bytes_max)"
            );
            head.drop_result();
            let error = Error::new(ErrorKind::Limit, Phase::Receive, message);
            head.set_error(error.at(&self.host).maybe_run(true));
        }
    }

    /// Holds up the connection until the consumer has taken enough.
    #[inline]
    fn wait_for_consumer(&self, head: &Pending) -> Result<(), Error> {
        while head.bytes.get() > self.limits.stream_bytes_max && !self.is_closed() {
            let waited = Park::begin().and_then(|park| {
                self.reader.set(Some(park.ticket()));
                let head = std::ptr::from_ref(head) as u64;
                park.wait(Wait::new(WaitKind::Send, head), None)
            });
            waited.map_err(|error| Error::io(Phase::Receive, error))?;
        }
        Ok(())
    }

    /// A consumer has taken something, or will take nothing more.
    #[inline]
    pub(super) fn taken(&self, pending: &Pending) {
        if pending.bytes.get() <= self.limits.stream_bytes_max / 2
            && let Some(ticket) = self.reader.take()
        {
            ticket.wake();
        }
    }

    #[inline]
    fn command_complete(&self, body: &[u8]) -> Result<(), Error> {
        let head = self.head(b'C')?;
        let Some((0, tag)) = body.split_last() else { return Err(unexpected(b'C')) };
        head.has_begun.set(true);
        let affected = affected(tag);
        head.affected.set(affected);
        head.was_rollback.set(tag == b"ROLLBACK");
        if matches!(tag, b"DISCARD ALL" | b"DEALLOCATE ALL") {
            // Within a transaction the next statement could not be sent once more.
            drop(self.statements.forget_all());
        }
        Self::complete(&head, affected);
        Ok(())
    }

    /// A command is over. What belongs to COPY hears of it before its Sync.
    #[inline]
    fn complete(head: &Pending, affected: u64) {
        if matches!(head.want, Want::Copy | Want::Texts) && !head.is_abandoned() {
            head.push(Item::Complete(affected));
        }
    }

    #[inline]
    fn ready_for_query(&self, body: &[u8]) -> Result<(), Error> {
        let &[status @ (b'I' | b'T' | b'E')] = body else { return Err(unexpected(b'Z')) };
        let mut queue = self.queue.borrow_mut();
        let head = queue.pop_front().ok_or_else(|| unexpected(b'Z'))?;
        let left = queue.len();
        drop(queue);
        if head.is_abandoned() {
            self.counters.abandoned.add(1);
            self.canceller.one_less();
        }
        if let Some(own) = &head.own {
            own.set(status);
        } else if status != b'I' {
            let message = "a statement has begun a transaction on a connection that fibers share; \
                 use `transaction`. The connection is closed and the transaction rolled back";
            let error = Error::new(ErrorKind::State, Phase::Execute, message).at(&self.host);
            head.fail(error.clone());
            return Err(error);
        }
        head.finish(status);
        self.one_less(left);
        Ok(())
    }

    /// What does not belong to every query.
    #[cold]
    fn rare(&self, input: &mut Input, tag: u8, body: Range<usize>) -> Result<(), Error> {
        if tag == b'd' {
            let head = self.head(tag)?;
            if head.want == Want::Copy && !head.is_abandoned() {
                head.push(Item::Data(input.take(body)));
                return self.wait_for_consumer(&head);
            }
            return Ok(());
        }
        let message = parse(tag, input.body(body)).map_err(malformed)?;
        match message {
            Message::EmptyQueryResponse => {
                let head = self.head(tag)?;
                head.has_begun.set(true);
                Self::complete(&head, 0);
            }
            Message::ErrorResponse(body) => {
                let error = DbError::parse(&mut body.fields()).map_err(malformed)?;
                return self.error(error);
            }
            Message::NoticeResponse(body) => {
                let notice = DbError::parse(&mut body.fields()).map_err(malformed)?;
                tracing::debug!(host = &*self.host, %notice, "a notice of the server");
            }
            Message::NotificationResponse(body) => self.hooks.notify(&body),
            Message::ParameterStatus(body) => {
                let name = body.name().map_err(malformed)?;
                self.parameter(name, body.value().map_err(malformed)?)?;
            }
            Message::ParameterDescription(_) | Message::RowDescription(_) | Message::NoData => {
                let head = self.head(tag)?;
                head.has_begun.set(true);
                if matches!(head.want, Want::Description | Want::Texts) && !head.is_abandoned() {
                    head.push(Item::Message(message));
                }
            }
            Message::CopyInResponse(_) => {
                let head = self.head(tag)?;
                head.has_begun.set(true);
                if head.want == Want::Copy && head.is_abandoned() {
                    // Who gave it up has told the server already.
                    return Ok(());
                }
                if head.want != Want::Copy {
                    // Requests behind it would be taken for the data.
                    let text = "a statement wants to be sent data: use `copy_in`. The connection \
                         is closed";
                    let error = Error::new(ErrorKind::State, Phase::Copy, text).at(&self.host);
                    head.set_error(error.clone());
                    return Err(error);
                }
                head.push(Item::Message(message));
            }
            Message::CopyOutResponse(_) => {
                let head = self.head(tag)?;
                head.has_begun.set(true);
                if head.want == Want::Copy && !head.is_abandoned() {
                    head.push(Item::Message(message));
                } else {
                    let text = "a statement sends data in the format of COPY: use `copy_out`";
                    let error = Error::new(ErrorKind::State, Phase::Copy, text);
                    head.set_error(error.at(&self.host).maybe_run(true));
                }
            }
            _ => return Err(unexpected(tag)),
        }
        Ok(())
    }

    /// A setting of the session is another one.
    fn parameter(&self, name: &str, value: &str) -> Result<(), Error> {
        if name == "client_encoding" && !is_utf8(value) {
            let message = "a statement has set client_encoding to something else than UTF8; texts \
                 would be stored as others. The connection is closed";
            return Err(Error::new(ErrorKind::State, Phase::Receive, message));
        }
        let mut parameters = self.parameters.borrow_mut();
        parameters.insert(name.to_owned(), value.to_owned());
        if parameters.len() > PARAMETERS_MAX {
            parameters.clear();
            let message = format!("the server reports more than {PARAMETERS_MAX} settings");
            return Err(Error::protocol(Phase::Receive, message));
        }
        Ok(())
    }

    /// What the server says of the request that it answers; or of the session, which is over then.
    fn error(&self, error: DbError) -> Result<(), Error> {
        let head = self.queue.borrow().front().map(Rc::clone);
        let is_last = matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        let head = match head {
            Some(head) if !is_last => head,
            _ => {
                let phase = if head.is_some() { Phase::Execute } else { Phase::Idle };
                let error = Error::db(phase, error).at(&self.host);
                self.last_words.replace(Some(error.clone()));
                return Err(error);
            }
        };
        self.counters.errors.add(1);
        let phase = match head.want {
            Want::Description => Phase::Prepare,
            Want::Copy => Phase::Copy,
            _ => Phase::Execute,
        };
        let is_hit = *error.code() == SqlState::QUERY_CANCELED
            && error.message() != STATEMENT_TIMEOUT
            && self.canceller.has_hit(&head);
        if is_hit {
            head.again.set(Again::Hit);
        } else if is_stale(&error) {
            head.again.set(Again::Stale);
        }
        let is_unknown = *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME;
        let mut error = Error::db(phase, error).at(&self.host);
        if is_unknown && head.statement.is_some() {
            let hint = "the session has lost its prepared statements; a pooler that changes it \
                 between transactions has to keep track of them";
            let text = error.as_db_error().map(ToString::to_string).unwrap_or_default();
            error = error.with_message(format!("{text}; {hint}"));
        }
        if is_hit {
            let is_atomic = head.statement.as_ref().is_some_and(Statement::is_atomic);
            let message = "a cancel request that was meant for another statement of this connection \
                 has met this one";
            error = error.with_message(message).maybe_run(!is_atomic);
        }
        head.set_error(error);
        Ok(())
    }
}

/// Whether a prepared statement is gone, or its result would have another type than it had.
fn is_stale(error: &DbError) -> bool {
    *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        || (*error.code() == SqlState::FEATURE_NOT_SUPPORTED
            && error.routine() == Some("RevalidateCachedQuery"))
}

/// The number of rows in the tag of a command; 0 when it names none.
fn affected(tag: &[u8]) -> u64 {
    let number = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let digits = |n: u64, byte: &u8| match byte {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    };
    number.iter().try_fold(0, digits).unwrap_or(0)
}

fn parse(tag: u8, body: &[u8]) -> io::Result<Message> {
    let mut bytes = BytesMut::with_capacity(body.len() + 5);
    bytes.put_u8(tag);
    bytes.put_u32(body.len() as u32 + 4);
    bytes.put_slice(body);
    Message::parse(&mut bytes)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cold]
fn malformed(error: io::Error) -> Error {
    let message = format!("the server sent what is no message: {error}");
    Error::protocol(Phase::Receive, message).with_source(error)
}

#[cold]
fn unexpected(tag: u8) -> Error {
    let tag = char::from(tag).escape_default();
    Error::protocol(Phase::Receive, format!("the server sent a message '{tag}' out of place"))
}
