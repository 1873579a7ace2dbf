//! The blocking pool: bounded, elastic, fair, visible, and left alone by who stops waiting.

mod support;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use cede_fiber::{
    Runtime, blocking, blocking_metrics, is_cancelled, run, sleep, spawn, try_blocking,
    with_deadline, yield_now,
};

/// Waits in the fiber until something has happened on a thread.
fn until(what: impl Fn() -> bool) {
    while !what() {
        sleep(Duration::from_millis(1)).unwrap();
    }
}

#[test]
fn other_fibers_run_meanwhile_and_threads_have_names() {
    run(|| {
        let (done, wait) = mpsc::channel::<()>();
        let call = spawn(move || {
            blocking(move || {
                wait.recv().unwrap();
                std::thread::current().name().unwrap().to_string()
            })
        });
        yield_now();
        done.send(()).unwrap();
        assert_eq!(call.join().unwrap().unwrap(), "cede-blocking-0");
        until(|| blocking_metrics().done == 1);
        assert_eq!(blocking_metrics().threads, 1);
    })
    .unwrap();
}

#[test]
fn outside_of_a_runtime_it_runs_in_place() {
    let here = std::thread::current().id();
    assert_eq!(blocking(|| std::thread::current().id()).unwrap(), here);
    assert_eq!(blocking_metrics(), Default::default());
}

#[test]
fn a_panic_comes_back_to_the_caller() {
    run(|| {
        let fiber = spawn(|| blocking(|| -> u32 { panic!("on the pool") }));
        let error = fiber.join().unwrap_err();
        assert_eq!(error.panic_message().as_deref(), Some("on the pool"));
        // The thread goes on.
        assert_eq!(blocking(|| 1).unwrap(), 1);
    })
    .unwrap();
}

/// Threads that may end when they are told to.
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    fn wait(&self) -> impl FnOnce() + Send + 'static {
        let open = Arc::clone(&self.0);
        move || {
            while !open.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_full_pool_refuses_or_serves_in_order() {
    let runtime = Runtime::builder().blocking_threads_max(2).blocking_queue_max(3);
    runtime
        .run(|| {
            let gate = Gate::new();
            let order = Arc::new(Mutex::new(Vec::new()));
            let busy: Vec<_> = (0..2)
                .map(|_| {
                    let wait = gate.wait();
                    spawn(move || blocking(wait))
                })
                .collect();
            until(|| blocking_metrics().threads == 2 && blocking_metrics().queued == 0);
            let queued: Vec<_> = (0..8)
                .map(|i| {
                    let order = Arc::clone(&order);
                    let note = move || order.lock().unwrap().push((std::thread::current().id(), i));
                    spawn(move || blocking(note))
                })
                .collect();
            yield_now();
            let metrics = blocking_metrics();
            assert_eq!((metrics.threads, metrics.queued, metrics.waiting), (2, 3, 5));
            assert_eq!(try_blocking(|| ()).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert_eq!(blocking_metrics().rejected, 1);
            // One that waits for a place gives up; the order of the others stays.
            let late = with_deadline(Duration::from_millis(2), || blocking(|| unreachable!()));
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
            queued[4].cancel();
            yield_now();
            assert_eq!(blocking_metrics().withdrawn, 2);
            gate.open();
            for (i, fiber) in queued.into_iter().enumerate() {
                let result = fiber.join().unwrap();
                assert_eq!(result.is_err(), i == 4);
            }
            for fiber in busy {
                fiber.join().unwrap().unwrap();
            }
            // Two threads take in turn, and may stand still at any moment: the order is that of each.
            let order = order.lock().unwrap().clone();
            for thread in order.iter().map(|(thread, _)| *thread) {
                assert!(
                    order.iter().filter(|(t, _)| *t == thread).is_sorted_by_key(|(_, i)| *i),
                    "{order:?}"
                );
            }
            let mut all: Vec<_> = order.iter().map(|(_, i)| *i).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 5, 6, 7]);
            assert!(blocking_metrics().longest_wait >= Duration::from_millis(2));
        })
        .unwrap();
}

/// Says where it was dropped.
struct Tattle(Arc<Mutex<Option<String>>>);

impl Drop for Tattle {
    fn drop(&mut self) {
        let name = std::thread::current().name().unwrap_or("?").to_string();
        *self.0.lock().unwrap() = Some(name);
    }
}

