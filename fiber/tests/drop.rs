//! Property 24: destructors are user code. They spawn, wait, wake, cancel and panic wherever they
//! run: at the end of a fiber, in a handle, in a result, in a closure that never ran.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::{
    Builder, JoinHandle, Runtime, Shard, current, park, run, scope, sleep, spawn, yield_now,
};
use common::{Drops, OnDrop, guarded};

/// What a destructor may do to the runtime; none of it may fail outside of a panic.
fn everything(log: &Rc<RefCell<Vec<&'static str>>>) -> impl FnOnce() + 'static {
    let log = Rc::clone(log);
    move || {
        log.borrow_mut().push("began");
        let child = spawn(|| 4);
        child.fiber().wakeup();
        yield_now();
        assert_eq!(child.join().unwrap(), 4);
        sleep(Duration::from_micros(1)).unwrap();
        let parked = spawn(park);
        parked.cancel();
        assert!(parked.join().unwrap().is_err());
        assert_eq!(scope(|s| s.spawn(|| 5).join().unwrap()), 5);
        assert_eq!(Shard::current().call(|| 6).unwrap(), 6);
        assert!(!cede_fiber::fibers().is_empty());
        log.borrow_mut().push("ended");
    }
}

/// Runs `f` with a value whose destructor does everything, and checks that it did.
fn check(name: &str, f: impl FnOnce(OnDrop<Box<dyn FnOnce()>>) + 'static) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&log);
    run(move || {
        f(OnDrop::new(Box::new(everything(&kept))));
        // For what is dropped by another fiber.
        sleep(Duration::from_millis(1)).unwrap();
        while kept.borrow().len() < 2 {
            yield_now();
        }
    })
    .unwrap();
    assert_eq!(*log.borrow(), ["began", "ended"], "{name}");
}

#[test]
fn p24_a_destructor_may_do_everything_wherever_a_fiber_runs_it() {
    guarded(|| {
        check("a local of a fiber", |value| {
            spawn(move || {
                let _value = value;
                yield_now();
            });
        });
        check("the capture of a fiber", |value| drop(spawn(move || drop(value))));
        check("a result that is joined", |value| drop(spawn(move || value).join().unwrap()));
        check("a result that nobody wants", |value| drop(spawn(move || value)));
        check("a result in a handle", |value| {
            let handle = spawn(move || value);
            handle.wait().unwrap();
            drop(handle);
        });
        check("a result of a scope", |value| scope(|s| drop(s.spawn(move || value))));
        check("after a caught panic", |value| {
            let fiber = spawn(move || {
                let caught = std::panic::catch_unwind(|| panic!("caught"));
                drop(value);
                assert!(caught.is_err());
            });
            fiber.join().unwrap();
        });
        check("on a large stack", |value| cede_fiber::on_large_stack(move || drop(value)));
    });
}

#[test]
fn p24_a_refused_closure_is_dropped_where_spawn_was_called() {
    Runtime::builder()
        .fibers_max(2)
        .run(|| {
            let parked = spawn(park);
            let dropped = Rc::new(Cell::new(None));
            let place = Rc::clone(&dropped);
            let value = OnDrop::new(move || {
                assert!(Builder::new().spawn(|| ()).is_err(), "there is still no place");
                yield_now();
                place.set(cede_fiber::try_current());
            });
            assert!(Builder::new().spawn(move || drop(value)).is_err());
            assert_eq!(dropped.take(), Some(current()));
            parked.cancel();
            assert!(parked.join().unwrap().is_err());
        })
        .unwrap();
}

/// A closure that never ran is dropped by the scheduler, where nothing waits but all else works.
#[test]
fn p24_a_closure_that_never_ran_may_do_everything_but_wait() {
    let (log, drops) = (Rc::new(RefCell::new(Vec::new())), Drops::default());
    Runtime::builder()
        .shutdown_grace(Duration::ZERO)
        .run(|| {
            for n in 0..500 {
                let (guard, log) = (drops.guard(), Rc::clone(&log));
                let value = OnDrop::new(move || {
                    let _guard = guard;
                    if cede_fiber::try_current().is_some() {
                        return;
                    }
                    log.borrow_mut().push(n);
                    assert!(park().is_err());
                    assert!(sleep(Duration::ZERO).is_err());
                    assert!(spawn(|| ()).is_finished());
                    assert!(!cede_fiber::fibers().is_empty());
                    drop(Shard::current().spawn(|| ()));
                    assert!(run(|| ()).is_err());
                    assert_eq!(cede_fiber::on_large_stack(|| 1), 1);
                    yield_now();
                    assert!(n % 2 == 0, "every other one panics as well");
                });
                spawn(move || drop(value));
            }
        })
        .unwrap();
    assert_eq!(drops.dropped(), 500);
    assert!(!log.borrow().is_empty(), "all of them had time to run");
    assert!(log.borrow().is_sorted_by(|a, b| a > b), "the youngest goes first");
}

/// A fiber whose result holds the handles of others, which hold those of others.
#[test]
fn p24_handles_that_own_handles_are_dropped_in_a_chain() {
    struct Chain(
        Option<JoinHandle<Chain>>,
        #[allow(dead_code, reason = "counts")] common::DropGuard,
    );
    let drops = Drops::default();
    run(|| {
        let mut last: Option<JoinHandle<Chain>> = None;
        for _ in 0..200 {
            let (inner, guard) = (last.take(), drops.guard());
            last = Some(spawn(move || {
                yield_now();
                Chain(inner, guard)
            }));
        }
        sleep(Duration::from_millis(1)).unwrap();
        let last = last.unwrap().join().unwrap();
        assert!(last.0.is_some());
        drop(last);
    })
    .unwrap();
    assert_eq!(drops.dropped(), 200);
}

#[test]
fn p24_a_destructor_that_wakes_and_cancels_its_own_fiber() {
    run(|| {
        let fiber = spawn(|| {
            let me = current();
            drop(OnDrop::new(move || {
                me.wakeup();
                park().unwrap();
                me.cancel();
                assert!(cede_fiber::is_cancelled(&park().unwrap_err()));
            }));
            7
        });
        assert_eq!(fiber.join().unwrap(), 7);
    })
    .unwrap();
}

/// The last handle goes on another thread while the fiber ends on its own.
#[test]
fn p17_handles_may_be_dropped_anywhere() {
    guarded(|| {
        run(|| {
            for _ in 0..common::rounds(20_000) / 10 {
                let fiber = spawn(yield_now);
                let handles: Vec<_> = (0..2).map(|_| fiber.fiber()).collect();
                let thread = std::thread::spawn(move || {
                    handles.iter().for_each(cede_fiber::Fiber::wakeup);
                    drop(handles);
                });
                fiber.join().unwrap();
                thread.join().unwrap();
            }
        })
        .unwrap();
    });
}
