//! Property 5 and deadlines: timeout and event at one instant have one outcome, the event;
//! deadlines nest, are inherited, and end every wait.

mod common;

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cede_fiber::{
    Builder, Clock, Nanos, Park, Runtime, Shard, Ticket, Virtual, Wait, WaitKind, current,
    deadline, is_cancelled, on_large_stack, park, park_timeout, run, scope, shield, sleep, spawn,
    with_deadline, yield_now,
};
use common::{Random, guarded, rounds};

const OTHER: Wait = Wait::new(WaitKind::Other, 0);
const SECOND: Duration = Duration::from_secs(1);

/// Runs with a clock that the test can read and move.
fn virtual_run<T>(f: impl FnOnce(Virtual) -> T) -> T {
    let clock = Virtual::new();
    let own = clock.clone();
    Runtime::builder().clock(clock).run(move || f(own)).unwrap()
}

fn is_timeout(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::TimedOut)
}

/// The waker's timer and the waiter's deadline are the same moment; who was armed first fires
/// first.
#[test]
fn p05_event_and_timeout_at_one_instant_in_both_orders() {
    for waker_first in [false, true] {
        virtual_run(|clock| {
            let moment = clock.now() + 1_000_000;
            let at = clock.instant(moment).unwrap();
            let place = Rc::new(Cell::new(None));
            let ticket = Rc::clone(&place);
            let wake = move || {
                cede_fiber::sleep_until(at).unwrap();
                place.get().is_some_and(Ticket::wake)
            };
            let wait = move || {
                let park = Park::begin()?;
                ticket.set(Some(park.ticket()));
                park.wait(OTHER, Some(moment))
            };
            let (waiter, waker);
            if waker_first {
                waker = spawn(wake);
                waiter = spawn(wait);
            } else {
                waiter = spawn(wait);
                waker = spawn(wake);
            }
            // The waiter's timer fires first or second; it has not run when the waker does.
            let (told, waited) = (waker.join().unwrap(), waiter.join().unwrap());
            if waker_first {
                assert!(told, "both timers fired before either fiber ran");
            }
            assert_eq!(told, waited.is_ok(), "waker first: {waker_first}");
        });
    }
}

/// A million waits whose deadline and event meet in random order, or one of them alone: the event
/// arrives exactly when its waker was told so.
#[test]
fn p05_timeout_against_event_a_million_times() {
    guarded(|| {
        let mut random = Random::new();
        virtual_run(|clock| {
            let place: Rc<Cell<Option<Ticket>>> = Rc::default();
            let ticket = Rc::clone(&place);
            let asked: Rc<Cell<u64>> = Rc::default();
            let seen = Rc::clone(&asked);
            let main = current();
            // One waker: told by `asked` when to wake the ticket.
            let told = Rc::new(Cell::new(None));
            let answer = Rc::clone(&told);
            let waker = spawn(move || {
                while park().is_ok() {
                    if sleep(Duration::from_nanos(seen.get())).is_err() {
                        break;
                    }
                    answer.set(Some(place.get().is_some_and(Ticket::wake)));
                    main.wakeup();
                }
            });
            let (mut events, mut timeouts) = (0, 0);
            for round in 0..rounds(1_000_000) {
                // A tick of the wheel is 1,024 ns: equal ones often, and both orders.
                let (wake_in, limit_in) = (random.below(4) * 1_024, random.below(4) * 1_024);
                let park = Park::begin().unwrap();
                ticket.set(Some(park.ticket()));
                told.set(None);
                asked.set(wake_in);
                let limit = clock.now() + limit_in;
                waker.fiber().wakeup();
                if random.coin() {
                    yield_now();
                }
                let waited = park.wait(OTHER, Some(limit));
                // The answer comes with a wakeup, or has come with one that is used up here.
                cede_fiber::park().unwrap();
                assert_eq!(told.get(), Some(waited.is_ok()), "round {round}");
                match waited {
                    Ok(()) => events += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TimedOut);
                        timeouts += 1;
                    }
                }
            }
            assert!(events > 0 && timeouts > 0, "{events} events, {timeouts} timeouts");
            waker.cancel();
        });
    });
}

