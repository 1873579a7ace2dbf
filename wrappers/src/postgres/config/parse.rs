//! Connection strings: URLs, and pairs of keys and values.
//!
//! ```text
//!   postgres://user:password@host:port,[::1]:port/database?key=value&key=value
//!   host=db1,db2 port=5432 user=joe password='it\'s secret'
//! ```
//!
//! The rule of this file: an error names the key and never shows a value, which may be, or hold, a
//! password.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::options::{AuthMethods, Host, SslRootCert};
use super::{
    ChannelBinding, Config, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs, others,
};
use crate::postgres::error::Error;

impl FromStr for Config {
    type Err = Error;

    /// Of a URL (`postgres://` or `postgresql://`), or of `key=value` pairs. The environment is not
    /// looked at: see [`or_env`](Config::or_env).
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut config = Self::new();
        match ["postgres://", "postgresql://"].iter().find_map(|s| text.strip_prefix(s)) {
            Some(rest) => config.read_url(rest)?,
            None => config.read_pairs(text)?,
        }
        Ok(config)
    }
}

impl Config {
    fn read_url(&mut self, rest: &str) -> Result<(), Error> {
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = match authority.rsplit_once('@') {
            Some((user, hosts)) => {
                let (user, password) = match user.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (user, None),
                };
                if !user.is_empty() {
                    self.set_decoded("user", user)?;
                }
                if let Some(password) = password.filter(|password| !password.is_empty()) {
                    self.set_decoded("password", password)?;
                }
                hosts
            }
            None => authority,
        };
        if !hosts.is_empty() {
            self.read_hosts(hosts)?;
        }
        if !dbname.is_empty() {
            self.set_decoded("dbname", dbname)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::config(
                    "a parameter of the URL has no value: key=value (a ? in a password is %3F)",
                )
            })?;
            let key = decoded(key, "a parameter's name")?;
            match (&*key, value) {
                // As JDBC has it.
                ("ssl", "true") => self.set("sslmode", b"require")?,
                _ => self.set_decoded(&key, value)?,
            }
        }
        Ok(())
    }

    fn read_hosts(&mut self, hosts: &str) -> Result<(), Error> {
        let mut ports = Vec::new();
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((address, "")) => (address, None),
                Some((address, rest)) => {
                    let port = rest.strip_prefix(':');
                    let text = "the URL's [address] must be followed by :port, a comma or the path";
                    (address, Some(port.ok_or_else(|| Error::config(text))?))
                }
                None if host.starts_with('[') => {
                    return Err(Error::config("an IPv6 address in the URL lacks its ]"));
                }
                None => match host.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (host, None),
                },
            };
            if !name.is_empty() || hosts.contains(',') {
                self.hosts.push(Host::new(&decoded(name, "host")?));
            }
            ports.push(port.unwrap_or_default());
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", ports.join(",").as_bytes())?;
        }
        Ok(())
    }

    fn set_decoded(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let value = percent_decode(value).ok_or_else(|| malformed(key))?;
        self.set(key, &value)
    }

    fn read_pairs(&mut self, text: &str) -> Result<(), Error> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
            let (key, behind) = rest.split_at(end);
            let value = behind.trim_start().strip_prefix('=').map(str::trim_start);
            let value = value.filter(|_| !key.is_empty()).ok_or_else(|| {
                Error::config(
                    "the connection string is neither a URL (postgres://..) nor pairs of \
                     key=value, separated by spaces",
                )
            })?;
            let (value, behind) = unquoted(value).ok_or_else(|| {
                Error::config(format!("the value of {key} lacks its closing quote"))
            })?;
            self.set(key, value.as_bytes())?;
            rest = behind.trim_start();
        }
        Ok(())
    }

    /// Makes one setting, by its key.
    pub(super) fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        if value.contains(&0) {
            return Err(Error::config(format!("the value of {key} holds a zero byte")));
        }
        if key == "password" {
            self.password(value);
            return Ok(());
        }
        let text = str::from_utf8(value)
            .map_err(|_| Error::config(format!("the value of {key} is not UTF-8")))?;
        match key {
            "user" => drop(self.user(text)),
            "dbname" => drop(self.dbname(text)),
            "passfile" => drop(self.passfile(text)),
            "options" => drop(self.options(text)),
            "application_name" | "fallback_application_name" => {
                if key == "application_name" || self.application_name.is_none() {
                    self.application_name(text);
                }
            }
            "host" => self.hosts = text.split(',').map(Host::new).collect(),
            "hostaddr" => {
                let addrs: Result<_, _> = text.split(',').map(str::parse::<IpAddr>).collect();
                let list = "IP addresses, separated by commas";
                self.hostaddrs = addrs.map_err(|_| must_be(key, list))?;
            }
            "port" => {
                let port = |port: &str| match port.trim() {
                    "" => Ok(super::PORT_DEFAULT),
                    port => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                        must_be(key, "numbers from 1 to 65535, separated by commas")
                    }),
                };
                self.ports = text.split(',').map(port).collect::<Result<_, _>>()?;
            }
            "connect_timeout" => {
                self.connect_timeout = Some(duration(key, text, Duration::from_secs)?);
            }
            "sslmode" => self.ssl_mode = Some(choice(key, SslMode::parse(text), SslMode::TEXTS)?),
            "sslrootcert" => {
                self.ssl_root_cert = Some(match text {
                    "system" => SslRootCert::System,
                    path => SslRootCert::File(path.into()),
                });
            }
            "sslcert" => self.ssl_cert = Some(PathBuf::from(text)),
            "sslkey" => self.ssl_key = Some(PathBuf::from(text)),
            "sslnegotiation" => {
                let negotiation = SslNegotiation::parse(text);
                self.ssl_negotiation = Some(choice(key, negotiation, SslNegotiation::TEXTS)?);
            }
            "channel_binding" => {
                let binding = ChannelBinding::parse(text);
                self.channel_binding = Some(choice(key, binding, ChannelBinding::TEXTS)?);
            }
            "require_auth" => {
                let list = "a list of none, password, md5 and scram-sha-256, all or none with a !";
                let methods = AuthMethods::parse(text);
                self.require_auth = Some(methods.ok_or_else(|| must_be(key, list))?);
            }
            "target_session_attrs" => {
                let attrs = TargetSessionAttrs::parse(text);
                self.target_session_attrs = Some(choice(key, attrs, TargetSessionAttrs::TEXTS)?);
            }
            "load_balance_hosts" => {
                let balance = LoadBalanceHosts::parse(text);
                self.load_balance_hosts = Some(choice(key, balance, LoadBalanceHosts::TEXTS)?);
            }
            "keepalives" => {
                self.keepalives = Some(match text {
                    "0" => false,
                    "1" => true,
                    _ => return Err(must_be(key, "0 or 1")),
                });
            }
            "keepalives_idle" => {
                self.keepalives_idle = Some(duration(key, text, Duration::from_secs)?);
            }
            "keepalives_interval" => {
                self.keepalives_interval = Some(duration(key, text, Duration::from_secs)?);
            }
            "keepalives_count" => {
                let count = text.parse().map_err(|_| must_be(key, "a number"))?;
                self.keepalives_count = Some(count);
            }
            "tcp_user_timeout" => {
                self.tcp_user_timeout = Some(duration(key, text, Duration::from_millis)?);
            }
            _ => return others::check(key, text),
        }
        Ok(())
    }
}

