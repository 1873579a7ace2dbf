//! A call that runs on a thread of the pool, and what its fiber may still do about it.
//!
//! ```text
//!   Queued --> Running --> Committing --> Ended
//!      \          |
//!       `--> Stopped: nothing of it remains in the database
//! ```
//!
//! The surprising rule: whoever comes first to the lock of the stage decides. SQLite's commit hook
//! asks there before a commit; so a fiber that has stopped its call before that knows for certain
//! that it is rolled back, and need not wait until it is.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::InterruptHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Running,
    Committing,
    Ended,
    Stopped,
}

#[derive(Debug)]
pub(super) struct Job {
    /// Held for a few instructions.
    stage: Mutex<Stage>,
    /// Set once, under the lock; read without it.
    stopped: AtomicBool,
    /// Whether the progress handler was asked after it had been stopped while it committed.
    asked_again: AtomicBool,
}

impl Job {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: Mutex::new(Stage::Queued),
            stopped: AtomicBool::new(false),
            asked_again: AtomicBool::new(false),
        })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: it was stopped before.
    pub(super) fn begin(&self) -> bool {
        let mut stage = self.stage();
        let begins = *stage == Stage::Queued;
        if begins {
            *stage = Stage::Running;
        }
        begins
    }

    /// Asked before each commit; false: roll back.
    pub(super) fn may_commit(&self) -> bool {
        let mut stage = self.stage();
        if self.is_stopped() {
            return false;
        }
        *stage = Stage::Committing;
        true
    }

    pub(super) fn end(&self) {
        let mut stage = self.stage();
        if *stage != Stage::Stopped {
            *stage = Stage::Ended;
        }
    }

    /// Nobody wants the result any more. Returns the stage that it had or has now: `Stopped`,
    /// `Committing` or `Ended`.
    pub(super) fn stop(&self, interrupt: &InterruptHandle) -> Stage {
        let mut stage = self.stage();
        match *stage {
            Stage::Queued => *stage = Stage::Stopped,
            Stage::Running => {
                *stage = Stage::Stopped;
                // Under the lock: the connection is still this job's.
                interrupt.interrupt();
            }
            Stage::Committing | Stage::Ended | Stage::Stopped => {}
        }
        self.stopped.store(true, Ordering::Relaxed);
        *stage
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The progress handler asks. SQLite also does so at the end of a statement, when its commit is
    /// done: stopped there, it would say that it was interrupted, and be committed. So whatever
    /// commits goes on for once; a statement behind it is asked again.
    fn goes_on(&self) -> bool {
        if !self.is_stopped() {
            return true;
        }
        let is_committing = *self.stage() == Stage::Committing;
        is_committing && !self.asked_again.swap(true, Ordering::Relaxed)
    }
}

/// Why a statement cannot go on in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It has used up its steps.
    Long,
    /// It would have to wait for a lock.
    Locked,
}

/// What a connection is doing, as its handlers see it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// None: the connection is free, or runs a statement in place.
    job: Mutex<Option<Arc<Job>>>,
    /// Calls of the progress handler until a statement in place has to stop.
    calls_left: AtomicU32,
    /// Why it had to: 0, or a [`Why`] plus one.
    why: AtomicU8,
}

/// What a handler of SQLite has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    Stop,
    /// In place: stop, because this thread must not wait.
    Leave,
}

impl Slot {
    fn job(&self) -> MutexGuard<'_, Option<Arc<Job>>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, job: Option<Arc<Job>>) {
        *self.job() = job;
    }

    /// The statement that follows runs in place, for so many calls of the progress handler.
    pub(super) fn begin_in_place(&self, calls: u32) {
        self.calls_left.store(calls, Ordering::Relaxed);
        self.why.store(0, Ordering::Relaxed);
    }

    /// Why the statement that ran in place had to stop.
    pub(super) fn left_because(&self) -> Option<Why> {
        match self.why.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Why::Long),
            _ => Some(Why::Locked),
        }
    }

    /// The progress handler asks.
    pub(super) fn progress(&self) -> Verdict {
        if let Some(job) = &*self.job() {
            return if job.goes_on() { Verdict::GoOn } else { Verdict::Stop };
        }
        let left = self.calls_left.load(Ordering::Relaxed);
        if left == 0 {
            self.why.store(1, Ordering::Relaxed);
            return Verdict::Leave;
        }
        self.calls_left.store(left - 1, Ordering::Relaxed);
        Verdict::GoOn
    }

    /// The busy handler asks.
    pub(super) fn busy(&self) -> Verdict {
        match &*self.job() {
            Some(job) if job.is_stopped() => Verdict::Stop,
            Some(_) => Verdict::GoOn,
            None => {
                self.why.store(2, Ordering::Relaxed);
                Verdict::Leave
            }
        }
    }

    /// The commit hook asks, and a restore before its last step.
    pub(super) fn may_commit(&self) -> bool {
        let job = self.job().clone();
        job.is_none_or(|job| job.may_commit())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.job().as_ref().is_some_and(|job| job.is_stopped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> (rusqlite::Connection, InterruptHandle) {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let handle = db.get_interrupt_handle();
        (db, handle)
    }

    #[test]
    fn what_is_stopped_first_never_commits() {
        let (_db, interrupt) = handle();
        for begun in [false, true] {
            let job = Job::new();
            assert!(!begun || job.begin());
            assert_eq!(job.stop(&interrupt), Stage::Stopped);
            assert!(!job.begin() && !job.may_commit() && job.is_stopped());
            job.end();
            assert_eq!(job.stop(&interrupt), Stage::Stopped);
        }
    }

    #[test]
    fn what_commits_first_is_to_be_waited_for_and_commits_no_second_time() {
        let (_db, interrupt) = handle();
        let job = Job::new();
        assert!(job.begin() && job.may_commit() && job.may_commit());
        assert_eq!(job.stop(&interrupt), Stage::Committing);
        assert!(!job.may_commit());
        // The end of the statement that commits, and one behind it.
        assert_eq!([job.goes_on(), job.goes_on()], [true, false]);
        job.end();
        assert_eq!(job.stop(&interrupt), Stage::Ended);
    }

    #[test]
    fn in_place_calls_are_counted_and_a_lock_is_not_waited_for() {
        let slot = Slot::default();
        slot.begin_in_place(2);
        let calls = [slot.progress(), slot.progress(), slot.progress()];
        assert_eq!(calls, [Verdict::GoOn, Verdict::GoOn, Verdict::Leave]);
        assert_eq!(slot.left_because(), Some(Why::Long));
        slot.begin_in_place(2);
        assert_eq!((slot.left_because(), slot.busy()), (None, Verdict::Leave));
        assert_eq!(slot.left_because(), Some(Why::Locked));
        slot.set(Some(Job::new()));
        assert_eq!((slot.progress(), slot.busy()), (Verdict::GoOn, Verdict::GoOn));
    }
}
