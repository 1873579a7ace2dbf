//! Limits are met with errors: the runtime goes on, and everything comes back.

use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use cede::{Builder, JoinHandle, Runtime, RuntimeBuilder, StackGuard};

use crate::common;
use crate::harness::{Case, Test, case};

pub(crate) const TESTS: &[Test] = &[
    ("p26_memory_limit_is_an_error_and_the_runtime_goes_on", || passes("memory_limit")),
    ("p26_memory_limit_on_small_stacks_is_an_error", || passes("memory_limit_small")),
    ("p13_mapping_limit_is_an_error_and_the_runtime_goes_on", || passes("mapping_limit")),
    ("p13_fibers_max_is_an_error_and_the_runtime_goes_on", || passes("fibers_max")),
    ("p09_no_descriptors_for_a_runtime_is_an_error", || passes("no_descriptors")),
    ("p26_memory_stays_level_over_many_fibers", || passes("plateau_of_fibers")),
    ("p26_memory_stays_level_over_fibers_of_all_depths", || passes("plateau_of_depths")),
    ("waits_that_gave_up_stayed_with_the_remote_fiber", || passes("plateau_of_remote_waits")),
    ("million_parked_fibers_take_few_mappings_and_little_memory", || passes("million")),
];

pub(crate) const CASES: &[Case] = &[
    ("memory_limit", || memory_limit(256 * 1024)),
    ("memory_limit_small", || memory_limit(16 * 1024)),
    ("mapping_limit", mapping_limit),
    ("fibers_max", fibers_max),
    ("no_descriptors", no_descriptors),
    ("plateau_of_fibers", plateau_of_fibers),
    ("plateau_of_depths", plateau_of_depths),
    ("plateau_of_remote_waits", plateau_of_remote_waits),
    ("million", million),
];

fn passes(name: &str) {
    let ended = case(name);
    ended.with_code(0);
    print!("{}", ended.stdout);
}

// ---- the cases

/// Spawns parked fibers until that fails; the error and how many there are.
fn fill() -> (Vec<JoinHandle<io::Result<()>>>, io::Error) {
    let mut fibers = Vec::with_capacity(1 << 20);
    loop {
        match Builder::new().spawn(cede::park) {
            Ok(fiber) => fibers.push(fiber),
            Err(error) => return (fibers, error),
        }
    }
}

/// Fills the runtime up, checks that it works at its limit, lets all fibers go and does it again:
/// the second time there is room for as many.
fn fill_twice(runtime: RuntimeBuilder, kind: ErrorKind) -> usize {
    let mut counts = Vec::new();
    let result = runtime.run(|| {
        for _ in 0..2 {
            let (fibers, error) = fill();
            assert_eq!(error.kind(), kind, "{error}");
            // What runs goes on, the program can still use memory, and what fails keeps failing
            // as an error.
            black_box(vec![1u8; black_box(1 << 20)]);
            thread::Builder::new().spawn(|| ()).unwrap().join().unwrap();
            for _ in 0..100 {
                assert_eq!(Builder::new().spawn(|| ()).unwrap_err().kind(), kind);
            }
            cede::yield_now();
            counts.push(fibers.len());
            fibers.iter().for_each(|fiber| fiber.fiber().wakeup());
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
            assert_eq!(cede::spawn(|| 42).join().unwrap(), 42);
        }
    });
    result.unwrap();
    assert_eq!(counts[0], counts[1]);
    counts[0]
}

fn memory_limit(stack: usize) -> ExitCode {
    const LIMIT: usize = 1 << 30;
    const GUARD: usize = 16 * 1024;
    common::limit(libc::RLIMIT_AS, LIMIT as u64);
    let runtime = Runtime::builder().stack_size(stack);
    let count = fill_twice(runtime, ErrorKind::OutOfMemory);
    // Most of the address space went to stacks before they ran out.
    assert!(count * (stack + GUARD) > LIMIT / 2, "{count} fibers");
    ExitCode::SUCCESS
}

fn mapping_limit() -> ExitCode {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let runtime = Runtime::builder().stack_size(16 * 1024).stack_guard(StackGuard::Protect);
    let count = fill_twice(runtime, ErrorKind::OutOfMemory);
    assert!(count <= limit / 2 && count > limit / 4, "{count} fibers, {limit} mappings");
    ExitCode::SUCCESS
}

fn fibers_max() -> ExitCode {
    let count = fill_twice(Runtime::builder().fibers_max(1000), ErrorKind::QuotaExceeded);
    // The main fiber is one of them.
    assert_eq!(count, 999);
    ExitCode::SUCCESS
}

