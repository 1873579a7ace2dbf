//! Property 29: when nothing is ready and nothing can ever wake anything, `run` says so, with every
//! fiber and its reason; and not while a thread may still wake one.

mod common;

use std::cell::Cell;
use std::sync::mpsc;
use std::time::Duration;

use cede_fiber::{
    Builder, FiberState, JoinHandle, RunError, Runtime, RuntimeBuilder, Shard, Virtual, WaitKind,
    blocking, current, park, run, scope, shards, sleep, spawn, yield_now,
};
use common::{Drops, guarded};

/// Deadlocks are looked for although this process has other threads (those of the test harness).
fn alone() -> RuntimeBuilder {
    Runtime::builder().external_wakes(false).shutdown_grace(Duration::from_millis(50))
}

/// The report as (name, kind of wait), and that its text names each.
fn report<T>(result: Result<T, RunError>) -> Vec<(String, WaitKind)> {
    let Err(RunError::Deadlock(deadlock)) = result else { panic!("no deadlock was reported") };
    let text = deadlock.to_string();
    let describe = |fiber: &cede_fiber::FiberInfo| {
        let name = fiber.name.clone().unwrap_or_default();
        let FiberState::Parked { wait, at, .. } = fiber.state else { panic!("{fiber} can run") };
        assert!(at.file().ends_with("deadlock.rs"), "{at} is not where the fiber waits");
        assert!(text.contains(&name) && text.contains(&wait.to_string()), "{text}");
        (name, wait.kind())
    };
    deadlock.fibers().iter().map(describe).collect()
}

fn named<T: 'static>(name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    Builder::new().name(name.into()).spawn(f).unwrap()
}

#[test]
fn p29_a_park_with_nobody_to_wake_it() {
    let fibers = guarded(|| report(run(|| park())));
    assert_eq!(fibers, [("main".to_string(), WaitKind::Park)]);
}

/// Bug: it was told as of the time before the last sleep, which may be seconds ago.
#[test]
fn p29_the_report_says_how_long_each_has_waited() {
    let result = guarded(|| alone().run(|| park()));
    let Err(RunError::Deadlock(deadlock)) = result else { panic!("no deadlock was reported") };
    let fiber = &deadlock.fibers()[0];
    let FiberState::Parked { since, .. } = fiber.state else { panic!("{fiber} can run") };
    // A shard sleeps for 20 ms before it looks for a deadlock.
    assert!(since >= Duration::from_millis(10) && fiber.age >= since, "{fiber}");
}

/// Bug: stacks waited to be trimmed by a clock that nothing moved any more, and `run` with them.
#[test]
fn p29_is_found_by_a_clock_that_stands_still() {
    let result = guarded(|| {
        alone().clock(Virtual::new()).run(|| {
            for _ in 0..2 {
                spawn(|| ()).join().unwrap();
                // The shard is idle, and trims what is due.
                blocking(|| std::thread::sleep(Duration::from_millis(1))).unwrap();
            }
            spawn(|| ()).join().unwrap();
            park()
        })
    });
    assert_eq!(report(result), [("main".to_string(), WaitKind::Park)]);
}

#[test]
fn an_unwrapped_report_is_for_people_too() {
    let error = guarded(|| run(|| park())).unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("deadlock: a fiber waits") && text.contains("(main)"), "{text}");
}

#[test]
fn p29_a_future_that_nobody_wakes() {
    let wait = || cede_fiber::block_on(std::future::pending::<()>());
    let fibers = guarded(move || report(alone().run(wait)));
    assert_eq!(fibers, [("main".to_string(), WaitKind::Future)]);
}

#[test]
fn p29_every_fiber_and_its_reason_is_in_the_report() {
    let drops = Drops::default();
    let guards: Vec<_> = (0..4).map(|_| drops.guard()).collect();
    let fibers = guarded(|| {
        report(alone().run(move || {
            let mut guards = guards.into_iter();
            let (a, b) = (guards.next(), guards.next());
            let parked = named("parked", move || {
                let _guard = a;
                park()
            });
            named("joins", move || {
                let _guard = b;
                parked.join()
            });
            let c = guards.next();
            named("scoped", move || {
                let _guard = c;
                scope(|s| {
                    s.spawn(|| park());
                    s.spawn(|| park());
                });
            });
            let _guard = guards.next();
            park()
        }))
    });
    let expected = [
        ("main", WaitKind::Park),
        ("parked", WaitKind::Park),
        ("joins", WaitKind::Join),
        ("scoped", WaitKind::Scope),
        ("", WaitKind::Park),
        ("", WaitKind::Park),
    ];
    assert_eq!(fibers, expected.map(|(name, kind)| (name.to_string(), kind)));
    assert_eq!(drops.dropped(), 4, "the fibers have ended all the same");
}

#[test]
fn p29_two_joins_in_a_cycle() {
    let fibers = guarded(|| {
        report(run(|| {
            let place: std::rc::Rc<std::cell::Cell<Option<JoinHandle<()>>>> = Default::default();
            let other = std::rc::Rc::clone(&place);
            let first = named("first", move || {
                yield_now();
                other.take().unwrap().join().unwrap();
            });
            let second = named("second", move || drop(first.join()));
            place.set(Some(second));
            park()
        }))
    });
    let expected =
        [("main", WaitKind::Park), ("first", WaitKind::Join), ("second", WaitKind::Join)];
    assert_eq!(fibers, expected.map(|(name, kind)| (name.to_string(), kind)));
}

