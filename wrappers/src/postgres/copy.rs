//! COPY: rows in bulk, in the formats of the server (text, CSV, binary), as bytes.
//!
//! The surprising rule: data that were begun are never half sent. A [`CopyIn`] that is dropped
//! before its `finish` tells the server so, and nothing of it is kept.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::client::Client;
use super::connection::{Copying, Streaming};
use super::core::Turn;
use super::error::{Error, ErrorKind, Phase};
use super::pending::{Item, Want};
use super::request::Request;

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
    /// # use std::io::Write;
    /// # use cede_wrappers::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let mut copy = client.copy_in("copy people (id, name) from stdin")?;
    /// for (id, name) in [(1, "Ann"), (2, "Bob")] {
    ///     writeln!(copy, "{id}\t{name}")?;
    /// }
    /// assert_eq!(copy.finish()?, 2);
    /// # Ok(()) }
    /// ```
    pub fn copy_in(&self, sql: &str) -> Result<CopyIn<'_>, Error> {
        let turn = match self.own {
            None => Some(self.core.own()?),
            Some(_) => None,
        };
        let (request, copying) = self.on_connection(|connection| {
            let request = self.simple_for(connection, sql, Want::Copy)?;
            // Nothing has waited since it was sent.
            Ok((request, connection.copy()))
        })?;
        let mut this = CopyIn {
            buffer: Vec::new(),
            state: State::Begun,
            copying: Some(copying),
            request,
            _turn: turn,
        };
        match this.request.next()? {
            Some(Item::Message(Message::CopyInResponse(_))) => {
                this.state = State::Sending;
                Ok(this)
            }
            _ => Err(this.wrong("the statement takes no data; copy_in is for COPY .. FROM STDIN")),
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
    /// # use std::io::BufRead;
    /// # use cede_wrappers::postgres::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// for line in client.copy_out("copy people to stdout (format csv)")?.lines() {
    ///     println!("{}", line?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn copy_out(&self, sql: &str) -> Result<CopyOut, Error> {
        let turn = self.turn()?;
        let (request, copying) = self.on_connection(|connection| {
            let request = self.simple_for(connection, sql, Want::Copy)?;
            Ok((request, connection.copy()))
        })?;
        drop(turn);
        // Should it be one that asks for data, nobody else may have sent anything until it is told
        // that there are none.
        let first = request.next();
        let is_output = matches!(first, Ok(Some(Item::Message(Message::CopyOutResponse(_)))));
        if !is_output && !request.has_failed() {
            fail_copy(&request);
        }
        drop(copying);
        let streaming = request.connection().stream();
        let this = CopyOut { bytes: Bytes::new(), request, _streaming: streaming };
        match first? {
            Some(Item::Message(Message::CopyOutResponse(_))) => Ok(this),
            Some(Item::Message(Message::CopyInResponse(_))) => {
                Err(this.wrong("the statement wants data; use copy_in"))
            }
            _ => Err(this.wrong("the statement sends no data; copy_out is for COPY .. TO STDOUT")),
        }
    }
}

/// Tells the server that no more data come. It must not wait, so that a destructor can do it.
fn fail_copy(request: &Request) {
    let mut bytes = BytesMut::new();
    // It only fails for a text with a zero byte.
    let _ = frontend::copy_fail("the client has given the COPY up", &mut bytes);
    let _ = request.connection().outbox.append(|out| {
        out.extend_from_slice(&bytes);
        Ok::<_, io::Error>(())
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server has not asked for data yet.
    Begun,
    Sending,
    /// The server was told that this is all, or that there will be no more.
    Over,
}

/// The data of a `COPY .. FROM STDIN`; see [`Client::copy_in`].
///
/// Dropped without [`finish`](Self::finish), nothing is kept of what was written.
#[must_use = "nothing is kept unless it is finished"]
pub struct CopyIn<'a> {
    /// A message that begins with room for its head, or nothing.
    buffer: Vec<u8>,
    state: State,
    copying: Option<Copying>,
    request: Request,
    /// Dropped last, after the request was given up.
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
        self.check()?;
        let mut bytes = BytesMut::new();
        frontend::copy_done(&mut bytes);
        self.request.connection().append(&bytes)?;
        self.state = State::Over;
        // Others may send behind it.
        self.copying = None;
        match self.request.next()? {
            None => Ok(self.request.affected()),
            Some(Item::Message(Message::CopyInResponse(_))) => {
                fail_copy(&self.request);
                Err(self.wrong("a second COPY in one text; the first one is not undone"))
            }
            Some(_) => Err(self.wrong("the text of a COPY goes on behind it")),
        }
    }

    /// Gives it up: the server keeps nothing of it.
    ///
    /// # Errors
    ///
    /// The end of the connection; a cancel or a deadline.
    pub fn abort(mut self) -> Result<(), Error> {
        self.give_up();
        match self.request.finish() {
            // That is what was asked for.
            Err(error) if error.as_db_error().is_some() => Ok(()),
            result => result,
        }
    }

    fn give_up(&mut self) {
        self.buffer.clear();
        // Also before the server has asked for data: it ignores this where it did not
        // (PostgreSQL's documentation, 55.2.6), and others may send behind it.
        if self.state != State::Over && !self.request.has_failed() {
            fail_copy(&self.request);
        }
        self.state = State::Over;
        self.copying = None;
    }

    fn wrong(&self, message: &'static str) -> Error {
        let error = Error::new(ErrorKind::State, Phase::Copy, message);
        error.at(&self.request.connection().host)
    }

    /// Sends what is gathered.
    fn send(&mut self) -> Result<(), Error> {
        self.check()?;
        if self.buffer.len() <= HEAD_BYTES {
            return Ok(());
        }
        // Its length counts itself, but not the tag.
        let len = (self.buffer.len() - 1) as u32;
        self.buffer[0] = b'd';
        self.buffer[1..HEAD_BYTES].copy_from_slice(&len.to_be_bytes());
        self.request.connection().append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// What the server has said so far; it does not have to wait for the end to complain.
    fn check(&self) -> Result<(), Error> {
        if self.state != State::Sending {
            return Err(self.wrong("the COPY is over"));
        }
        if !self.request.has_failed() {
            return Ok(());
        }
        self.request.finish()?;
        Err(self.wrong("the server has ended the COPY before its data"))
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

impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for CopyIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").field("state", &self.state).finish_non_exhaustive()
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
    request: Request,
    _streaming: Streaming,
}

impl CopyOut {
    fn wrong(&self, message: &'static str) -> Error {
        let error = Error::new(ErrorKind::State, Phase::Copy, message);
        error.at(&self.request.connection().host)
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.bytes.is_empty() {
            return Ok(Some(std::mem::take(&mut self.bytes)));
        }
        match self.request.next()? {
            None => Ok(None),
            Some(Item::Data(bytes)) => Ok(Some(bytes)),
            Some(Item::Message(Message::CopyInResponse(_))) => {
                fail_copy(&self.request);
                Err(self.wrong("the text of a COPY goes on behind it with another one"))
            }
            Some(_) => Err(self.wrong("the text of a COPY goes on behind it")),
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
        f.debug_struct("CopyOut").finish_non_exhaustive()
    }
}