fn no_descriptors() -> ExitCode {
    let before = common::fds();
    // SAFETY: plain system calls; the descriptor made here is closed here.
    let free = unsafe {
        let fd = libc::dup(0);
        libc::close(fd);
        fd
    };
    // One more fits, which is fewer than a runtime needs.
    common::limit(libc::RLIMIT_NOFILE, free as u64 + 1);
    for shards in [1, 3] {
        let error = Runtime::builder().shards(shards).run(|| ()).unwrap_err();
        assert!(error.to_string().contains("cannot start the runtime"), "{error}");
    }
    common::limit(libc::RLIMIT_NOFILE, 1000);
    assert_eq!(common::fds(), before);
    Runtime::builder().shards(3).run(|| ()).unwrap();
    assert_eq!(common::fds(), before);
    common::eventually("the threads go", || common::threads() == 1);
    ExitCode::SUCCESS
}

/// Runs `round` some times to warm up, then many times more: memory must not have grown by more
/// than noise.
fn plateau(rounds: usize, mut round: impl FnMut(usize)) {
    const NOISE: usize = 2 << 20;
    (0..rounds / 4).for_each(&mut round);
    let before = common::resident();
    (0..rounds).for_each(&mut round);
    let after = common::resident();
    assert!(after < before + NOISE, "resident: {before} bytes before, {after} after");
}

fn plateau_of_fibers() -> ExitCode {
    let result = cede::run(|| {
        plateau(1000, |_| {
            let fibers: Vec<_> = (0..100)
                .map(|n| {
                    Builder::new().name("one of many".into()).spawn(move || {
                        cede::yield_now();
                        n
                    })
                })
                .collect();
            for (n, fiber) in fibers.into_iter().enumerate() {
                assert_eq!(fiber.unwrap().join().unwrap(), n);
            }
        });
    });
    result.unwrap();
    ExitCode::SUCCESS
}

#[inline(never)]
fn use_stack(bytes: usize) -> usize {
    let frame = black_box([1u8; 1024]);
    if bytes < frame.len() { 0 } else { use_stack(bytes - frame.len()) + usize::from(frame[7]) }
}

/// A deep call here and there leaves nothing resident for good.
fn plateau_of_depths() -> ExitCode {
    let result = cede::run(|| {
        plateau(400, |round| {
            let fibers: Vec<_> = (0..200)
                .map(|n| cede::spawn(move || use_stack(if n == round % 200 { 100_000 } else { 0 })))
                .collect();
            fibers.into_iter().for_each(|fiber| assert!(fiber.join().unwrap() < 1000));
            // The shard trims when it has been idle for a while, so also before each look.
            if round % 100 == 99 {
                cede::sleep(Duration::from_millis(300)).unwrap();
            }
        });
    });
    result.unwrap();
    ExitCode::SUCCESS
}

/// Debug builds take a tenth: there a spawn costs ten times as much.
const PARKED: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

fn million() -> ExitCode {
    const RESIDENT_MAX: f64 = 4.6 * 1024.0;
    const MAPPINGS_MAX: usize = 1000;
    if !markers_work() {
        println!("this kernel has no guard markers: a million guarded stacks are not possible");
        return ExitCode::SUCCESS;
    }
    let result = cede::run(|| {
        let mut fibers = Vec::with_capacity(PARKED);
        let before = common::resident();
        for _ in 0..PARKED {
            fibers.push(cede::spawn(cede::park));
        }
        cede::yield_now();
        let each = (common::resident() - before) as f64 / PARKED as f64;
        let mappings = common::mappings();
        println!("{PARKED} parked fibers: {each:.0} bytes each, {mappings} mappings");
        assert!(mappings < MAPPINGS_MAX, "{mappings} mappings");
        assert!(each <= RESIDENT_MAX, "{each} bytes");
        fibers.iter().for_each(|fiber| fiber.fiber().wakeup());
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
    });
    result.unwrap();
    assert!(common::mappings() < MAPPINGS_MAX);
    ExitCode::SUCCESS
}

fn markers_work() -> bool {
    let marker = Runtime::builder().stack_guard(StackGuard::Marker);
    thread::spawn(move || marker.run(|| ()).is_ok()).join().unwrap()
}

/// A wait for a fiber of another shard that times out left its place behind each time.
fn plateau_of_remote_waits() -> ExitCode {
    let result = Runtime::builder().shards(2).run(|| -> io::Result<()> {
        let remote = cede::shards()[1].spawn(cede::park)?;
        plateau(100_000, |_| {
            let waited = cede::with_deadline(Duration::ZERO, || remote.wait());
            assert_eq!(waited.unwrap_err().kind(), ErrorKind::TimedOut);
        });
        remote.cancel();
        Ok(())
    });
    result.unwrap().unwrap();
    ExitCode::SUCCESS
}