/// Real time, and wakes by a thread: whatever wins, the wait ends once and the next is untouched.
#[test]
fn p05_timeout_against_a_wakeup_from_a_thread() {
    guarded(|| {
        run(|| {
            let (send, wakes) = std::sync::mpsc::channel::<cede_fiber::RemoteTicket>();
            let thread = std::thread::spawn(move || wakes.into_iter().for_each(|t| t.wake()));
            let mut random = Random::new();
            for _ in 0..rounds(40_000) {
                let park = Park::begin().unwrap();
                send.send(park.remote_ticket()).unwrap();
                let limit = Duration::from_nanos(random.below(20_000));
                let waited = with_deadline(limit, || park.wait(OTHER, None));
                assert!(waited.is_ok() || is_timeout(waited));
                // The ticket may still be under way; it must not end this one.
                assert!(is_timeout(park_timeout(Duration::from_nanos(1))));
            }
            drop(send);
            thread.join().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn a_wakeup_and_a_timeout_of_park_at_once_give_the_wakeup() {
    virtual_run(|clock| {
        let fiber = spawn(|| park_timeout(SECOND));
        yield_now();
        let handle = fiber.fiber();
        spawn(move || {
            // Both are due at the next look at the clock; this fiber runs before the timer is seen.
            clock.advance(SECOND);
            handle.wakeup();
        });
        fiber.join().unwrap().unwrap();
    });
}

#[test]
fn the_nearest_of_nested_deadlines_wins() {
    virtual_run(|clock| {
        let elapsed = |outer: u64, inner: u64| -> Nanos {
            let before = clock.now();
            let timed_out = with_deadline(Duration::from_secs(outer), || {
                with_deadline(Duration::from_secs(inner), || is_timeout(park()))
            });
            assert!(timed_out);
            assert_eq!(deadline(), None, "the former one is back");
            (clock.now() - before) / 1_000_000_000
        };
        assert_eq!(elapsed(5, 2), 2);
        assert_eq!(elapsed(2, 5), 2);
        assert_eq!(elapsed(3, 3), 3);
    });
}

#[test]
fn the_outer_deadline_is_back_after_the_inner_one() {
    virtual_run(|clock| {
        with_deadline(SECOND * 10, || {
            let outer = deadline();
            assert!(outer.is_some());
            assert!(with_deadline(SECOND, || is_timeout(park())));
            assert_eq!(deadline(), outer);
            let panics = std::panic::catch_unwind(|| {
                with_deadline(SECOND, || panic!("inside of a deadline"));
            });
            assert!(panics.is_err());
            assert_eq!(deadline(), outer);
            assert!(is_timeout(park()));
            assert!(clock.now() >= 10_000_000_000);
            assert!(is_timeout(sleep(Duration::ZERO).and_then(|()| park())), "it stays");
        });
        sleep(SECOND).unwrap();
    });
}

#[test]
fn a_deadline_is_inherited_unless_the_builder_says_otherwise() {
    virtual_run(|clock| {
        let at = clock.now() + 5_000_000_000;
        with_deadline(clock.instant(at).unwrap(), || {
            let here = deadline();
            assert_eq!(spawn(deadline).join().unwrap(), here);
            assert_eq!(scope(|s| s.spawn(deadline).join().unwrap()), here);
            assert_eq!(on_large_stack(deadline), here);
            let own = Builder::new().deadline(SECOND).spawn(deadline).unwrap();
            assert!(own.join().unwrap() < here);
            let none = Builder::new().no_deadline().spawn(deadline).unwrap();
            assert_eq!(none.join().unwrap(), None);
            // A child's may be later than its parent's.
            let late = Builder::new().deadline(SECOND * 60).spawn(deadline).unwrap();
            assert!(late.join().unwrap() > here);
            assert_eq!(Shard::current().call(deadline).unwrap(), here);
        });
    });
}

#[test]
fn a_shield_lifts_the_outer_deadline_and_keeps_an_inner_one() {
    virtual_run(|clock| {
        let fiber = spawn(|| {
            with_deadline(SECOND, || {
                shield(|| {
                    assert_eq!(deadline(), None);
                    sleep(SECOND * 2).unwrap();
                    assert!(with_deadline(SECOND, || is_timeout(park())));
                    with_deadline(SECOND, || shield(|| sleep(SECOND * 2))).unwrap();
                });
                is_timeout(park())
            })
        });
        assert!(fiber.join().unwrap());
        assert!(clock.now() >= 5_000_000_000);
    });
}

#[test]
fn a_deadline_in_the_past_ends_a_wait_and_lets_others_run() {
    virtual_run(|_| {
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        let past = Instant::now().checked_sub(SECOND).unwrap_or_else(Instant::now);
        with_deadline(past, || {
            Builder::new().no_deadline().spawn(move || flag.set(true)).unwrap();
            assert!(is_timeout(park()));
            assert!(ran.get());
        });
    });
}

#[test]
fn huge_deadlines_mean_none() {
    virtual_run(|_| {
        with_deadline(Duration::MAX, || assert_eq!(deadline(), None));
        let waits = [|| park_timeout(Duration::MAX), || sleep(Duration::MAX)];
        for wait in waits {
            let fiber = spawn(wait);
            sleep(Duration::from_secs(86_400 * 365 * 100)).unwrap();
            assert!(!fiber.is_finished());
            fiber.cancel();
            assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
        }
    });
}

#[test]
fn every_wait_honours_a_deadline() {
    virtual_run(|_| {
        let check = |name: &str, wait: &dyn Fn() -> io::Result<()>| {
            let error = with_deadline(SECOND, wait).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{name}: {error}");
        };
        let forever = Rc::new(Builder::new().no_deadline().spawn(park).unwrap());
        check("park", &park);
        check("park_timeout", &|| park_timeout(SECOND * 2));
        check("sleep", &|| sleep(SECOND * 2));
        check("wait", &|| forever.wait());
        check("Park", &|| Park::begin()?.wait(OTHER, None));
        check("large stack", &|| on_large_stack(park));
        check("tick", &|| {
            let mut interval = cede_fiber::interval(SECOND * 3);
            interval.tick()?;
            interval.tick().map(drop)
        });
        check("call", &|| Shard::current().call(|| shield(|| sleep(SECOND * 9)))?);
        check("accept", &|| cede_fiber::net::TcpListener::bind("127.0.0.1:0")?.accept().map(drop));
        forever.cancel();
    });
}
