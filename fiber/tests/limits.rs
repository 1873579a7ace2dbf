//! Properties 13 and 26, what of them needs no process of its own: at a limit comes an error, the
//! runtime goes on, and what was used is given back.

mod common;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::{
    Builder, Runtime, STACK_BYTES_MAX, STACK_BYTES_MIN, StackGuard, current, fibers, park, run,
    spawn, yield_now,
};
use common::{Drops, rounds};

#[test]
fn p13_a_spawn_beyond_the_limit_is_an_error_and_the_runtime_goes_on() {
    let drops = Drops::default();
    Runtime::builder()
        .fibers_max(100)
        .run(|| {
            for _ in 0..3 {
                let spawn_one = |_| {
                    let guard = drops.guard();
                    Builder::new().spawn(move || {
                        let _guard = guard;
                        park()
                    })
                };
                let (fibers, refused): (Vec<_>, Vec<_>) =
                    (0..150).map(spawn_one).partition(Result::is_ok);
                assert_eq!((fibers.len(), refused.len()), (99, 51));
                for error in refused.into_iter().filter_map(Result::err) {
                    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
                    assert!(error.to_string().contains("fibers_max"), "{error}");
                }
                for fiber in fibers.into_iter().flatten() {
                    fiber.fiber().wakeup();
                    fiber.join().unwrap().unwrap();
                }
            }
            let panics = std::panic::catch_unwind(|| {
                let _all: Vec<_> = (0..100).map(|_| spawn(park)).collect();
            });
            assert!(panics.is_err(), "spawn panics where the builder returns an error");
        })
        .unwrap();
    assert_eq!(drops.dropped(), 450);
}

#[test]
fn p13_stack_sizes_that_cannot_work_are_errors() {
    run(|| {
        for bytes in [0, 1, STACK_BYTES_MIN - 1, STACK_BYTES_MAX + 1, usize::MAX] {
            let error = Builder::new().stack_size(bytes).spawn(|| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bytes}");
        }
        for bytes in [STACK_BYTES_MIN, STACK_BYTES_MIN + 1, 1 << 20, STACK_BYTES_MAX] {
            let fiber = Builder::new().stack_size(bytes).spawn(|| 1).unwrap();
            assert_eq!(fiber.join().unwrap(), 1, "{bytes}");
        }
    })
    .unwrap();
}

