//! From a connected socket to the first `ReadyForQuery`.
//!
//! The surprising rule: nothing here may be large. Whoever answers has not shown yet that it is a
//! PostgreSQL server, so messages are limited to a size that no honest server comes near to.

use std::collections::HashMap;
use std::io::{Read, Write};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{self, Message};
use postgres_protocol::message::frontend;

use super::auth::Auth;
use super::config::{ChannelBinding, Config, TargetSessionAttrs, Wanted};
use super::db_error::DbError;
use super::error::{Error, ErrorKind, Phase};
use super::socket::{Address, garbage};
use crate::stream::Stream;

/// The longest message of a server before the session has begun, in bytes; an error or a notice is
/// the longest that there is.
pub(crate) const STARTUP_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Messages of a server before the session has begun; PostgreSQL 15 sends about 20.
pub(crate) const STARTUP_MESSAGES_MAX: usize = 1000;

/// What a server has said of the session that it has begun.
#[derive(Debug, Default)]
pub(super) struct Started {
    pub(super) process_id: i32,
    pub(super) secret_key: i32,
    pub(super) parameters: HashMap<String, String>,
    pub(super) rest: BytesMut,
}

/// Begins a session.
pub(super) fn start(
    stream: &Stream,
    config: &Config,
    user: &str,
    address: &Address,
) -> Result<Started, Error> {
    let dbname = config.get_dbname().filter(|name| !name.is_empty()).unwrap_or(user);
    let mut parameters = vec![("user", user), ("database", dbname), ("client_encoding", "UTF8")];
    parameters.extend(config.get_application_name().map(|name| ("application_name", name)));
    parameters.extend(config.get_options().map(|options| ("options", options)));
    let mut wire = Wire { stream, bytes: BytesMut::new(), messages: 0 };
    let mut out = BytesMut::new();
    frontend::startup_message(parameters, &mut out)
        .map_err(|error| Error::config(format!("a setting cannot be sent: {error}")))?;
    wire.send(&mut out, Phase::Authenticate)?;
    let wanted = Wanted {
        host: address.host.clone(),
        port: address.port,
        dbname: dbname.to_owned(),
        user: user.to_owned(),
    };
    let mut auth = Auth::new(config, wanted, end_point(stream, config));
    loop {
        let message = wire.message(Phase::Authenticate)?;
        let is_over = auth.answer(message, &mut out)?;
        if is_over {
            break;
        }
        if !out.is_empty() {
            wire.send(&mut out, Phase::Authenticate)?;
        }
    }
    let mut started = wire.session()?;
    check_attrs(&mut wire, config.get_target_session_attrs(), &started.parameters)?;
    started.rest = wire.bytes;
    Ok(started)
}

/// What an authentication is bound to.
fn end_point(stream: &Stream, config: &Config) -> Option<Vec<u8>> {
    if config.get_channel_binding() == ChannelBinding::Disable {
        return None;
    }
    match stream {
        #[cfg(feature = "tls")]
        Stream::Tls(stream) => stream.server_end_point(),
        _ => None,
    }
}

/// Messages of a session that begins.
struct Wire<'a> {
    stream: &'a Stream,
    bytes: BytesMut,
    messages: usize,
}

