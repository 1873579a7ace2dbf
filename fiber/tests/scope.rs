//! Children that borrow: the scope ends after they have, whatever happens to parent and runtime.
//!
//! Each test lets a child look at a frame of its parent as late as it can; `Frame` notices when the
//! frame is gone.

mod common;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::{
    Builder, Runtime, Virtual, is_cancelled, on_large_stack, park, run, scope, shield, sleep,
    spawn, with_deadline, yield_now,
};
use common::{Drops, OnDrop};

/// Something on the parent's stack that a child borrows.
struct Frame {
    alive: Cell<bool>,
    looks: Rc<Cell<u32>>,
}

impl Frame {
    fn new(looks: &Rc<Cell<u32>>) -> Self {
        Self { alive: Cell::new(true), looks: Rc::clone(looks) }
    }

    fn look(&self) {
        assert!(self.alive.get(), "the parent's frame is gone");
        self.looks.set(self.looks.get() + 1);
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.alive.set(false);
    }
}

fn virtual_run<T>(f: impl FnOnce() -> T) -> T {
    Runtime::builder().clock(Virtual::new()).run(f).unwrap()
}

/// A child that waits, ignores its cancel, and looks at the frame when it ends.
fn stubborn(frame: &Frame) {
    let _late = OnDrop::new(|| frame.look());
    shield(|| sleep(Duration::from_secs(1))).unwrap();
    frame.look();
}

#[test]
fn a_scope_returns_after_its_children_and_theirs() {
    virtual_run(|| {
        let looks = Rc::default();
        let frame = Frame::new(&looks);
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    s.spawn(|| stubborn(&frame));
                    stubborn(&frame);
                });
            }
        });
        assert_eq!(looks.get(), 12);
    });
}

#[test]
fn a_scope_outlasts_the_panic_of_its_parent() {
    virtual_run(|| {
        let looks = Rc::default();
        let seen = Rc::clone(&looks);
        let parent = spawn(move || {
            let frame = Frame::new(&seen);
            scope(|s| {
                s.spawn(|| stubborn(&frame));
                s.spawn(|| {
                    assert!(is_cancelled(&park().unwrap_err()), "the panic cancels the children");
                    frame.look();
                });
                yield_now();
                panic!("the parent panics");
            });
        });
        let error = parent.join().unwrap_err();
        assert_eq!(error.panic_message().as_deref(), Some("the parent panics"));
        assert_eq!(looks.get(), 3);
    });
}

#[test]
fn a_scope_outlasts_the_cancel_of_its_parent_and_hands_it_on() {
    virtual_run(|| {
        let looks = Rc::default();
        let seen = Rc::clone(&looks);
        let parent = spawn(move || {
            let frame = Frame::new(&seen);
            scope(|s| {
                s.spawn(|| stubborn(&frame));
                s.spawn(|| {
                    assert!(is_cancelled(&park().unwrap_err()));
                    frame.look();
                });
            });
            is_cancelled(&park().unwrap_err())
        });
        yield_now();
        parent.cancel();
        assert!(parent.join().unwrap(), "the parent stays cancelled after its scope");
        assert_eq!(looks.get(), 3);
    });
}

#[test]
fn a_scope_outlasts_the_deadline_of_its_parent() {
    virtual_run(|| {
        let looks = Rc::default();
        let frame = Frame::new(&looks);
        with_deadline(Duration::from_millis(1), || {
            scope(|s| {
                s.spawn(|| stubborn(&frame));
                s.spawn(|| {
                    let error = park().unwrap_err();
                    assert!(error.kind() == ErrorKind::TimedOut || is_cancelled(&error));
                    frame.look();
                });
                let deaf = Builder::new().no_deadline();
                deaf.spawn_scoped(s, || {
                    assert!(is_cancelled(&park().unwrap_err()), "the scope hands the end on");
                    frame.look();
                })
                .unwrap();
            });
        });
        assert_eq!(looks.get(), 4);
    });
}

/// The shutdown unwinds both; the child first.
#[test]
fn a_scope_outlasts_the_shutdown_of_the_runtime() {
    let looks = Rc::default();
    let seen = Rc::clone(&looks);
    virtual_run(move || {
        for where_parent_waits in 0..2 {
            let seen = Rc::clone(&seen);
            spawn(move || {
                let frame = Frame::new(&seen);
                scope(|s| {
                    for _ in 0..2 {
                        s.spawn(|| {
                            let _late = OnDrop::new(|| frame.look());
                            shield(park).unwrap();
                        });
                    }
                    if where_parent_waits == 1 {
                        shield(park).unwrap();
                    }
                });
            });
        }
        yield_now();
        yield_now();
    });
    assert_eq!(looks.get(), 4);
}

#[test]
fn a_scope_in_a_destructor_during_a_panic_makes_no_children() {
    run(|| {
        let looks = Rc::default();
        let seen = Rc::clone(&looks);
        let parent = spawn(move || {
            let _guard = OnDrop::new(move || {
                let frame = Frame::new(&seen);
                scope(|s| {
                    let child = s.spawn(|| frame.look());
                    assert!(child.is_finished());
                    assert!(child.join().unwrap_err().is_shutdown());
                });
            });
            panic!("into the destructor");
        });
        assert!(parent.join().unwrap_err().is_panic());
        yield_now();
        assert_eq!(looks.get(), 0);
    })
    .unwrap();
}

