//! The park token of one fiber, end to end: real mail, inbox and record; wakers on other threads.
//!
//! ```text
//!   EMPTY     permit: no,  not parked       park -> PARKED
//!   PARKED    generation > 0, no outcome    wakeup, cancel, time -> NOTIFIED
//!   NOTIFIED  permit, or an outcome         park returns -> EMPTY
//! ```

use std::cell::Cell;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

use super::{Bell, model_bounded};
use crate::mail::Request;
use crate::record::{Outcome, Record, State};
use crate::shared::{FiberShared, Letter, ShardShared};

/// The thread of a shard with one fiber. The methods of the fiber run on it too, as they do in the
/// runtime; a call of `sleep_until_ready` stands where the stack would be switched.
struct Shard {
    shared: Arc<ShardShared>,
    fiber: Arc<FiberShared>,
    record: Box<Record>,
    outside: Arc<Outside>,
    next_generation: Cell<u64>,
    /// Entries of the fiber in the run queue.
    ready: Cell<u32>,
}

/// What other threads reach beside the fiber's handle.
struct Outside {
    bell: Bell,
    /// The poller's time-out has passed.
    time: AtomicBool,
}

/// A handle as another thread has it.
struct Remote(Arc<FiberShared>, Arc<Outside>);

impl Remote {
    fn post(&self, request: Request) {
        if FiberShared::file(&self.0, request) {
            self.1.bell.ring();
        }
    }

    fn let_time_pass(&self) {
        self.1.time.store(true, Ordering::Release);
        self.1.bell.ring();
    }
}

impl Shard {
    fn new() -> Self {
        let shared = ShardShared::new(0);
        let record = Box::new(Record::without_stack(0, 1));
        record.state.set(State::Running);
        let fiber = FiberShared::new(Arc::clone(&shared), &record);
        let outside = Arc::new(Outside { bell: Bell::new(), time: AtomicBool::new(false) });
        let (next_generation, ready) = (Cell::new(1), Cell::new(0));
        Self { shared, fiber, record, outside, next_generation, ready }
    }

    fn remote(&self) -> Remote {
        Remote(Arc::clone(&self.fiber), Arc::clone(&self.outside))
    }

    fn push_ready(&self, ready: bool) {
        self.ready.set(self.ready.get() + u32::from(ready));
        assert!(self.ready.get() <= 1, "one suspend, two resumes");
    }

    /// As `ShardState::receive` and `deliver`.
    fn receive(&self) {
        for letter in self.shared.inbox.take() {
            let Letter::Fiber(fiber) = letter else { unreachable!("no tasks are sent") };
            let mail = fiber.open_mail();
            if mail.permit {
                self.push_ready(self.record.wakeup());
            }
            if mail.generation != 0 && self.record.generation.get() == mail.generation {
                self.push_ready(self.record.settle(Outcome::EVENT));
            }
            if mail.cancel {
                self.push_ready(self.record.cancel());
            }
        }
    }

    /// The scheduler's loop, from the moment at which the fiber has left its stack.
    fn sleep_until_ready(&self, timed: bool) {
        loop {
            // Timers fire before the shard sleeps and after.
            if timed && self.outside.time.load(Ordering::Acquire) {
                self.push_ready(self.record.settle(Outcome::TIMEOUT));
            }
            if self.ready.get() > 0 {
                break;
            }
            if self.shared.inbox.fall_asleep() {
                self.outside.bell.wait();
            }
            self.receive();
        }
        self.ready.set(0);
        assert_eq!(self.record.state.replace(State::Running), State::Ready);
    }

    /// As `Park::begin`.
    fn begin(&self) -> u64 {
        let generation = self.next_generation.replace(self.next_generation.get() + 1);
        self.record.begin(generation);
        generation
    }

    /// As `ShardState::wait`.
    fn wait(&self, timed: bool) -> Outcome {
        if self.record.outcome.get() == Outcome::NONE {
            self.record.state.set(State::Parked);
            self.sleep_until_ready(timed);
        }
        self.record.end()
    }