/// Whether this is a name of the one encoding that is used here.
pub(crate) fn is_utf8(encoding: &str) -> bool {
    ["utf8", "utf-8", "unicode"].iter().any(|name| encoding.eq_ignore_ascii_case(name))
}

fn must_be(key: &str, what: &str) -> Error {
    Error::config(format!("{key} must be {what}"))
}

fn choice<T>(key: &str, choice: Option<T>, texts: &[&str]) -> Result<T, Error> {
    choice.ok_or_else(|| must_be(key, &format!("one of {}", texts.join(", "))))
}

/// Also libpq takes a negative time as none.
fn duration(key: &str, text: &str, of: fn(u64) -> Duration) -> Result<Duration, Error> {
    let number: i64 = text.trim().parse().map_err(|_| must_be(key, "a whole number"))?;
    Ok(of(number.try_into().unwrap_or(0)))
}

fn malformed(key: &str) -> Error {
    Error::config(format!(
        "{key} in the URL has a % that is not followed by two hexadecimal digits: write it as %25"
    ))
}

fn decoded(text: &str, key: &str) -> Result<String, Error> {
    let bytes = percent_decode(text).ok_or_else(|| malformed(key))?;
    String::from_utf8(bytes).map_err(|_| Error::config(format!("{key} in the URL is not UTF-8")))
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(bytes)
}

