//! A large stack for the moment: deep recursion, or a C library that wants megabytes.
//!
//! The closure runs as a coroutine inside of the fiber. When it parks, it gives up control to the
//! fiber's own stack, which passes it on to the scheduler; so everything that works in a fiber
//! works here, at the price of a second switch.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use corosensei::{Coroutine, CoroutineResult};

use crate::record::{FiberYielder, Record, Resume};
use crate::shard::{self, ShardState};
use crate::stack::{Stack, StackGuard, StackPool, StackView};

/// Usable bytes of the stack of [`on_large_stack`] unless the runtime is told otherwise.
pub const LARGE_STACK_BYTES_DEFAULT: usize = 8 * 1024 * 1024;

/// Runs `f` on a large stack ([`LARGE_STACK_BYTES_DEFAULT`], or the runtime's `large_stack_size`)
/// and returns its result.
///
/// The fiber stays the same: it may park inside, and its locals, deadline and cancel are the same.
/// Works outside of a fiber too.
///
/// # Panics
///
/// When `f` panics, and when there is no address space for the stack.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// fn depth(n: u32) -> u32 {
///     let frame = [n; 256]; // a kilobyte per call
///     if n == 0 { 0 } else { 1 + depth(std::hint::black_box(frame)[0] - 1) }
/// }
///
/// # cede::run(|| {
/// assert_eq!(cede::on_large_stack(|| depth(2_000)), 2_000);
/// # }).unwrap();
/// ```
pub fn on_large_stack<R>(f: impl FnOnce() -> R) -> R {
    let mut f = Some(f);
    let result = shard::with_current(|shard, record| f.take().map(|f| in_fiber(shard, record, f)));
    match (result.flatten(), f) {
        (Some(result), _) => result,
        (None, Some(f)) => in_thread(f),
        (None, None) => unreachable!("a closure that was taken has returned"),
    }
}

fn unwrap(stack: io::Result<Stack>) -> Stack {
    stack.unwrap_or_else(|error| panic!("no large stack: {error}"))
}

fn in_fiber<R>(shard: &ShardState, record: &Record, f: impl FnOnce() -> R) -> R {
    // The borrow ends before the panic, whose hook is user code.
    let stack = shard.stacks.borrow_mut().acquire(shard.config().large_stack_size);
    let stack = unwrap(stack);
    let guard = stack.guard();
    let outer = record.yielder.get();
    let outer_guard = record.large_guard.replace((guard.start, guard.end));
    let mut result = None;
    // Taken by reference: corosensei panics when what it is to carry over is larger than 1 KiB.
    let mut f = Some(f);
    // SAFETY: `top` is page-aligned and the whole stack, at least STACK_BYTES_MIN, is below it and
    // ours until the release.
    let view = unsafe { StackView::new(&stack, stack.top) };
    let body = |inner: &FiberYielder, _first: Resume| {
        record.yielder.set(inner);
        result = f.take().map(|f| catch_unwind(AssertUnwindSafe(f)));
    };
    // SAFETY: the coroutine is driven to its end below, in this frame, which outlives it and all
    // that `body` borrows. If this frame were left by a forced unwinding of the outer stack,
    // dropping it would unwind the inner one first.
    let mut coroutine =
        unsafe { Coroutine::<Resume, (), (), StackView>::with_stack_unchecked(view, body) };
    let mut how = Resume::Run;
    while let CoroutineResult::Yield(()) = coroutine.resume(how) {
        // SAFETY: the fiber's own yielder lives at the base of its stack, below this frame.
        how = unsafe { &*outer }.suspend(());
    }
    drop(coroutine);
    record.yielder.set(outer);
    record.large_guard.set(outer_guard);
    shard.stacks.borrow_mut().release(stack);
    finish(result)
}

fn in_thread<R>(f: impl FnOnce() -> R) -> R {
    let pool = StackPool::new(StackGuard::Auto, 0);
    let mut pool = pool.unwrap_or_else(|error| panic!("no large stack: {error}"));
    let stack = unwrap(pool.acquire(LARGE_STACK_BYTES_DEFAULT));
    // SAFETY: as in `in_fiber`; the pool, and with it the stack, lives until the end of this
    // function.
    let view = unsafe { StackView::new(&stack, stack.top) };
    corosensei::on_stack(view, f)
}

fn finish<R>(result: Option<std::thread::Result<R>>) -> R {
    match result {
        Some(Ok(value)) => value,
        Some(Err(payload)) => resume_unwind(payload),
        None => unreachable!("a coroutine that has returned has run its body"),
    }
}
