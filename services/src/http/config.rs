//! Every setting of a server in one place, with its default and its reason.
//!
//! The limits of what a message may hold are those of the protocol core
//! ([`Limits`]); here are the time-outs and the limits of
//! connections and buffers.

use std::time::Duration;

use super::pace::Pace;
use super::proto::limits::{
    HEAD_TIMEOUT, IDLE_TIMEOUT, Limits, PROGRESS_TIMEOUT, RATE_MIN, REQUESTS_PER_CONNECTION_MAX,
};

/// Bytes of body that are read and thrown away after a handler that did not want them, so that the
/// connection can be used again. Above that it is cheaper to close it.
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// How long a connection that is closed with bytes still coming in stays open for reading. A close
/// with unread bytes would reset it, and the peer might never see the response.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that are read and thrown away in that time.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Time that active requests have to end when the server drains.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Descriptors that connections leave to the rest of the process: files, databases, logs.
pub const DESCRIPTORS_RESERVED: usize = 64;

/// Bytes of responses that are collected before they are sent, when requests are pipelined. A peer
/// that sends requests and reads no answers gets no further than this.
pub(super) const OUT_BYTES_MAX: usize = 64 * 1024;

/// How long the beginning of a streamed response is held back while the body of its request is
/// being waited for. A body that turns out to be malformed in this time is answered with a status.
pub(super) const HOLD_TIMEOUT: Duration = Duration::from_millis(200);

/// Bytes of the buffer that a connection reads into at first; it grows for long heads only.
pub(super) const IN_BYTES: usize = 8 * 1024;

/// Bytes of a body that are copied behind their head to be sent in one go. A longer one is sent
/// from where it is.
pub(super) const COPY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a streamed body that are collected into one chunk.
pub(super) const CHUNK_BYTES: usize = 8 * 1024;

/// Sets of buffers that a shard keeps when no connection needs them.
pub(super) const BUFFERS_KEPT_MAX: usize = 256;

/// What a server does and does not accept, and for how long it waits.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) limits: Limits,
    pub(super) head_timeout: Duration,
    pub(super) body: Pace,
    pub(super) send: Pace,
    pub(super) idle_timeout: Duration,
    pub(super) linger_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) drain_bytes_max: u64,
    pub(super) requests_max: usize,
    /// `None`: what the limit on descriptors leaves.
    pub(super) connections_max: Option<usize>,
    /// CONNECT, TRACE and unknown methods reach the handler.
    pub(super) any_method: bool,
    pub(super) drain_on_signal: bool,
    pub(super) share_port: bool,
    pub(super) shards: Option<usize>,
    pub(super) stack_size: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            head_timeout: HEAD_TIMEOUT,
            body: Pace { timeout: PROGRESS_TIMEOUT, rate_min: RATE_MIN },
            send: Pace { timeout: PROGRESS_TIMEOUT, rate_min: RATE_MIN },
            idle_timeout: IDLE_TIMEOUT,
            linger_timeout: LINGER_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            drain_bytes_max: DRAIN_BYTES_MAX,
            requests_max: REQUESTS_PER_CONNECTION_MAX,
            connections_max: None,
            any_method: false,
            drain_on_signal: true,
            share_port: false,
            shards: None,
            stack_size: None,
        }
    }
}

impl Config {
    /// Connections of the whole server.
    pub(super) fn connections(&self) -> usize {
        self.connections_max.unwrap_or_else(|| {
            descriptors_max().map_or(usize::MAX, |max| {
                max.saturating_sub(DESCRIPTORS_RESERVED.min(max / 2)).max(1)
            })
        })
    }
}

/// The soft limit on descriptors of this process, where the system tells it as a text.
fn descriptors_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
