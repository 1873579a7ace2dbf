//! Where a statement runs: what was learnt of those that did not end in place.
//!
//! The surprising rule: what is learnt is forgotten after a while. A look-up by key that met a cold
//! disk is slow once, and a report is tried in place at ever rarer times.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Statements that are remembered; with more, all are forgotten and learnt again.
const STATEMENTS_REMEMBERED_MAX: usize = 1024;
/// Runs in the pool after which a statement that was slow is tried in place again.
const SLOW_RUNS_MIN: u32 = 64;
/// The same for one that was slow every time: the number doubles up to this.
const SLOW_RUNS_MAX: u32 = 65_536;

/// Where to run a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On this thread.
    Here,
    /// On this thread, and tell how it went.
    HereForTrial,
    Pool {
        /// Whether it may take long, and so must leave a connection to others.
        is_long: bool,
    },
    /// On the writer's connection.
    Writer,
}

#[derive(Debug, Clone, Copy)]
enum Learnt {
    Writes,
    Slow { is_long: bool, runs_left: u32, runs: u32 },
}

#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many there are: where nothing was learnt, nothing is looked up.
    count: AtomicUsize,
    learnt: Mutex<HashMap<Box<str>, Learnt>>,
}

impl Places {
    fn learnt(&self) -> MutexGuard<'_, HashMap<Box<str>, Learnt>> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, sql: &str) -> Place {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Place::Here;
        }
        match self.learnt().get_mut(sql) {
            None => Place::Here,
            Some(Learnt::Writes) => Place::Writer,
            Some(Learnt::Slow { runs_left: 0, .. }) => Place::HereForTrial,
            Some(Learnt::Slow { is_long, runs_left, .. }) => {
                *runs_left -= 1;
                Place::Pool { is_long: *is_long }
            }
        }
    }

    /// It has taken many steps (`is_long`), or much time for a few: for the disk, or by chance.
    pub(super) fn is_slow(&self, sql: &str, is_long: bool) {
        let mut learnt = self.learnt();
        let runs = match learnt.get(sql) {
            Some(Learnt::Slow { runs, .. }) => (runs * 2).min(SLOW_RUNS_MAX),
            _ => SLOW_RUNS_MIN,
        };
        self.learn(&mut learnt, sql, Learnt::Slow { is_long, runs_left: runs, runs });
    }

    pub(super) fn writes(&self, sql: &str) {
        self.learn(&mut self.learnt(), sql, Learnt::Writes);
    }

    pub(super) fn is_quick(&self, sql: &str) {
        let mut learnt = self.learnt();
        learnt.remove(sql);
        self.count.store(learnt.len(), Ordering::Relaxed);
    }

    fn learn(&self, learnt: &mut HashMap<Box<str>, Learnt>, sql: &str, what: Learnt) {
        if learnt.len() >= STATEMENTS_REMEMBERED_MAX && !learnt.contains_key(sql) {
            learnt.clear();
        }
        learnt.insert(sql.into(), what);
        self.count.store(learnt.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_statement_is_tried_again_at_ever_rarer_times() {
        let places = Places::default();
        assert_eq!(places.of("a"), Place::Here);
        let mut expected = SLOW_RUNS_MIN;
        for _ in 0..15 {
            let is_long = expected == SLOW_RUNS_MIN;
            places.is_slow("a", is_long);
            for _ in 0..expected {
                assert_eq!(places.of("a"), Place::Pool { is_long });
            }
            assert_eq!(places.of("a"), Place::HereForTrial);
            expected = (expected * 2).min(SLOW_RUNS_MAX);
        }
        assert_eq!(expected, SLOW_RUNS_MAX);
        assert_eq!(places.of("b"), Place::Here);
        places.is_quick("a");
        assert_eq!(places.of("a"), Place::Here);
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let places = Places::default();
        for i in 0..STATEMENTS_REMEMBERED_MAX + 10 {
            places.writes(&format!("INSERT {i}"));
        }
        assert_eq!(places.learnt().len(), 10);
        assert_eq!(places.of("INSERT 0"), Place::Here);
        assert_eq!(places.of(&format!("INSERT {STATEMENTS_REMEMBERED_MAX}")), Place::Writer);
    }
}
