//! A connection to a server, from the first packet to the last answer of its handshake, and the
//! input of one.
//!
//! The rule of this file: what it returns has answered as a server that lets us in does, so errors
//! of a wrong address, password or protocol appear here and nowhere else.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use cede_fiber::net::{TcpStream, UnixStream};
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::config::{Address, Config, Tls};
use super::error::{Failure, Phase};
use super::resp::{Limits, Parser};
use crate::stream::Stream;

/// What one receive takes at most.
const INPUT_BYTES: usize = 64 * 1024;
/// How often the system asks a silent peer, and how long between.
const KEEPALIVE_PROBES: u32 = 3;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// What a server says to whom it has no room for, which may pass. It has no code of its own.
const CLIENTS_MAX: &str = "max number of clients";

/// What has come and is not parsed yet.
#[derive(Debug)]
pub(super) struct Input {
    parser: Parser,
    buf: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    fn new(limits: Limits) -> Self {
        Self { parser: Parser::new(limits), buf: Box::default(), start: 0, end: 0 }
    }

    /// The next value of what has come; `None` when more has to come first.
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<Value>> {
        if self.start == self.end {
            return Ok(None);
        }
        let (value, used) = self.parser.parse(&self.buf[self.start..self.end])?;
        self.start += used;
        Ok(value)
    }

    /// Whether nothing has come that was not taken by [`next`](Self::next).
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end && !self.parser.is_in_value()
    }

    /// Receives more, and says how much.
    ///
    /// # Errors
    ///
    /// Those of a read; [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) at the end of the stream.
    #[inline]
    pub(super) fn fill(&mut self, mut stream: &Stream) -> io::Result<usize> {
        if self.buf.is_empty() {
            self.buf = vec![0; INPUT_BYTES].into_boxed_slice();
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            // The beginning of a line.
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buf.len() {
            // The parser takes all but the beginning of a line, and refuses one that is too long.
            let longer = [&self.buf, &*vec![0; INPUT_BYTES]].concat();
            self.buf = longer.into_boxed_slice();
        }
        match stream.read(&mut self.buf[self.end..])? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server has closed the connection",
            )),
            n => {
                self.end += n;
                Ok(n)
            }
        }
    }
}

/// A stream that has been let in.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) input: Input,
    /// Who it is, for people.
    pub(super) host: Arc<str>,
}

impl Link {
    /// Connects and shakes hands.
    pub(super) fn open(config: &Config, address: &Address, host: &Arc<str>) -> RedisResult<Self> {
        let _span = tracing::debug_span!("redis connect", host = &**host);
        cede_fiber::with_deadline(config.connect_timeout, || {
            let stream = connect(config, address)
                .map_err(|(phase, cause)| RedisError::from(Failure::new(host, phase, cause)))?;
            let host = Arc::clone(host);
            let input = Input::new(config.limits);
            let mut link = Self { stream, input, host };
            link.handshake(config)?;
            Ok(link)
        })
    }

    /// Sends requests and receives as many replies as they have.
    pub(super) fn exchange(&mut self, requests: &[u8], replies: usize) -> io::Result<Vec<Value>> {
        let mut stream = &self.stream;
        stream.write_all(requests)?;
        stream.flush()?;
        (0..replies).map(|_| self.receive()).collect()
    }

    /// Whether nothing has come since the last reply, not even an end.
    pub(super) fn is_quiet(&self) -> bool {
        self.input.is_empty() && self.stream.is_quiet()
    }

    /// The next reply.
    pub(super) fn receive(&mut self) -> io::Result<Value> {
        loop {
            match self.input.next()? {
                Some(Value::Push { .. }) => continue,
                Some(value) => return Ok(value),
                None => {}
            }
            self.input.fill(&self.stream)?;
        }
    }

    fn handshake(&mut self, config: &Config) -> RedisResult<()> {
        let host = &Arc::clone(&self.host);
        let steps = steps(config);
        let mut requests = Vec::new();
        steps.iter().for_each(|step| step.cmd.write_packed_command(&mut requests));
        let mut stream = &self.stream;
        stream
            .write_all(&requests)
            .and_then(|()| stream.flush())
            .map_err(|cause| Failure::new(host, Phase::Handshake, cause))?;
        for step in steps {
            let reply =
                self.receive().map_err(|cause| Failure::new(host, Phase::Handshake, cause))?;
            if let Value::ServerError(error) = reply
                && step.must_succeed
            {
                return Err(step.error(&error.into(), host));
            }
        }
        Ok(())
    }
}

struct Step {
    what: &'static str,
    cmd: Cmd,
    must_succeed: bool,
    authenticates: bool,
}

