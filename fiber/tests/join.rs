//! Handles and what they give: results, late joins, many waiters, cuts by deadline and cancel.

mod common;

use std::cell::Cell;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use cede_fiber::{
    Builder, Runtime, Virtual, current, is_cancelled, park, run, sleep, spawn, with_deadline,
    yield_now,
};
use common::{Drops, guarded};

fn virtual_run<T>(f: impl FnOnce() -> T) -> T {
    Runtime::builder().clock(Virtual::new()).run(f).unwrap()
}

#[test]
fn a_join_before_and_after_the_end_gives_the_result() {
    run(|| {
        let early = spawn(|| {
            yield_now();
            "early"
        });
        assert_eq!(early.join().unwrap(), "early");
        let late = spawn(|| "late");
        yield_now();
        assert!(late.is_finished());
        assert_eq!(late.join().unwrap(), "late");
    })
    .unwrap();
}

#[test]
fn a_wait_keeps_the_handle() {
    run(|| {
        let fiber = spawn(|| 5);
        fiber.wait().unwrap();
        fiber.wait().unwrap();
        assert_eq!(fiber.join().unwrap(), 5);
    })
    .unwrap();
}

#[test]
fn a_join_that_is_cut_short_says_why_and_the_fiber_goes_on() {
    virtual_run(|| {
        let ended = Rc::new(Cell::new(0));
        let slow = |ended: &Rc<Cell<u32>>| {
            let ended = Rc::clone(ended);
            spawn(move || {
                sleep(Duration::from_secs(1)).unwrap();
                ended.set(ended.get() + 1);
            })
        };
        let timed = slow(&ended);
        let error = with_deadline(Duration::from_millis(1), || timed.join()).unwrap_err();
        assert!(!error.is_panic() && !error.is_shutdown());
        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::TimedOut);

        let cancelled = slow(&ended);
        let joiner = spawn(move || cancelled.join());
        yield_now();
        joiner.cancel();
        let error = joiner.join().unwrap().unwrap_err();
        assert!(is_cancelled(&error));
        assert!(is_cancelled(&std::io::Error::from(error)));

        let kept = slow(&ended);
        let error = with_deadline(Duration::from_millis(1), || kept.wait()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        kept.join().unwrap();
        assert_eq!(ended.get(), 3);
    });
}

#[test]
fn many_fibers_wait_for_one() {
    virtual_run(|| {
        let one = Rc::new(spawn(|| sleep(Duration::from_secs(10))));
        let waiters: Vec<_> = (0..50_u64)
            .map(|n| {
                let one = Rc::clone(&one);
                // Every third gives up before.
                spawn(move || match n % 3 {
                    0 => with_deadline(Duration::from_secs(n % 7 + 1), || one.wait()),
                    _ => one.wait(),
                })
            })
            .collect();
        for (n, waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.join().unwrap().is_err(), n % 3 == 0, "waiter {n}");
        }
    });
}

#[test]
fn a_dropped_handle_detaches_its_fiber() {
    virtual_run(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        drop(spawn(move || {
            sleep(Duration::from_secs(1)).unwrap();
            drop(guard);
        }));
        sleep(Duration::from_secs(2)).unwrap();
        assert_eq!(drops.dropped(), 1);
    });
}

#[test]
fn a_fiber_that_joins_itself_is_a_deadlock_and_can_be_cancelled() {
    virtual_run(|| {
        let place = Rc::new(Cell::new(None));
        let own = Rc::clone(&place);
        let fiber = spawn(move || {
            let me: cede_fiber::JoinHandle<()> = own.take().unwrap();
            assert!(is_cancelled(&me.join().unwrap_err()));
        });
        let handle = fiber.fiber();
        place.set(Some(fiber));
        yield_now();
        assert!(!handle.is_finished());
        handle.cancel();
        yield_now();
        assert!(handle.is_finished());
    });
}

