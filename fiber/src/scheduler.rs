//! The loop of a shard: run who is ready, look at the clock, the inbox and the reactor, sleep when
//! there is nothing to do.
//!
//! The run queue is first in, first out. I/O and timers are looked at even when fibers wake each
//! other without end: the clock after every 64 resumes, the reactor when 50 us have passed since
//! the last look.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cede_reactor::Nanos;

use crate::deadlock;
use crate::mail::Gathered;
use crate::quiet::quietly;
use crate::record::{Outcome, Record, Resume};
use crate::shard::{Phase, RecordPtr, ShardState};
use crate::shared::{FiberShared, Letter, Task};

/// Resumes between two looks at the clock and the inbox: at 10 ns each this delays a timer by less
/// than a microsecond. A fiber whose turn has ended after many operations asks for one at once.
const RESUMES_PER_LOOK: u32 = 64;
/// How long a busy shard leaves the reactor alone. A poll costs some 0.3 us, so this is below 1%.
const POLL_INTERVAL: Nanos = 50_000;
/// How long an idle shard leaves unused stacks untrimmed, so that a busy one does not trim what it
/// is about to reuse: a server that sleeps between short connections would ask the system for every
/// second one of them (0.6 us each) at a tenth of this.
const TRIM_INTERVAL: Nanos = 100_000_000;
/// The same while there are more of them than are trimmed at once.
const TRIM_INTERVAL_MORE: Nanos = 10_000_000;

/// What may be dropped in the scheduler: its captures have destructors, which are user code.
const NEVER_RAN: &str = "a closure that was sent to a shard and never ran";

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// What it was to wait for has come.
    Done,
    /// Nothing is ready and nothing can wake anything.
    Deadlock,
}

/// What the loop keeps between its rounds.
#[derive(Debug, Default)]
struct Looks {
    last_poll: Nanos,
    next_trim: Nanos,
    /// Sleeps in a row that only another thread could have ended, and that brought nothing.
    fruitless: u32,
}

impl ShardState {
    /// Runs fibers until `done` says so. It is asked when fibers have run, not before each one.
    pub(crate) fn run_until(&self, limit: Option<Nanos>, done: impl Fn(&Self) -> bool) -> Ended {
        let mut looks = Looks::default();
        loop {
            for _ in 0..RESUMES_PER_LOOK {
                let Some(record) = self.pop_ready() else { break };
                // SAFETY: only live fibers that do not run are in the queue: a fiber enters it when
                // it is made or woken, and leaves it here, before it can end.
                unsafe { self.resume(record, Resume::Run) };
                if self.is_look_due.get() {
                    self.is_look_due.set(false);
                    break;
                }
            }
            if self.shared.inbox.has_messages() {
                self.receive();
            }
            if self.tasks.has_woken() {
                self.wake_tasks();
            }
            if done(self) {
                return Ended::Done;
            }
            if self.ready_len() > 0 {
                self.look_around(&mut looks);
            } else if self.idle(&mut looks, limit) {
                return Ended::Deadlock;
            }
            if limit.is_some_and(|limit| self.coarse_now.get() >= limit) {
                return Ended::Done;
            }
        }
    }

    /// Between fibers that are ready: fire timers, and poll now and then.
    fn look_around(&self, looks: &mut Looks) {
        let now = self.fire_timers();
        if now.saturating_sub(looks.last_poll) >= POLL_INTERVAL {
            looks.last_poll = now;
            self.shared.fibers.store(self.live(), Ordering::Relaxed);
            self.poll(Some(Duration::ZERO));
        }
    }

    /// Nobody is ready: sleep until something happens. True: nothing ever will.
    fn idle(&self, looks: &mut Looks, limit: Option<Nanos>) -> bool {
        let now = self.fire_timers();
        looks.last_poll = now;
        if self.ready_len() > 0 {
            self.poll(Some(Duration::ZERO));
            return false;
        }
        let mut next = self
            .timers
            .borrow()
            .next_deadline()
            .unwrap_or(Nanos::MAX)
            .min(limit.unwrap_or(Nanos::MAX));
        if next != Nanos::MAX && self.skip_time(next) {
            return false;
        }
        next = next.min(self.trim(now, looks));
        self.shared.fibers.store(self.live(), Ordering::Relaxed);
        if next == Nanos::MAX && self.jobs.get() == 0 && self.reactor.borrow().waiting() == 0 {
            let dead = deadlock::sleep(self, looks.fruitless);
            looks.fruitless = if self.ready_len() == 0 { looks.fruitless + 1 } else { 0 };
            return dead;
        }
        let timeout = (next != Nanos::MAX).then(|| Duration::from_nanos(next.saturating_sub(now)));
        self.sleep(timeout);
        false
    }

