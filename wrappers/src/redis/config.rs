//! Where a server is, and how it is spoken to.
//!
//! The rule of this file: a password is never shown, neither by `Debug` nor in an error.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, RedisResult,
};

use super::resp::Limits;
use super::sentinel::Sentinels;
use crate::pool::PoolSettings;

/// How long one attempt to connect may take, names, TLS and authentication included.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How long a command waits for a lost connection to come back, unless its deadline is nearer.
pub const RECONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How many commands may wait for their answers on one connection, abandoned ones included.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 64 * 1024;
/// The longest command or pipeline, in bytes on the wire.
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 512 * 1024 * 1024;
/// How long an idle peer may be silent before the system asks whether it is there.
pub const KEEPALIVE_DEFAULT: Duration = Duration::from_secs(30);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// The path of a UNIX socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How the server is known, and the client to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls {
    pub(super) is_insecure: bool,
    pub(super) roots: Option<PathBuf>,
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// Everything that a client is made with.
///
/// # Examples
///
/// ```
/// # use cede_wrappers as cede;
/// use std::time::Duration;
///
/// use cede::redis::Config;
///
/// let config = Config::parse("redis://user:secret@127.0.0.1:6379/3?protocol=resp3")?
///     .connect_timeout(Duration::from_secs(1))
///     .name("billing");
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), cede::redis::RedisError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a configuration does nothing until it connects"]
pub struct Config {
    pub(super) address: Address,
    pub(super) tls: Option<Tls>,
    pub(super) login: RedisConnectionInfo,
    pub(super) name: Option<String>,
    pub(super) limits: Limits,
    pub(super) connect_timeout: Duration,
    pub(super) reconnect_timeout: Duration,
    pub(super) keepalive: Option<Duration>,
    pub(super) in_flight_max: usize,
    pub(super) pool: PoolSettings,
    pub(super) sentinels: Option<Sentinels>,
    pub(super) request_bytes_max: usize,
    /// Whether a replica in a cluster is to answer what reads, instead of naming its master.
    pub(super) reads_from_replica: bool,
}

impl Config {
    /// Of a URL: `redis://[user][:password]@host[:port][/database][?protocol=resp3]`, `rediss://`
    /// for TLS, `redis+unix:///path[?db=1]` for a UNIX socket; `valkey` in the place of `redis`.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(url: &str) -> RedisResult<Self> {
        // The crate knows these schemes only together with a TLS of its own.
        let tls = [("rediss://", "redis://"), ("valkeys://", "valkey://")];
        let plain = tls.iter().find_map(|(secure, plain)| {
            url.strip_prefix(secure).map(|rest| format!("{plain}{rest}"))
        });
        let Some(plain) = plain else { return Self::of_info(url.into_connection_info()?) };
        let (plain, is_insecure) = match plain.split_once('#') {
            None => (&*plain, false),
            Some((plain, "insecure")) => (plain, true),
            Some(_) => {
                let text = "the only fragment that a URL may have is #insecure";
                return Err((ErrorKind::InvalidClientConfig, text).into());
            }
        };
        let mut config = Self::of_info(plain.into_connection_info()?)?;
        config.tls = Some(Tls { is_insecure, ..Tls::default() });
        Ok(config)
    }

    fn of_info(info: ConnectionInfo) -> RedisResult<Self> {
        let (address, is_tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (Address::Tcp(host.clone(), *port), false),
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None } => {
                (Address::Tcp(host.clone(), *port), true)
            }
            ConnectionAddr::Unix(path) => (Address::Unix(path.clone()), false),
            _ => {
                let text = "this kind of address, or TLS without verification, is not supported";
                return Err((ErrorKind::InvalidClientConfig, text).into());
            }
        };
        let mut config = Self::new(address);
        config.tls = is_tls.then(Tls::default);
        config.login = info.redis_settings().clone();
        Ok(config)
    }

    /// Of an address: no password, database 0, RESP2.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            tls: None,
            login: RedisConnectionInfo::default(),
            name: None,
            limits: Limits::default(),
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            reconnect_timeout: RECONNECT_TIMEOUT_DEFAULT,
            keepalive: Some(KEEPALIVE_DEFAULT),
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
            pool: PoolSettings::new(),
            sentinels: None,
            request_bytes_max: REQUEST_BYTES_MAX_DEFAULT,
            reads_from_replica: false,
        }
    }

    /// How it logs in, which database it takes and which version of the protocol it speaks.
    pub fn login(mut self, login: RedisConnectionInfo) -> Self {
        self.login = login;
        self
    }

    /// Speaks RESP3.
    pub fn resp3(mut self) -> Self {
        self.login = self.login.set_protocol(ProtocolVersion::RESP3);
        self
    }

    /// Speaks TLS, and believes whom the system believes. It needs the feature `tls`.
    pub fn tls(mut self) -> Self {
        self.tls.get_or_insert_default();
        self
    }

    /// Speaks TLS with a server whose certificate one of these has signed; a file of PEM.
    pub fn tls_roots(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.get_or_insert_default().roots = Some(file.into());
        self
    }

    /// Speaks TLS, and shows a certificate; two files of PEM, of which the second one is its key.
    pub fn tls_certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.get_or_insert_default().client = Some((file.into(), key.into()));
        self
    }

    /// Speaks TLS with whoever answers: anyone in between can pretend to be the server.
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.tls.get_or_insert_default().is_insecure = true;
        self
    }

    /// The name of its connections in `CLIENT LIST`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How much of the server's replies is taken.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The longest command or pipeline. Default: [`REQUEST_BYTES_MAX_DEFAULT`].
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.request_bytes_max = bytes;
        self
    }

    /// How long one attempt to connect may take. Default: [`CONNECT_TIMEOUT_DEFAULT`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a command waits for a lost connection. Default: [`RECONNECT_TIMEOUT_DEFAULT`].
    pub fn reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.reconnect_timeout = timeout;
        self
    }

    /// How long a TCP peer may be silent before it is asked for a sign of life; `None` for ever.
    /// Default: [`KEEPALIVE_DEFAULT`].
    pub fn keepalive(mut self, silence: Option<Duration>) -> Self {
        self.keepalive = silence;
        self
    }

    /// How many commands may wait for answers; more wait to be sent. Default:
    /// [`IN_FLIGHT_MAX_DEFAULT`].
    pub fn in_flight_max(mut self, commands: usize) -> Self {
        self.in_flight_max = commands.max(1);
        self
    }

    /// The master of this name, as sentinels know it, at whatever address it is. They are asked
    /// before each connect, so that a failover is followed. Login, TLS and the rest are for the
    /// master; sentinels get the same TLS and `login`.
    pub fn sentinel(
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = Address>,
        login: RedisConnectionInfo,
    ) -> Self {
        let addresses: Vec<_> = sentinels.into_iter().collect();
        let first = addresses.first().cloned().unwrap_or(Address::Unix(PathBuf::new()));
        let sentinels = Sentinels { master: master.into(), addresses, login };
        Self { sentinels: Some(sentinels), ..Self::new(first) }
    }

    /// The limits of its connections for single fibers.
    pub fn pool(mut self, settings: PoolSettings) -> Self {
        self.pool = settings;
        self
    }

    pub(super) fn is_resp3(&self) -> bool {
        self.login.protocol() != ProtocolVersion::RESP2
    }
}

