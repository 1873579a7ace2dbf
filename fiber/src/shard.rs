//! The state of one shard: its fibers, who is ready, its stacks, timers and reactor.
//!
//! Everything here belongs to one thread and holds no lock and no atomic. The rule of this file: no
//! user code runs while one of the cells is borrowed, so a destructor that spawns, wakes or cancels
//! finds the shard whole.

use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::fmt;
use std::hint::black_box;
use std::io;
use std::mem::{align_of, size_of};
use std::num::NonZeroUsize;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cede_reactor::{Clock, Nanos, Reactor, Timers};
use corosensei::{Coroutine, CoroutineResult};
use slab::Slab;

use crate::cancel;
use crate::handles::Handles;
use crate::local::{self, Locals};
use crate::ready::Ready;
use crate::record::{FiberYielder, Outcome, Record, Resume, State};
use crate::runtime::{Config, RuntimeShared};
use crate::shared::{FiberShared, ShardShared};
use crate::stack::{STACK_BYTES_MIN, Stack, StackPool, StackView};
use crate::tasks::Tasks;
use crate::wait::{Ticket, Wait, WaitKind};

/// Records are placed at this alignment, a cache line.
const RECORD_ALIGN: usize = 64;
/// The largest closure that is put on its new stack directly: corosensei panics above 1,024 bytes,
/// of which the pointer to the record takes one word and its alignment another.
const CLOSURE_DIRECT_MAX: usize = 1024 - 2 * size_of::<usize>();
/// What a place in all tables and a spare handle take, rounded up.
const TABLES_BYTES_PER_FIBER: usize = 512;
/// How often a fiber that catches the unwinding of a shutdown is unwound again before it is left
/// alone.
const UNWINDS_MAX: u32 = 100;

thread_local! {
    static SHARD: Cell<*const ShardState> = const { Cell::new(ptr::null()) };
    /// Where the next shard of this thread begins to count waits: a ticket that outlived its
    /// runtime must not match a wait of the next one.
    static NEXT_GENERATION: Cell<u64> = const { Cell::new(1) };
}

/// Runs `f` with the shard of this thread; `None` when it has none.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&ShardState) -> R) -> Option<R> {
    let shard = SHARD.get();
    // SAFETY: the pointer is null or points to the shard that `ShardState::enter` was called on,
    // which outlives the guard that resets the pointer; both stay on this thread.
    unsafe { shard.as_ref() }.map(f)
}

/// Runs `f` with the fiber that runs on this thread; `None` outside of a fiber.
#[inline(always)]
pub(crate) fn with_current<R>(f: impl FnOnce(&ShardState, &Record) -> R) -> Option<R> {
    with(|shard| {
        // SAFETY: `current` is null or the record of the fiber that runs now, which is not freed
        // before it has switched away for the last time; that is after `f`, which runs on this
        // fiber.
        unsafe { shard.current.get().as_ref() }.map(|record| f(shard, record))
    })?
}

/// The fiber that runs on this thread, and its shard; `None` outside of a fiber.
///
/// The switches use this instead of [`with_current`]: a closure that is not inlined is a frame
/// between the switch and the user's code, and each such frame costs a mispredicted return (7 ns)
/// whenever the fiber is resumed.
///
/// # Safety
///
/// The references must not be kept longer than the call of the fiber's code that asked lasts.
#[inline(always)]
pub(crate) unsafe fn here<'a>() -> Option<(&'a ShardState, &'a Record)> {
    // SAFETY: as in `with` and `with_current`; the caller keeps the references no longer than those
    // would.
    unsafe {
        let shard = SHARD.get().as_ref()?;
        let record = shard.current.get().as_ref()?;
        Some((shard, record))
    }
}

/// The shard of this thread; `None` when it has none.
///
/// # Safety
///
/// As [`here`].
#[inline(always)]
pub(crate) unsafe fn local<'a>() -> Option<&'a ShardState> {
    // SAFETY: as in `with`.
    unsafe { SHARD.get().as_ref() }
}

/// Runs `f` with a description of the fiber in whose guard `address` lies. Called by the fault
/// handler: it only reads, and allocates nothing.
pub(crate) fn with_overflowed(address: usize, f: impl FnOnce(&dyn fmt::Display)) -> Option<()> {
    with_current(|shard, record| {
        let large = record.large_guard.get();
        let (bytes, what) = if record.stack.guard().contains(&address) {
            (record.stack.usable, "its stack")
        } else if (large.0..large.1).contains(&address) {
            (shard.config().large_stack_size, "a stack of on_large_stack")
        } else {
            return None;
        };
        let size = bytes / 1024;
        let name = record.name.get().map_or("unnamed", |name| &**name);
        let (id, serial, at) = (shard.id(), record.serial, record.spawned_at);
        f(&format_args!(
            "fiber {id}.{serial} ({name}) overflowed {what} of {size} KiB, spawned at {at}"
        ));
        Some(())
    })?
}

