//! From the settings to a session.
//!
//! ```text
//!   hosts --> addresses --> with TLS, without --> authentication --> what the session can do
//!     ^           ^                 ^                                        |
//!     +-----------+-----------------+------- the next one, if it may help ---+
//! ```
//!
//! The surprising rule: an authentication that fails ends the search, as in libpq: a wrong password
//! tried on every host would lock its user out.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use cede_fiber::net::ToSocketAddrs;

use super::config::{
    CONNECT_TIMEOUT_DEFAULT, Config, Host, LoadBalanceHosts, PORT_DEFAULT, SslMode,
    TargetSessionAttrs,
};
use super::error::{Error, ErrorKind, Phase};
#[cfg(not(feature = "tls"))]
use super::socket::TlsConfig;
use super::socket::{Address, CancelTarget, Encryption, Place};
use super::startup;
use crate::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls::{Roots, TlsConfig, TlsOptions, Verify};

/// Where servers keep their sockets: as Debian and others have it, and as PostgreSQL itself.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// What a client that begins with TLS at once says it wants (PostgreSQL's documentation, 55.2.11).
#[cfg(feature = "tls")]
const DIRECT_PROTOCOL: &[u8] = b"postgresql";
/// So many failed attempts are told of in one error.
const FAILURES_TOLD_MAX: usize = 8;

/// A session that has just begun.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) process_id: i32,
    pub(crate) secret_key: i32,
    /// What the server has reported of its settings.
    pub(crate) parameters: HashMap<String, String>,
    /// For errors: `host:port`, or the path of the socket.
    pub(crate) host: Arc<str>,
    /// For [`send_cancel`](super::socket::send_cancel).
    pub(crate) cancel: CancelTarget,
    /// What has come behind the first `ReadyForQuery`.
    pub(crate) rest: BytesMut,
}

/// Begins a session on the first host, and the first of its addresses, where that works.
///
/// # Errors
///
/// What the last host says, and in its text what all say; settings that contradict each other; a
/// cancel or a deadline of the fiber.
pub(crate) fn open(config: &Config) -> Result<Opened, Error> {
    let plan = Plan::new(config)?;
    let mut failures = Vec::new();
    let passes: &[TargetSessionAttrs] = match config.get_target_session_attrs() {
        TargetSessionAttrs::PreferStandby => {
            &[TargetSessionAttrs::Standby, TargetSessionAttrs::Any]
        }
        _ => &[config.get_target_session_attrs()],
    };
    for attrs in passes {
        let mut config = config.clone();
        config.target_session_attrs(*attrs);
        failures.clear();
        for target in &plan.targets {
            match plan.try_target(&config, target, &mut failures) {
                Some(opened) => return Ok(opened),
                None if failures.last().is_some_and(ends_search) => return Err(told(failures)),
                None => {}
            }
        }
    }
    Err(told(failures))
}

/// Whether no other host can help, or none is to be tried.
fn ends_search(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Cancelled | ErrorKind::Config | ErrorKind::Authentication => true,
        // Its own time is up; that of the settings is `Connect`.
        ErrorKind::Timeout => true,
        // A server that starts, stops or is full: another one may have room.
        ErrorKind::Db => !error.code().is_some_and(|code| matches!(code.class(), "53" | "57")),
        _ => false,
    }
}

/// All failures in one: the last one, and in words what the others were.
fn told(mut failures: Vec<Error>) -> Error {
    let Some(last) = failures.pop() else {
        return Error::config("there is no host to connect to");
    };
    if failures.is_empty() {
        return last;
    }
    let count = failures.len() + 1;
    let from = count.saturating_sub(FAILURES_TOLD_MAX);
    let texts: Vec<String> =
        failures.iter().chain([&last]).skip(from).map(ToString::to_string).collect();
    let text = format!("{count} attempts have failed: {}", texts.join("; "));
    last.without_host().with_message(text)
}

/// A host that is to be tried.
struct Target {
    host: Host,
    addr: Option<IpAddr>,
    port: u16,
}

/// What is worked out once for all attempts.
struct Plan {
    user: String,
    targets: Vec<Target>,
    /// Which ways to encrypt are tried on an address.
    encryptions: &'static [Encryption],
    tls: Option<TlsConfig>,
    timeout: Option<Duration>,
    random: Option<Random>,
}

