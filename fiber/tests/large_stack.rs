//! `on_large_stack`: the fiber stays the same one, whatever it does on the other stack.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::{
    Builder, Runtime, current, is_cancelled, on_large_stack, park, run, scope, sleep, spawn,
    yield_now,
};
use common::{Drops, Random};

/// Uses about `kib` KiB of stack.
fn dig(kib: u32) -> u32 {
    let frame = std::hint::black_box([kib as u8; 1024]);
    if kib == 0 { 0 } else { dig(kib - 1) + u32::from(frame[512] == kib as u8) }
}

#[test]
fn it_is_as_large_as_it_says() {
    run(|| {
        let small = Builder::new().stack_size(64 * 1024);
        let deep = small.spawn(|| on_large_stack(|| dig(3_000))).unwrap();
        assert_eq!(deep.join().unwrap(), 3_000);
    })
    .unwrap();
    assert_eq!(on_large_stack(|| dig(3_000)), 3_000, "outside of a fiber too");
}

#[test]
fn its_size_is_a_setting() {
    let deep = Runtime::builder()
        .large_stack_size(64 << 20)
        .run(|| on_large_stack(|| dig(30_000)))
        .unwrap();
    assert_eq!(deep, 30_000);
    assert!(Runtime::builder().large_stack_size(1).run(|| ()).is_err());
}

#[test]
fn the_fiber_waits_and_is_woken_on_it() {
    run(|| {
        let fiber = spawn(|| {
            let outside = current();
            on_large_stack(|| {
                assert_eq!(current(), outside);
                park().unwrap();
                sleep(Duration::from_micros(1)).unwrap();
                yield_now();
                assert_eq!(spawn(|| 3).join().unwrap(), 3);
                let local = 5;
                scope(|s| s.spawn(|| local + 1).join().unwrap())
            })
        });
        yield_now();
        fiber.fiber().wakeup();
        assert_eq!(fiber.join().unwrap(), 6);
    })
    .unwrap();
}

#[test]
fn p14_a_panic_passes_through_it() {
    run(|| {
        let drops = Drops::default();
        let (outer, inner) = (drops.guard(), drops.guard());
        let fiber = spawn(move || {
            let _outer = outer;
            on_large_stack(move || {
                let _inner = inner;
                yield_now();
                panic_any(11_u8);
            });
        });
        assert_eq!(*fiber.join().unwrap_err().into_panic().unwrap().downcast::<u8>().unwrap(), 11);
        assert_eq!(drops.dropped(), 2);
        let caught = catch_unwind(|| on_large_stack(|| panic!("caught outside of it")));
        assert!(caught.is_err());
        yield_now();
        sleep(Duration::from_micros(1)).unwrap();
    })
    .unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| on_large_stack(|| panic!("in a thread"))));
    assert!(caught.is_err());
}

#[test]
fn a_cancel_reaches_a_wait_on_it() {
    run(|| {
        let fiber = spawn(|| on_large_stack(|| on_large_stack(park)));
        yield_now();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
    })
    .unwrap();
}

/// Many fibers go up and down at random and switch on every level.
#[test]
fn random_nesting_returns_to_the_right_stack() {
    fn climb(depth: u64, mut seed: u64) -> u64 {
        let mark = Rc::new(seed);
        let below = if depth == 0 {
            0
        } else {
            let again = || {
                yield_now();
                let result = climb(depth - 1, seed / 3);
                yield_now();
                result
            };
            if seed & 1 == 1 { on_large_stack(again) } else { again() }
        };
        if seed & 2 == 2 {
            yield_now();
        }
        assert_eq!((*mark, Rc::strong_count(&mark)), (seed, 1));
        seed = seed.wrapping_add(below);
        seed
    }
    let mut random = Random::new();
    run(move || {
        let seeds: Vec<u64> = (0..50).map(|_| random.next() >> 8).collect();
        let alone: Vec<u64> = seeds.iter().map(|seed| climb(6, *seed)).collect();
        let fibers: Vec<_> = seeds.iter().map(|&seed| spawn(move || climb(6, seed))).collect();
        for (fiber, alone) in fibers.into_iter().zip(alone) {
            assert_eq!(fiber.join().unwrap(), alone);
        }
    })
    .unwrap();
}

#[test]
fn p13_stacks_are_given_back() {
    run(|| {
        for _ in 0..common::rounds(20_000) {
            assert_eq!(on_large_stack(|| on_large_stack(|| 1)), 1);
        }
    })
    .unwrap();
}