#[test]
fn p29_two_shards_that_wait_for_each_other() {
    let fibers = guarded(|| {
        report(alone().shards(2).run(|| {
            let other = shards().pop().unwrap();
            let main = current();
            other.call(move || {
                // Holds what could wake main, and does not.
                let _main = main;
                let first = shards().swap_remove(0);
                first.call(|| park())
            })
        }))
    });
    let expected = [("main", WaitKind::Call), ("", WaitKind::Park), ("", WaitKind::Call)];
    assert_eq!(fibers, expected.map(|(name, kind)| (name.to_string(), kind)));
}

#[test]
fn p29_a_deadlock_after_the_shards_have_worked() {
    guarded(|| {
        let result = alone().shards(3).run(|| {
            for _ in 0..100 {
                for shard in shards() {
                    shard.call(|| sleep(Duration::from_micros(10))).unwrap().unwrap();
                }
            }
            park()
        });
        assert_eq!(report(result), [("main".to_string(), WaitKind::Park)]);
    });
}

/// The pauses are long against the first look for a deadlock (20 ms), and only that: a runtime that
/// saw one here would end before the thread wakes it.
const LONGER_THAN_A_LOOK: Duration = Duration::from_millis(150);

#[test]
fn p29_not_while_a_thread_holds_a_handle() {
    guarded(|| {
        run(|| {
            let me = current();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(LONGER_THAN_A_LOOK);
                me.wakeup();
            });
            park().unwrap();
            thread.join().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p29_not_while_a_thread_holds_a_ticket() {
    guarded(|| {
        run(|| {
            let wait = cede_fiber::Park::begin().unwrap();
            let ticket = wait.remote_ticket();
            std::thread::spawn(move || {
                std::thread::sleep(LONGER_THAN_A_LOOK);
                ticket.wake();
            });
            wait.wait(cede_fiber::Wait::new(WaitKind::Other, 0), None).unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p29_not_while_a_thread_holds_a_shard() {
    guarded(|| {
        run(|| {
            let shard = Shard::current();
            std::thread::spawn(move || {
                std::thread::sleep(LONGER_THAN_A_LOOK);
                shard.spawn(wake_main).unwrap().join().unwrap();
            });
            PARKED.with(|parked| parked.replace(Some(current())));
            park().unwrap();
            PARKED.take();
        })
        .unwrap();
    });
}

thread_local! {
    static PARKED: std::cell::RefCell<Option<cede_fiber::Fiber>> =
        const { std::cell::RefCell::new(None) };
}

fn wake_main() {
    PARKED.with_borrow(|parked| parked.iter().for_each(cede_fiber::Fiber::wakeup));
}

/// Bug: a shard that slept remembered that nobody held a handle to it, although another shard had
/// made one since and given it to a thread.
#[test]
fn p29_not_while_a_thread_holds_the_shard_that_sleeps() {
    guarded(|| {
        Runtime::builder()
            .shards(2)
            .run(|| {
                // The other shard finds out that nobody holds a handle to it.
                sleep(LONGER_THAN_A_LOOK).unwrap();
                let other = shards().pop().unwrap();
                let (woken, is_woken) = mpsc::channel();
                let thread = std::thread::spawn(move || {
                    std::thread::sleep(LONGER_THAN_A_LOOK);
                    let work = || shards()[0].call(wake_parked).unwrap();
                    woken.send(other.spawn(work).is_ok()).unwrap();
                });
                let park = cede_fiber::Park::begin().unwrap();
                TICKET.set(Some(park.ticket()));
                park.wait(cede_fiber::Wait::new(WaitKind::Other, 0), None).unwrap();
                assert!(is_woken.recv().unwrap());
                thread.join().unwrap();
            })
            .unwrap();
    });
}

thread_local! {
    static TICKET: Cell<Option<cede_fiber::Ticket>> = const { Cell::new(None) };
}

fn wake_parked() {
    assert!(TICKET.take().unwrap().wake());
}

#[test]
fn p29_not_while_there_is_a_timer_or_a_socket() {
    guarded(|| {
        alone()
            .run(|| {
                sleep(LONGER_THAN_A_LOOK).unwrap();
                let listener = cede_fiber::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let addr = listener.local_addr().unwrap();
                let thread = std::thread::spawn(move || {
                    std::thread::sleep(LONGER_THAN_A_LOOK);
                    std::net::TcpStream::connect(addr).unwrap();
                });
                listener.accept().unwrap();
                thread.join().unwrap();
            })
            .unwrap();
    });
}

#[test]
fn p29_a_handle_kept_by_a_fiber_itself_hides_nothing_when_no_thread_may_wake() {
    let fibers = guarded(|| {
        report(alone().run(|| {
            let me = current();
            let child = spawn(move || {
                let _holds = me;
                park()
            });
            child.join()
        }))
    });
    assert_eq!(fibers.len(), 2);
}
