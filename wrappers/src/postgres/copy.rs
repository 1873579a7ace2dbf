//! COPY: rows in bulk, in the formats of the server (text, CSV, binary), as bytes.
//!
//! The surprising rule: data that were begun are never half sent. A [`CopyIn`] that is dropped
//! before its `finish` tells the server so, and nothing of it is kept.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tracing::Span;

use super::client::{Client, record_error, span};
use super::connection::{Copying, Streaming};
use super::encode;
use super::error::{Error, ErrorKind, Phase};
use super::pending::{Item, Want};
use super::request::Request;
use super::transaction::Own;
use super::turn::Turn;

/// What is written is sent in messages of this size, in bytes.
const MESSAGE_BYTES: usize = 64 * 1024;
/// The tag of a message and its length.
const HEAD_BYTES: usize = 5;

impl Client {
    /// Sends data to `COPY .. FROM STDIN`: what is written to the result, up to
    /// [`finish`](CopyIn::finish). Until then it owns the connection, as a transaction does.
    ///
    /// # Errors
    ///
    /// What the server says of the statement; when it is none that takes data; the end of the
    /// connection; a cancel or a deadline.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use std::io::Write;
    /// # use cede::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let mut copy = client.copy_in("copy people (id, name) from stdin")?;
    /// for (id, name) in [(1, "Ann"), (2, "Bob")] {
    ///     writeln!(copy, "{id}\t{name}")?;
    /// }
    /// assert_eq!(copy.finish()?, 2);
    /// # Ok(()) }
    /// ```
    pub fn copy_in(&self, sql: &str) -> Result<CopyIn<'_>, Error> {
        // Within a transaction it is enough that nothing is sent between its data.
        let (turn, passed) = match self.own {
            None => (Some(self.own_turn()?), None),
            Some(_) => (None, Some(self.turn()?)),
        };
        let (command, first) = Command::begin(self, sql)?;
        drop(passed);
        match first {
            Item::Message(Message::CopyInResponse(_)) => {
                Ok(CopyIn { buffer: Vec::new(), command, _turn: turn })
            }
            _ => {
                Err(command.wrong("the statement takes no data; copy_in is for COPY .. FROM STDIN"))
            }
        }
    }

    /// Receives the data of `COPY .. TO STDOUT`, which come as fast as they are taken: answers to
    /// other fibers that share the connection wait behind them.
    ///
    /// # Errors
    ///
    /// As [`copy_in`](Self::copy_in).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use std::io::BufRead;
    /// # use cede::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// for line in client.copy_out("copy people to stdout (format csv)")?.lines() {
    ///     println!("{}", line?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn copy_out(&self, sql: &str) -> Result<CopyOut, Error> {
        let turn = self.turn()?;
        let (mut command, first) = Command::begin(self, sql)?;
        drop(turn);
        match first {
            Item::Message(Message::CopyOutResponse(_)) => {
                command.end(&[]);
                let streaming = command.request.connection().stream();
                Ok(CopyOut { bytes: Bytes::new(), command, _streaming: streaming })
            }
            Item::Message(Message::CopyInResponse(_)) => {
                Err(command.wrong("the statement wants data; use copy_in"))
            }
            _ => {
                Err(command.wrong("the statement sends no data; copy_out is for COPY .. TO STDOUT"))
            }
        }
    }
}

/// A command of COPY.
///
/// Its Sync is sent when it is certain that the server does not take it for data, and always
/// exactly one: until then nobody else sends anything.
struct Command {
    request: Request,
    span: Span,
    /// Until the Sync is sent.
    copying: Option<Copying>,
}

impl Command {
    /// Sends it, and waits for what the server says first.
    fn begin(client: &Client, sql: &str) -> Result<(Self, Item), Error> {
        let span = span(sql);
        let command = Self::begin_in(client, sql, &span);
        command.inspect_err(|error| record_error(&span, error))
    }

    fn begin_in(client: &Client, sql: &str, span: &Span) -> Result<(Self, Item), Error> {
        let has_begin = Cell::new(false);
        let mut command = client.on_connection(|connection| {
            let own = client.own.as_deref();
            let encode = |out: &mut BytesMut| {
                // What begins its transaction may go with it.
                has_begin.set(!out.is_empty());
                encode::copy(sql, out)
            };
            let request = connection.request(Want::Copy, None, own, encode)?;
            // Nothing has waited since it was sent.
            Ok(Self { request, span: span.clone(), copying: Some(connection.copy()) })
        })?;
        let mut first = command.request.next_or_error()?;
        if has_begin.get() && matches!(first, Some(Item::Complete(_))) {
            first = command.request.next_or_error()?;
        }
        match first {
            Some(item) => Ok((command, item)),
            // The server skips everything up to a Sync.
            None => Err(command.failure()),
        }
    }

    /// Waits for the end of it.
    fn finish(&self) -> Result<u64, Error> {
        self.told(self.request.finish())?;
        let rows = self.request.affected();
        self.span.record("rows", rows);
        Ok(rows)
    }

