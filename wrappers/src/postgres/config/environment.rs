//! The variables that libpq reads.
//!
//! The rule of this file: the environment only fills what was not set otherwise.

use std::env;

use super::{Config, others};
use crate::postgres::error::Error;

/// Which variable is which setting.
const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGDATABASE", "dbname"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
];

impl Config {
    /// The settings of the environment alone.
    ///
    /// # Errors
    ///
    /// A variable whose value cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        Self::new().or_env()
    }

    /// These settings, and for those that are not made the environment's.
    ///
    /// # Errors
    ///
    /// A variable whose value cannot be used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// use cede::postgres::Config;
    ///
    /// // The password may come from PGPASSWORD.
    /// let config = "postgres://joe@db/shop".parse::<Config>()?.or_env()?;
    /// # Ok::<_, cede::postgres::Error>(())
    /// ```
    pub fn or_env(self) -> Result<Self, Error> {
        self.or_variables(|name| env::var_os(name).map(std::ffi::OsString::into_encoded_bytes))
    }

    fn or_variables(self, variable: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, Error> {
        let mut there = Self::new();
        for (name, key) in VARIABLES.iter().copied().chain(others::variables()) {
            // An empty one counts as none.
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                there
                    .set(key, &value)
                    .map_err(|error| Error::config(format!("the environment's {name}: {error}")))?;
            }
        }
        Ok(self.or(there))
    }

    fn or(self, other: Self) -> Self {
        // Addresses and ports are those of certain hosts.
        let (hosts, hostaddrs) = if self.hosts.is_empty() && self.hostaddrs.is_empty() {
            (other.hosts, other.hostaddrs)
        } else {
            (self.hosts, self.hostaddrs)
        };
        Self {
            user: self.user.or(other.user),
            password: self.password.or(other.password),
            passfile: self.passfile.or(other.passfile),
            dbname: self.dbname.or(other.dbname),
            options: self.options.or(other.options),
            application_name: self.application_name.or(other.application_name),
            hosts,
            hostaddrs,
            ports: if self.ports.is_empty() { other.ports } else { self.ports },
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            ssl_mode: self.ssl_mode.or(other.ssl_mode),
            ssl_negotiation: self.ssl_negotiation.or(other.ssl_negotiation),
            ssl_root_cert: self.ssl_root_cert.or(other.ssl_root_cert),
            ssl_cert: self.ssl_cert.or(other.ssl_cert),
            ssl_key: self.ssl_key.or(other.ssl_key),
            channel_binding: self.channel_binding.or(other.channel_binding),
            require_auth: self.require_auth.or(other.require_auth),
            target_session_attrs: self.target_session_attrs.or(other.target_session_attrs),
            load_balance_hosts: self.load_balance_hosts.or(other.load_balance_hosts),
            keepalives: self.keepalives.or(other.keepalives),
            keepalives_idle: self.keepalives_idle.or(other.keepalives_idle),
            keepalives_interval: self.keepalives_interval.or(other.keepalives_interval),
            keepalives_count: self.keepalives_count.or(other.keepalives_count),
            tcp_user_timeout: self.tcp_user_timeout.or(other.tcp_user_timeout),
            message_bytes_max: self.message_bytes_max.or(other.message_bytes_max),
            limits: self.limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_what_is_not_set() {
        let variables = |name: &str| {
            let value = match name {
                "PGHOST" => "db1,/run/pg",
                "PGPORT" => "6432",
                "PGUSER" => "env",
                "PGPASSWORD" => "secret",
                "PGSSLMODE" => "require",
                "PGDATABASE" => "",
                _ => return None,
            };
            Some(value.as_bytes().to_vec())
        };
        let config = Config::new().or_variables(variables).unwrap();
        assert_eq!((config.hosts.len(), config.ports.as_slice()), (2, &[6432][..]));
        assert_eq!(config.dbname, None);
        let config = "postgres://joe@db".parse::<Config>().unwrap();
        let config = config.or_variables(variables).unwrap();
        assert_eq!(config.hosts.len(), 1);
        assert_eq!(config.user.as_deref(), Some("joe"));
        assert_eq!(config.password.as_deref(), Some(&b"secret"[..]));
        assert_eq!(config.get_ssl_mode(), super::super::SslMode::Require);
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = Config::new()
            .or_variables(|name| (name == "PGPORT").then(|| b"secret".to_vec()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("PGPORT") && !error.contains("secret"), "{error}");
        // What would be less safe without.
        let error = Config::new().or_variables(|name| (name == "PGSSLCRL").then(|| b"x".to_vec()));
        assert!(error.unwrap_err().to_string().contains("PGSSLCRL"));
    }

    #[test]
    fn every_variable_is_a_parameter() {
        for (name, key) in VARIABLES.iter().copied().chain(others::variables()) {
            // What is unknown is an error that says so.
            if let Err(error) = Config::new().set(key, b"x") {
                assert!(!error.to_string().contains("no parameter"), "{name}: {error}");
            }
        }
    }
}