/// A value, maybe in quotes, and what is behind it. `None` when a quote is not closed.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let mut value = String::new();
    let mut chars = quoted.unwrap_or(text).chars();
    loop {
        let behind = chars.as_str();
        match chars.next() {
            None if quoted.is_some() => return None,
            None => return Some((value, "")),
            Some('\'') if quoted.is_some() => return Some((value, chars.as_str())),
            Some(c) if c.is_whitespace() && quoted.is_none() => return Some((value, behind)),
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn tcp(name: &str) -> Host {
        Host::Tcp(name.into())
    }

    #[test]
    fn urls_name_hosts_ports_user_database_and_parameters() {
        let config = parse(
            "postgresql://j%40e:p%3A%2F%25@a:1,[2001:db8::1]:2,[::1],%2Frun%2Fpg/my%20db\
             ?application_name=a+b&connect_timeout=3&sslmode=verify-full&options=-c%20x%3D1",
        );
        assert_eq!(config.user.as_deref(), Some("j@e"));
        assert_eq!(config.password.as_deref(), Some(&b"p:/%"[..]));
        assert_eq!(config.dbname.as_deref(), Some("my db"));
        let unix = Host::Unix("/run/pg".into());
        assert_eq!(config.hosts, [tcp("a"), tcp("2001:db8::1"), tcp("::1"), unix]);
        assert_eq!(config.ports, [1, 2, 5432, 5432]);
        assert_eq!(config.application_name.as_deref(), Some("a+b"));
        assert_eq!(config.options.as_deref(), Some("-c x=1"));
        assert_eq!(config.get_connect_timeout(), Some(Duration::from_secs(3)));
        assert_eq!(config.get_ssl_mode(), SslMode::VerifyFull);
    }

    #[test]
    fn every_part_of_a_url_may_be_left_out() {
        assert_eq!(parse("postgres://"), Config::new());
        assert_eq!(parse("postgres:///").hosts, []);
        assert_eq!(parse("postgres://db").hosts, [tcp("db")]);
        assert_eq!(parse("postgres://db").ports, []);
        assert_eq!(parse("postgres://:77").ports, [77]);
        assert_eq!(parse("postgres://joe@/shop").user.as_deref(), Some("joe"));
        assert_eq!(parse("postgres://joe@/shop").dbname.as_deref(), Some("shop"));
        assert_eq!(parse("postgres:///shop?host=/run/pg").hosts, [Host::Unix("/run/pg".into())]);
        // An unencoded @ in the password: the last one ends it.
        assert_eq!(parse("postgres://joe:a@b@db").password.as_deref(), Some(&b"a@b"[..]));
        assert_eq!(parse("postgres://db?ssl=true").get_ssl_mode(), SslMode::Require);
        assert_eq!(parse("postgres://db?password=%ff").password.as_deref(), Some(&b"\xff"[..]));
    }

    #[test]
    fn pairs_may_be_quoted_and_escaped() {
        let config = parse(r" host = a,b  port=1,2 user='j o' password='it\'s \\' dbname=x\ y ");
        assert_eq!(config.hosts, [tcp("a"), tcp("b")]);
        assert_eq!(config.ports, [1, 2]);
        assert_eq!(config.user.as_deref(), Some("j o"));
        assert_eq!(config.password.as_deref(), Some(&br"it's \"[..]));
        assert_eq!(config.dbname.as_deref(), Some("x y"));
        assert_eq!(parse(""), Config::new());
        assert_eq!(parse("user='' dbname=x").user.as_deref(), Some(""));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_shown() {
        let check = |text: &str, named: &str| {
            let error = text.parse::<Config>().unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("secret"), "{text}: {error}");
        };
        check("postgres://db?sslmod=secret", "sslmod");
        check("postgres://joe:secret%@db", "password");
        check("postgres://joe:secret%zz@db", "password");
        check("postgres://db:secret", "port");
        check("postgres://db:0", "port");
        check("postgres://db:65536", "port");
        check("postgres://[::1", "]");
        check("postgres://[::1]x", "port");
        check("postgres://joe@a/b?secret", "%3F");
        check("postgres://db/a%00b", "dbname");
        check("host=a sslmode=secret", "verify-full");
        check("host=a target_session_attrs=master", "prefer-standby");
        check("password='secret", "password");
        check("secretly", "key=value");
        check("=secret", "key=value");
        check("host", "key=value");
        check("connect_timeout=soon", "connect_timeout");
        check("hostaddr=db", "hostaddr");
        check("require_auth=secret", "require_auth");
        check("gssencmode=require", "gssencmode");
        check("service=secret", "pg_service.conf");
        check("client_encoding=latin1", "client_encoding");
        check("sslnegotiation=secret", "direct");
        check("sslcrl=secret", "revoked");
        check("replication=database", "replication");
        check("ssl_min_protocol_version=TLSv1.3", "TLSv1.2".to_ascii_lowercase().as_str());
    }

    #[test]
    fn what_asks_for_the_way_it_is_anyway_is_taken() {
        for text in [
            "client_encoding=UTF8",
            "gssencmode=disable krbsrvname=postgres",
            "replication=false",
            "sslcompression=0 sslsni=1 sslcertmode=allow",
            "ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=TLSv1.3",
            "min_protocol_version=3.0 max_protocol_version=latest",
        ] {
            assert_eq!(parse(text), Config::new(), "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let pieces = [
            "postgres://",
            "@",
            ":",
            "/",
            "?",
            "=",
            "&",
            ",",
            "[",
            "]",
            "%",
            "'",
            "\\",
            " ",
            "host",
            "port",
            "\u{e9}",
            "5",
            "sslmode",
            "\0",
        ];
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..random % 12 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += pieces[(random >> 33) as usize % pieces.len()];
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = text.parse::<Config>();
        }
    }
}
