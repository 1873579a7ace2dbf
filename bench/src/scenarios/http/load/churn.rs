//! Connections that live for one request.

use std::net::SocketAddr;
use std::time::Instant;

use super::connection::{Connection, Heard, SCRATCH_BYTES, closed_early};
use crate::epoll::{self, Epoll};
use crate::sample::Miss;
use crate::scenarios::http::exchange::{Checker, Exchange};
use crate::server::Clock;

/// `at_a_time` connections are always under way; a new one takes the place of one that the server
/// has closed after a right answer.
pub fn churn(
    address: SocketAddr,
    exchange: &Exchange,
    at_a_time: usize,
    warm: u64,
    counted: u64,
    clock: &mut Clock,
) -> Result<(), Miss> {
    let mut checker = Checker::new(std::slice::from_ref(exchange));
    let mut epoll = Epoll::new()?;
    let mut scratch = vec![0; SCRATCH_BYTES];
    let start = |mut connection: Connection, epoll: &Epoll, slot: usize| {
        connection.ask(0, &exchange.request, Instant::now())?;
        epoll.add(connection.fd(), slot as u64)?;
        Ok::<_, Miss>(connection)
    };
    let mut connections = Vec::new();
    for slot in 0..at_a_time {
        connections.push(start(Connection::open_patiently(address)?, &epoll, slot)?);
    }
    let mut tokens = Vec::new();
    let mut done = 0;
    loop {
        epoll::ready(&mut epoll, &mut tokens)?;
        for &token in &tokens {
            let Some(connection) = connections.get_mut(token) else { continue };
            if connection.hear(&mut scratch, &mut checker, |_, _| {})? == Heard::Some {
                continue; // Its end is an event of its own.
            }
            if connection.waiting() > 0 {
                return Err(closed_early());
            }
            done += 1;
            if done == warm {
                clock.start()?;
            } else if done == warm + counted {
                return clock.stop();
            }
            *connection = start(Connection::open(address)?, &epoll, token)?;
        }
    }
}
