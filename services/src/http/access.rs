//! The access log: one event of `tracing` for each request, target `cede::http::access`.
//!
//! The rule of this file: while nobody listens it costs one load, and no clock is read.

use std::time::Instant;

use super::proto::reject::Reject;
use super::request::Request;

const TARGET: &str = "cede::http::access";

/// When a request began to be served, if somebody wants to know.
#[inline(always)]
pub(super) fn begin() -> Option<Instant> {
    if tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        Some(Instant::now())
    } else {
        None
    }
}

#[cold]
pub(super) fn served(began: Instant, request: &Request<'_>, status: u16, bytes_out: u64) {
    // The path is the peer's; the parser has let no control byte and nothing beyond ASCII through.
    tracing::info!(
        target: TARGET,
        peer = %request.peer_addr(),
        method = request.method().as_str(),
        path = request.path(),
        status,
        bytes_in = request.body.bytes_read(),
        bytes_out,
        micros = began.elapsed().as_micros() as u64,
    );
}

/// The peer has got a part of the response at most.
#[cold]
pub(super) fn broke_off(began: Instant, request: &Request<'_>, status: u16) {
    tracing::info!(
        target: TARGET,
        peer = %request.peer_addr(),
        method = request.method().as_str(),
        path = request.path(),
        status,
        bytes_in = request.body.bytes_read(),
        micros = began.elapsed().as_micros() as u64,
        "the response broke off",
    );
}

#[cold]
pub(super) fn refused(peer: std::net::SocketAddr, reject: Reject) {
    tracing::info!(
        target: TARGET,
        peer = %peer,
        status = reject.status(),
        reason = reject.reason(),
    );
}

#[cfg(test)]
mod tests;