#[test]
fn p13_a_closure_too_large_for_its_stack_is_an_error() {
    run(|| {
        // Not larger, because an unoptimised build copies it from frame to frame of this stack.
        let large = [7_u8; 12 * 1024];
        let tight = Builder::new().stack_size(STACK_BYTES_MIN);
        let error = tight.spawn(move || large[0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let fits = Builder::new().stack_size(1 << 20).spawn(move || large[0]).unwrap();
        assert_eq!(fits.join().unwrap(), 7);
    })
    .unwrap();
}

/// Bug: corosensei refuses to carry over more than 1 KiB, with a panic that lost the stack and, for
/// work from another thread, unwound the scheduler.
#[test]
fn p13_closures_of_every_size_can_be_spawned() {
    fn check<const N: usize>() {
        let bytes = [N as u8; N];
        let sum = move || bytes.iter().map(|b| *b as usize).sum::<usize>();
        let expected = N * (N as u8) as usize;
        assert_eq!(spawn(sum).join().unwrap(), expected, "{N}");
        assert_eq!(cede_fiber::scope(|s| s.spawn(sum).join().unwrap()), expected, "{N}");
        assert_eq!(cede_fiber::on_large_stack(sum), expected, "{N}");
        assert_eq!(cede_fiber::Shard::current().call(sum).unwrap(), expected, "{N}");
        let drops = Drops::default();
        let guard = drops.guard();
        drop(spawn(move || (bytes, guard)));
        cede_fiber::yield_now();
        assert_eq!(drops.dropped(), 1);
    }
    run(|| {
        check::<0>();
        check::<900>();
        check::<960>();
        check::<1_000>();
        check::<1_008>();
        check::<1_016>();
        check::<1_024>();
        check::<1_025>();
        check::<4_096>();
    })
    .unwrap();
    assert_eq!(
        cede_fiber::on_large_stack({
            let bytes = [1_u8; 2_000];
            move || bytes.iter().map(|b| *b as usize).sum::<usize>()
        }),
        2_000
    );
}

#[test]
fn p13_a_closure_of_large_alignment_is_aligned() {
    #[repr(align(512))]
    struct Aligned(u8);
    run(|| {
        let value = Aligned(3);
        let fiber = spawn(move || {
            let value = std::hint::black_box(value);
            (std::ptr::from_ref(&value) as usize % 512, value.0)
        });
        assert_eq!(fiber.join().unwrap(), (0, 3));
    })
    .unwrap();
}

/// Far more fibers than may live at once, one wave after the other.
#[test]
fn p26_stacks_are_used_again() {
    for guard in [StackGuard::Auto, StackGuard::Protect] {
        Runtime::builder()
            .stack_guard(guard)
            .stacks_warm_max(16)
            .fibers_max(65)
            .run(|| {
                for wave in 0..rounds(20_000) / 20 {
                    let fibers: Vec<_> = (0..64).map(|n| spawn(move || n + wave)).collect();
                    for (n, fiber) in fibers.into_iter().enumerate() {
                        assert_eq!(fiber.join().unwrap(), n + wave);
                    }
                }
                // A pause in which stacks are trimmed, and then the same again.
                cede_fiber::sleep(Duration::from_millis(120)).unwrap();
                assert_eq!(spawn(|| 1).join().unwrap(), 1);
            })
            .unwrap();
    }
}

#[test]
fn p26_runtimes_one_after_the_other_leave_nothing() {
    let drops = Drops::default();
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
    let before = descriptors();
    let total = rounds(2_000);
    for _ in 0..total {
        let guard = drops.guard();
        run(move || {
            spawn(move || {
                let _guard = guard;
                park()
            });
        })
        .unwrap();
    }
    assert_eq!(drops.dropped(), total);
    // Other tests of this process may hold some at the same time, but not thousands.
    assert!(descriptors() < before + 50, "{} descriptors, {before} before", descriptors());
}

#[test]
fn p13_more_reserved_fibers_than_there_is_room_for_are_an_error() {
    let all = u32::MAX as usize;
    let runtime = Runtime::builder().stack_size(STACK_BYTES_MAX);
    let error = runtime.fibers_max(all).fibers_reserved(all).run(|| ()).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::OutOfMemory);
}

#[test]
fn reserved_fibers_are_a_beginning_and_no_limit() {
    let runtime = Runtime::builder().fibers_reserved(10).shards(2);
    let count = runtime.run(|| {
        let count = Rc::new(Cell::new(0));
        for _ in 0..50 {
            let count = Rc::clone(&count);
            let counts = move || count.set(count.get() + usize::from(park().is_ok()));
            Builder::new().name("counts".into()).spawn_detached(counts).unwrap();
        }
        yield_now();
        let fibers = fibers().into_iter().filter(|fiber| fiber.name.as_deref() == Some("counts"));
        assert_eq!(fibers.count(), 50);
        // One more, which panics, ends alone.
        Builder::new().spawn_detached(|| panic!("on purpose")).unwrap();
        yield_now();
        count.get()
    });
    assert_eq!(count.unwrap(), 0);
}

#[test]
fn a_handle_that_outlives_its_fiber_is_not_that_of_the_next_one() {
    run(|| {
        let old: Vec<_> = (0..20)
            .map(|_| {
                let fiber = spawn(current);
                fiber.join().unwrap()
            })
            .collect();
        // The first handles went to the spare ones while they were held.
        for _ in 0..500 {
            let fiber = spawn(|| park().is_ok());
            let new = fiber.fiber();
            yield_now();
            for old in &old {
                assert!(old.is_finished() && *old != new);
                old.wakeup();
                old.cancel();
            }
            yield_now();
            assert!(!new.is_finished(), "woken by a handle to another fiber");
            std::thread::scope(|s| s.spawn(|| new.wakeup()).join().unwrap());
            assert!(fiber.join().unwrap(), "cancelled by a handle to another fiber");
        }
    })
    .unwrap();
}
