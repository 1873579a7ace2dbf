//! How much of everything a connection holds.
//!
//! The rule of this file: a limit is a setting with a named default, and the defaults are together.

use std::time::Duration;

use super::config::Config;

/// The bytes of all rows that one `query` collects.
pub const RESULT_BYTES_MAX_DEFAULT: usize = 1024 * 1024 * 1024;
/// The bytes of rows that wait for the closure of one `query_each`, before the connection stops
/// reading.
pub const STREAM_BYTES_MAX_DEFAULT: usize = 256 * 1024;
/// Requests that were sent on a connection and are not answered yet; further ones wait.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 16 * 1024;
/// Prepared statements that a connection keeps though nobody holds them.
pub const STATEMENTS_MAX_DEFAULT: usize = 256;
/// How long a request waits for a connection that was lost to come back.
pub const RECONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Settings of the session that a server may report; PostgreSQL 15 reports 14, and those of
/// extensions that ask for it.
pub(super) const PARAMETERS_MAX: usize = 1000;

/// The limits of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) result_bytes_max: usize,
    pub(crate) stream_bytes_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) statements_max: usize,
    pub(crate) reconnect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            result_bytes_max: RESULT_BYTES_MAX_DEFAULT,
            stream_bytes_max: STREAM_BYTES_MAX_DEFAULT,
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
            statements_max: STATEMENTS_MAX_DEFAULT,
            reconnect_timeout: RECONNECT_TIMEOUT_DEFAULT,
        }
    }
}

impl Config {
    /// The bytes of all rows that one [`query`](super::Client::query) collects; a larger result is
    /// an error. Default: [`RESULT_BYTES_MAX_DEFAULT`].
    pub fn result_bytes_max(&mut self, bytes: usize) -> &mut Self {
        self.limits.result_bytes_max = bytes;
        self
    }

    /// The bytes of rows that wait for the closure of a [`query_each`](super::Client::query_each);
    /// beyond that the connection stops reading. Default: [`STREAM_BYTES_MAX_DEFAULT`].
    pub fn stream_bytes_max(&mut self, bytes: usize) -> &mut Self {
        self.limits.stream_bytes_max = bytes;
        self
    }

    /// Requests on a connection that are not answered yet; further ones wait. At least 1. Default:
    /// [`IN_FLIGHT_MAX_DEFAULT`].
    pub fn in_flight_max(&mut self, requests: usize) -> &mut Self {
        self.limits.in_flight_max = requests.max(1);
        self
    }

    /// Prepared statements that a connection keeps though nobody holds them. Default:
    /// [`STATEMENTS_MAX_DEFAULT`].
    pub fn statements_max(&mut self, statements: usize) -> &mut Self {
        self.limits.statements_max = statements;
        self
    }

    /// How long a request waits for a connection that was lost to come back; a nearer deadline of
    /// its fiber counts. Default: [`RECONNECT_TIMEOUT_DEFAULT`].
    pub fn reconnect_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.limits.reconnect_timeout = timeout;
        self
    }
}
