//! Requests at fixed times, whatever the server does.
//!
//! The connections take turns. A connection that still waits for an answer keeps what is due in a
//! queue, as a client without pipelining would, and that time counts too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::connection::{Connection, Heard, SCRATCH_BYTES, closed_early};
use crate::epoll::Epoll;
use crate::latency::Latencies;
use crate::sample::Miss;
use crate::scenarios::http::exchange::Checker;

/// A server that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// When, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    /// Requests in a second.
    pub rate: u64,
    /// Requests that are not counted, then those that are.
    pub warm: u64,
    pub counted: u64,
    /// Whether the generator has a core of its own, so that it can look at the clock all the time
    /// instead of sleeping.
    pub alone: bool,
}

impl Paced {
    fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate as f64)
    }
}

/// A connection, and the requests that are due on it and not sent.
struct Turn<'a> {
    connection: &'a mut Connection,
    due: VecDeque<(usize, Instant)>,
}

impl Turn<'_> {
    fn ask_next(&mut self, checker: &Checker<'_>) -> Result<(), Miss> {
        if self.connection.waiting() > 0 {
            return Ok(());
        }
        if let Some((which, when)) = self.due.pop_front()
            && let Some(exchange) = checker.exchanges().get(which)
        {
            self.connection.ask(which, &exchange.request, when)?;
        }
        Ok(())
    }
}

/// The latencies of the counted requests, by exchange; `pick` says which exchange a number asks.
/// `on_count` is told when the counted ones begin.
pub fn paced(
    connections: &mut [Connection],
    checker: &mut Checker<'_>,
    load: Paced,
    pick: impl Fn(u64) -> usize,
    on_count: impl FnOnce() -> Result<(), Miss>,
) -> Result<Vec<Latencies>, Miss> {
    let mut latencies = vec![Latencies::new(); checker.exchanges().len()];
    let mut epoll = Epoll::new()?;
    let mut turns = Vec::new();
    for (i, connection) in connections.iter_mut().enumerate() {
        epoll.add(connection.fd(), i as u64)?;
        turns.push(Turn { connection, due: VecDeque::new() });
    }
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut tokens = Vec::new();
    let (total, mut sent, mut done) = (load.warm + load.counted, 0, 0);
    let begun = Instant::now();
    let counting_from = begun + load.due(load.warm);
    let mut on_count = Some(on_count);
    let mut heard_at = begun;
    while done < total {
        let now = Instant::now();
        while sent < total && begun + load.due(sent) <= now {
            if sent == load.warm
                && let Some(on_count) = on_count.take()
            {
                on_count()?;
            }
            let at = (sent % turns.len().max(1) as u64) as usize;
            if let Some(turn) = turns.get_mut(at) {
                turn.due.push_back((pick(sent), begun + load.due(sent)));
                turn.ask_next(checker)?;
            }
            sent += 1;
        }
        let pause = match load.alone {
            true => Duration::ZERO,
            false if sent == total => PATIENCE,
            false => (begun + load.due(sent)).saturating_duration_since(Instant::now()),
        };
        tokens.clear();
        tokens.extend(epoll.wait_for(pause)?.map(|token| token as usize));
        for &token in &tokens {
            let Some(turn) = turns.get_mut(token) else { continue };
            let mut answered = |which: usize, due: Instant| {
                done += 1;
                heard_at = Instant::now();
                if due >= counting_from
                    && let Some(latencies) = latencies.get_mut(which)
                {
                    latencies.record(heard_at - due);
                }
            };
            if turn.connection.hear(&mut scratch, checker, &mut answered)? == Heard::End {
                return Err(closed_early());
            }
            turn.ask_next(checker)?;
        }
        if tokens.is_empty() && done < sent && heard_at.elapsed() > PATIENCE {
            return Err(Miss::Failed("the server is silent".to_owned()));
        }
    }
    Ok(latencies)
}