#[test]
fn handles_of_a_fiber_name_it_and_outlive_it() {
    run(|| {
        let fiber = Builder::new().name("worker".into()).spawn(|| current().id()).unwrap();
        let handle = fiber.fiber();
        assert_eq!(handle.name(), Some("worker"));
        assert!(!handle.is_finished());
        assert_eq!(fiber.join().unwrap(), handle.id());
        assert!(handle.is_finished());
        assert_eq!(handle.name(), Some("worker"));
        handle.wakeup();
        handle.cancel();
        let other = spawn(park);
        assert_ne!(other.fiber(), handle);
        assert_eq!(other.fiber(), other.fiber());
        other.cancel();
        assert!(is_cancelled(&other.join().unwrap().unwrap_err()));
    })
    .unwrap();
}

/// Bug: fibers are counted from 1 in every runtime, so a handle that outlived its runtime could
/// cancel a fiber of the next one.
#[test]
fn a_handle_of_a_former_runtime_does_nothing_in_the_next() {
    let former = run(|| (0..5).map(|_| spawn(park)).collect::<Vec<_>>()).unwrap();
    let cancelled = run(move || {
        let fibers: Vec<_> = (0..5).map(|_| spawn(|| park().is_err())).collect();
        yield_now();
        former.iter().for_each(|handle| handle.cancel());
        former.iter().for_each(|handle| handle.fiber().wakeup());
        former.iter().for_each(|handle| handle.fiber().cancel());
        assert!(former.iter().all(|handle| handle.is_finished()));
        yield_now();
        assert!(fibers.iter().all(|fiber| !fiber.is_finished()));
        fibers.iter().for_each(|fiber| fiber.fiber().wakeup());
        fibers.into_iter().any(|fiber| fiber.join().unwrap())
    });
    assert!(!cancelled.unwrap());
}

#[test]
fn results_may_be_joined_after_the_runtime_has_ended() {
    let (done, gone) = run(|| {
        let (done, gone) = (spawn(|| 7), spawn(park));
        yield_now();
        (done, gone)
    })
    .unwrap();
    assert_eq!(done.join().unwrap(), 7);
    // It was cancelled by the shutdown and returned that.
    assert!(is_cancelled(&gone.join().unwrap().unwrap_err()));
}

#[test]
fn a_hundred_thousand_fibers_are_joined_in_any_order() {
    guarded(|| {
        run(|| {
            let count = common::rounds(100_000);
            let mut fibers: Vec<_> = (0..count).map(|n| Some(spawn(move || n))).collect();
            let mut random = common::Random::new();
            let mut sum = 0;
            for n in 0..count {
                fibers.swap(n, n + random.below((count - n) as u64) as usize);
                sum += fibers[n].take().unwrap().join().unwrap();
            }
            assert_eq!(sum, count * (count - 1) / 2);
        })
        .unwrap();
    });
}

/// Bug: the panic of such a waker left the fiber and ended the process.
#[test]
fn p24_a_waker_that_panics_at_the_end_of_a_fiber_harms_nobody() {
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }

    let waker = || Waker::from(Arc::new(Panics));
    run(|| {
        let mut fiber = spawn(|| 1);
        assert!(Pin::new(&mut fiber).poll(&mut Context::from_waker(&waker())).is_pending());
        yield_now();
        assert_eq!(fiber.join().unwrap(), 1);
        assert_eq!(spawn(|| 2).join().unwrap(), 2);
    })
    .unwrap();
}

#[test]
fn handle_of_a_fiber_that_had_ended_lost_its_name() {
    run(|| {
        let handle = cede_fiber::thread::Builder::new().name("short".into()).spawn(|| ()).unwrap();
        assert_eq!(handle.thread().name(), Some("short"));
        handle.wait().unwrap();
        assert_eq!(handle.thread().name(), Some("short"));
        assert!(handle.thread().is_finished());
        let unnamed = spawn(|| ());
        unnamed.wait().unwrap();
        assert_eq!(unnamed.thread().name(), None);
    })
    .unwrap();
}