#[test]
fn an_abandoned_call_goes_on_and_drops_its_result_there() {
    run(|| {
        let (gate, dropped) = (Gate::new(), Arc::new(Mutex::new(None)));
        let (wait, tattle) = (gate.wait(), Tattle(Arc::clone(&dropped)));
        let fiber = spawn(move || {
            blocking(move || {
                wait();
                tattle
            })
            .map(drop)
        });
        until(|| blocking_metrics().threads == 1 && blocking_metrics().queued == 0);
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
        assert!(dropped.lock().unwrap().is_none());
        gate.open();
        until(|| dropped.lock().unwrap().is_some());
        assert!(dropped.lock().unwrap().as_ref().unwrap().starts_with("cede-blocking-"));
    })
    .unwrap();
}

#[test]
fn idle_threads_end_and_shutdown_joins_the_rest() {
    let live = Arc::new(AtomicUsize::new(0));
    let runtime = Runtime::builder().blocking_idle_timeout(Duration::from_millis(5));
    runtime
        .run(|| {
            let fibers: Vec<_> = (0..8)
                .map(|_| spawn(|| blocking(|| std::thread::sleep(Duration::from_millis(3)))))
                .collect();
            for fiber in fibers {
                fiber.join().unwrap().unwrap();
            }
            assert!((1..=8).contains(&blocking_metrics().threads));
            until(|| blocking_metrics().threads == 0);
            // Still in a call when the runtime ends.
            let live = Arc::clone(&live);
            let started = Arc::new(AtomicBool::new(false));
            let tell = Arc::clone(&started);
            spawn(move || {
                blocking(move || {
                    live.fetch_add(1, Ordering::SeqCst);
                    tell.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    live.fetch_sub(1, Ordering::SeqCst);
                })
            });
            until(|| started.load(Ordering::SeqCst));
        })
        .unwrap();
    assert_eq!(live.load(Ordering::SeqCst), 0, "the shutdown waited for the call");
}

#[test]
fn a_call_that_outlives_the_grace_is_left_behind() {
    let gate = Gate::new();
    let wait = gate.wait();
    Runtime::builder()
        .shutdown_grace(Duration::from_millis(10))
        .run(|| {
            spawn(move || blocking(wait));
            until(|| blocking_metrics().threads == 1);
        })
        .unwrap();
    gate.open();
}

/// A sleep for an answer of the pool is no deadlock; the wait for each other after it is.
#[test]
fn work_on_the_pool_is_hope() {
    run(|| blocking(|| std::thread::sleep(Duration::from_millis(120))).unwrap()).unwrap();
}

#[test]
fn shards_share_the_pool() {
    Runtime::builder()
        .shards(2)
        .run(|| {
            let calls: Vec<_> = cede_fiber::shards()
                .iter()
                .map(|shard| {
                    shard.spawn(|| (0..200_u64).map(|i| blocking(move || i).unwrap()).sum::<u64>())
                })
                .collect();
            for call in calls {
                assert_eq!(call.unwrap().join().unwrap(), 199 * 100);
            }
            until(|| blocking_metrics().done == 400);
        })
        .unwrap();
}

#[test]
fn calls_cut_short_leave_nothing_behind() {
    support::alone("calls_cut_short_leave_nothing_behind", || {
        Runtime::builder()
            .blocking_threads_max(1)
            .run(|| {
                let gate = Gate::new();
                let wait = gate.wait();
                let holder = spawn(move || blocking(wait));
                yield_now();
                support::cut_short("blocking", || blocking(|| vec![0_u8; 1 << 16]));
                gate.open();
                holder.join().unwrap().unwrap();
            })
            .unwrap();
        // Calls that have begun.
        run(|| {
            support::cut_short("blocking", || {
                let slow = || std::thread::sleep(Duration::from_micros(100));
                loop {
                    blocking(slow)?;
                }
                #[allow(unreachable_code, reason = "the loop ends by an error; this is its type")]
                Ok(())
            })
        })
        .unwrap();
    });
}

/// What is not `Send` stays here while the closure is away.
#[test]
fn values_of_the_fiber_survive_the_call() {
    run(|| {
        let local = Rc::new(RefCell::new(1));
        let guard = local.borrow();
        let two = blocking(|| 2).unwrap();
        assert_eq!(*guard + two, 3);
    })
    .unwrap();
}
