//! Connections that live for one request.
//!
//! Opening a connection costs the client more than the server, so the load takes a second core
//! where there is one to spare: a server that waits for its load pays for falling asleep.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::connection::{Connection, Heard, SCRATCH_BYTES, closed_early};
use crate::affinity;
use crate::epoll::{self, Epoll};
use crate::sample::Miss;
use crate::scenarios::http::exchange::{Checker, Exchange};
use crate::server::Clock;

/// How much of what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Churn<'a> {
    /// Connections that are always under way.
    pub at_a_time: usize,
    /// Connections before the clock starts, and until it stops.
    pub warm: u64,
    pub counted: u64,
    /// One thread for each; the first is the caller, on its core.
    pub cores: &'a [usize],
}

/// What the threads of one load share.
struct Shared<'a> {
    address: SocketAddr,
    exchange: &'a Exchange,
    load: Churn<'a>,
    done: AtomicU64,
    clock: Mutex<&'a mut Clock>,
}

/// A new connection takes the place of each that the server has closed after a right answer.
pub fn churn(
    address: SocketAddr,
    exchange: &Exchange,
    load: Churn<'_>,
    clock: &mut Clock,
) -> Result<(), Miss> {
    let (done, clock) = (AtomicU64::new(0), Mutex::new(clock));
    let shared = Shared { address, exchange, load, done, clock };
    let shared = &shared;
    thread::scope(|scope| {
        let help = |&core| {
            scope.spawn(move || {
                affinity::pin(&[core])?;
                shared.run()
            })
        };
        let helpers: Vec<_> = load.cores.iter().skip(1).map(help).collect();
        let outcome = shared.run();
        helpers.into_iter().fold(outcome, |outcome, helper| {
            let panicked = |_| Err(Miss::Failed("a thread of the load panicked".to_owned()));
            outcome.and(helper.join().unwrap_or_else(panicked))
        })
    })
}

impl Shared<'_> {
    fn run(&self) -> Result<(), Miss> {
        let outcome = self.churn();
        if outcome.is_err() {
            // Ends the others, too.
            self.done.fetch_add(self.load.warm + self.load.counted, Ordering::Relaxed);
        }
        outcome
    }

    fn churn(&self) -> Result<(), Miss> {
        let mut checker = Checker::new(std::slice::from_ref(self.exchange));
        let mut epoll = Epoll::new()?;
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut connections = Vec::new();
        for slot in 0..(self.load.at_a_time / self.load.cores.len().max(1)).max(1) {
            let connection = Connection::open_patiently(self.address)?;
            connections.push(self.start(connection, &epoll, slot)?);
        }
        let mut tokens = Vec::new();
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
                if self.count()? {
                    return Ok(());
                }
                *connection = self.start(Connection::open(self.address)?, &epoll, token)?;
            }
        }
    }

    fn start(
        &self,
        mut connection: Connection,
        epoll: &Epoll,
        slot: usize,
    ) -> Result<Connection, Miss> {
        connection.ask(0, &self.exchange.request, Instant::now())?;
        epoll.add(connection.fd(), slot as u64)?;
        Ok(connection)
    }

    /// Counts one connection; true when all have been.
    fn count(&self) -> Result<bool, Miss> {
        let Churn { warm, counted, .. } = self.load;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let clock = || self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if done == warm {
            clock().start()?;
        } else if done == warm + counted {
            clock().stop()?;
        }
        Ok(done >= warm + counted)
    }
}