    /// The same result, which its span knows.
    fn told<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| record_error(&self.span, error))
    }

    /// The server has said that it failed: why.
    fn failure(&mut self) -> Error {
        self.end(&[]);
        match self.request.finish() {
            Err(error) => error,
            Ok(()) => self.wrong("the server has ended the COPY before its data"),
        }
    }

    fn wrong(&self, message: &'static str) -> Error {
        let error = Error::new(ErrorKind::State, Phase::Copy, message);
        error.at(&self.request.connection().host)
    }

    /// Sends the last of it, and the Sync, unless that was done. It does not wait, so that a
    /// destructor can do it.
    fn end(&mut self, last: &[u8]) {
        let Some(copying) = self.copying.take() else { return };
        if self.request.was_taken_back() {
            return;
        }
        let mut bytes = BytesMut::from(last);
        encode::sync(&mut bytes);
        // It fails when the connection has ended, which the answer tells.
        let _ = self.request.connection().outbox.append(|out| {
            out.extend_from_slice(&bytes);
            Ok::<_, io::Error>(())
        });
        drop(copying);
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let mut bytes = BytesMut::new();
        // Where the server takes no data it ignores this (PostgreSQL's documentation, 55.2.6).
        // It only fails for a text with a zero byte.
        let _ = frontend::copy_fail("the client has given the COPY up", &mut bytes);
        self.end(&bytes);
    }
}

/// The data of a `COPY .. FROM STDIN`; see [`Client::copy_in`].
///
/// Dropped without [`finish`](Self::finish), nothing is kept of what was written.
#[must_use = "nothing is kept unless it is finished"]
pub struct CopyIn<'a> {
    /// A message that begins with room for its head, or nothing.
    buffer: Vec<u8>,
    command: Command,
    /// Dropped last, after the command was given up.
    _turn: Option<Turn<'a>>,
}

impl CopyIn<'_> {
    /// Says that this is all, and returns the number of rows.
    ///
    /// # Errors
    ///
    /// What the server says of the data; the end of the connection; a cancel or a deadline. With
    /// [`may_have_run`](Error::may_have_run) the rows may be there.
    pub fn finish(mut self) -> Result<u64, Error> {
        self.send()?;
        let mut bytes = BytesMut::new();
        frontend::copy_done(&mut bytes);
        Own::check_fiber().map_err(|error| Error::io(Phase::Copy, error))?;
        self.command.end(&bytes);
        self.command.finish()
    }

    /// Gives it up: the server keeps nothing of it.
    ///
    /// # Errors
    ///
    /// The end of the connection; a cancel or a deadline.
    pub fn abort(mut self) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        let _ = frontend::copy_fail("the client has given the COPY up", &mut bytes);
        self.command.end(&bytes);
        match self.command.request.finish() {
            // That is what was asked for.
            Err(error) if error.as_db_error().is_some() => Ok(()),
            result => result,
        }
    }

    /// Sends what is gathered. The server does not have to wait for the end to complain.
    fn send(&mut self) -> Result<(), Error> {
        if self.command.request.has_failed() {
            let failure = Err(self.command.failure());
            return self.command.told(failure);
        }
        if self.buffer.len() <= HEAD_BYTES {
            return Ok(());
        }
        // Its length counts itself, but not the tag.
        let len = (self.buffer.len() - 1) as u32;
        self.buffer[0] = b'd';
        self.buffer[1..HEAD_BYTES].copy_from_slice(&len.to_be_bytes());
        self.command.request.connection().append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for CopyIn<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= MESSAGE_BYTES {
            // It could not be sent before.
            self.send()?;
        }
        if self.buffer.is_empty() {
            self.buffer.resize(HEAD_BYTES, 0);
        }
        let n = buf.len().min(MESSAGE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&buf[..n]);
        if self.buffer.len() == MESSAGE_BYTES {
            self.send()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.send()?)
    }
}

impl fmt::Debug for CopyIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.command.request.connection().host;
        f.debug_struct("CopyIn").field("host", host).finish_non_exhaustive()
    }
}

/// The data of a `COPY .. TO STDOUT`; see [`Client::copy_out`].
///
/// It is read as a stream of bytes, or taken as an iterator over the pieces in which they came: of
/// the text formats each is a row. Dropped before its end, the rest is not waited for. Until then its
/// fiber cannot use the same client for anything else.
#[must_use = "the data have to be taken"]
pub struct CopyOut {
    bytes: Bytes,
    command: Command,
    _streaming: Streaming,
}

impl CopyOut {
    fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.bytes.is_empty() {
            return Ok(Some(std::mem::take(&mut self.bytes)));
        }
        loop {
            match self.command.told(self.command.request.next())? {
                None => {
                    self.command.span.record("rows", self.command.request.affected());
                    return Ok(None);
                }
                Some(Item::Data(bytes)) => return Ok(Some(bytes)),
                Some(_) => {}
            }
        }
    }
}

impl Iterator for CopyOut {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_piece().transpose()
    }
}

impl BufRead for CopyOut {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.bytes.is_empty() {
            match self.next_piece()? {
                Some(bytes) => self.bytes = bytes,
                None => break,
            }
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, n: usize) {
        self.bytes.advance(n);
    }
}

impl Read for CopyOut {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.command.request.connection().host;
        f.debug_struct("CopyOut").field("host", host).finish_non_exhaustive()
    }
}