impl Wire<'_> {
    fn send(&mut self, out: &mut BytesMut, phase: Phase) -> Result<(), Error> {
        let mut stream = self.stream;
        stream.write_all(out).map_err(|error| Error::io(phase, error))?;
        out.clear();
        Ok(())
    }

    /// The next message, but for notices; an error of the server is one here.
    fn message(&mut self, phase: Phase) -> Result<Message, Error> {
        loop {
            let message = self.any_message(phase)?;
            match message {
                Message::ErrorResponse(body) => {
                    let error = DbError::parse(&mut body.fields())
                        .map_err(|error| Error::protocol(phase, error.to_string()))?;
                    return Err(refused(phase, error));
                }
                Message::NoticeResponse(body) => {
                    if let Ok(notice) = DbError::parse(&mut body.fields()) {
                        tracing::debug!(%notice, "a notice of the server");
                    }
                }
                message => return Ok(message),
            }
        }
    }

    fn any_message(&mut self, phase: Phase) -> Result<Message, Error> {
        while !self.has_message(phase)? {
            let mut chunk = [0; 4096];
            let mut stream = self.stream;
            let n = stream.read(&mut chunk).map_err(|error| Error::io(phase, error))?;
            if n == 0 {
                let message = if self.messages == 0 {
                    "the server has closed the connection without an answer"
                } else {
                    "the server has closed the connection"
                };
                return Err(Error::new(ErrorKind::Closed, phase, message));
            }
            self.bytes.extend_from_slice(&chunk[..n]);
        }
        self.messages += 1;
        if self.messages > STARTUP_MESSAGES_MAX {
            let text = format!("over {STARTUP_MESSAGES_MAX} messages before a session has begun");
            return Err(Error::new(ErrorKind::Limit, phase, text));
        }
        let malformed = |error: std::io::Error| Error::protocol(phase, error.to_string());
        Message::parse(&mut self.bytes)
            .map_err(malformed)?
            .ok_or_else(|| Error::protocol(phase, "a message is shorter than its own length"))
    }

    /// Whether a whole message is there. Its kind and its length are looked at as soon as they can
    /// be.
    fn has_message(&self, phase: Phase) -> Result<bool, Error> {
        let is_first = self.messages == 0;
        let tag = self.bytes.first().copied();
        if is_first && tag.is_some_and(|tag| !matches!(tag, b'R' | b'E' | b'N' | b'v')) {
            return Err(garbage(phase, &self.bytes));
        }
        let Some(header) = backend::Header::parse(&self.bytes).map_err(|error| {
            if is_first {
                garbage(phase, &self.bytes)
            } else {
                Error::protocol(phase, error.to_string())
            }
        })?
        else {
            return Ok(false);
        };
        let len = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if len > STARTUP_MESSAGE_BYTES_MAX {
            return Err(if is_first {
                garbage(phase, &self.bytes)
            } else {
                let text = format!(
                    "a message of {len} bytes, over the {STARTUP_MESSAGE_BYTES_MAX} that are \
                     taken before a session has begun"
                );
                Error::new(ErrorKind::Limit, phase, text)
            });
        }
        if header.tag() == b'v' {
            return Err(Error::protocol(phase, "the server does not know the protocol 3.0"));
        }
        Ok(self.bytes.len() > len)
    }

    /// What follows an authentication.
    fn session(&mut self) -> Result<Started, Error> {
        let phase = Phase::Startup;
        let malformed = |error: std::io::Error| Error::protocol(phase, error.to_string());
        let mut started = Started::default();
        loop {
            match self.message(phase)? {
                Message::ParameterStatus(body) => {
                    let name = body.name().map_err(malformed)?.to_owned();
                    started.parameters.insert(name, body.value().map_err(malformed)?.to_owned());
                }
                Message::BackendKeyData(body) => {
                    started.process_id = body.process_id();
                    started.secret_key = body.secret_key();
                }
                Message::ReadyForQuery(_) => return Ok(started),
                _ => return Err(Error::protocol(phase, "a message that no session begins with")),
            }
        }
    }

    /// The first column of the first row of a statement.
    fn ask(&mut self, sql: &str) -> Result<String, Error> {
        let phase = Phase::Startup;
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|error| Error::io(phase, error))?;
        self.send(&mut out, phase)?;
        let mut answer = None;
        loop {
            match self.message(phase)? {
                Message::DataRow(body) => {
                    let range = body.ranges().next().ok().flatten().flatten();
                    let bytes = range.and_then(|range| body.buffer().get(range));
                    answer = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                }
                Message::ReadyForQuery(_) => break,
                Message::RowDescription(_)
                | Message::CommandComplete(_)
                | Message::ParameterStatus(_) => {}
                _ => return Err(Error::protocol(phase, "a message that is no answer")),
            }
        }
        answer.ok_or_else(|| Error::protocol(phase, format!("no answer to {sql:?}")))
    }
}

/// A server's refusal to begin a session.
fn refused(phase: Phase, error: DbError) -> Error {
    let hint = match error.code().code() {
        "28P01" => "are the user and the password right?",
        "28000" => "pg_hba.conf of the server decides who may come, from where and how",
        "3D000" => "create the database, or name another one",
        "53300" => "a pool keeps the number of connections down",
        _ => "",
    };
    let kind = match error.code().class() {
        "28" => ErrorKind::Authentication,
        _ => ErrorKind::Db,
    };
    let message = if hint.is_empty() { String::new() } else { format!("{error}; {hint}") };
    Error::db(phase, error).with_kind(kind).with_message(message)
}

/// Whether the session can do what it has to. Servers since version 14 say so of their own accord.
fn check_attrs(
    wire: &mut Wire<'_>,
    attrs: TargetSessionAttrs,
    parameters: &HashMap<String, String>,
) -> Result<(), Error> {
    let reported = |name: &str| parameters.get(name).map(|value| value == "on");
    let is_standby = |wire: &mut Wire<'_>| match reported("in_hot_standby") {
        Some(is_standby) => Ok(is_standby),
        None => wire.ask("SELECT pg_catalog.pg_is_in_recovery()").map(|answer| answer == "t"),
    };
    let is_read_only = |wire: &mut Wire<'_>| match (
        reported("default_transaction_read_only"),
        reported("in_hot_standby"),
    ) {
        (Some(read_only), Some(standby)) => Ok(read_only || standby),
        _ => wire.ask("SHOW transaction_read_only").map(|answer| answer == "on"),
    };
    let (is_right, what) = match attrs {
        TargetSessionAttrs::Any => (true, ""),
        TargetSessionAttrs::ReadWrite => (!is_read_only(wire)?, "read-only"),
        TargetSessionAttrs::ReadOnly => (is_read_only(wire)?, "not read-only"),
        TargetSessionAttrs::Primary => (!is_standby(wire)?, "of a standby"),
        TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => {
            (is_standby(wire)?, "not of a standby")
        }
    };
    if is_right {
        return Ok(());
    }
    let mut out = BytesMut::new();
    frontend::terminate(&mut out);
    // A farewell; it is closed anyway.
    let _ = wire.send(&mut out, Phase::Startup);
    let text = format!("the session is {what}, and target_session_attrs wants another one");
    Err(Error::new(ErrorKind::Connect, Phase::Startup, text))
}
