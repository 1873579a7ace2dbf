//! Futures on fibers.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn, ready};
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cede_fiber::{block_on, is_cancelled, park, run, spawn, with_deadline, yield_now};

/// A flag that a future waits for, set on the same thread.
#[derive(Default)]
struct Flag {
    set: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Flag {
    fn wait(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let flag = Rc::clone(self);
        poll_fn(move |cx: &mut Context<'_>| {
            if flag.set.get() {
                return Poll::Ready(());
            }
            flag.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
    }

    fn set(&self) {
        self.set.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

#[test]
fn a_ready_future_gives_its_value() {
    run(|| assert_eq!(block_on(ready(7)).unwrap(), 7)).unwrap();
}

#[test]
fn outside_of_a_fiber_it_is_an_error() {
    assert!(block_on(ready(7)).unwrap_err().to_string().contains("fiber"));
}

#[test]
fn a_pending_future_lets_other_fibers_run() {
    run(|| {
        let flag = Rc::new(Flag::default());
        let setter = Rc::clone(&flag);
        let other = spawn(move || setter.set());
        block_on(flag.wait()).unwrap();
        assert!(other.is_finished());
    })
    .unwrap();
}

#[test]
fn another_thread_wakes_it() {
    run(|| {
        let shared = Arc::new(Mutex::new((false, None::<Waker>)));
        let there = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            loop {
                let mut state = there.lock().unwrap();
                if let Some(waker) = state.1.take() {
                    state.0 = true;
                    drop(state);
                    waker.wake();
                    return;
                }
                drop(state);
                std::thread::yield_now();
            }
        });
        block_on(poll_fn(|cx| {
            let mut state = shared.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        }))
        .unwrap();
        thread.join().unwrap();
    })
    .unwrap();
}

#[test]
fn a_wake_during_the_poll_is_remembered() {
    run(|| {
        let mut polls = 0;
        block_on(poll_fn(|cx| {
            polls += 1;
            if polls == 1_000 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
        .unwrap();
        assert_eq!(polls, 1_000);
    })
    .unwrap();
}

#[test]
fn a_nested_block_on_does_not_eat_the_wake_of_the_outer_one() {
    run(|| {
        let (outer, inner) = (Rc::new(Flag::default()), Rc::new(Flag::default()));
        let (set_outer, set_inner) = (Rc::clone(&outer), Rc::clone(&inner));
        spawn(move || {
            // The outer flag is set while the fiber waits for the inner one.
            set_outer.set();
            yield_now();
            set_inner.set();
        });
        let mut wait = pin!(outer.wait());
        let mut first = true;
        block_on(poll_fn(|cx| {
            let polled = wait.as_mut().poll(cx);
            if std::mem::take(&mut first) {
                block_on(inner.wait()).unwrap();
            }
            polled
        }))
        .unwrap();
        assert!(outer.set.get() && inner.set.get());
    })
    .unwrap();
}

#[test]
fn a_plain_wakeup_is_not_taken_for_a_wake() {
    run(|| {
        let flag = Rc::new(Flag::default());
        let (setter, main) = (Rc::clone(&flag), cede_fiber::current());
        spawn(move || {
            main.wakeup();
            yield_now();
            setter.set();
        });
        block_on(flag.wait()).unwrap();
        park().unwrap(); // the wakeup is still there
    })
    .unwrap();
}

#[test]
fn cancel_and_deadline_end_it_and_drop_the_future() {
    run(|| {
        let token = Rc::new(());
        let never = |token: Rc<()>| {
            poll_fn(move |_| {
                let _ = &token;
                Poll::<()>::Pending
            })
        };
        let error = with_deadline(Duration::from_millis(1), || block_on(never(Rc::clone(&token))));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        let held = never(Rc::clone(&token));
        let fiber = spawn(move || block_on(held));
        yield_now();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
        assert_eq!(Rc::strong_count(&token), 1);
    })
    .unwrap();
}

#[test]
fn fibers_can_be_awaited_together() {
    run(|| {
        let fibers: Vec<_> = (0..100).map(|n| spawn(move || n * 2)).collect();
        let sum = block_on(async {
            let mut sum = 0;
            for fiber in fibers {
                sum += fiber.await.unwrap();
            }
            sum
        });
        assert_eq!(sum.unwrap(), 9_900);
    })
    .unwrap();
}

#[test]
fn a_panic_of_the_future_leaves_the_fiber_usable() {
    run(|| {
        let caught = std::panic::catch_unwind(|| block_on(async { panic!("future") }));
        assert!(caught.is_err());
        assert_eq!(block_on(ready(1)).unwrap(), 1);
    })
    .unwrap();
}

/// A future that wakes itself, as the `yield_now` of any executor does, asks to let others run.
#[test]
fn a_future_that_woke_itself_kept_the_shard_and_could_not_be_cancelled() {
    run(|| {
        let endless = || {
            block_on(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            }))
        };
        let cancelled = spawn(endless);
        let ran = Rc::new(Cell::new(0));
        let other = spawn({
            let ran = Rc::clone(&ran);
            move || (0..10).for_each(|_| (ran.set(ran.get() + 1), yield_now()).1)
        });
        other.join().unwrap();
        assert_eq!(ran.get(), 10);
        cancelled.cancel();
        assert!(is_cancelled(&cancelled.join().unwrap().unwrap_err()));
        let late = with_deadline(Duration::from_millis(2), endless);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
    })
    .unwrap();
}