impl Plan {
    fn new(config: &Config) -> Result<Self, Error> {
        let user = match config.get_user().filter(|user| !user.is_empty()) {
            Some(user) => user.to_owned(),
            None => {
                ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).ok_or_else(
                    || Error::config("no user is set, and neither USER nor LOGNAME says who it is"),
                )?
            }
        };
        let mut random =
            (config.get_load_balance_hosts() == LoadBalanceHosts::Random).then(Random::new);
        let mut targets = targets(config)?;
        if let Some(random) = &mut random {
            random.shuffle(&mut targets);
        }
        let (encryptions, tls) = encryption(config)?;
        let timeout = config.get_connect_timeout();
        Ok(Self { user, targets, encryptions, tls, timeout, random })
    }

    /// Tries all addresses of a host.
    fn try_target(
        &self,
        config: &Config,
        target: &Target,
        failures: &mut Vec<Error>,
    ) -> Option<Opened> {
        let mut addresses = match self.in_time(|| target.addresses()) {
            Ok(addresses) => addresses,
            Err(error) => {
                failures.push(error.at(&target.label()));
                return None;
            }
        };
        if let Some(mut random) = self.random.clone() {
            random.shuffle(&mut addresses);
        }
        for address in &addresses {
            for encryption in self.encryptions_of(address) {
                let mut is_encrypted = false;
                let opened =
                    self.in_time(|| self.attempt(config, address, *encryption, &mut is_encrypted));
                match opened {
                    Ok(opened) => return Some(opened),
                    Err(error) => failures.push(error.at(&address.label)),
                }
                let error = failures.last()?;
                // Only what has to do with encryption can be better with another one.
                let may_help = error.kind() == ErrorKind::Tls
                    || error.code() == Some(&super::SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
                        && is_encrypted == (self.encryptions.first() != Some(&Encryption::No));
                if !may_help {
                    break;
                }
            }
            if failures.last().is_some_and(ends_search) {
                break;
            }
        }
        None
    }

    fn encryptions_of(&self, address: &Address) -> &'static [Encryption] {
        match address.place {
            Place::Tcp(_) => self.encryptions,
            Place::Unix(_) => &[Encryption::No],
        }
    }

    /// Runs an attempt within the time that the settings give it. When that has passed the error is
    /// [`Connect`](ErrorKind::Connect), so that the next address is tried.
    fn in_time<T>(&self, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let Some(timeout) = self.timeout else { return f() };
        let at = Instant::now().checked_add(timeout);
        let is_nearer = cede_fiber::deadline().is_none_or(|own| at.is_some_and(|at| at < own));
        cede_fiber::with_deadline(timeout, f).map_err(|error| {
            if !error.is_timeout() || !is_nearer {
                return error;
            }
            let text = format!("no session within the {timeout:?} of connect_timeout");
            error.with_message(text).with_kind(ErrorKind::Connect)
        })
    }

    fn attempt(
        &self,
        config: &Config,
        address: &Address,
        encryption: Encryption,
        is_encrypted: &mut bool,
    ) -> Result<Opened, Error> {
        let stream = address.dial(config, encryption, self.tls.as_ref())?;
        *is_encrypted = !matches!(stream, Stream::Tcp(_) | Stream::Unix(_));
        let started = startup::start(&stream, config, &self.user, address)?;
        let cancel = CancelTarget {
            address: address.clone(),
            tls: self.tls.clone().filter(|_| *is_encrypted),
            #[cfg(feature = "tls")]
            is_direct: encryption == Encryption::Direct,
            timeout: self.timeout.unwrap_or(CONNECT_TIMEOUT_DEFAULT),
        };
        Ok(Opened {
            stream,
            process_id: started.process_id,
            secret_key: started.secret_key,
            parameters: started.parameters,
            host: Arc::clone(&address.label),
            cancel,
            rest: started.rest,
        })
    }
}

/// The hosts with their ports.
fn targets(config: &Config) -> Result<Vec<Target>, Error> {
    let (hosts, addrs, ports) = (&config.hosts, &config.hostaddrs, &config.ports);
    let mismatch = |what: &str, n: usize, count: usize| {
        Error::config(format!("{n} {what} for {count} hosts: give one for each"))
    };
    let hosts = match (hosts.as_slice(), addrs.as_slice()) {
        ([], []) => usual_hosts(ports.first().copied().unwrap_or(PORT_DEFAULT)),
        ([], addrs) => addrs.iter().map(|addr| Host::Tcp(addr.to_string())).collect(),
        (hosts, _) => hosts.to_vec(),
    };
    let count = hosts.len();
    if !addrs.is_empty() && addrs.len() != count {
        return Err(mismatch("addresses", addrs.len(), count));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(mismatch("ports", ports.len(), count));
    }
    let targets = hosts.into_iter().enumerate().map(|(i, host)| {
        let port = ports.get(i).or(ports.first()).copied().unwrap_or(PORT_DEFAULT);
        // An empty name among others is the usual place.
        let host = match host {
            Host::Tcp(name) if name.is_empty() => usual_hosts(port).remove(0),
            host => host,
        };
        Target { host, addr: addrs.get(i).copied(), port }
    });
    Ok(targets.collect())
}

/// Where a server of this machine is: its socket, or else its port.
fn usual_hosts(port: u16) -> Vec<Host> {
    let directory = SOCKET_DIRECTORIES.iter().find(|dir| socket_in(dir.as_ref(), port).exists());
    vec![directory.map_or_else(|| Host::Tcp("localhost".into()), |dir| Host::Unix(dir.into()))]
}

