//! A server that is found by asking sentinels.
//!
//! The rule of this file: what a sentinel says is where to look, not what is true. Who is found there
//! has to say of itself that it is the master.

use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisConnectionInfo, RedisError, RedisResult, Value, cmd};

use super::config::{Address, Config};
use super::error::{Failure, Phase};
use super::link::Link;

/// How a master is found.
#[derive(Debug, Clone)]
pub(super) struct Sentinels {
    /// The name that sentinels know it by.
    pub(super) master: String,
    pub(super) addresses: Vec<Address>,
    pub(super) login: RedisConnectionInfo,
}

impl Sentinels {
    /// Connects to the master of this moment. Sentinels are asked one after the other until the one
    /// that they name lets us in as a master.
    pub(super) fn open(&self, config: &Config) -> RedisResult<Link> {
        let mut last = None;
        for sentinel in &self.addresses {
            match self.ask(config, sentinel).and_then(|address| connect(config, &address)) {
                Ok(link) => return Ok(link),
                Err(error) => {
                    tracing::debug!(%sentinel, %error, "no master by this sentinel");
                    // An error that may pass counts for more than one that does not.
                    if last.as_ref().is_none_or(|last| !super::link::is_transient(last)) {
                        last = Some(error);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            (ErrorKind::EmptySentinelList, "no sentinel is named in the configuration").into()
        }))
    }

    /// Where a sentinel says that the master is.
    fn ask(&self, config: &Config, sentinel: &Address) -> RedisResult<Address> {
        let host: Arc<str> = format!("sentinel {sentinel}").into();
        let config =
            Config { login: self.login.clone(), name: None, sentinels: None, ..config.clone() };
        let mut link = Link::open(&config, sentinel, &host)?;
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.master);
        match ask(&config, &mut link, &question.get_packed_command())? {
            Value::Array(parts) => {
                let (name, port): (String, u16) = redis::from_redis_value(Value::Array(parts))?;
                Ok(Address::Tcp(name, port))
            }
            Value::ServerError(error) => Err(error.into()),
            _ => {
                let text = format!("{host} does not know {:?}", self.master);
                Err((ErrorKind::MasterNameNotFoundBySentinel, "there is no such master", text)
                    .into())
            }
        }
    }
}

/// Connects, and asks for the role.
fn connect(config: &Config, address: &Address) -> RedisResult<Link> {
    let host: Arc<str> = address.to_string().into();
    let mut link = Link::open(config, address, &host)?;
    let role = ask(config, &mut link, &cmd("ROLE").get_packed_command())?;
    let is_master = match &role {
        Value::Array(parts) => {
            matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master")
        }
        _ => false,
    };
    if is_master {
        return Ok(link);
    }
    let text = "it is not the master that sentinels say it is: a failover is going on";
    Err(Failure::new(&host, Phase::Handshake, io::Error::new(io::ErrorKind::NotConnected, text))
        .into())
}

/// One question and its answer, in the time for a connect.
fn ask(config: &Config, link: &mut Link, question: &[u8]) -> RedisResult<Value> {
    let answer = cede_fiber::with_deadline(config.connect_timeout, || link.exchange(question, 1));
    let answer = answer
        .map_err(|cause| RedisError::from(Failure::new(&link.host, Phase::Handshake, cause)))?;
    Ok(answer.into_iter().next().unwrap_or_default())
}