    /// Trims unused stacks if that is due; the answer is when it will be. A clock that can be moved
    /// moves for timers alone, so what waits for it otherwise would wait for ever.
    fn trim(&self, now: Nanos, looks: &mut Looks) -> Nanos {
        let mut stacks = self.stacks.borrow_mut();
        if stacks.wants_trim() && (now >= looks.next_trim || self.clock.skips()) {
            stacks.trim();
            let pause = if stacks.wants_trim() { TRIM_INTERVAL_MORE } else { TRIM_INTERVAL };
            looks.next_trim = now.saturating_add(pause);
        }
        if stacks.wants_trim() { looks.next_trim } else { Nanos::MAX }
    }

    /// A clock that can be moved is moved, once the descriptors have nothing to say.
    fn skip_time(&self, next: Nanos) -> bool {
        if next <= self.coarse_now.get() {
            return false;
        }
        if !self.clock.skips() {
            return false;
        }
        self.poll(Some(Duration::ZERO));
        self.ready_len() > 0 || self.shared.inbox.has_messages() || self.clock.skip_to(next)
    }

    /// Sleeps in the poller, then reads the inbox and fires timers.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        if self.shared.inbox.fall_asleep() {
            self.poll(timeout);
        }
        self.receive();
        self.fire_timers();
    }

    pub(crate) fn poll(&self, timeout: Option<Duration>) {
        let mut reactor = self.reactor.borrow_mut();
        let polled = reactor.poll(timeout, |ticket| {
            self.wake(ticket, Outcome::EVENT);
        });
        if let Err(error) = polled {
            // The poller's own descriptor fails only when the program closed it.
            drop(reactor);
            tracing::error!(%error, shard = self.id(), "the reactor cannot wait for events");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Calls the wakers of async tasks whose descriptors have become ready: user code, so nothing is
    /// borrowed.
    #[cold]
    fn wake_tasks(&self) {
        for waker in self.tasks.take_woken() {
            quietly("waker of a task", || waker.wake());
        }
    }

    /// Looks at the clock and wakes whose time has come. Returns the time.
    fn fire_timers(&self) -> Nanos {
        let now = self.clock.now();
        self.coarse_now.set(now);
        let mut timers = self.timers.borrow_mut();
        if !timers.is_empty() {
            timers.advance(now, |ticket| {
                self.wake(ticket, Outcome::TIMEOUT);
            });
        }
        now
    }

    /// Does what other threads have asked for.
    pub(crate) fn receive(&self) {
        for letter in self.shared.inbox.take() {
            self.open(letter);
        }
    }

    fn open(&self, letter: Letter) {
        match letter {
            Letter::Fiber(fiber) => {
                // Emptied even when the fiber is gone, so that the link may be pushed again.
                let mail = fiber.open_mail();
                // SAFETY: this is the thread of the fiber's shard, and the reference is used in
                // this call only.
                if let Some(record) = unsafe { fiber.record() } {
                    self.deliver(record, mail);
                }
            }
            Letter::Task(task) => match task.open() {
                Task::Start(start) => {
                    self.shared.tasks.fetch_sub(1, Ordering::Relaxed);
                    quietly(NEVER_RAN, start);
                }
                Task::Stop => {
                    if self.phase.get() == Phase::Running {
                        self.phase.set(Phase::Draining);
                        // Now, before a letter of a shard that ends already wakes somebody here.
                        deadlock::contribute(self);
                    }
                }
            },
        }
    }

    fn deliver(&self, record: &Record, mail: Gathered) {
        if mail.permit {
            self.wakeup(record);
        }
        if mail.poll {
            self.wake_poll(record);
        }
        if mail.generation != 0 {
            self.wake(crate::wait::Ticket::new(record.slot, mail.generation), Outcome::EVENT);
        }
        if mail.cancel {
            self.cancel(record);
        }
    }

    // ---- shutdown

    /// Cancels all fibers, gives them `grace` to finish, unwinds the rest (children before their
    /// parents), and returns everything that the shard held.
    pub(crate) fn shut_down(&self, grace: Duration) {
        self.phase.set(Phase::Draining);
        for (slot, serial) in self.alive() {
            if let Some(record) = self.find(slot, serial) {
                self.cancel(record);
            }
        }
        let grace_nanos = u64::try_from(grace.as_nanos()).unwrap_or(Nanos::MAX);
        let limit = self.clock.now().saturating_add(grace_nanos);
        // A clock that is moved when there is nothing to do stands still while a fiber that ignores
        // its cancel yields; then real time counts.
        let began = Instant::now();
        let late = || self.clock.skips() && began.elapsed() >= grace;
        // A deadlock here is fibers that ignore their cancel: they are unwound like those that take
        // too long.
        self.run_until(Some(limit), |shard| shard.live() == 0 || late());
        self.unwind_all();
        for letter in self.shared.inbox.close() {
            if letter.is_start() {
                self.shared.tasks.fetch_sub(1, Ordering::Relaxed);
            }
            quietly(NEVER_RAN, || drop(letter));
        }
    }

    fn alive(&self) -> Vec<(u32, u64)> {
        let fibers = self.fibers.borrow();
        // SAFETY: what is in the table is live.
        fibers.iter().map(|(slot, record)| (slot as u32, unsafe { (**record).serial })).collect()
    }

    fn unwind_all(&self) {
        self.phase.set(Phase::Unwinding);
        let mut alive = self.alive();
        // A child is always younger than its parent, whose frames it may borrow.
        alive.sort_by_key(|(_, serial)| std::cmp::Reverse(*serial));
        let mut stuck = 0;
        for (slot, serial) in alive {
            let Some(record) = self.find_to_end(slot, serial) else { continue };
            // SAFETY: the fiber is live and does not run: the scheduler does.
            stuck += usize::from(!unsafe { self.unwind(record) });
        }
        // Fibers that were woken while others unwound are in the queue, but gone.
        self.clear_ready();
        if stuck > 0 {
            tracing::error!(
                shard = self.id(),
                stuck,
                "fibers catch every unwinding; their stacks are leaked"
            );
            self.stacks.borrow_mut().leak();
        }
    }

    /// Ends the process for a fiber that would not end but borrows from frames that will. It never
    /// runs again itself, but threads may have borrowed through it (`std::thread::scope`), and they
    /// go on.
    #[cold]
    fn abort_for(&self, record: &Record) -> ! {
        let name = record.name.get().map_or("unnamed", |name| &**name);
        eprintln!(
            "cede: fiber {}.{} ({name}), spawned at {}, borrows from others and catches every unwinding: aborting",
            self.id(),
            record.serial,
            record.spawned_at
        );
        std::process::abort();
    }

    /// Unwinds one fiber. False when it would not end.
    ///
    /// # Safety
    ///
    /// The record must be live and its fiber not running.
    unsafe fn unwind(&self, record: RecordPtr) -> bool {
        // SAFETY: the record is live (contract); nobody else borrows the coroutine while the
        // scheduler runs.
        let (started, serial, slot) = unsafe {
            (*record).unwinds.set(1);
            let coroutine = (*(*record).coroutine.get()).as_mut();
            (coroutine.as_ref().is_some_and(|c| c.started()), (*record).serial, (*record).slot)
        };
        if started {
            // SAFETY: as above.
            unsafe { self.resume(record, Resume::Unwind) };
            if self.find(slot, serial).is_none() {
                return true;
            }
            // It caught the unwinding a hundred times. Its frames stay where they are for ever;
            // nobody resumes it again.
            // SAFETY: the fiber is in the table, so its record is live.
            let record_ref = unsafe { &*record };
            if record_ref.borrows.get() {
                self.abort_for(record_ref);
            }
            // No waker will match it: its nodes may be linked for ever.
            record_ref.generation.set(0);
            // SAFETY: as above; the coroutine is taken out so that nothing drops it.
            unsafe {
                std::mem::forget((*(*record).coroutine.get()).take());
                if let Some(shared) = (*record).shared.get() {
                    shared.finished.store(true, Ordering::Relaxed);
                }
            }
            self.fibers.borrow_mut().remove(slot as usize);
            if let Some(sender) = record_ref.sender.take() {
                sender.left_behind();
            }
            return false;
        }
        // SAFETY: as above. A coroutine that never ran only drops its closure, which is user code:
        // nothing is borrowed.
        unsafe {
            if let Some(coroutine) = (*(*record).coroutine.get()).as_mut() {
                coroutine.force_unwind();
            }
            self.finish(record);
        }
        true
    }
}

impl FiberShared {
    /// For tests and the deadlock check: whether anybody but the fiber's record holds a handle.
    pub(crate) fn is_held(this: &std::sync::Arc<Self>) -> bool {
        std::sync::Arc::strong_count(this) > 1
    }
}