fn socket_in(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

impl Target {
    fn label(&self) -> Arc<str> {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", self.port).into(),
            Host::Tcp(name) => format!("{name}:{}", self.port).into(),
            Host::Unix(directory) => socket_in(directory, self.port).display().to_string().into(),
        }
    }

    fn addresses(&self) -> Result<Vec<Address>, Error> {
        let label = self.label();
        let address = |place, host| Address { place, host, port: self.port, label: label.clone() };
        match (&self.host, self.addr) {
            (Host::Unix(directory), _) => {
                let is_usual = SOCKET_DIRECTORIES.iter().any(|dir| Path::new(dir) == directory);
                // As the password file calls it.
                let host =
                    if is_usual { "localhost".into() } else { directory.display().to_string() };
                Ok(vec![address(Place::Unix(socket_in(directory, self.port)), host)])
            }
            (Host::Tcp(name), Some(addr)) => {
                Ok(vec![address(Place::Tcp((addr, self.port).into()), name.clone())])
            }
            (Host::Tcp(name), None) => {
                let addrs = (name.as_str(), self.port).to_socket_addrs().map_err(|error| {
                    if error.kind() == std::io::ErrorKind::TimedOut
                        || cede_fiber::is_cancelled(&error)
                    {
                        return Error::io(Phase::Connect, error);
                    }
                    let text = format!("the name {name:?} cannot be looked up: {error}");
                    Error::io(Phase::Connect, error).with_message(text)
                })?;
                Ok(addrs.map(|addr| address(Place::Tcp(addr), name.clone())).collect())
            }
        }
    }
}

/// Which ways to encrypt are tried, and how.
#[cfg(feature = "tls")]
fn encryption(config: &Config) -> Result<(&'static [Encryption], Option<TlsConfig>), Error> {
    use super::config::{SslNegotiation, SslRootCert};
    let mode = config.get_ssl_mode();
    let is_direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    if is_direct && matches!(mode, SslMode::Allow | SslMode::Prefer) {
        return Err(Error::config("sslnegotiation=direct needs sslmode=require or more"));
    }
    let encryptions: &[Encryption] = match mode {
        SslMode::Disable => return Ok((&[Encryption::No], None)),
        SslMode::Allow => &[Encryption::No, Encryption::Yes],
        SslMode::Prefer => &[Encryption::IfOffered, Encryption::No],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull if is_direct => {
            &[Encryption::Direct]
        }
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Yes],
    };
    let (verify, roots) = match (mode, &config.ssl_root_cert) {
        (SslMode::VerifyFull, None | Some(SslRootCert::System)) => (Verify::Full, Roots::System),
        (SslMode::VerifyFull, Some(SslRootCert::File(path))) => {
            (Verify::Full, Roots::File(path.clone()))
        }
        (_, Some(SslRootCert::System)) => {
            return Err(Error::config(
                "sslrootcert=system with anything weaker than sslmode=verify-full would take \
                 everybody's certificate",
            ));
        }
        (SslMode::VerifyCa, None) => {
            return Err(Error::config("sslmode=verify-ca needs sslrootcert: whose signature?"));
        }
        (_, Some(SslRootCert::File(path))) => (Verify::Chain, Roots::File(path.clone())),
        (_, None) => (Verify::Nothing, Roots::System),
    };
    let client = match (&config.ssl_cert, &config.ssl_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => return Err(Error::config("sslcert and sslkey go together: one of them is missing")),
    };
    let is_local =
        !config.hosts.is_empty() && config.hosts.iter().all(|host| matches!(host, Host::Unix(_)));
    if is_local {
        return Ok((&[Encryption::No], None));
    }
    let protocol = is_direct.then_some(DIRECT_PROTOCOL);
    let options = TlsOptions { verify, roots, client, protocol };
    let tls = TlsConfig::load(&options).map_err(|error| {
        let text = error.to_string();
        let error = Error::io(Phase::Config, error);
        if error.is_timeout() || error.is_cancelled() {
            return error;
        }
        error.with_kind(ErrorKind::Config).with_message(text)
    })?;
    Ok((encryptions, Some(tls)))
}

#[cfg(not(feature = "tls"))]
fn encryption(config: &Config) -> Result<(&'static [Encryption], Option<TlsConfig>), Error> {
    match config.get_ssl_mode() {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer => Ok((&[Encryption::No], None)),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            Err(Error::config("sslmode asks for TLS, which needs the feature `tls`"))
        }
    }
}

/// Chance that need not be unpredictable.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn new() -> Self {
        // Never 0, from which xorshift does not move.
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            items.swap(i, (self.0 >> 32) as usize % (i + 1));
        }
    }
}