    /// As `park` and `park_timeout`.
    fn park(&self, timed: bool) -> Outcome {
        if self.record.permit.take() {
            return Outcome::EVENT;
        }
        if self.record.is_cancelled() {
            return Outcome::CANCEL;
        }
        self.begin();
        self.record.in_park.set(true);
        let outcome = self.wait(timed);
        self.record.in_park.set(false);
        assert_ne!(outcome, Outcome::NONE, "woken by nobody");
        outcome
    }

    /// All other threads have done: opens what they left.
    fn end(&self) {
        self.receive();
        assert_eq!(self.ready.get(), 0, "a fiber that runs is in the queue");
        assert!(!self.shared.inbox.has_messages());
        assert_eq!(Arc::strong_count(&self.fiber), 1, "a letter was leaked");
    }
}

fn wakes(outcome: Outcome) -> bool {
    outcome.has(Outcome::EVENT)
}

/// Property 1: a wakeup that comes first is remembered, and property 2: one that comes between the
/// decision and the sleep is not lost. What the waker wrote before is seen.
#[test]
fn p01_p02_a_wakeup_is_never_lost() {
    loom::model(|| {
        let shard = Shard::new();
        let data = loom::sync::Arc::new(UnsafeCell::new(0));
        let (remote, written) = (shard.remote(), data.clone());
        let waker = thread::spawn(move || {
            // SAFETY: the reader looks after the wakeup only; the checker proves it.
            written.with_mut(|data| unsafe { *data = 1 });
            remote.post(Request::Wakeup);
        });
        // What has come by now comes before the park.
        shard.receive();
        assert!(wakes(shard.park(false)));
        // SAFETY: as above.
        assert_eq!(data.with(|data| unsafe { *data }), 1);
        waker.join().unwrap();
        shard.end();
        assert!(!shard.record.permit.get(), "one wakeup, one token");
    });
}

/// Property 3: two wakeups count as one or as two, but never as none or three.
#[test]
fn p03_two_wakers_one_token() {
    model_bounded(3, || {
        let shard = Shard::new();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let remote = shard.remote();
                thread::spawn(move || remote.post(Request::Wakeup))
            })
            .collect();
        assert!(wakes(shard.park(false)));
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        shard.end();
        if shard.record.permit.get() {
            assert!(wakes(shard.park(false)));
        }
        assert!(!shard.record.permit.get());
    });
}

/// Property 3, the other half: both of two flags that two wakers set before their wakeups are seen
/// by a fiber that parks until it sees them.
#[test]
fn p03_a_loop_around_park_sees_both_wakers() {
    model_bounded(3, || {
        let shard = Shard::new();
        let flags = Arc::new(AtomicU64::new(0));
        let wakers: Vec<_> = (0..2)
            .map(|bit| {
                let (remote, flags) = (shard.remote(), Arc::clone(&flags));
                thread::spawn(move || {
                    flags.fetch_or(1 << bit, Ordering::Relaxed);
                    remote.post(Request::Wakeup);
                })
            })
            .collect();
        while flags.load(Ordering::Relaxed) != 3 {
            assert!(wakes(shard.park(false)));
        }
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        shard.end();
    });
}

/// Property 4: a ticket of an earlier wait does not end a later one.
#[test]
fn p04_a_stale_ticket_is_ignored() {
    model_bounded(3, || {
        let shard = Shard::new();
        let first = shard.begin();
        let stale = shard.remote();
        let stale = thread::spawn(move || stale.post(Request::EndWait(first)));
        let time = shard.remote();
        let time = thread::spawn(move || time.let_time_pass());
        let outcome = shard.wait(true);
        assert!(wakes(outcome) || outcome.has(Outcome::TIMEOUT));
        let second = shard.begin();
        assert_ne!(first, second);
        let outcome = shard.wait(true);
        assert_eq!(outcome, Outcome::TIMEOUT, "the second wait has no event");
        stale.join().unwrap();
        time.join().unwrap();
        shard.end();
    });
}