impl Step {
    fn new(what: &'static str, cmd: &mut Cmd) -> Self {
        Self { what, cmd: cmd.take(), must_succeed: true, authenticates: false }
    }

    fn error(&self, error: &RedisError, host: &Arc<str>) -> RedisError {
        let code = error.code().unwrap_or_default();
        let kind = match error.kind() {
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown) => {
                error.kind()
            }
            _ if code == "WRONGPASS" || code == "NOAUTH" || self.authenticates => {
                ErrorKind::AuthenticationFailed
            }
            kind => kind,
        };
        let detail = error.detail().unwrap_or_default();
        if detail.contains(CLIENTS_MAX) {
            let cause =
                io::Error::new(io::ErrorKind::ConnectionRefused, format!("{code} {detail}"));
            return Failure::new(host, Phase::Handshake, cause).into();
        }
        let text = format!("redis {host}, {}, {}: {code} {detail}", Phase::Handshake, self.what);
        (kind, "the server does not let this client in", text).into()
    }
}

/// What is said at first, all in one packet.
fn steps(config: &Config) -> Vec<Step> {
    let login = &config.login;
    let mut steps = Vec::new();
    if config.is_resp3() {
        let mut hello = cmd("HELLO");
        hello.arg(3);
        if let Some(password) = login.password() {
            hello.arg("AUTH").arg(login.username().unwrap_or("default")).arg(password);
        }
        let mut step = Step::new("protocol and authentication", &mut hello);
        step.authenticates = login.password().is_some();
        steps.push(step);
    } else if let Some(password) = login.password() {
        let mut auth = cmd("AUTH");
        login.username().into_iter().for_each(|user| {
            auth.arg(user);
        });
        let mut step = Step::new("authentication", auth.arg(password));
        step.authenticates = true;
        steps.push(step);
    }
    // Of all commands one that must succeed comes first, so that a server can say why it does not
    // want us.
    steps.push(Step::new("check", &mut cmd("PING")));
    if login.db() != 0 {
        steps.push(Step::new("choice of database", cmd("SELECT").arg(login.db())));
    }
    if config.reads_from_replica {
        steps.push(Step::new("reading from a replica", &mut cmd("READONLY")));
    }
    if let Some(name) = &config.name {
        steps.push(Step::new("name", cmd("CLIENT").arg("SETNAME").arg(name)));
    }
    if !login.skip_set_lib_name() {
        let version = env!("CARGO_PKG_VERSION");
        let about = [
            ("LIB-NAME", login.lib_name().unwrap_or("cede")),
            ("LIB-VER", login.lib_ver().unwrap_or(version)),
        ];
        for (what, value) in about {
            let mut step = Step::new("library", cmd("CLIENT").arg("SETINFO").arg(what).arg(value));
            // Older servers do not know it.
            step.must_succeed = false;
            steps.push(step);
        }
    }
    steps
}

fn connect(config: &Config, address: &Address) -> Result<Stream, (Phase, io::Error)> {
    let in_connect = |cause| (Phase::Connect, cause);
    match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).map_err(in_connect)?;
            set_options(&stream, config).map_err(in_connect)?;
            match &config.tls {
                None => Ok(Stream::Tcp(stream)),
                Some(tls) => secure(stream, host, tls).map_err(|cause| (Phase::Tls, cause)),
            }
        }
        Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix).map_err(in_connect),
    }
}

#[cfg(feature = "tls")]
fn secure(stream: TcpStream, host: &str, tls: &Tls) -> io::Result<Stream> {
    use crate::tls::{Roots, TlsConfig, TlsOptions, Verify};
    let options = TlsOptions {
        verify: if tls.is_insecure { Verify::Nothing } else { Verify::Full },
        roots: tls.roots.clone().map_or(Roots::System, Roots::File),
        client: tls.client.clone(),
        protocol: None,
    };
    crate::tls::connect(stream, host, &TlsConfig::load(&options)?)
}

#[cfg(not(feature = "tls"))]
fn secure(_: TcpStream, _: &str, _: &Tls) -> io::Result<Stream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "TLS needs the feature `tls` of cede"))
}

fn set_options(stream: &TcpStream, config: &Config) -> io::Result<()> {
    // What is sent together is gathered here already.
    stream.set_nodelay(true)?;
    if let Some(silence) = config.keepalive {
        let keepalive = TcpKeepalive::new()
            .with_time(silence)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// Whether another attempt may succeed without anybody's doing.
pub(super) fn is_transient(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io => super::error::failure(error).is_none_or(|failure| {
            failure.phase() != Phase::Tls || error.is_timeout() || error.is_connection_dropped()
        }),
        ErrorKind::Server(kind) => {
            matches!(kind, ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown)
        }
        _ => false,
    }
}
