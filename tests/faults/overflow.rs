//! Stack overflows are named and end the process; other faults stay what they are.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use cede::{Builder, Runtime, StackGuard};

use crate::harness::{Case, Ended, Test, case};

pub(crate) const CASES: &[Case] = &[
    ("recursion", recursion),
    ("large_frame", large_frame),
    ("unnamed", unnamed),
    ("other_shard", other_shard),
    ("large_stack", large_stack),
    ("beside_large_stack", beside_large_stack),
    ("protected", protected),
    ("used_again", used_again),
    ("signals_blocked", signals_blocked),
    ("in_allocator", in_allocator),
    ("thread_overflow", thread_overflow),
    ("null_in_fiber", null_in_fiber),
    ("null_after_run", null_after_run),
    ("null_in_thread", null_in_thread),
    ("repairing_handler", repairing_handler),
];

pub(crate) const TESTS: &[Test] = &[
    ("p11_overflow_by_recursion_is_named", overflow_by_recursion_is_named),
    ("p12_overflow_by_one_large_frame_is_named", overflow_by_one_large_frame_is_named),
    ("p11_overflow_without_a_name_says_so", overflow_without_a_name_says_so),
    ("p11_overflow_on_another_shard_is_named", overflow_on_another_shard_is_named),
    ("p11_overflow_on_a_large_stack_is_named", overflow_on_a_large_stack_is_named),
    ("p11_overflow_beside_a_large_stack_is_named", overflow_beside_a_large_stack_is_named),
    ("p11_overflow_of_a_protected_stack_is_named", overflow_of_a_protected_stack_is_named),
    ("p11_overflow_of_a_stack_used_again_is_named", overflow_of_a_stack_used_again_is_named),
    ("p11_overflow_with_all_signals_blocked_is_named", overflow_with_all_signals_blocked_is_named),
    ("p11_overflow_inside_the_allocator_ends_all_the_same", overflow_inside_the_allocator_ends),
    ("p11_overflow_of_a_plain_thread_is_named_by_std", overflow_of_a_plain_thread_is_named_by_std),
    ("p11_null_pointer_in_a_fiber_stays_a_plain_fault", || plain_fault("null_in_fiber")),
    ("p11_null_pointer_after_the_runtime_stays_a_plain_fault", || plain_fault("null_after_run")),
    ("p11_null_pointer_in_a_thread_stays_a_plain_fault", || plain_fault("null_in_thread")),
    (
        "p11_handler_that_repairs_faults_goes_on_working",
        handler_that_repairs_faults_goes_on_working,
    ),
];

fn named(name: &str, what: &str) -> Ended {
    let ended = case(name);
    ended.by_signal(libc::SIGABRT).says(what).says("spawned at ").says("overflow.rs:");
    ended.says("backtrace:");
    ended
}

fn overflow_by_recursion_is_named() {
    let ended = named("recursion", "cede: fiber 0.2 (digger) overflowed its stack of 64 KiB");
    // The place is that of the spawn, the backtrace names who recursed.
    let line = ended.stdout.trim();
    ended.says(&format!("overflow.rs:{line}:")).says("dig_without_end");
}

fn overflow_by_one_large_frame_is_named() {
    named("large_frame", "fiber 0.2 (broad) overflowed its stack of 64 KiB").says("broad_frame");
}

fn overflow_without_a_name_says_so() {
    named("unnamed", "fiber 0.2 (unnamed) overflowed its stack of 256 KiB").says("dig_without_end");
}

fn overflow_on_another_shard_is_named() {
    named("other_shard", "fiber 1.1 (unnamed) overflowed its stack").says("dig_without_end");
}

fn overflow_on_a_large_stack_is_named() {
    named("large_stack", "fiber 0.2 (deep) overflowed a stack of on_large_stack of 8192 KiB")
        .says("dig_without_end");
}

fn overflow_beside_a_large_stack_is_named() {
    // One fiber parks on a large stack while another overflows an ordinary one.
    named("beside_large_stack", "fiber 0.3 (digger) overflowed its stack of 64 KiB")
        .says("dig_without_end");
}

fn overflow_of_a_protected_stack_is_named() {
    named("protected", "fiber 0.2 (digger) overflowed its stack of 64 KiB").says("dig_without_end");
}

fn overflow_of_a_stack_used_again_is_named() {
    named("used_again", "fiber 0.1002 (digger) overflowed its stack").says("dig_without_end");
}

fn overflow_with_all_signals_blocked_is_named() {
    named("signals_blocked", "(digger) overflowed its stack").says("dig_without_end");
}

fn overflow_inside_the_allocator_ends() {
    case("in_allocator").by_signal(libc::SIGABRT).says("(allocating) overflowed its stack");
}

fn overflow_of_a_plain_thread_is_named_by_std() {
    let ended = case("thread_overflow");
    ended.by_signal(libc::SIGABRT).says("thread 'plain'").does_not_say("cede: fiber");
}

fn plain_fault(name: &str) {
    case(name).by_signal(libc::SIGSEGV).does_not_say("cede:").does_not_say("overflowed");
}

fn handler_that_repairs_faults_goes_on_working() {
    let ended = named("repairing_handler", "(digger) overflowed its stack");
    assert_eq!(ended.stdout.trim(), "repaired 3");
}

// ---- the cases

/// Small enough to overflow soon, large enough for the test's own calls.
const SMALL: usize = 64 * 1024;

#[inline(never)]
fn dig_without_end(depth: usize) -> usize {
    let frame = black_box([depth; 16]);
    if depth == usize::MAX { 0 } else { dig_without_end(depth + 1) + black_box(frame)[0] }
}