/// Property 4: the ticket of the wait that is on ends it, whatever stale ones are used beside it.
#[test]
fn p04_a_stale_ticket_does_not_hide_the_new_one() {
    model_bounded(3, || {
        let shard = Shard::new();
        let first = shard.begin();
        shard.record.end();
        let second = shard.begin();
        let tickets: Vec<_> = [first, second]
            .into_iter()
            .map(|generation| {
                let remote = shard.remote();
                thread::spawn(move || remote.post(Request::EndWait(generation)))
            })
            .collect();
        assert_eq!(shard.wait(false), Outcome::EVENT);
        tickets.into_iter().for_each(|ticket| ticket.join().unwrap());
        shard.end();
    });
}

/// Property 5: exactly one outcome; the wakeup that lost against the time is kept for the next
/// park.
#[test]
fn p05_time_out_against_wakeup() {
    model_bounded(3, || {
        let shard = Shard::new();
        let waker = shard.remote();
        let waker = thread::spawn(move || waker.post(Request::Wakeup));
        let time = shard.remote();
        let time = thread::spawn(move || time.let_time_pass());
        let first = shard.park(true);
        waker.join().unwrap();
        time.join().unwrap();
        shard.end();
        // The event wins when both came; when only the time had come, the wakeup is still there.
        assert_ne!(wakes(first), shard.record.permit.get(), "lost, or taken twice");
        assert!(wakes(first) || first == Outcome::TIMEOUT);
    });
}

/// Property 6: a cancel ends the wait or the next one; the wakeup is not lost to it.
#[test]
fn p06_cancel_against_wakeup() {
    model_bounded(3, || {
        let shard = Shard::new();
        let waker = shard.remote();
        let waker = thread::spawn(move || waker.post(Request::Wakeup));
        let canceller = shard.remote();
        let canceller = thread::spawn(move || canceller.post(Request::Cancel));
        let first = shard.park(false);
        waker.join().unwrap();
        canceller.join().unwrap();
        shard.end();
        assert_ne!(wakes(first), shard.record.permit.get(), "lost, or taken twice");
        assert!(shard.record.is_cancelled());
        assert_eq!(wakes(shard.park(false)), !wakes(first));
        assert!(!wakes(shard.park(false)), "a cancelled fiber does not wait");
    });
}

/// Properties 1 to 6 together.
#[test]
fn p06_two_wakers_a_cancel_and_a_time_out() {
    model_bounded(2, || {
        let shard = Shard::new();
        let requests: [&[Request]; 3] =
            [&[Request::Wakeup], &[Request::Wakeup, Request::Cancel], &[]];
        let threads: Vec<_> = requests
            .into_iter()
            .map(|requests| {
                let remote = shard.remote();
                thread::spawn(move || match requests {
                    [] => remote.let_time_pass(),
                    requests => requests.iter().for_each(|request| remote.post(*request)),
                })
            })
            .collect();
        let first = shard.park(true);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        shard.end();
        assert!(wakes(first) || shard.record.permit.get(), "both wakeups were lost");
        assert!(shard.record.is_cancelled());
    });
}

/// Property 7: a wakeup during the shutdown reaches the fiber, or nobody, and leaks nothing.
#[test]
fn p07_wakeup_while_the_shard_ends() {
    model_bounded(3, || {
        let shard = Shard::new();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let remote = shard.remote();
                thread::spawn(move || remote.post(Request::Wakeup))
            })
            .collect();
        shard.receive();
        shard.fiber.finished.store(true, Ordering::Relaxed);
        drop(shard.shared.inbox.close());
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        assert_eq!(Arc::strong_count(&shard.fiber), 1, "a letter was leaked");
    });
}