/// Where a shard is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    Running,
    /// No new fibers; those that are there were cancelled and have time to finish.
    Draining,
    /// What is left is unwound; nobody runs any more.
    Unwinding,
}

/// Says whether there is memory for the tables of so many fibers: of these, some can only abort.
fn probe(fibers: usize) -> io::Result<()> {
    let room = fibers.checked_mul(TABLES_BYTES_PER_FIBER);
    // Hidden from the compiler, which may leave out what nobody uses.
    let reserves = |bytes| black_box(&mut Vec::<u8>::new()).try_reserve_exact(bytes).is_ok();
    if room.is_some_and(reserves) {
        return Ok(());
    }
    let text =
        format!("no memory for {fibers} fibers on each shard (RuntimeBuilder::fibers_reserved)");
    Err(io::Error::new(io::ErrorKind::OutOfMemory, text))
}

/// A pointer to a live record. It is copied freely; the tables that hold it are emptied before the
/// record goes.
pub(crate) type RecordPtr = *const Record;

/// See the module.
pub(crate) struct ShardState {
    pub(crate) shared: Arc<ShardShared>,
    pub(crate) runtime: Arc<RuntimeShared>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The fiber that runs, null while the scheduler does.
    current: Cell<RecordPtr>,
    ready: UnsafeCell<Ready>,
    pub(crate) fibers: RefCell<Slab<RecordPtr>>,
    handles: RefCell<Handles>,
    pub(crate) stacks: RefCell<StackPool>,
    pub(crate) timers: RefCell<Timers<Ticket>>,
    pub(crate) reactor: RefCell<Reactor<Ticket>>,
    pub(crate) tasks: Tasks,
    /// The time at the scheduler's last look at the clock; for ages in dumps, not for deadlines.
    pub(crate) coarse_now: Cell<Nanos>,
    /// The fiber that gives way now has taken long: the scheduler looks at the clock at once.
    pub(crate) is_look_due: Cell<bool>,
    next_generation: Cell<u64>,
    next_serial: Cell<u64>,
    pub(crate) phase: Cell<Phase>,
    /// Work on other threads whose end will wake a fiber here.
    pub(crate) jobs: Cell<usize>,
}

impl ShardState {
    pub(crate) fn new(shared: Arc<ShardShared>, runtime: Arc<RuntimeShared>) -> io::Result<Self> {
        let config = &runtime.config;
        let mut reactor = Reactor::new()?;
        let mut stacks = StackPool::new(config.stack_guard, config.stacks_warm_max)?;
        let (mut timers, mut handles) = (Timers::new(), Handles::new());
        let reserved = config.fibers_reserved.min(config.fibers_max);
        if reserved > 0 {
            stacks.reserve(config.stack_size, reserved)?;
            probe(reserved)?;
            reactor.reserve(reserved);
            timers.reserve(reserved);
            handles.reserve(reserved, &shared);
        }
        // Another thread may have sent something before there was anybody to notify; the loop looks
        // before it sleeps.
        let _ = shared.notifier.set(reactor.notifier());
        Ok(Self {
            current: Cell::new(ptr::null()),
            ready: UnsafeCell::new(Ready::with_room(reserved)),
            fibers: RefCell::new(Slab::with_capacity(reserved)),
            handles: RefCell::new(handles),
            stacks: RefCell::new(stacks),
            timers: RefCell::new(timers),
            reactor: RefCell::new(reactor),
            tasks: Tasks::default(),
            coarse_now: Cell::new(config.clock.now()),
            is_look_due: Cell::new(false),
            next_generation: Cell::new(1),
            next_serial: Cell::new(1),
            phase: Cell::new(Phase::Running),
            jobs: Cell::new(0),
            clock: Arc::clone(&config.clock),
            shared,
            runtime,
        })
    }