#[inline(never)]
fn broad_frame() -> u8 {
    let frame = black_box([1u8; 1 << 20]);
    black_box(frame)[black_box(77)]
}

fn digger() -> Builder {
    Builder::new().name("digger".into()).stack_size(SMALL)
}

/// Runs it in a fiber whose end nobody will see.
fn overflow(builder: Builder, f: impl FnOnce() + 'static) -> ExitCode {
    cede::run(|| builder.spawn(f).unwrap().join().unwrap()).unwrap();
    ExitCode::SUCCESS
}

fn dig() {
    black_box(dig_without_end(0));
}

fn recursion() -> ExitCode {
    let result = cede::run(|| {
        println!("{}", line!() + 1);
        digger().spawn(dig).unwrap().join().unwrap();
    });
    result.unwrap();
    ExitCode::SUCCESS
}

fn large_frame() -> ExitCode {
    overflow(Builder::new().name("broad".into()).stack_size(SMALL), || {
        black_box(broad_frame());
    })
}

fn unnamed() -> ExitCode {
    overflow(Builder::new(), dig)
}

fn other_shard() -> ExitCode {
    let run = || cede::shards()[1].spawn(dig).unwrap().join().unwrap();
    Runtime::builder().shards(2).run(run).unwrap();
    ExitCode::SUCCESS
}

fn large_stack() -> ExitCode {
    overflow(Builder::new().name("deep".into()), || cede::on_large_stack(dig))
}

fn beside_large_stack() -> ExitCode {
    let result = cede::run(|| {
        let _parked = cede::spawn(|| cede::on_large_stack(cede::park));
        let digger = digger().spawn(|| {
            cede::yield_now();
            dig();
        });
        digger.unwrap().join().unwrap();
    });
    result.unwrap();
    ExitCode::SUCCESS
}

fn protected() -> ExitCode {
    let run = || digger().spawn(dig).unwrap().join().unwrap();
    Runtime::builder().stack_guard(StackGuard::Protect).run(run).unwrap();
    ExitCode::SUCCESS
}

fn used_again() -> ExitCode {
    let result = cede::run(|| {
        for _ in 0..1000 {
            cede::spawn(|| ()).join().unwrap();
        }
        Builder::new().name("digger".into()).spawn(dig).unwrap().join().unwrap();
    });
    result.unwrap();
    ExitCode::SUCCESS
}

/// As a program has it that handles its signals by a descriptor.
fn block_signals() {
    // SAFETY: the set is filled before it is used; a fault is delivered all the same.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigdelset(&raw mut all, libc::SIGSEGV);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

fn signals_blocked() -> ExitCode {
    block_signals();
    overflow(digger(), dig)
}

/// An allocator that can be told to overflow the stack while it holds its lock.
struct Allocator;

static LOCKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static OVERFLOW_NEXT: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything goes to the system's allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        while LOCKED.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        if OVERFLOW_NEXT.get() {
            LOCKED.store(true, Ordering::Relaxed);
            dig();
        }
        // SAFETY: handed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: handed on to the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn in_allocator() -> ExitCode {
    // Also the alarm that must end the attempt at a backtrace.
    block_signals();
    overflow(Builder::new().name("allocating".into()), || {
        OVERFLOW_NEXT.set(true);
        black_box(vec![1u8; black_box(100)]);
    })
}

fn thread_overflow() -> ExitCode {
    let result = cede::run(|| {
        let thread = thread::Builder::new().name("plain".into()).stack_size(SMALL).spawn(dig);
        thread.unwrap().join().unwrap();
    });
    result.unwrap();
    ExitCode::SUCCESS
}

fn fault() {
    // SAFETY: none: the fault is what the case is about.
    unsafe { ptr::write_volatile(black_box(8usize) as *mut u8, 1) };
}

fn null_in_fiber() -> ExitCode {
    overflow(Builder::new().name("faulting".into()), fault)
}

fn null_after_run() -> ExitCode {
    cede::run(cede::yield_now).unwrap();
    fault();
    ExitCode::SUCCESS
}

fn null_in_thread() -> ExitCode {
    cede::run(|| thread::spawn(fault).join().unwrap()).unwrap();
    ExitCode::SUCCESS
}

/// The page that the handler below makes writable.
static PAGE: AtomicUsize = AtomicUsize::new(0);
static REPAIRS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn repair(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let page = PAGE.load(Ordering::Relaxed);
    // SAFETY: the kernel passes a valid siginfo, and the page is this program's own.
    unsafe {
        if (*info).si_addr() as usize & !4095 != page {
            libc::abort();
        }
        REPAIRS.fetch_add(1, Ordering::Relaxed);
        libc::mprotect(page as *mut libc::c_void, 4096, libc::PROT_READ | libc::PROT_WRITE);
    }
}

/// What a collector or an emulator in the same process does: its handler repairs faults and goes
/// on. It must stay in force, and so must cede's own.
fn repairing_handler() -> ExitCode {
    // SAFETY: a mapping and a handler of this program's own; the page is written only while the
    // handler that repairs it is there.
    let page = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = repair as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()), 0);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    PAGE.store(page as usize, Ordering::Relaxed);
    overflow(digger(), move || {
        for _ in 0..3 {
            // SAFETY: see above.
            unsafe {
                libc::mprotect(page, 4096, libc::PROT_READ);
                ptr::write_volatile(page.cast::<u8>(), 1);
            }
        }
        println!("repaired {}", REPAIRS.load(Ordering::Relaxed));
        dig();
    })
}
