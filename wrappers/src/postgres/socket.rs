//! One address of a server: the socket, and TLS over it.
//!
//! The surprising rule: the answer to the question for TLS is read as one byte and no more. What a
//! server, or somebody in between, sends behind it must not be taken for the session's, which
//! begins with the handshake.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use cede_fiber::net::{TcpStream, UnixStream};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};

use super::config::{Config, KEEPALIVES_IDLE_DEFAULT};
#[cfg(feature = "tls")]
use super::error::ErrorKind;
use super::error::{Error, Phase};
use crate::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls::{self, TlsConfig};

/// How much is shown of what came from something that is no PostgreSQL server, in bytes.
const GARBAGE_SHOWN_BYTES: usize = 48;

/// Where a server's socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    /// The socket itself.
    Unix(PathBuf),
}

/// One address of a host.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) place: Place,
    /// What its certificate is for, and what the password file calls it.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For errors: `host:port`, or the path of the socket.
    pub(crate) label: Arc<str>,
}

/// Whether TLS is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    No,
    /// If the server has it.
    #[cfg(feature = "tls")]
    IfOffered,
    #[cfg(feature = "tls")]
    Yes,
    /// Without asking for it.
    #[cfg(feature = "tls")]
    Direct,
}

/// How TLS is done; without the feature there is no way.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub(crate) enum TlsConfig {}

impl Address {
    /// Connects, and does the handshake of TLS if that is wanted.
    pub(crate) fn dial(
        &self,
        config: &Config,
        encryption: Encryption,
        tls: Option<&TlsConfig>,
    ) -> Result<Stream, Error> {
        let stream = match &self.place {
            Place::Unix(path) => return self.dial_unix(path),
            Place::Tcp(addr) => self.dial_tcp(*addr, config)?,
        };
        match (encryption, tls) {
            #[cfg(feature = "tls")]
            (Encryption::Direct, Some(tls)) => {
                tls::connect(stream, &self.host, tls).map_err(|error| Error::io(Phase::Tls, error))
            }
            #[cfg(feature = "tls")]
            (Encryption::IfOffered | Encryption::Yes, Some(tls)) => {
                self.secure(stream, encryption, tls)
            }
            _ => Ok(Stream::Tcp(stream)),
        }
    }

    fn dial_unix(&self, path: &Path) -> Result<Stream, Error> {
        UnixStream::connect(path).map(Stream::Unix).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "does a server run that keeps its socket there?",
                io::ErrorKind::ConnectionRefused => "the server that made it does not run",
                _ => return Error::io(Phase::Connect, error),
            };
            let message = format!("{error}: {hint}");
            Error::io(Phase::Connect, error).with_message(message)
        })
    }

    fn dial_tcp(&self, addr: SocketAddr, config: &Config) -> Result<TcpStream, Error> {
        let stream = TcpStream::connect(addr).map_err(|error| {
            if error.kind() != io::ErrorKind::ConnectionRefused {
                return Error::io(Phase::Connect, error);
            }
            let message = format!("{addr}: {error}: does a server listen at this port?");
            Error::io(Phase::Connect, error).with_message(message)
        })?;
        set_options(&stream, config).map_err(|error| Error::io(Phase::Connect, error))?;
        Ok(stream)
    }

    #[cfg(feature = "tls")]
    fn secure(
        &self,
        stream: TcpStream,
        encryption: Encryption,
        config: &TlsConfig,
    ) -> Result<Stream, Error> {
        let failed = |error| Error::io(Phase::Tls, error);
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        (&stream).write_all(&request).map_err(failed)?;
        let mut answer = [0];
        let n = (&stream).read(&mut answer).map_err(failed)?;
        match (n, answer[0]) {
            (0, _) => Err(Error::new(
                ErrorKind::Tls,
                Phase::Tls,
                "the server has closed the connection when it was asked for TLS",
            )),
            (_, b'S') => tls::connect(stream, &self.host, config).map_err(failed),
            (_, b'N') if encryption == Encryption::IfOffered => Ok(Stream::Tcp(stream)),
            (_, b'N') => Err(Error::new(
                ErrorKind::Tls,
                Phase::Tls,
                "the server has no TLS, and sslmode does not allow to go without",
            )),
            (_, first) => {
                let mut bytes = vec![first];
                let mut more = [0; GARBAGE_SHOWN_BYTES];
                // What is not there yet is not waited for.
                let n = stream.try_read(&mut more).unwrap_or(0);
                bytes.extend_from_slice(&more[..n]);
                Err(garbage(Phase::Tls, &bytes))
            }
        }
    }
}

/// What answers is no PostgreSQL server.
pub(crate) fn garbage(phase: Phase, bytes: &[u8]) -> Error {
    let shown = &bytes[..bytes.len().min(GARBAGE_SHOWN_BYTES)];
    let text = format!(
        "what answers is no PostgreSQL server; it begins with \"{}\"",
        shown.escape_ascii()
    );
    Error::protocol(phase, text)
}

fn set_options(stream: &TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if config.keepalives.unwrap_or(true) {
        let idle = config.keepalives_idle.unwrap_or(KEEPALIVES_IDLE_DEFAULT);
        let mut keepalive = TcpKeepalive::new();
        // The kernel takes no zero; as in libpq it means the system's own.
        if !idle.is_zero() {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = config.keepalives_interval.filter(|t| !t.is_zero()) {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = config.keepalives_count.filter(|&count| count > 0) {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if let Some(timeout) = config.tcp_user_timeout.filter(|t| !t.is_zero()) {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// To whom a request to cancel a statement goes: the server of a session, once more.
#[derive(Debug, Clone)]
pub(crate) struct CancelTarget {
    pub(super) address: Address,
    /// What the session has.
    pub(super) tls: Option<TlsConfig>,
    /// Whether that is not asked for first.
    #[cfg(feature = "tls")]
    pub(super) is_direct: bool,
    pub(super) timeout: Duration,
}

/// Asks the server of a session to cancel what it executes, over a connection of its own, encrypted
/// if the session is. It returns when the server has closed that connection: the request has been
/// handed on by then, but it may come too late, and the server never says.
///
/// # Errors
///
/// When the server cannot be reached, a cancel or a deadline of the fiber.
pub(crate) fn send_cancel(
    target: &CancelTarget,
    process_id: i32,
    secret_key: i32,
) -> Result<(), Error> {
    let send = || {
        #[cfg(feature = "tls")]
        let encryption = match &target.tls {
            Some(_) if target.is_direct => Encryption::Direct,
            Some(_) => Encryption::Yes,
            None => Encryption::No,
        };
        #[cfg(not(feature = "tls"))]
        let encryption = Encryption::No;
        let stream = target.address.dial(&Config::new(), encryption, target.tls.as_ref())?;
        let mut request = BytesMut::new();
        frontend::cancel_request(process_id, secret_key, &mut request);
        let send = (&stream).write_all(&request).and_then(|()| (&stream).flush());
        send.map_err(|error| Error::io(Phase::Send, error))?;
        // The server sends nothing; however the connection ends, it has read the request.
        match (&stream).read(&mut [0]) {
            Err(error) if is_given_up(&error) => Err(Error::io(Phase::Receive, error)),
            _ => Ok(()),
        }
    };
    cede_fiber::with_deadline(target.timeout, send).map_err(|error| error.at(&target.address.label))
}

fn is_given_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut || cede_fiber::is_cancelled(error)
}
