//! Where the database is, and how to come to it.
//!
//! The surprising rule: a setting that was not made is not there at all, until it is asked for. So a
//! connection string can be filled up from the environment, and defaults come last.

mod environment;
mod options;
mod others;
mod parse;
mod passfile;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use options::{AuthMethod, AuthMethods};
pub use options::{
    ChannelBinding, Host, LoadBalanceHosts, SslMode, SslNegotiation, SslRootCert,
    TargetSessionAttrs,
};
pub(crate) use parse::is_utf8;
pub(crate) use passfile::{Wanted, find_password};

use super::limits::Limits;

/// The port of PostgreSQL.
pub const PORT_DEFAULT: u16 = 5432;
/// How long one address may take to connect, to agree on TLS, to authenticate and to start a
/// session.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest message that is taken from a server once the session is there, in bytes. A message is
/// a row, or a piece of a COPY.
pub const MESSAGE_BYTES_MAX_DEFAULT: usize = 64 * 1024 * 1024;
/// Without traffic for so long, the kernel asks whether the other end is still there.
pub const KEEPALIVES_IDLE_DEFAULT: Duration = Duration::from_secs(60);

/// The settings of a connection.
///
/// They are those of libpq, with its names, and come from a URL, from a string of `key=value` pairs,
/// from the environment, or from methods:
///
/// | key | environment | what it is |
/// |---|---|---|
/// | `host` | `PGHOST` | names, addresses or directories of UNIX sockets (with a `/` in front), separated by commas |
/// | `hostaddr` | `PGHOSTADDR` | addresses, so that the names need not be looked up |
/// | `port` | `PGPORT` | one for all hosts, or one for each; 5432 |
/// | `user` | `PGUSER` | the one whose process it is (`USER`, `LOGNAME`) |
/// | `password` | `PGPASSWORD` | without one, the password file is looked into |
/// | `passfile` | `PGPASSFILE` | the password file, `~/.pgpass` |
/// | `dbname` | `PGDATABASE` | the user's name |
/// | `options` | `PGOPTIONS` | settings of the session: `-c name=value` |
/// | `application_name`, `fallback_application_name` | `PGAPPNAME` | shown in `pg_stat_activity` |
/// | `connect_timeout` | `PGCONNECT_TIMEOUT` | seconds for each address; 10, and 0 is without end |
/// | `sslmode` | `PGSSLMODE` | [`SslMode`]; `prefer` |
/// | `sslnegotiation` | `PGSSLNEGOTIATION` | [`SslNegotiation`]; `postgres` |
/// | `sslrootcert` | `PGSSLROOTCERT` | a file of PEM, or `system` |
/// | `sslcert`, `sslkey` | `PGSSLCERT`, `PGSSLKEY` | the client's own certificate and its key, in PEM |
/// | `channel_binding` | `PGCHANNELBINDING` | [`ChannelBinding`]; `prefer` |
/// | `require_auth` | `PGREQUIREAUTH` | methods that the server may ask for: `scram-sha-256`, `md5`, `password`, `none`; with a `!` in front, all but these |
/// | `target_session_attrs` | `PGTARGETSESSIONATTRS` | [`TargetSessionAttrs`]; `any` |
/// | `load_balance_hosts` | `PGLOADBALANCEHOSTS` | `disable` or `random` |
/// | `keepalives` | | 1, or 0 for none |
/// | `keepalives_idle`, `keepalives_interval` | | seconds |
/// | `keepalives_count` | | |
/// | `tcp_user_timeout` | | milliseconds after which data that nobody acknowledges end the connection |
///
/// A host with several addresses, and several hosts, are tried in turn. Other parameters of libpq are
/// taken where they ask for what is done anyway (`gssencmode=disable`, `client_encoding=UTF8`), and
/// are an error that says so where they do not (`service`, `sslcrl`, `requirepeer`); so is whatever
/// is no parameter at all.
///
/// # Examples
///
/// ```
/// # use cede_wrappers as cede;
/// use cede::postgres::Config;
///
/// let config: Config = "postgres://joe:secret@db1,db2:5433/shop?sslmode=verify-full".parse()?;
/// assert_eq!(config.get_user(), Some("joe"));
/// assert_eq!(config.get_dbname(), Some("shop"));
/// assert_eq!(config.get_ports(), [5432, 5433]);
/// assert!(!format!("{config:?}").contains("secret"));
///
/// let error = "host=db1 sslmod=require".parse::<Config>().unwrap_err();
/// assert!(error.to_string().contains("sslmod"));
/// # Ok::<_, cede::postgres::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Config {
    pub(super) user: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) dbname: Option<String>,
    pub(super) options: Option<String>,
    pub(super) application_name: Option<String>,
    pub(super) hosts: Vec<Host>,
    pub(super) hostaddrs: Vec<IpAddr>,
    pub(super) ports: Vec<u16>,
    /// Zero is without end.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) ssl_negotiation: Option<SslNegotiation>,
    pub(super) ssl_root_cert: Option<SslRootCert>,
    pub(super) ssl_cert: Option<PathBuf>,
    pub(super) ssl_key: Option<PathBuf>,
    pub(super) channel_binding: Option<ChannelBinding>,
    pub(super) require_auth: Option<AuthMethods>,
    pub(super) target_session_attrs: Option<TargetSessionAttrs>,
    pub(super) load_balance_hosts: Option<LoadBalanceHosts>,
    pub(super) keepalives: Option<bool>,
    pub(super) keepalives_idle: Option<Duration>,
    pub(super) keepalives_interval: Option<Duration>,
    pub(super) keepalives_count: Option<u32>,
    pub(super) tcp_user_timeout: Option<Duration>,
    pub(super) message_bytes_max: Option<usize>,
    pub(super) limits: Limits,
}

