//! Properties 14 and 15: a panic ends its fiber, reaches its join, and harms nobody else; no fiber
//! parks while a panic unwinds.

mod common;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cede_fiber::{Park, Wait, WaitKind, on_large_stack, park, run, scope, sleep, spawn, yield_now};
use common::{Drops, OnDrop, guarded};

#[test]
fn p14_a_panic_in_one_of_a_thousand_harms_nobody() {
    run(|| {
        let fibers: Vec<_> = (0..1_000)
            .map(|n| {
                spawn(move || {
                    yield_now();
                    assert!(n != 500, "number {n} gives up");
                    yield_now();
                    n
                })
            })
            .collect();
        for (n, fiber) in fibers.into_iter().enumerate() {
            match fiber.join() {
                Ok(value) => assert_eq!((value, n == 500), (n, false)),
                Err(error) => {
                    assert_eq!(n, 500);
                    assert_eq!(error.panic_message().as_deref(), Some("number 500 gives up"));
                }
            }
        }
        // The shard goes on.
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    })
    .unwrap();
}

#[test]
fn p14_the_payload_reaches_the_join_unchanged() {
    run(|| {
        let error = spawn(|| panic_any(vec![1, 2, 3])).join().unwrap_err();
        assert!(error.is_panic());
        assert!(!error.is_shutdown());
        assert_eq!(*error.into_panic().unwrap().downcast::<Vec<i32>>().unwrap(), [1, 2, 3]);
    })
    .unwrap();
}

#[test]
fn p14_a_panic_of_main_leaves_run_with_its_payload_after_the_shutdown() {
    let drops = Drops::default();
    let guard = drops.guard();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        run(|| {
            spawn(move || {
                let _guard = guard;
                park()
            });
            yield_now();
            panic_any(42_u8);
        })
    }))
    .unwrap_err();
    assert_eq!(*payload.downcast::<u8>().unwrap(), 42);
    assert_eq!(drops.dropped(), 1);
    assert_eq!(run(|| 1).unwrap(), 1, "the thread can run another runtime");
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("a destructor panics");
    }
}

/// Bug: the result of a fiber that nobody joins was dropped at the end of the fiber outside of any
/// catch, and its panic unwound the scheduler.
#[test]
fn p14_a_detached_result_whose_destructor_panics_harms_nobody() {
    run(|| {
        drop(spawn(|| PanicsInDrop));
        yield_now();
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    })
    .unwrap();
}

/// Bug: as above, by the payload of a panic.
#[test]
fn p14_a_detached_payload_whose_destructor_panics_harms_nobody() {
    run(|| {
        drop(spawn(|| panic_any(PanicsInDrop)));
        yield_now();
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    })
    .unwrap();
}

/// What a fiber tries while its stack unwinds; each returns at once.
fn try_to_wait() {
    assert!(std::thread::panicking());
    yield_now();
    assert!(park().is_err());
    assert!(sleep(Duration::from_millis(1)).is_err());
    assert!(Park::begin().is_err());
    let child = spawn(|| ());
    assert!(child.join().is_err(), "a join would have to wait");
    on_large_stack(|| assert!(sleep(Duration::from_millis(1)).is_err()));
    scope(|s| {
        let child = s.spawn(|| 1);
        assert!(child.join().unwrap_err().is_shutdown(), "a scope could not wait for it");
    });
}

#[test]
fn p15_no_fiber_parks_while_a_panic_unwinds() {
    run(|| {
        let others = Rc::new(Cell::new(0));
        let during = Rc::new(Cell::new(None));
        let (seen, count) = (Rc::clone(&during), Rc::clone(&others));
        let panics = spawn(move || {
            let _guard = OnDrop::new(|| {
                let before = count.get();
                try_to_wait();
                seen.set(Some(count.get() - before));
            });
            panic!("unwinds through a destructor that waits");
        });
        let runs = Rc::clone(&others);
        let other = spawn(move || {
            for _ in 0..100 {
                assert!(!std::thread::panicking(), "it sees the panic of another fiber");
                runs.set(runs.get() + 1);
                yield_now();
            }
        });
        let error = panics.join().unwrap_err();
        let message = error.panic_message();
        assert_eq!(message.as_deref(), Some("unwinds through a destructor that waits"));
        assert_eq!(during.get(), Some(0), "another fiber ran in the middle of the panic");
        other.join().unwrap();
    })
    .unwrap();
}

#[test]
fn p15_a_mutex_is_not_poisoned_by_the_panic_of_another_fiber() {
    run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let locked = Arc::clone(&mutex);
        let holder = spawn(move || {
            let mut value = locked.lock().unwrap();
            yield_now();
            *value += 1;
        });
        let panics = spawn(|| {
            let _guard = OnDrop::new(try_to_wait);
            panic!("while another fiber holds a lock");
        });
        assert!(panics.join().unwrap_err().is_panic());
        holder.join().unwrap();
        assert!(!mutex.is_poisoned());
        assert_eq!(*mutex.lock().unwrap(), 1);
    })
    .unwrap();
}

/// Bug: a wait begun before the panic was allowed to park in a destructor. Other fibers then saw a
/// panic that was not theirs, and a scope did not wait for its children.
#[test]
fn p15_a_wait_begun_before_the_panic_does_not_park_while_it_unwinds() {
    guarded(|| {
        run(|| {
            let ticket = Rc::new(Cell::new(None));
            let place = Rc::clone(&ticket);
            let panics = spawn(move || {
                let park = Park::begin().unwrap();
                place.set(Some(park.ticket()));
                let _guard = OnDrop::new(move || {
                    let waited = park.wait(Wait::new(WaitKind::Other, 0), None);
                    assert!(waited.is_err());
                });
                panic!("with a wait begun");
            });
            let waker = spawn(move || {
                assert!(!std::thread::panicking(), "it sees the panic of another fiber");
                ticket.get().map(cede_fiber::Ticket::wake)
            });
            assert_eq!(waker.join().unwrap(), Some(false));
            assert!(panics.join().unwrap_err().is_panic());
        })
        .unwrap();
    });
}

/// The event of such a wait that has come already is not lost.
#[test]
fn p15_a_wait_that_is_over_may_be_finished_while_a_panic_unwinds() {
    run(|| {
        let panics = spawn(|| {
            let park = Park::begin().unwrap();
            assert!(park.ticket().wake());
            let _guard = OnDrop::new(move || {
                park.wait(Wait::new(WaitKind::Other, 0), None).unwrap();
            });
            panic!("with a wait that is over");
        });
        assert!(panics.join().unwrap_err().is_panic());
    })
    .unwrap();
}

#[test]
fn p15_a_caught_panic_leaves_the_fiber_able_to_wait() {
    run(|| {
        for _ in 0..10 {
            let caught = catch_unwind(|| panic!("caught"));
            assert!(caught.is_err());
            assert!(!std::thread::panicking());
            sleep(Duration::from_micros(1)).unwrap();
            let rethrown = catch_unwind(AssertUnwindSafe(|| {
                let caught: std::thread::Result<()> = catch_unwind(|| panic!("rethrown"));
                if let Err(payload) = caught {
                    yield_now();
                    resume_unwind(payload);
                }
            }));
            assert!(rethrown.is_err());
        }
    })
    .unwrap();
}