    /// Makes this the shard of the thread until the guard is dropped.
    ///
    /// # Errors
    ///
    /// When the thread has one already.
    pub(crate) fn enter(&self) -> io::Result<Entered<'_>> {
        if !SHARD.get().is_null() {
            return Err(io::Error::other(
                "a cede runtime runs on this thread already: spawn a fiber instead of calling run again",
            ));
        }
        SHARD.set(self);
        self.next_generation.set(NEXT_GENERATION.get());
        Ok(Entered(self))
    }

    pub(crate) fn id(&self) -> u32 {
        self.shared.id
    }

    pub(crate) fn config(&self) -> &Config {
        &self.runtime.config
    }

    pub(crate) fn live(&self) -> usize {
        self.fibers.borrow().len()
    }

    /// Makes a fiber and puts it at the end of the run queue.
    ///
    /// # Errors
    ///
    /// When there is no stack, no place for another fiber, or the closure is too large for the
    /// stack.
    ///
    /// # Safety
    ///
    /// `body` must not unwind. What it borrows must outlive the fiber, which is at the latest when
    /// the shard has shut down.
    #[inline]
    pub(crate) unsafe fn spawn<F: FnOnce()>(
        &self,
        stack_bytes: usize,
        at: &'static Location<'static>,
        body: F,
    ) -> io::Result<NonNull<Record>> {
        // Even a boxed closure comes to lie on the stack when it is called.
        let closure = size_of::<F>() + align_of::<F>();
        if size_of::<F>() > CLOSURE_DIRECT_MAX {
            // SAFETY: handed on to the caller.
            return unsafe { self.spawn_small(stack_bytes, closure, at, Box::new(body)) };
        }
        // SAFETY: as above.
        unsafe { self.spawn_small(stack_bytes, closure, at, body) }
    }

    /// Makes a fiber of a body of at most `CLOSURE_DIRECT_MAX` bytes, which needs `closure` bytes
    /// of its stack when it is called.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Safety
    ///
    /// As [`spawn`](Self::spawn).
    #[inline]
    unsafe fn spawn_small<F: FnOnce()>(
        &self,
        stack_bytes: usize,
        closure: usize,
        at: &'static Location<'static>,
        body: F,
    ) -> io::Result<NonNull<Record>> {
        if self.fibers.borrow().len() >= self.config().fibers_max {
            return Err(self.too_many());
        }
        let stack = self.stacks.borrow_mut().acquire(stack_bytes)?;
        let base = (stack.top.get() - size_of::<Record>()) & !(RECORD_ALIGN - 1);
        if base - stack.bottom() < closure + STACK_BYTES_MIN / 2 {
            return Err(self.too_large(stack, closure));
        }
        let Some(base) = NonZeroUsize::new(base) else {
            unreachable!("a stack begins above address 0")
        };
        let record = base.get() as *mut Record;
        // SAFETY: `base` is aligned to 64 bytes, and the check above leaves at least half of
        // STACK_BYTES_MIN (8 KiB) below it. The record above is written through its own pointer;
        // the coroutine uses only what is below.
        let view = unsafe { StackView::new(&stack, base) };
        let run = move |yielder: &FiberYielder, _first: Resume| {
            // SAFETY: the record is written below, before the first resume, and freed after the
            // last.
            unsafe { (*record).yielder.set(yielder) };
            body();
        };
        let serial = self.next_serial.replace(self.next_serial.get() + 1);
        let slot = self.fibers.borrow_mut().insert(record.cast_const()) as u32;
        // The run of one fiber leads to the spawn of another: its deadline is inherited.
        // SAFETY: the running fiber's record is live, and the reference is used in this statement
        // only.
        let (parent, deadline) = unsafe { self.current.get().as_ref() }
            .map_or((0, Nanos::MAX), |p| (p.serial, p.deadline.get()));
        let now = self.coarse_now.get();
        // SAFETY: the record's bytes are in the stack acquired above, aligned, and used by nobody
        // else.
        unsafe {
            record.write(Record {
                coroutine: UnsafeCell::new(None),
                yielder: Cell::new(ptr::null()),
                state: Cell::new(State::Ready),
                outcome: Cell::new(Outcome::NONE),
                permit: Cell::new(false),
                cancel_requested: Cell::new(self.phase.get() != Phase::Running),
                in_park: Cell::new(false),
                select_wait: Cell::new(0),
                poll_permit: Cell::new(false),
                in_poll: Cell::new(false),
                polls: Cell::new(0),
                shields: Cell::new(0),
                unwinds: Cell::new(0),
                borrows: Cell::new(false),
                generation: Cell::new(0),
                deadline: Cell::new(deadline),
                wait: Cell::new(Wait::new(WaitKind::Park, 0)),
                wait_at: Cell::new(at),
                wait_since: Cell::new(now),
                slot,
                serial,
                parent,
                spawned_at: at,
                spawned_since: now,
                name: OnceCell::new(),
                shared: OnceCell::new(),
                locals: RefCell::new(Locals::default()),
                stack,
                sender: Cell::new(None),
                large_guard: Cell::new((0, 0)),
            });
        }
        // Made last and in place: copying a record costs more than switching to it.
        // SAFETY: the caller vouches for what `body` borrows; the record's pointer outlives the
        // coroutine, which is in it.
        unsafe {
            let coroutine = Coroutine::with_stack_unchecked(view, run);
            (*record).coroutine.get().write(Some(coroutine));
        }
        self.push_ready(record);
        // SAFETY: `record` was made from a NonZero address.
        Ok(unsafe { NonNull::new_unchecked(record) })
    }

    #[cold]
    fn too_many(&self) -> io::Error {
        let max = self.config().fibers_max;
        let text = format!("this shard has {max} fibers, its limit (RuntimeBuilder::fibers_max)");
        io::Error::new(io::ErrorKind::QuotaExceeded, text)
    }

    #[cold]
    fn too_large(&self, stack: Stack, closure: usize) -> io::Error {
        let text = format!(
            "a closure of {closure} bytes does not fit on a stack of {} bytes: box what it captures, or give it more with \
             Builder::stack_size",
            stack.usable
        );
        self.stacks.borrow_mut().release(stack);
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }

    #[inline(always)]
    pub(crate) fn push_ready(&self, record: RecordPtr) {
        // SAFETY: the queue is reached only through this method, `pop_ready`, `ready_len` and
        // `clear_ready`, none of which calls out, so there is no second reference.
        unsafe { (*self.ready.get()).push(record) };
    }

    #[inline(always)]
    pub(crate) fn pop_ready(&self) -> Option<RecordPtr> {
        // SAFETY: see `push_ready`.
        unsafe { (*self.ready.get()).pop() }
    }

    #[inline]
    pub(crate) fn ready_len(&self) -> usize {
        // SAFETY: see `push_ready`.
        unsafe { (*self.ready.get()).len() }
    }

    pub(crate) fn clear_ready(&self) {
        // SAFETY: see `push_ready`.
        unsafe { (*self.ready.get()).clear() };
    }

    /// Runs a fiber until it gives up control or ends.
    ///
    /// # Safety
    ///
    /// `record` must be in the table of fibers, and not running.
    #[inline(always)]
    pub(crate) unsafe fn resume(&self, record: RecordPtr, how: Resume) {
        self.current.set(record);
        // SAFETY: the record is live (contract). Its coroutine is `Some` until `finish`, and nobody
        // else borrows it: the fiber itself never does, and the scheduler resumes one fiber at a
        // time.
        let result = unsafe {
            (*record).state.set(State::Running);
            (*(*record).coroutine.get()).as_mut().unwrap_unchecked().resume(how)
        };
        self.current.set(ptr::null());
        if let CoroutineResult::Return(()) = result {
            // SAFETY: the fiber has ended and left its stack.
            unsafe { self.finish(record) };
        }
    }

    /// Frees what belongs to a fiber that has ended.
    ///
    /// # Safety
    ///
    /// The fiber must have ended or never have started, and its record must be in the table.
    pub(crate) unsafe fn finish(&self, record: RecordPtr) {
        let record = record.cast_mut();
        // SAFETY: the record is live until `drop_in_place`; the stack is read out before, and has
        // no destructor. The locals are taken out, so nothing that is dropped here is user code.
        let (stack, locals) = unsafe {
            if let Some(shared) = (*record).shared.take() {
                shared.finished.store(true, Ordering::Relaxed);
                self.handles.borrow_mut().put_back(shared);
            }
            self.fibers.borrow_mut().remove((*record).slot as usize);
            let stack = ptr::read(&raw const (*record).stack);
            let locals = std::mem::take((*record).locals.get_mut());
            ptr::drop_in_place(record);
            (stack, locals)
        };
        self.stacks.borrow_mut().release(stack);
        if !locals.is_empty() {
            local::drop_late(locals);
        }
    }

    /// The record of a fiber that is alive.
    #[inline]
    pub(crate) fn find(&self, slot: u32, serial: u64) -> Option<&Record> {
        // SAFETY: what is in the table is live; it is freed only by `finish`, on this thread, from
        // the scheduler.
        self.find_to_end(slot, serial).map(|record| unsafe { &*record })
    }

    /// The same for `resume` and `finish`: a pointer made of a reference could not free it.
    #[inline]
    pub(crate) fn find_to_end(&self, slot: u32, serial: u64) -> Option<RecordPtr> {
        let record = *self.fibers.borrow().get(slot as usize)?;
        // SAFETY: as in `find`.
        (unsafe { (*record).serial } == serial).then_some(record)
    }

    /// The handle's part of a fiber, made at the first call.
    pub(crate) fn shared_of<'a>(&self, record: &'a Record) -> &'a Arc<FiberShared> {
        record.shared.get_or_init(|| self.handles.borrow_mut().make(&self.shared, record))
    }

    // ---- waiting and waking

    #[inline(always)]
    pub(crate) fn begin_wait(&self, record: &Record) -> u64 {
        let generation = self.next_generation.get();
        self.next_generation.set(generation + 1);
        record.begin(generation);
        generation
    }

    /// The fiber's half of a wait that was begun: parks until there is an outcome.
    #[inline(always)]
    pub(crate) fn wait(
        &self,
        record: &Record,
        what: Wait,
        deadline: Nanos,
        at: &'static Location<'static>,
    ) -> Outcome {
        if record.outcome.get() == Outcome::NONE {
            record.wait.set(what);
            record.wait_at.set(at);
            record.wait_since.set(self.coarse_now.get());
            let deadline = record.nearest(deadline);
            if deadline == Nanos::MAX {
                record.state.set(State::Parked);
                self.suspend(record);
            } else {
                self.wait_until(record, deadline);
            }
        }
        record.end()
    }

    fn wait_until(&self, record: &Record, deadline: Nanos) {
        let ticket = Ticket::new(record.slot, record.generation.get());
        let timer = self.timers.borrow_mut().insert(deadline, ticket);
        record.state.set(State::Parked);
        self.suspend(record);
        self.timers.borrow_mut().cancel(timer);
    }

    /// Lets every other fiber that is ready run first.
    #[inline(always)]
    pub(crate) fn give_way(&self, record: &Record) {
        record.state.set(State::Ready);
        self.push_ready(record);
        self.suspend(record);
    }

    /// Switches to the scheduler. The caller has said why: the fiber is parked, or in the run
    /// queue.
    #[inline(always)]
    pub(crate) fn suspend(&self, record: &Record) {
        debug_assert!(
            ptr::eq(self.current.get(), record),
            "only the running fiber can give up control"
        );
        if record.unwinds.get() > 0 {
            self.suspend_unwound(record);
        }
        // SAFETY: set when the fiber began to run; it points into the fiber's own stack, below all
        // its frames.
        let yielder = unsafe { &*record.yielder.get() };
        match yielder.suspend(()) {
            Resume::Run => {}
            Resume::Unwind => cancel::unwind(),
        }
    }

    /// A fiber that is being unwound and caught it tries to wait again.
    #[cold]
    fn suspend_unwound(&self, record: &Record) {
        let unwinds = record.unwinds.get() + 1;
        record.unwinds.set(unwinds);
        if unwinds <= UNWINDS_MAX {
            cancel::unwind();
        }
        // It will not end: hand control to the shutdown, which leaves it where it is.
    }

    /// The waker's half of a wait. False when that wait is over, or has this outcome already: of
    /// two wakers that hand something over, one must be told to keep it.
    #[inline]
    pub(crate) fn wake(&self, ticket: Ticket, outcome: Outcome) -> bool {
        let Some(&record) = self.fibers.borrow().get(ticket.slot as usize) else {
            return self.tasks.wake(ticket);
        };
        // SAFETY: what is in the table is live.
        let record = unsafe { &*record };
        if record.generation.get() != ticket.generation || record.outcome.get().has(outcome) {
            return false;
        }
        if record.settle(outcome) {
            self.push_ready(record);
        }
        true
    }

    #[inline(always)]
    pub(crate) fn wakeup(&self, record: &Record) {
        if record.wakeup() {
            self.push_ready(record);
        }
    }

    /// Ends the wait that the fiber is in with its event.
    #[inline(always)]
    pub(crate) fn end_wait(&self, record: &Record) {
        if record.settle(Outcome::EVENT) {
            self.push_ready(record);
        }
    }

    pub(crate) fn cancel(&self, record: &Record) {
        if record.cancel() {
            self.push_ready(record);
        }
    }
}

/// The thread has a shard while this lives.
pub(crate) struct Entered<'a>(&'a ShardState);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        NEXT_GENERATION.set(self.0.next_generation.get());
        SHARD.set(ptr::null());
    }
}