impl Config {
    /// Settings of which none is made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The user; without one it is the one whose process it is.
    pub fn user(&mut self, user: impl Into<String>) -> &mut Self {
        self.user = Some(user.into());
        self
    }

    /// What was set by [`user`](Self::user).
    #[must_use]
    pub fn get_user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password; never shown by `Debug`. Without one the password file is looked into.
    pub fn password(&mut self, password: impl AsRef<[u8]>) -> &mut Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// What was set by [`password`](Self::password).
    #[must_use]
    pub fn get_password(&self) -> Option<&[u8]> {
        self.password.as_deref()
    }

    /// Where the password file is, instead of `~/.pgpass`.
    pub fn passfile(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.passfile = Some(path.into());
        self
    }

    /// What was set by [`passfile`](Self::passfile).
    #[must_use]
    pub fn get_passfile(&self) -> Option<&Path> {
        self.passfile.as_deref()
    }

    /// The database; without one it is that of the user's name.
    pub fn dbname(&mut self, dbname: impl Into<String>) -> &mut Self {
        self.dbname = Some(dbname.into());
        self
    }

    /// What was set by [`dbname`](Self::dbname).
    #[must_use]
    pub fn get_dbname(&self) -> Option<&str> {
        self.dbname.as_deref()
    }

    /// Settings of the session as arguments of a command: `-c statement_timeout=5s`.
    pub fn options(&mut self, options: impl Into<String>) -> &mut Self {
        self.options = Some(options.into());
        self
    }

    /// What was set by [`options`](Self::options).
    #[must_use]
    pub fn get_options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// What `pg_stat_activity` shows.
    pub fn application_name(&mut self, name: impl Into<String>) -> &mut Self {
        self.application_name = Some(name.into());
        self
    }

    /// What was set by [`application_name`](Self::application_name).
    #[must_use]
    pub fn get_application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// Adds a host: a name or an address, or the directory of a UNIX socket, which begins with `/`.
    pub fn host(&mut self, host: impl AsRef<str>) -> &mut Self {
        self.hosts.push(Host::new(host.as_ref()));
        self
    }

    /// Adds a host by the directory of its UNIX socket.
    pub fn host_path(&mut self, directory: impl Into<PathBuf>) -> &mut Self {
        self.hosts.push(Host::Unix(directory.into()));
        self
    }

    /// The hosts.
    #[must_use]
    pub fn get_hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Adds the address of a host; there must be as many as hosts. The names are then not looked up,
    /// but certificates are still for them.
    pub fn hostaddr(&mut self, addr: IpAddr) -> &mut Self {
        self.hostaddrs.push(addr);
        self
    }

    /// The addresses of the hosts.
    #[must_use]
    pub fn get_hostaddrs(&self) -> &[IpAddr] {
        &self.hostaddrs
    }

    /// Adds a port; there must be one, or as many as hosts.
    pub fn port(&mut self, port: u16) -> &mut Self {
        self.ports.push(port);
        self
    }

    /// The ports.
    #[must_use]
    pub fn get_ports(&self) -> &[u16] {
        &self.ports
    }

    /// How long an address may take until its session has begun; zero is without end.
    pub fn connect_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How long an address may take; `None` is without end.
    #[must_use]
    pub fn get_connect_timeout(&self) -> Option<Duration> {
        let timeout = self.connect_timeout.unwrap_or(CONNECT_TIMEOUT_DEFAULT);
        (!timeout.is_zero()).then_some(timeout)
    }

    /// Whether TLS is used, and what of the server's certificate is verified.
    pub fn ssl_mode(&mut self, mode: SslMode) -> &mut Self {
        self.ssl_mode = Some(mode);
        self
    }

