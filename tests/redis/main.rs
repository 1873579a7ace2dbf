//! `cede::redis` against real servers.
//!
//! The rule of this file: what the client says is compared with what `redis-cli` says of the same
//! data, or with what the server says of its connections.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/redis.rs"]
mod server;

#[path = "../common/proxy.rs"]
mod proxy;

mod cluster;
mod commands;
mod dedicated;
mod failures;
mod login;
mod sentinel;
mod storms;
mod subscriptions;

use cede::redis::{Client, RedisResult};
use common::within_reason;
use server::Redis;

/// Runs a test body in a runtime, with a client of a server.
fn with_client<T: Send + 'static>(
    server: &Redis,
    body: impl FnOnce(Client) -> T + Send + 'static,
) -> T {
    let url = server.url(0);
    in_runtime(move || body(Client::connect(url).unwrap()))
}

fn in_runtime<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    within_reason(move || cede::run(body).unwrap())
}

/// Waits, in a fiber, until something has happened.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed() < common::HANG, "did not happen: {what}");
        cede::sleep(std::time::Duration::from_millis(2)).unwrap();
    }
}

/// Lines of `INFO` that begin so.
fn info(client: &Client, key: &str) -> RedisResult<String> {
    let text: String = cede::redis::cmd("INFO").query(&mut &*client)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(line.unwrap_or_default().to_string())
}

/// Sockets of all processes that are connected to this port of this machine, or were and are not
/// closed.
fn sockets_to(port: u16) -> usize {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let peer = format!(":{port:04X}");
    let of_line = |line: &str| -> Option<bool> {
        let mut words = line.split_whitespace().skip(2);
        // TIME_WAIT has no descriptor.
        Some(words.next()?.ends_with(&peer) && words.next()? != "06")
    };
    text.lines().skip(1).filter(|line| of_line(line) == Some(true)).count()
}