/// What a client can be made of.
pub trait IntoConfig {
    /// The configuration.
    ///
    /// # Errors
    ///
    /// When it is none.
    fn into_config(self) -> RedisResult<Config>;
}

impl IntoConfig for Config {
    fn into_config(self) -> RedisResult<Config> {
        Ok(self)
    }
}

impl IntoConfig for &Config {
    fn into_config(self) -> RedisResult<Config> {
        Ok(self.clone())
    }
}

impl IntoConfig for &str {
    fn into_config(self) -> RedisResult<Config> {
        Config::parse(self)
    }
}

impl IntoConfig for String {
    fn into_config(self) -> RedisResult<Config> {
        Config::parse(&self)
    }
}

impl IntoConfig for &String {
    fn into_config(self) -> RedisResult<Config> {
        Config::parse(self)
    }
}

impl IntoConfig for ConnectionInfo {
    fn into_config(self) -> RedisResult<Config> {
        Config::of_info(self)
    }
}

impl IntoConfig for Address {
    fn into_config(self) -> RedisResult<Config> {
        Ok(Config::new(self))
    }
}

impl std::str::FromStr for Config {
    type Err = RedisError;

    fn from_str(url: &str) -> RedisResult<Self> {
        Self::parse(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = Config::parse("redis://u:p@example.org:1/2?protocol=resp3").unwrap();
        assert_eq!(config.address, Address::Tcp("example.org".into(), 1));
        assert_eq!((config.login.username(), config.login.password()), (Some("u"), Some("p")));
        assert_eq!((config.login.db(), config.is_resp3(), config.tls.is_some()), (2, true, false));
        let config = Config::parse("rediss://example.org").unwrap();
        assert_eq!(config.address, Address::Tcp("example.org".into(), 6379));
        assert!(config.tls.is_some_and(|tls| !tls.is_insecure));
        assert!(Config::parse("rediss://a/#insecure").unwrap().tls.unwrap().is_insecure);
        let config = Config::parse("redis+unix:///run/redis.sock?db=4").unwrap();
        assert_eq!(config.address, Address::Unix("/run/redis.sock".into()));
        assert_eq!(config.login.db(), 4);
        let config = Config::parse("redis://[::1]:7").unwrap();
        assert_eq!(config.address.to_string(), "[::1]:7");
        for wrong in ["", "http://a", "redis://a/x", "rediss://a/#trust", "redis://a?protocol=4"] {
            assert!(Config::parse(wrong).is_err(), "{wrong}");
        }
    }
}