    /// How TLS is used.
    #[must_use]
    pub fn get_ssl_mode(&self) -> SslMode {
        match (self.ssl_mode, &self.ssl_root_cert) {
            (Some(mode), _) => mode,
            (None, Some(SslRootCert::System)) => SslMode::VerifyFull,
            (None, _) => SslMode::Prefer,
        }
    }

    /// How TLS begins.
    pub fn ssl_negotiation(&mut self, negotiation: SslNegotiation) -> &mut Self {
        self.ssl_negotiation = Some(negotiation);
        self
    }

    /// How TLS begins.
    #[must_use]
    pub fn get_ssl_negotiation(&self) -> SslNegotiation {
        self.ssl_negotiation.unwrap_or(SslNegotiation::Postgres)
    }

    /// Who may have signed the server's certificate. With
    /// [`Require`](SslMode::Require) a file means as much as [`VerifyCa`](SslMode::VerifyCa).
    pub fn ssl_root_cert(&mut self, roots: SslRootCert) -> &mut Self {
        self.ssl_root_cert = Some(roots);
        self
    }

    /// What was set by [`ssl_root_cert`](Self::ssl_root_cert).
    #[must_use]
    pub fn get_ssl_root_cert(&self) -> Option<&SslRootCert> {
        self.ssl_root_cert.as_ref()
    }

    /// The client's own certificates and their key, both in PEM.
    pub fn ssl_client_cert(
        &mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> &mut Self {
        self.ssl_cert = Some(certificate.into());
        self.ssl_key = Some(key.into());
        self
    }

    /// Whether the authentication is bound to the TLS session.
    pub fn channel_binding(&mut self, binding: ChannelBinding) -> &mut Self {
        self.channel_binding = Some(binding);
        self
    }

    /// Whether the authentication is bound to the TLS session.
    #[must_use]
    pub fn get_channel_binding(&self) -> ChannelBinding {
        self.channel_binding.unwrap_or(ChannelBinding::Prefer)
    }

    /// What the session must be able to do.
    pub fn target_session_attrs(&mut self, attrs: TargetSessionAttrs) -> &mut Self {
        self.target_session_attrs = Some(attrs);
        self
    }

    /// What the session must be able to do.
    #[must_use]
    pub fn get_target_session_attrs(&self) -> TargetSessionAttrs {
        self.target_session_attrs.unwrap_or(TargetSessionAttrs::Any)
    }

    /// In which order hosts and their addresses are tried.
    pub fn load_balance_hosts(&mut self, balance: LoadBalanceHosts) -> &mut Self {
        self.load_balance_hosts = Some(balance);
        self
    }

    /// In which order hosts and their addresses are tried.
    #[must_use]
    pub fn get_load_balance_hosts(&self) -> LoadBalanceHosts {
        self.load_balance_hosts.unwrap_or(LoadBalanceHosts::Disable)
    }

    /// Whether the kernel asks an idle connection's other end whether it is still there; it does
    /// unless this says no.
    pub fn keepalives(&mut self, on: bool) -> &mut Self {
        self.keepalives = Some(on);
        self
    }

    /// After how long without traffic it asks.
    pub fn keepalives_idle(&mut self, idle: Duration) -> &mut Self {
        self.keepalives_idle = Some(idle);
        self
    }

    /// How long it waits for an answer before it asks again.
    pub fn keepalives_interval(&mut self, interval: Duration) -> &mut Self {
        self.keepalives_interval = Some(interval);
        self
    }

    /// How often it asks before the connection is given up.
    pub fn keepalives_count(&mut self, count: u32) -> &mut Self {
        self.keepalives_count = Some(count);
        self
    }

    /// After how long without an acknowledgement of what was sent the connection is given up.
    pub fn tcp_user_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.tcp_user_timeout = Some(timeout);
        self
    }

    /// The longest message that is taken from the server, in bytes; a longer one ends the connection
    /// before there is memory for it.
    pub fn message_bytes_max(&mut self, bytes: usize) -> &mut Self {
        self.message_bytes_max = Some(bytes);
        self
    }

    /// The longest message that is taken from the server.
    #[must_use]
    pub fn get_message_bytes_max(&self) -> usize {
        self.message_bytes_max.unwrap_or(MESSAGE_BYTES_MAX_DEFAULT)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What stands for a secret.
        struct Hidden;
        impl fmt::Debug for Hidden {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("_")
            }
        }
        f.debug_struct("Config")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| Hidden))
            .field("dbname", &self.dbname)
            .field("options", &self.options)
            .field("application_name", &self.application_name)
            .field("hosts", &self.hosts)
            .field("hostaddrs", &self.hostaddrs)
            .field("ports", &self.ports)
            .field("connect_timeout", &self.get_connect_timeout())
            .field("ssl_mode", &self.get_ssl_mode())
            .field("ssl_root_cert", &self.ssl_root_cert)
            .field("target_session_attrs", &self.get_target_session_attrs())
            .finish_non_exhaustive()
    }
}
