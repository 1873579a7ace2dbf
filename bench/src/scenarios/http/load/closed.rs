//! Connections that ask again as soon as they were answered.

use std::net::SocketAddr;
use std::time::Instant;

use super::connection::{Heard, SCRATCH_BYTES, closed_early, open_all};
use crate::epoll::{self, Epoll};
use crate::sample::Miss;
use crate::scenarios::http::exchange::{Checker, Exchange};
use crate::server::Clock;

/// How much of what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    pub connections: usize,
    /// Requests that a connection sends at once, and waits for all of their answers.
    pub depth: usize,
    /// Answers before the clock starts, and until it stops.
    pub warm: u64,
    pub counted: u64,
}

/// Round trips, with the clock around the counted ones. Connections go through the exchanges in
/// turn, each from another one on.
pub fn closed(
    address: SocketAddr,
    exchanges: &[Exchange],
    load: Closed,
    clock: &mut Clock,
) -> Result<(), Miss> {
    let Closed { connections, depth, warm, counted } = load;
    let batches: Vec<Vec<u8>> = exchanges.iter().map(|e| e.request.repeat(depth)).collect();
    let mut checker = Checker::new(exchanges);
    let mut connections = open_all(address, connections, &mut checker)?;
    let mut epoll = Epoll::new()?;
    // Nobody asks for the latencies here, and reading the clock costs something.
    let begun = Instant::now();
    // The exchange that each connection has asked last.
    let mut turns: Vec<usize> = (0..connections.len()).map(|i| i % batches.len()).collect();
    for (i, connection) in connections.iter_mut().enumerate() {
        epoll.add(connection.fd(), i as u64)?;
        if let Some((&turn, batch)) = turns.get(i).and_then(|t| Some((t, batches.get(*t)?))) {
            connection.ask_batch(turn, batch, depth, begun)?;
        }
    }
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut tokens = Vec::new();
    let mut done = 0;
    loop {
        epoll::ready(&mut epoll, &mut tokens)?;
        for &token in &tokens {
            let (Some(connection), Some(turn)) = (connections.get_mut(token), turns.get_mut(token))
            else {
                continue;
            };
            let before = done;
            if connection.hear(&mut scratch, &mut checker, |_, _| done += 1)? == Heard::End {
                return Err(closed_early());
            }
            if before < warm && done >= warm {
                // What a batch brought beyond the mark is not counted twice, only earlier.
                clock.start()?;
            }
            if done >= warm + counted {
                return clock.stop();
            }
            if connection.waiting() == 0 {
                *turn = (*turn + 1) % batches.len();
                if let Some(batch) = batches.get(*turn) {
                    connection.ask_batch(*turn, batch, depth, begun)?;
                }
            }
        }
    }
}