#[test]
fn a_child_that_nobody_joined_and_panicked_panics_the_scope() {
    virtual_run(|| {
        let looks = Rc::default();
        let frame = Frame::new(&looks);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| panic!("the child panics"));
                s.spawn(|| stubborn(&frame));
            });
        }));
        let payload = caught.unwrap_err();
        assert_eq!(*payload.downcast::<&str>().unwrap(), "a scoped fiber panicked");
        assert_eq!(looks.get(), 2, "after the others have ended");
    });
}

/// Bug: the scope panicked although the panic had been taken by `join`.
#[test]
fn a_child_whose_panic_was_joined_does_not_panic_the_scope() {
    run(|| {
        let message = scope(|s| {
            let child = s.spawn(|| panic!("taken care of"));
            child.join().unwrap_err().panic_message()
        });
        assert_eq!(message.as_deref(), Some("taken care of"));
        let caught = catch_unwind(|| {
            scope(|s| {
                let joined = s.spawn(|| panic!("taken care of"));
                s.spawn(|| panic!("not taken care of"));
                assert!(joined.join().is_err());
            });
        });
        assert!(caught.is_err(), "of two panics one was joined");
    })
    .unwrap();
}

/// A result that borrows from the parent, and uses it in its destructor.
struct Borrows<'a>(&'a Frame);

impl Drop for Borrows<'_> {
    fn drop(&mut self) {
        self.0.look();
    }
}

#[test]
fn a_result_that_nobody_joins_is_dropped_before_the_scope_ends() {
    virtual_run(|| {
        let looks = Rc::default();
        let frame = Frame::new(&looks);
        scope(|s| {
            s.spawn(|| Borrows(&frame));
            let kept = s.spawn(|| Borrows(&frame));
            kept.wait().unwrap();
            drop(kept);
            s.spawn(|| {
                sleep(Duration::from_secs(1)).unwrap();
                Borrows(&frame)
            });
        });
        assert_eq!(looks.get(), 3);
    });
}

#[test]
fn a_leaked_handle_leaks_its_result_and_nothing_dangles() {
    virtual_run(|| {
        let looks = Rc::default();
        let frame = Frame::new(&looks);
        scope(|s| {
            std::mem::forget(s.spawn(|| Borrows(&frame)));
            std::mem::forget(s.spawn(|| stubborn(&frame)));
        });
        assert_eq!(looks.get(), 2, "the leaked result is never dropped");
    });
}

#[test]
fn a_result_whose_destructor_panics_does_not_stop_the_scope() {
    run(|| {
        let reached = scope(|s| {
            s.spawn(|| OnDrop::new(|| panic!("a result's destructor")));
            s.spawn(|| OnDrop::new(|| sleep(Duration::from_millis(1)).unwrap()));
            true
        });
        assert!(reached);
    })
    .unwrap();
}

#[test]
fn a_handle_that_a_sibling_holds_is_dropped_inside_of_the_scope() {
    virtual_run(|| {
        let looks = Rc::default();
        let frame = Frame::new(&looks);
        scope(|s| {
            let first = s.spawn(|| {
                sleep(Duration::from_secs(2)).unwrap();
                Borrows(&frame)
            });
            s.spawn(move || {
                sleep(Duration::from_secs(5)).unwrap();
                drop(first);
            });
        });
        assert_eq!(looks.get(), 1);
    });
}

#[test]
fn scopes_nest_and_work_on_a_large_stack() {
    run(|| {
        let mut numbers: Vec<u32> = (0..100).collect();
        on_large_stack(|| {
            scope(|outer| {
                for half in numbers.chunks_mut(50) {
                    outer.spawn(move || {
                        scope(|inner| {
                            for quarter in half.chunks_mut(25) {
                                inner.spawn(|| {
                                    yield_now();
                                    quarter.iter_mut().for_each(|n| *n += 1);
                                });
                            }
                        });
                    });
                }
            });
        });
        assert_eq!(numbers, (1..101).collect::<Vec<_>>());
    })
    .unwrap();
}

#[test]
fn a_scope_outside_of_a_fiber_makes_no_children() {
    scope(|s| {
        assert!(Builder::new().spawn_scoped(s, || ()).is_err());
    });
}

#[test]
fn a_refused_child_leaves_the_scope_whole() {
    let drops = Drops::default();
    Runtime::builder()
        .fibers_max(3)
        .run(|| {
            let refused = Cell::new(0);
            scope(|s| {
                for _ in 0..5 {
                    let guard = drops.guard();
                    let spawned = Builder::new().spawn_scoped(s, move || {
                        let _guard = guard;
                        yield_now();
                    });
                    if let Err(error) = spawned {
                        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
                        refused.set(refused.get() + 1);
                    }
                }
                let tiny = Builder::new().stack_size(1);
                let error = tiny.spawn_scoped(s, || ()).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::QuotaExceeded));
            });
            assert_eq!(refused.get(), 3);
        })
        .unwrap();
    assert_eq!(drops.dropped(), 5);
}

#[test]
fn children_are_cancelled_by_their_handles() {
    run(|| {
        let log = RefCell::new(Vec::new());
        scope(|s| {
            let children: Vec<_> = (0..3)
                .map(|n| {
                    let log = &log;
                    s.spawn(move || {
                        assert!(is_cancelled(&park().unwrap_err()));
                        log.borrow_mut().push(n);
                    })
                })
                .collect();
            yield_now();
            children[1].cancel();
            children[1].wait().unwrap();
            children[2].cancel();
            children[0].cancel();
        });
        assert_eq!(*log.borrow(), [1, 2, 0]);
    })
    .unwrap();
}
